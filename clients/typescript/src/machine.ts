import { Refused, RespokeError } from "./errors.js";
import { Interests } from "./interests.js";
import { Requests } from "./requests.js";
import type { Again, Answer } from "./requests.js";
import { numberOr } from "./wire.js";
import type { Welcome, WireBye, WireError, WireEvent, WireObject } from "./wire.js";

/** Why the client is not connected, or no longer. */
export interface Reason {
  code: string;
  /** For people. */
  text: string;
  /** Where it is explained. */
  href?: string;
}

/** Why a token is asked for. */
export type TokenReason = "connect" | "refused" | "expired" | "revoked" | "expiring";

/** What is told of the connection; the shell makes of `retryIn` the instant that users see. */
export interface Standing {
  state: "connecting" | "connected" | "waiting" | "stopped" | "closed";
  reason?: Reason;
  retryIn?: number;
  resumed?: boolean;
  endpoint?: string;
  connection?: string;
}

/** What is to be done outside: everything that the machine wants of the world. */
export type Effect =
  | { do: "dial"; socket: number }
  | { do: "send"; socket: number; text: string }
  | { do: "hangUp"; socket: number; code: number }
  | { do: "ask"; ask: number; reason: TokenReason }
  | { do: "unask"; ask: number }
  | { do: "answer"; answer: Answer; to: (answer: Answer) => void }
  | { do: "tell"; to: string; name: string; event: object };

export interface Settings {
  random(): number;
  /** A new text that nobody guesses or has. */
  key(): string;
  sdk: string;
  /** Where codes are explained. */
  href: string;
}

/** No more than one try in this time, whatever happens. */
const DIAL_GAP_MS = 250;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 20_000;
/** A connection that lasted so long was a good one: what went wrong before is forgotten. */
const STABLE_MS = 5_000;
/** One that came to a welcome is tried again soon enough to be resumed, however short it was. */
const WELCOMED_FAILURES = 3;
/** From dialing to the open socket, and from there to the welcome; twice as long for a welcome that did not come in time. */
const DIAL_MS = 10_000;
const WELCOME_MAX_MS = 40_000;
const TOKEN_MS = 30_000;
/** A token that came longer ago is not sent: it may be stale, and its refusal would say nothing. */
const FRESH_MS = 30_000;
const PROBE_MS = 3_000;
/** A request that is unanswered for so long, while nothing is heard, asks whether anybody is there. */
const DOUBT_MS = 5_000;
/** Close codes: this one says that the client comes back, and 1000 that it does not. */
const COMING_BACK = 4000;
const LEAVING = 1000;
const GOT_EVENTS = 64;
const GOT_MS = 5_000;
/** The server takes 20 frames a second that are no requests, and more for a flood. */
const GOT_GAP_MS = 75;

type Timer = "retry" | "dial" | "token" | "probe" | "doubt" | "silence" | "got" | "stable" | "refresh";

/**
 * The client without a world: socket, clock and chance come in by calls, and what it wants done goes out as effects. It
 * calls nobody, so nothing that a user does in a listener can reach it half way through a step.
 */
export class Machine {
  now = 0;
  effects: Effect[] = [];
  readonly requests: Requests;
  readonly interests: Interests;
  /** dialing: the socket is not open. asking: it is, and there is no token yet. greeting: `connect` is under way. */
  #phase: "idle" | "waiting" | "dialing" | "asking" | "greeting" | "up" | "stopped" | "closed" = "idle";
  #socket = 0;
  /** When each timer is over, of those that run. */
  #at: Partial<Record<Timer, number>> = {};
  #dialed = -Infinity;
  /** The server wants no try before this. */
  #notBefore = -Infinity;
  #failures = 0;
  #reason: Reason | undefined;

