import type { RespokeError } from "./errors.js";
import type { Answer, Requests } from "./requests.js";
import { refusal } from "./requests.js";
import { bytes } from "./wire.js";
import type { Position, Presence, Welcome, WireEvent, WireGroup, WireWatch } from "./wire.js";

/** A group to be in (`g`), or an endpoint to observe (`e`). */
interface Interest {
  kind: "g" | "e";
  name: string;
  wanted: boolean;
  history: boolean;
  /** `refused`, by the server, is asked for again by the user or in a new session. `stray`: nobody knows whether it is in or out. */
  phase: "out" | "asking" | "in" | "leaving" | "stray" | "refused";
  /** The refusal that was told last. */
  error?: RespokeError | undefined;
  /** Begun anew whenever it is entered, so that nothing of a former membership counts for this one. */
  position: Position | undefined;
  /** It was in before, in a session that is over, and it is not known yet what became of the kept messages since. */
  away: boolean;
  /** Something of it was told since it was last out: the server may take it in before that is known here. */
  heard: boolean;
  /** How many kept messages of this client's own have offsets that it did not see: they are not told to it. */
  unseen: number;
  /** Of an observed endpoint: what its connections said. */
  presences: Map<string, Presence>;
  /** When the next thing is to be done: to leave what is not wanted, or to ask again. */
  at: number;
  tries: number;
}

/** How long an unwanted group is kept: a page that changes its listeners does not leave and join. */
const LINGER_MS = 50;
/** What the state of a connect may hold, of each kind. */
const STATE_MAX = 200;
/** And its names and presence together: a frame has 64 KiB, and one that is longer would end the client for good. */
const STATE_BYTES_MAX = 48 * 1024;
/** Connections of observed endpoints that are remembered, for each endpoint. */
const PRESENCES_MAX = 1000;
const OWN_MAX = 32;

/** Whether the server is to be asked for it, or told that nobody wants it. */
const toDo = ({ wanted, phase }: Interest) => phase === (wanted ? "out" : "in") || phase === "stray";

const presenceEvent = ({ name, presences }: Interest, connection: string, presence: Presence) => {
  return { type: "presence", endpoint: name, connection, presence, connections: Object.fromEntries(presences) };
};

interface Clock {
  readonly now: number;
  random(): number;
}

type Tell = (to: string, name: string, event: object) => void;

/** What the client is there for: it is wanted by the user, and this brings the server to it. */
export class Interests {
  #all = new Map<string, Interest>();
  #up = false;
  /** This client's connections, the newest last: what they said is not told to it, however it comes. */
  #own: string[] = [];
  /** Presences as texts: what was accepted last, if it was, and those that were not answered yet. */
  #said: { text: string }[] = [];
  readonly #requests: Requests;
  readonly #tell: Tell;
  readonly #clock: Clock;
  readonly #href: string;

  constructor(requests: Requests, tell: Tell, clock: Clock, href: string) {
    this.#requests = requests;
    this.#tell = tell;
    this.#clock = clock;
    this.#href = href;
  }

  want(kind: "g" | "e", name: string, history: boolean): void {
    const interest = this.#all.get(`${kind}:${name}`) ?? this.#add(kind, name);
    interest.wanted = true;
    interest.history ||= history;
    interest.at = this.#clock.now;
    if (interest.phase === "refused") interest.phase = "out";
    interest.error = undefined;
    this.tick();
  }

