/// <reference lib="esnext.disposable" preserve="true" />

import { Emitter, report, safely } from "./emitter.js";
import type { Off } from "./emitter.js";
import { Endpoint } from "./endpoint.js";
import { real } from "./environment.js";
import type { Environment, SocketLike, SocketMaker } from "./environment.js";
import { RespokeError } from "./errors.js";
import { Group } from "./group.js";
import type { PublishOptions } from "./group.js";
import { Machine } from "./machine.js";
import type { Effect, Standing, TokenReason } from "./machine.js";
import type { Again } from "./requests.js";
import type { ClientEvents, ConnectionState, GroupState, RequestOptions } from "./types.js";
import { VERSION } from "./version.js";
import type { Op, Presence } from "./wire.js";

export interface Options {
  /** Where the server is: `https://chat.example.com`. */
  url: string;
  /**
   * Gives a new tokenId whenever one is needed. It throws `Refused` if this user gets none: then the client stops. After any other
   * failure it is asked again later.
   */
  getToken(reason: TokenReason, signal: AbortSignal): Promise<string> | string;
  /** For Node before 22: `WebSocket` of the package `ws`. */
  WebSocket?: SocketMaker;
  /** How long a request waits for its answer, in milliseconds; 30,000 without it. */
  timeout?: number;
  /** For tests: time, chance and sockets. */
  environment?: Partial<Environment>;
}

/** A timer that is so late was held up, with whatever was to be heard meanwhile. */
const LATE_MS = 500;
const SLEPT_MS = 5_000;
const TIMER_MAX_MS = 2 ** 31 - 1;
/** How long a client without anybody who holds it is kept: React takes effects away and brings them back. */
const HOLD_MS = 1_000;
const DRAIN_MS = 3_000;

const asyncDispose: typeof Symbol.asyncDispose = Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose");

interface Topic {
  listeners: Emitter<Record<string, never>>;
  refs: number;
}

/** A client of respoked. It connects when something is asked of it, and comes back by itself. */
export class Respoke {
  readonly #machine: Machine;
  readonly #environment: Environment;
  readonly #address: string;
  readonly #options: Options;
  readonly #listeners = new Emitter<ClientEvents>();
  readonly #topics = new Map<string, Topic>();
  readonly #endings = new Set<(error: RespokeError | undefined) => void>();
  readonly #idle = new Set<() => void>();
  #state: ConnectionState = { state: "idle" };
  #draining = false;
  #socket: SocketLike | undefined;
  #asked: AbortController | undefined;
  #timer: unknown;
  #armed = Infinity;
  #awake: Off | undefined;
  #holds = 0;
  #holdTimer: unknown;