  #session: { resume?: string; appToken?: string; endpoint: string; ping: number } | undefined;
  /** Whom the user's requests speak for, once that is known. */
  #endpoint: string | undefined;
  #got = 0;
  #gotTold = 0;
  /** When it was told by itself. */
  #gotAt = -Infinity;
  #token: { text: string; at: number; once: string } | undefined;
  #ask = 0;
  #asking = false;
  #tokenReason: TokenReason = "connect";
  #strikes = 0;
  /** The session is about to end, and no new token was accepted yet. */
  #expiring = false;
  #patience = DIAL_MS;
  #connectId = 0;
  #authId = 0;
  #probeId = 0;
  #refusal: WireError | undefined;
  readonly #settings: Settings;

  constructor(settings: Settings) {
    this.#settings = settings;
    const send = (id: number, rest: string) => {
      this.#send(`{"id":${id},${this.#gotNow()}${rest}`);
      this.#at.doubt ??= this.now + DOUBT_MS;
    };
    this.requests = new Requests(send, this, settings.href);
    this.interests = new Interests(this.requests, (to, name, event) => this.#do({ do: "tell", to, name, event }), this, settings.href);
  }

  random(): number {
    return this.#settings.random();
  }

  get phase(): string {
    return this.#phase;
  }

  #do(effect: Effect): void {
    this.effects.push(effect);
  }