  #add(kind: "g" | "e", name: string): Interest {
    const { now } = this.#clock;
    const interest: Interest = { kind, name, wanted: false, history: false, phase: "out", position: undefined, away: false, heard: false, unseen: 0, presences: new Map(), at: now, tries: 0 };
    this.#all.set(`${kind}:${name}`, interest);
    return interest;
  }

  unwant(kind: "g" | "e", name: string): void {
    const interest = this.#all.get(`${kind}:${name}`);
    if (!interest) return;
    interest.wanted = false;
    interest.at = this.#clock.now + LINGER_MS;
    this.tick();
  }

  standing(kind: "g" | "e", name: string): string | undefined {
    return this.#all.get(`${kind}:${name}`)?.phase;
  }

  /** What is, as the events that a listener would have been told who was there before. */
  told(kind: "g" | "e", name: string, event: string): object[] {
    const interest = this.#all.get(`${kind}:${name}`);
    if (interest?.phase !== "in") return [];
    if (event === "state") return [{ type: "state", state: "joined" }];
    if (event !== "presence") return [];
    return [...interest.presences].map(([connection, presence]) => presenceEvent(interest, connection, presence));
  }

  /** A presence is to be said. The result is told what became of it: one that was refused is not said again, and the one before is. */
  say(text: string): (kept: boolean) => void {
    const said = { text };
    this.#said.push(said);
    return (kept) => {
      const at = this.#said.indexOf(said);
      if (at < 0) return; // one that was said later was kept
      if (kept) this.#said.splice(0, at);
      else this.#said.splice(at, 1);
    };
  }

  /** A message of this client's own is to be kept, has ended without that being known, or stands there. */
  published(group: string, step: "sent" | "ended" | Partial<Position>): void {
    const interest = this.#all.get(`g:${group}`);
    if (!interest) return;
    if (step === "sent") interest.unseen++;
    else if (step === "ended") interest.unseen = Math.max(0, interest.unseen - 1);
    else if (step.offset !== undefined && step.epoch !== undefined) {
      const { position } = interest;
      const ahead = position?.epoch === step.epoch ? step.offset - position.offset : 0;
      // What others kept before it may still come: until then it is as good as unseen.
      if (ahead > 1) return;
      interest.unseen = Math.max(0, interest.unseen - 1);
      if (ahead === 1) interest.position = { epoch: step.epoch, offset: step.offset };
    }
  }

  /** The `state` of a connect, as text: what a frame holds of it. The rest is asked for by requests. */
  state(): string {
    let left = STATE_BYTES_MAX;
    const fits = (text: string) => {
      const size = bytes(text) + 1;
      if (size > left) return false;
      left -= size;
      return true;
    };
    const presence = this.#said.at(-1)?.text;
    const said = presence && fits(presence) ? `,"presence":${presence}` : "";
    const list = (kind: "g" | "e", text: (interest: Interest) => unknown) => {
      // A name that is no Unicode would make the whole frame none; in a request it is refused alone.
      const able = [...this.#all.values()].filter((each) => each.wanted && each.kind === kind && each.error?.code !== "invalid" && !/\p{Cs}/u.test(each.name));
      return able.slice(0, STATE_MAX).map((interest) => JSON.stringify(text(interest))).filter(fits);
    };
    const groups = list("g", ({ name, history, position }) => ({ g: name, ...(history && position) }));
    return `{"groups":[${groups}],"observe":[${list("e", ({ name }) => name)}]${said}}`;
  }

  lost(): void {
    this.#up = false;
  }

  welcomed(welcome: Welcome, resumed: boolean, first: boolean): void {
    this.#up = true;
    this.#own = [...this.#own.filter((own) => own !== welcome.connection), welcome.connection].slice(-OWN_MAX);
    if (!resumed) {
      if (!first) this.#tell("", "gap", { type: "gap", kind: "live", why: "not_resumed" });
      for (const interest of this.#all.values()) {
        const was = interest.phase === "in" || interest.heard;
        interest.heard = false;
        if (interest.error?.code !== "invalid") interest.phase = "out";
        // Before what is replayed, so that whoever reads in order knows where something may be missing.
        if (was && interest.wanted && interest.kind === "g") {
          interest.away = true;
          this.#gap(interest, "live", "not_resumed");
        }
      }
      if (welcome.presence?.error) this.#tell("", "error", refusal(welcome.presence.error, this.#href));
    }
    for (const group of welcome.groups ?? []) this.#entered("g", group.g, group, resumed);
    for (const watch of welcome.observe ?? []) this.#entered("e", watch.endpointId, watch, resumed);
    this.tick();
  }

  #entered(kind: "g" | "e", name: string, result: WireGroup | WireWatch, resumed: boolean): void {
    let interest = this.#all.get(`${kind}:${name}`);
    if (!interest) {
      if (result.error) return;
      interest = this.#add(kind, name); // nobody wants it since the state was sent, and it is left
    }
    if (result.error) this.#refused(interest, refusal(result.error, this.#href));
    else if (!resumed || interest.phase !== "in") this.#in(interest, result);
  }

  /** Brings the server to what is wanted: one request under way for each. */
  tick(): void {
    const { now } = this.#clock;
    for (const [key, interest] of this.#all) {
      const { kind, name, wanted, phase, at } = interest;
      if (!wanted && (phase === "out" || phase === "refused")) this.#all.delete(key);
      if (!this.#up || at > now || !toDo(interest)) continue;
      if (wanted) {
        interest.phase = "asking";
        if (kind === "g" && !interest.error) this.#state(interest, "joining");
        this.#ask(kind === "g" ? { join: { groups: [name] } } : { observe: { endpointList: [name] } }, (answer) => this.#asked(interest, answer));
      } else if (kind === "e") this.#all.delete(key); // nobody can stop observing: what comes of it is dropped
      else {
        interest.phase = "leaving";
        this.#ask({ leave: { groups: [name] } }, (answer) => this.#left(interest, answer));
      }
    }
  }

  #ask(op: object, done: (answer: Answer) => void): void {
    this.#requests.add(JSON.stringify(op), "inner", Infinity, done);
  }

  #asked(interest: Interest, answer: Answer): void {
    if (!this.#stands(interest)) return;
    if ("error" in answer) return this.#refused(interest, answer.error);
    const { ok } = answer as { ok: { groups?: WireGroup[] } & WireWatch[] };
    const result = (interest.kind === "g" ? ok?.groups?.[0] : ok?.[0]) ?? {};
    this.#in(interest, result as WireGroup);
  }

  /** Not forgotten meanwhile: under its name there may be another one by now. */
  #stands(interest: Interest): boolean {
    return this.#all.get(`${interest.kind}:${interest.name}`) === interest;
  }

  #refused(interest: Interest, error: RespokeError): void {
    if (error.retry || error.outcome === "unknown") {
      interest.phase = error.outcome === "unknown" ? "stray" : "out";
      interest.at = this.#clock.now + (error.after ?? 0) + this.#clock.random() * Math.min(30_000, 1000 * 2 ** interest.tries++);
      return;
    }
    const news = interest.error?.code !== error.code;
    interest.phase = "refused";
    interest.error = error;
    if (news) this.#state(interest, "refused", error);
  }

  #in(interest: Interest, result: WireGroup | WireWatch): void {
    interest.phase = "in";
    interest.tries = 0;
    interest.error = undefined;
    if (interest.kind === "e") return this.#present(interest, (result as WireWatch).connectionStates ?? {});
    const { epoch, offset, recovered, why } = result as WireGroup;
    const missed = interest.history && interest.away && !recovered;
    interest.away = false;
    // Recovered: what was missed comes now, and moves the position itself.
    if (!recovered) interest.position = epoch !== undefined && offset !== undefined ? { epoch, offset } : undefined;
    this.#state(interest, "joined");
    if (missed) this.#gap(interest, "kept", why ?? "not_recovered");
  }

  #left(interest: Interest, answer: Answer): void {
    if (!this.#stands(interest)) return;
    if ("error" in answer && (answer.error.retry || answer.error.outcome === "unknown")) {
      interest.phase = "stray";
      interest.at = this.#clock.now + 1000;
      return;
    }
    interest.phase = "out";
    interest.position = undefined;
    interest.away = interest.heard = false;
    interest.unseen = 0;
    if (interest.wanted) this.tick();
    else {
      this.#all.delete(`g:${interest.name}`);
      this.#state(interest, "left");
    }
  }

  #present(interest: Interest, states: Record<string, Presence>): void {
    const before = interest.presences;
    interest.presences = new Map(Object.entries(states));
    for (const [connection, presence] of interest.presences) this.#presenceIs(interest, connection, presence);
    for (const connection of before.keys()) {
      if (!interest.presences.has(connection)) this.#presenceIs(interest, connection, { type: "unavailable" });
    }
  }

  #presenceIs(interest: Interest, connection: string, presence: Presence): void {
    if (presence.type === "unavailable" || interest.presences.size > PRESENCES_MAX) interest.presences.delete(connection);
    else interest.presences.set(connection, presence);
    this.#tell(`e:${interest.name}`, "presence", presenceEvent(interest, connection, presence));
  }

  /** An event of a group or an observed endpoint; false if it is neither. */
  event(event: WireEvent): boolean {
    if (event.ev === "presence") {
      const interest = this.#all.get(`e:${event.from}`);
      if (interest && event.connection) this.#presenceIs(interest, event.connection, event.data as Presence);
      return true;
    }
    if (event.g === undefined) return false;
    const interest = this.#all.get(`g:${event.g}`);
    if (!interest || interest.phase === "leaving") return true;
    interest.heard = true;
    if (event.ev === "gap") this.#gap(interest, event.kind ?? "live", event.why ?? "unknown");
    else if (event.ev === "message") this.#message(interest, event);
    else if (event.ev === "join" || event.ev === "leave") {
      const { from, connection, at } = event;
      this.#tell(`g:${event.g}`, event.ev, { type: event.ev, group: event.g, endpoint: from, connection, at });
    }
    return true;
  }

  #message(interest: Interest, event: WireEvent): void {
    const { ev, epoch, offset, g, m, ...more } = event;
    if (epoch !== undefined && offset !== undefined) {
      const { position } = interest;
      interest.position = { epoch, offset };
      if (position?.epoch === epoch) {
        if (offset <= position.offset) {
          interest.position = position;
          return; // it came before
        }
        const missing = offset - position.offset - 1;
        if (missing > interest.unseen) this.#gap(interest, "kept", "hole");
        interest.unseen = Math.max(0, interest.unseen - missing);
      } else if (position) this.#gap(interest, "kept", "epoch");
    }
    if (this.#own.includes(event.connection!)) return; // said by this client: no echo, not even out of the history
    this.#tell(`g:${interest.name}`, "message", { type: ev, group: g, id: m, epoch, offset, ...more });
  }

  #gap({ name }: Interest, kind: string, why: string): void {
    this.#tell(`g:${name}`, "gap", { type: "gap", group: name, kind, why });
  }

  /** Something may be missing in any group. */
  gaps(why: string): void {
    for (const interest of this.#all.values()) if (interest.kind === "g" && interest.phase === "in") this.#gap(interest, "live", why);
  }

  #state({ kind, name }: Interest, state: string, error?: RespokeError): void {
    this.#tell(`${kind}:${name}`, "state", { type: "state", state, error });
  }

  /** The earliest instant at which something is to be done. */
  due(): number {
    if (!this.#up) return Infinity;
    return Math.min(Infinity, ...[...this.#all.values()].filter(toDo).map(({ at }) => at));
  }

  /** Nothing of it is there any more; what is wanted stays wanted. */
  end(): void {
    this.#up = false;
    for (const interest of this.#all.values()) {
      interest.phase = "out";
      interest.error = undefined;
      interest.position = undefined;
      interest.away = interest.heard = false;
      interest.presences.clear();
    }
  }
}