  constructor(options: Options) {
    const url = new URL(options.url);
    this.#address = new URL(url.pathname.replace(/\/?$/, "/v1/socket"), url).href.replace(/^http/, "ws");
    if (!/^wss?:/.test(this.#address)) throw new TypeError(`no server can be at ${url.protocol}`);
    this.#options = options;
    this.#environment = Object.create(real, Object.getOwnPropertyDescriptors(options.environment ?? {})) as Environment;
    const { random, key } = this.#environment;
    const href = new URL("/docs", this.#address.replace("ws", "http")).href;
    this.#machine = new Machine({ random, key, sdk: `respoked-js/${VERSION}`, href });
  }

  /** How the client stands. */
  get state(): ConnectionState {
    return this.#state;
  }

  on<Name extends keyof ClientEvents>(name: Name, hear: (event: ClientEvents[Name]) => unknown): Off {
    const off = this.#listeners.on(name, hear);
    if (name === "message" || name === "signal") this.#need();
    return off;
  }

  /** Connects now; resolves when it is connected, and rejects if it cannot come to that. */
  connect(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#state.state === "connected") return resolve();
      const off = this.on("state", ({ state, reason }) => {
        if (state !== "connected" && state !== "stopped" && state !== "closed") return;
        off();
        if (state === "connected") resolve();
        else reject(new RespokeError(reason?.code ?? state, reason?.text ?? "the client was closed", { ...reason }));
      });
      this.#run(() => this.#machine.connect());
    });
  }

  /** Leaves at once. What was sent and not answered ends as `in_doubt`. */
  close(): void {
    this.#run(() => this.#machine.close());
  }

  /** Waits up to three seconds for what is under way, then leaves. */
  async [asyncDispose](): Promise<void> {
    if (this.#machine.requests.waiting && this.#state.state === "connected") {
      let timer: unknown;
      await new Promise<void>((resolve) => {
        this.#idle.add(resolve);
        timer = this.#environment.setTimeout(resolve, DRAIN_MS);
      });
      this.#environment.clearTimeout(timer);
    }
    this.close();
  }

  /** Keeps the client connected until the result is called; it is closed when nobody holds it for a second. */
  hold(): Off {
    this.#holds++;
    this.#environment.clearTimeout(this.#holdTimer);
    this.#run(() => this.#machine.connect());
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      if (--this.#holds === 0) this.#holdTimer = this.#environment.setTimeout(() => this.close(), HOLD_MS);
    };
  }

  /** A group; nothing is joined yet. With `history` what was missed is asked for when the client comes back. */
  group<Data = unknown>(name: string, { history = false }: { history?: boolean } = {}): Group<Data> {
    return new Group<Data>(this, name, history);
  }

  endpoint(name: string): Endpoint {
    return new Endpoint(this, name);
  }

  /** What this connection says of itself, now and after it came back. */
  async presence(presence: string | Presence, options: RequestOptions = {}): Promise<void> {
    const text = JSON.stringify(typeof presence === "string" ? { type: presence } : { ...presence });
    const became = this.#machine.interests.say(text);
    try {
      await this.ask(`{"presence":{"presence":${text}}}`, "keyed", options); // said twice it is the same
      became(true);
    } catch (error) {
      became((error as RespokeError).outcome === "unknown");
      throw error;
    }
  }

  /** Any operation of the API, as the connection's endpoint. */
  async call(method: string, path: string, body?: unknown, { key, ...options }: RequestOptions & { key?: string } = {}): Promise<unknown> {
    const again = method.toUpperCase() === "GET" ? "read" : key === undefined ? "session" : "keyed";
    return (await this.ask({ call: { method, path, body, key } }, again, options)).ok;
  }

  // For groups and endpoints; not of use to anybody else.

  /** Groups that are held by `join()`, by name. @internal */
  readonly joins = new Map<string, Off>();

  /** @internal */
  async publish(group: string, message: unknown, { persist, key, ...options }: PublishOptions): Promise<{ id: string }> {
    const own = key ?? (persist ? this.#environment.key() : undefined);
    const { interests } = this.#machine;
    if (persist) interests.published(group, "sent");
    try {
      const { ok } = await this.ask({ publish: { group, message, persist, key: own } }, own === undefined ? "session" : "keyed", options);
      const { messageId, epoch, offset } = ok as { messageId: string; epoch?: string; offset?: number };
      if (persist) interests.published(group, { epoch, offset });
      return { id: messageId };
    } catch (error) {
      // In doubt as well: a gap too many is better than one too few.
      if (persist) interests.published(group, "ended");
      throw error;
    }
  }

  /** @internal */
  ask(op: Op | string, again: Again, { signal, timeout }: RequestOptions): Promise<{ ok: unknown; next?: string }> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) throw new RespokeError("aborted", "aborted before it was sent");
      const text = typeof op === "string" ? op : JSON.stringify(op);
      this.#need();
      const abort = () => this.#run(() => this.#machine.requests.give(id, "aborted", "aborted"));
      const id = this.#run(() =>
        this.#machine.request(text, again, this.#patience(timeout), (answer) => {
          signal?.removeEventListener("abort", abort);
          if ("error" in answer) reject(answer.error);
          else resolve(answer);
        }),
      );
      signal?.addEventListener("abort", abort);
    });
  }

  /** @internal */
  listen(kind: "g" | "e", name: string, event: string, hear: (event: never) => unknown, history: boolean): Off {
    const key = `${kind}:${name}`;
    let topic = this.#topics.get(key);
    if (!topic) this.#topics.set(key, (topic = { listeners: new Emitter(), refs: 0 }));
    const { listeners } = topic;
    const off = listeners.on(event, hear);
    topic.refs++;
    this.#need();
    const { interests } = this.#machine;
    this.#run(() => interests.want(kind, name, history));
    let on = true;
    // What the others were told before; not at once, so that it can take itself away.
    if (interests.told(kind, name, event).length) {
      void Promise.resolve().then(() => {
        for (const what of interests.told(kind, name, event)) if (on) safely(() => hear(what as never));
      });
    }
    return () => {
      if (!on) return;
      on = false;
      off();
      if (--topic.refs) return;
      this.#topics.delete(key);
      this.#run(() => this.#machine.interests.unwant(kind, name));
    };
  }

  /** @internal */
  entered(kind: "g" | "e", name: string, { signal, timeout }: RequestOptions): Promise<void> {
    return new Promise((resolve, reject) => {
      const done = (error?: RespokeError) => {
        offs.forEach((off) => off());
        if (error) reject(error);
        else resolve();
      };
      const abort = () => done(new RespokeError("aborted", "aborted"));
      const late = () => done(new RespokeError("timed_out", "no answer in time", { retry: true }));
      const timer = this.#environment.setTimeout(late, Math.min(this.#patience(timeout), TIMER_MAX_MS));
      const offs: Off[] = [];
      offs.push(
        this.listen(kind, name, "state", ({ state, error }: GroupState) => (state === "joined" ? done() : error && done(error)), false),
        this.ending((error) => done(error ?? new RespokeError("closed", "the client was closed"))),
        () => this.#environment.clearTimeout(timer),
        () => signal?.removeEventListener("abort", abort),
      );
      signal?.addEventListener("abort", abort);
      if (signal?.aborted) abort();
      else if (this.#machine.interests.standing(kind, name) === "in") done();
    });
  }

  /** Calls `ended` when the client is closed, or with why it stopped; soon, if that is so already. @internal */
  ending(ended: (error: RespokeError | undefined) => void): Off {
    this.#endings.add(ended);
    void Promise.resolve().then(() => this.#endings.has(ended) && this.#endIf([ended]));
    return () => void this.#endings.delete(ended);
  }

  /** How long somebody waits, who may have said what is no time. */
  #patience(timeout = this.#options.timeout): number {
    return timeout! >= 0 ? timeout! : 30_000;
  }

  #need(): void {
    if (this.#machine.phase === "idle") this.#run(() => this.#machine.connect());
  }

  // The shell: steps of the machine go in, and what it wants done is done after each of them.

  #run<Result>(step: () => Result): Result {
    this.#machine.now = this.#environment.now();
    try {
      return step();
    } finally {
      // Whatever it threw: what was to be done is done, and the timer runs.
      if (!this.#draining) this.#drain();
    }
  }

  #drain(): void {
    this.#draining = true;
    // What a listener asks for meanwhile is a step of its own, and what comes of it is done behind all that was there.
    for (let effect; (effect = this.#machine.effects.shift()); ) {
      try {
        this.#perform(effect);
      } catch (error) {
        report(error);
      }
    }
    this.#draining = false;
    if (this.#idle.size && !this.#machine.requests.waiting) this.#idle.forEach((resolve) => (this.#idle.delete(resolve), resolve()));
    this.#arm();
  }

  #perform(effect: Effect): void {
    switch (effect.do) {
      case "dial":
        return this.#dial(effect.socket);
      case "send":
        return this.#socket?.send(effect.text);
      case "hangUp":
        return this.#hangUp(effect.code);
      case "ask":
        return this.#askToken(effect.ask, effect.reason);
      case "unask":
        return this.#asked?.abort();
      case "answer":
        return effect.to(effect.answer);
      case "tell":
        return this.#tell(effect.to, effect.name, effect.event);
    }
  }

  #dial(number: number): void {
    const Socket = this.#options.WebSocket ?? this.#environment.WebSocket;
    if (!Socket) {
      const text = "there is no WebSocket here: give one as the option `WebSocket`";
      return this.#run(() => this.#machine.halt({ code: "no_websocket", text }));
    }
    this.#awake ??= this.#environment.onWake(() => this.#run(() => this.#machine.wake()));
    try {
      const socket = new Socket(this.#address, "respoke.1");
      this.#socket = socket;
      socket.onopen = () => this.#run(() => this.#machine.opened(number));
      socket.onmessage = ({ data }: { data: unknown }) => this.#run(() => this.#machine.said(number, String(data)));
      socket.onclose = ({ code, reason }: { code: number; reason: string }) => this.#run(() => this.#machine.closed(number, code, reason));
      socket.onerror = () => {}; // a close follows
    } catch {
      this.#run(() => this.#machine.closed(number, 1006, ""));
    }
  }

  /** A socket may take minutes to close, or never do: nobody waits for it. */
  #hangUp(code: number): void {
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => {};
    socket.close(code);
  }

  #askToken(ask: number, reason: TokenReason): void {
    const controller = new AbortController();
    this.#asked = controller;
    void Promise.resolve()
      .then(() => this.#options.getToken(reason, controller.signal))
      .then((token) => {
        if (typeof token !== "string" || !token) throw new TypeError("getToken gave no text");
        this.#run(() => this.#machine.tokenCame(ask, token));
      })
      .catch((error: unknown) => this.#run(() => this.#machine.tokenFailed(ask, error)));
  }

  #tell(to: string, name: string, event: object): void {
    if (to) {
      const heard = this.#topics.get(to)?.listeners.emit(name, event as never);
      const { error } = event as GroupState;
      if (error && !heard) this.#error(error);
    } else if (name === "state") this.#stateIs(event as Standing);
    else if (name === "error") this.#error(event as RespokeError);
    else this.#listeners.emit(name as "gap", event as ClientEvents["gap"]);
  }

  /** A refusal is never silent. */
  #error(error: RespokeError): void {
    if (!this.#listeners.emit("error", error)) report(error);
  }

  #stateIs({ retryIn, ...standing }: Standing): void {
    this.#state = { ...standing, retryAt: retryIn === undefined ? undefined : this.#environment.wall() + retryIn } as ConnectionState;
    this.#endIf([...this.#endings]);
    this.#listeners.emit("state", this.#state);
  }

  #endIf(endings: ((error: RespokeError | undefined) => void)[]): void {
    const { state, reason } = this.#state;
    if (state !== "stopped" && state !== "closed") return;
    this.#awake?.();
    this.#awake = undefined;
    const error = state === "stopped" ? new RespokeError(reason!.code, reason!.text, { ...reason }) : undefined;
    for (const ended of endings) ended(error);
  }

  #arm(): void {
    const due = this.#machine.due();
    if (due === this.#armed) return;
    this.#environment.clearTimeout(this.#timer);
    this.#armed = due;
    if (due === Infinity) return;
    const { now, wall } = this.#environment;
    const asleep = wall() - now();
    const tick = () => {
      this.#armed = Infinity;
      this.#run(() => {
        this.#machine.tick();
        // The clock of this process may stand still while the machine sleeps.
        if (wall() - now() - asleep > SLEPT_MS) this.#machine.wake();
      });
    };
    const fire = () => {
      // What came meanwhile may be waiting behind this timer, and is heard first.
      if (now() - due > LATE_MS || wall() - now() - asleep > LATE_MS) this.#timer = this.#environment.setTimeout(tick, 0);
      else tick();
    };
    this.#timer = this.#environment.setTimeout(fire, Math.min(TIMER_MAX_MS, Math.max(0, due - now())));
  }
}