  #send(text: string): void {
    this.#do({ do: "send", socket: this.#socket, text });
  }

  #tell(standing: Standing): void {
    this.#do({ do: "tell", to: "", name: "state", event: standing });
  }

  #live(): boolean {
    return this.#phase === "dialing" || this.#phase === "asking" || this.#phase === "greeting" || this.#phase === "up";
  }

  // What the user wants.

  connect(): void {
    if (this.#phase === "waiting") return this.wake();
    if (this.#live()) return;
    this.#strikes = this.#failures = 0;
    this.#tokenReason = "connect";
    this.#reason = undefined;
    this.#dial();
  }

  /** Asks for what is text already: what a user gave may throw, or call, while it is made to that. */
  request(op: string, again: Again, timeout: number, to: (answer: Answer) => void): number {
    const done = (answer: Answer) => this.#do({ do: "answer", answer, to });
    if (this.#phase === "stopped" || this.#phase === "closed") {
      done({ error: new RespokeError(this.#phase, this.#reason!.text, { ...this.#reason }) });
      return 0;
    }
    return this.requests.add(op, again, this.now + timeout, done);
  }

  close(): void {
    if (this.#phase === "closed") return;
    if (this.#phase === "up") this.#send('{"bye":{}}');
    this.#end("closed", { code: "closed", text: "the client was closed" });
    this.#tell({ state: "closed" });
  }

  /** The page is there again, or the network: whoever waits need not, and whoever thinks it is connected makes sure. */
  wake(): void {
    if (this.#phase === "up") this.#probe();
    else if (this.#phase === "dialing" || this.#phase === "greeting") this.#at.dial = Math.min(this.#at.dial!, this.now + PROBE_MS);
    else if (this.#phase === "waiting") {
      this.#at.retry = Math.min(this.#at.retry!, Math.max(this.now, this.#dialed + DIAL_GAP_MS, this.#notBefore));
      this.tick();
    }
  }

  // Time.

  /** When `tick` is to be called next. */
  due(): number {
    return Math.min(...Object.values(this.#at), this.requests.due(), this.interests.due());
  }

  tick(): void {
    const over = (timer: Timer) => this.#at[timer]! <= this.now && delete this.#at[timer];
    if (over("retry")) this.#dial();
    if (over("stable")) this.#failures = 0;
    if (over("dial")) {
      if (this.#phase === "greeting") this.#patience = Math.min(2 * this.#patience, WELCOME_MAX_MS);
      this.#lost({ code: "no_answer", text: "the server did not answer in time" });
    }
    if (over("token")) {
      this.#do({ do: "unask", ask: this.#ask });
      this.tokenFailed(this.#ask, new Error("getToken gave no token in time"));
    }
    if (over("probe")) this.#lost({ code: "silent", text: "nothing was heard of the server" });
    if (over("silence") || (over("doubt") && this.requests.unanswered)) this.#probe();
    if (over("got")) this.#tellGot();
    if (over("refresh")) this.#askToken("expiring");
    this.requests.tick(this.now);
    this.interests.tick();
  }

  // The socket.

  #dial(): void {
    const at = Math.max(this.#dialed + DIAL_GAP_MS, this.#notBefore);
    if (at > this.now) {
      this.#phase = "waiting";
      this.#at.retry = at;
      return this.#tell({ state: "waiting", reason: this.#reason, retryIn: at - this.now });
    }
    this.#phase = "dialing";
    this.#dialed = this.now;
    this.#at.dial = this.now + DIAL_MS;
    this.#socket++;
    this.#do({ do: "dial", socket: this.#socket });
    this.#tell({ state: "connecting", reason: this.#reason });
  }

  /** Gives the socket up, whatever it is doing: nobody waits for it to close, and what it still says is not heard. */
  #hangUp(code = COMING_BACK): void {
    if (this.#live()) this.#do({ do: "hangUp", socket: this.#socket, code });
    const { token } = this.#at;
    this.#at = token ? { token } : {};
    this.#refusal = undefined;
    this.requests.lost();
    this.interests.lost();
  }

  /** The only way from a connection, or a try, that failed. */
  #lost(reason: Reason, after = 0): void {
    if (!this.#live()) return;
    this.#hangUp();
    this.#reason = reason;
    const wait = this.random() * Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.#failures++);
    this.#notBefore = this.now + after;
    const at = Math.max(this.now + wait, this.#dialed + DIAL_GAP_MS, this.#notBefore);
    this.#phase = "waiting";
    this.#at.retry = at;
    this.#tell({ state: "waiting", reason, retryIn: at - this.now });
  }

  /** It cannot come to a connection here. */
  halt(reason: Reason): void {
    this.#stop(reason);
  }

  #stop(reason: Reason): void {
    this.#end("stopped", reason);
    this.#tell({ state: "stopped", reason });
  }

  #end(phase: "stopped" | "closed", reason: Reason): void {
    this.#hangUp(LEAVING);
    if (this.#asking) this.#do({ do: "unask", ask: this.#ask });
    delete this.#at.token;
    this.#asking = false;
    this.#phase = phase;
    this.#reason = reason;
    this.#session = this.#token = this.#endpoint = undefined;
    this.requests.fail(phase, reason.text);
    this.interests.end();
  }

  opened(socket: number): void {
    if (socket !== this.#socket || this.#phase !== "dialing") return;
    this.#phase = "asking";
    delete this.#at.dial; // the server itself ends a socket that says nothing
    if (this.#session?.resume || this.#session?.appToken || this.#spare()) this.#greet();
    else this.#askToken(this.#tokenReason);
  }

  closed(socket: number, code: number, word: string): void {
    if (socket !== this.#socket || !this.#live()) return;
    // Whoever says nothing before it closes is understood by its close code, if no proxy made that up.
    const again = code >= 4200 && code < 4300 ? "never" : code >= 4100 && code < 4200 ? "token" : "resume";
    if (this.#refusal || (code >= 4000 && code < 4300)) this.#bye({ code, word: word || "lost", again });
    else this.#lost({ code: "lost", text: "the connection was lost" });
  }

  said(socket: number, text: string): void {
    if (socket !== this.#socket || !this.#live()) return;
    // What was on its way shows no more than that: the answer must still come.
    if (this.#at.probe) this.#at.probe = this.now + PROBE_MS;
    if (this.#phase === "up") this.#at.silence = this.now + (this.#session!.ping + 5) * 1000;
    for (const line of text.split("\n")) {
      try {
        this.#heard(JSON.parse(line));
      } catch {
        this.#lost({ code: "bad_frame", text: "the server said something that is no frame" });
      }
      if (!this.#live()) return;
    }
    if (this.requests.unanswered) this.#at.doubt = this.now + DOUBT_MS;
    else delete this.#at.doubt;
  }

  #heard(object: WireObject): void {
    if (object.bye) this.#bye(object.bye);
    else if (object.ev !== undefined) this.#event(object as WireEvent);
    else if (object.id === undefined) Object.keys(object).length || this.#send("{}"); // what is not known is passed over
    else if (object.id === this.#connectId) {
      // The bye behind a refusal says whether to come back.
      if (object.error) this.#refusal = object.error;
      else this.#welcomed(object.ok as Welcome);
    } else if (object.id === this.#authId) this.#authorized(object);
    else if (object.id === this.#probeId) delete this.#at.probe;
    else this.requests.answered(object);
  }

  #bye({ code, word = "lost", text, href = this.#settings.href, again, after }: WireBye): void {
    const refusal = this.#refusal;
    const reason: Reason = refusal
      ? { code: refusal.code, text: refusal.text, href: refusal.href ?? href }
      : { code: word, text: text ?? `the server ended the connection: ${word} (${code})`, href };
    const [least, most] = after ?? [0, 0];
    const wait = Math.max(numberOr(least + (most - least) * this.random(), 0), numberOr(refusal?.after, 0)) * 1000;
    if (again === "never") return this.#stop(reason);
    if (again === "token") {
      this.#tokenReason = word === "revoked" ? "revoked" : "expired";
      const token = this.#phase === "greeting" && !this.#session ? this.#token : undefined;
      this.#session = this.#token = undefined;
      if (token) {
        this.#tokenReason = "refused";
        if (++this.#strikes > 1) return this.#stop(reason);
      }
    }
    this.#lost(reason, wait);
  }

  // Credentials.

  #spare(): boolean {
    if (this.#token && this.now - this.#token.at > FRESH_MS) this.#token = undefined;
    return this.#token !== undefined;
  }

  #askToken(reason: TokenReason): void {
    if (this.#asking) return;
    this.#asking = true;
    this.#at.token = this.now + TOKEN_MS;
    this.#do({ do: "ask", ask: ++this.#ask, reason });
  }

  tokenCame(ask: number, text: string): void {
    if (ask !== this.#ask || !this.#asking) return;
    this.#asking = false;
    delete this.#at.token;
    this.#token = { text, at: this.now, once: this.#settings.key() };
    if (this.#phase === "asking") this.#greet();
    else if (this.#phase === "up") this.#authorize();
    // Else the socket went while it was asked for: the next one takes it, if that is soon.
  }

  tokenFailed(ask: number, error: unknown): void {
    if (ask !== this.#ask || !this.#asking) return;
    this.#asking = false;
    delete this.#at.token;
    const text = error instanceof Error ? error.message : "getToken failed";
    if (this.#phase === "up") {
      // The session lives until the server says otherwise, and then the token is asked for again.
      if (!(error instanceof Refused)) this.#at.refresh = this.now + GOT_MS;
    } else if (error instanceof Refused) this.#stop({ code: error.code, text });
    else if (this.#phase === "asking") this.#lost({ code: "token_failed", text });
  }

  #greet(): void {
    this.#phase = "greeting";
    this.#at.dial = this.now + this.#patience;
    const { resume, appToken } = this.#session ?? {};
    const connect = {
      appToken,
      ...(resume ? { resume, got: this.#got } : !appToken && { tokenId: this.#token!.text, once: this.#token!.once }),
      sdk: this.#settings.sdk,
    };
    this.#connectId = this.requests.id();
    this.#send(`{"id":${this.#connectId},"connect":${JSON.stringify(connect).slice(0, -1)},"state":${this.interests.state()}}}`);
  }

  #welcomed(welcome: Welcome): void {
    const { appToken = this.#session?.appToken, resume, endpoint, connection, window } = welcome;
    const ping = numberOr(welcome.ping, 25);
    const resumed = welcome.resumed === true;
    const first = this.#endpoint === undefined;
    if (!this.#session) this.#expiring = false; // it was opened by a new token
    const same = first || this.#endpoint === endpoint;
    this.#phase = "up";
    this.#patience = DIAL_MS;
    delete this.#at.dial;
    this.#at.silence = this.now + (ping + 5) * 1000;
    this.#at.stable = this.now + STABLE_MS;
    this.#session = { endpoint, ping, appToken, resume };
    this.#token = this.#refusal = this.#reason = undefined;
    this.#endpoint = endpoint;
    this.#strikes = 0;
    this.#failures = Math.min(this.#failures, WELCOMED_FAILURES);
    this.#tokenReason = "expired";
    if (!resumed) this.#got = 0;
    this.#gotTold = this.#got;
    // One less than it takes: the server may have answered one and not be done with it.
    this.requests.window = Math.max(1, numberOr(window, 64) - 1);
    this.#tell({ state: "connected", resumed, endpoint, connection });
    this.requests.welcomed(resumed, same);
    this.interests.welcomed(welcome, resumed, first);
    if (this.#expiring) this.#askToken("expiring");
  }

  #authorize(): void {
    this.#authId = this.requests.id();
    this.#send(`{"id":${this.#authId},"auth":${JSON.stringify({ tokenId: this.#token!.text, once: this.#token!.once })}}`);
  }

  #authorized({ ok, error }: WireObject): void {
    this.#token = undefined;
    const { appToken } = (ok ?? {}) as { appToken?: string };
    if (appToken) this.#session!.appToken = appToken;
    if (!error) {
      this.#strikes = 0;
      this.#expiring = false;
    } else if (error.retry === "later") this.#at.refresh = this.now + Math.max(GOT_MS, numberOr(error.after, 0) * 1000);
    else if (++this.#strikes < 2) this.#askToken("refused");
    else this.#strikes = 0; // the session goes on until the server ends it
  }

  // Events.

  #event(event: WireEvent): void {
    this.#got++; // before it is told: what is told was counted, whatever a listener does
    if (!this.#session?.resume) this.#gotTold = this.#got; // nobody asks for it
    else {
      const at = this.#got - this.#gotTold < GOT_EVENTS ? this.now + GOT_MS : this.#gotAt + GOT_GAP_MS;
      if (at <= this.now) this.#tellGot();
      else this.#at.got = Math.min(at, this.#at.got ?? at);
    }
    if (event.ev === "expiring") {
      this.#expiring = true;
      return this.#askToken("expiring");
    }
    if (this.interests.event(event)) return;
    const { ev, m, ...more } = event;
    const tell = (more: object) => this.#do({ do: "tell", to: "", name: ev, event: { type: ev, ...more } });
    if (ev === "message") tell({ id: m, ...more });
    else if (ev === "signal") tell(more);
    else if (ev === "gap") {
      const { kind = "live", why = "unknown" } = event;
      tell({ kind, why });
      this.interests.gaps(why);
    }
  }

  /** The count of events, where there is something new to tell. */
  #gotNow(): string {
    if (this.#got === this.#gotTold) return "";
    this.#gotTold = this.#got;
    delete this.#at.got;
    return `"got":${this.#got},`;
  }

  #tellGot(): void {
    this.#gotTold = this.#got;
    this.#gotAt = this.now;
    delete this.#at.got;
    this.#send(`{"got":${this.#got}}`);
  }

  #probe(): void {
    if (this.#at.probe) return;
    this.#at.probe = this.now + PROBE_MS;
    this.#probeId = this.requests.id();
    this.#send(`{"id":${this.#probeId},"op":{"ping":{}}}`);
  }
}
