import { RespokeError } from "./errors.js";
import { bytes, numberOr } from "./wire.js";
import type { WireError, WireObject } from "./wire.js";

/**
 * What may be done with a request whose answer did not come.
 *
 * `read`: it changes nothing, so it is sent again. `keyed`: the server does it once, so it is sent again. `session`: only
 * to the session that knows whether it did it. `inner`: the machine's own, and gone with the session.
 */
export type Again = "read" | "keyed" | "session" | "inner";

export type Answer = { ok: unknown; next?: string } | { error: RespokeError };

interface Request {
  id: number;
  /** The frame behind its id. */
  rest: string;
  again: Again;
  /** On the present connection, which did not answer it. */
  flying: boolean;
  /** On any connection. */
  sent: boolean;
  until: number;
  done: ((answer: Answer) => void) | undefined;
}

/** How long the machine waits for the answer to a request of its own, once that was sent. */
const ASK_MS = 30_000;
/** How many of the user's wait while there is no connection, or the server is busy. */
const QUEUE_MAX = 1000;
/** The server takes 64 KiB; what is longer would end the connection for good. */
const FRAME_MAX = 65_000;

export function refusal(error: WireError, href: string): RespokeError {
  const { code, retry, after, requestId, fields, reason } = error;
  const more = reason ?? (fields && JSON.stringify(fields));
  return new RespokeError(code, more ? `${error.text}: ${more}` : error.text, {
    outcome: retry === "unknown" ? "unknown" : "none",
    retry: retry === "later",
    after: numberOr((after as number) * 1000, undefined),
    requestId,
    href: error.href ?? href,
  });
}

/** Requests in the order in which they were made: those that were sent wait for their answers, the others for a place. */
export class Requests {
  #all: Request[] = [];
  #ids = 0;
  #open = false;
  window = 1;
  readonly #send: (id: number, rest: string) => void;
  readonly #clock: { readonly now: number };
  readonly #href: string;

  constructor(send: (id: number, rest: string) => void, clock: { readonly now: number }, href: string) {
    this.#send = send;
    this.#clock = clock;
    this.#href = href;
  }

  id(): number {
    return ++this.#ids;
  }

  /**
   * Adds a request and returns its id. `done` is called once, unless the request is `inner` and its session ends. One that is
   * `inner` waits for a place as long as it takes, and takes none of the user's: each is of one wish, so they are no more than these.
   */
  add(op: string, again: Again, until: number, done: (answer: Answer) => void): number {
    const id = this.id();
    const rest = `"op":${op}}`;
    const refuse = (code: string, text: string) => done({ error: new RespokeError(code, text) });
    if (rest.length > FRAME_MAX / 3 && bytes(rest) > FRAME_MAX) {
      refuse("too_large", `a request has at most ${FRAME_MAX} bytes`);
    } else if (again !== "inner" && this.#all.filter((each) => !each.flying && each.again !== "inner").length >= QUEUE_MAX) {
      refuse("queue_full", `${QUEUE_MAX} requests wait already`);
    } else {
      const request = { id, rest, again, until, done, sent: false, flying: false };
      // What the machine asks for waits for none of the user's: what is to be heard does not wait for what is to be said.
      const place = again === "inner" ? this.#all.findIndex((each) => !each.flying && each.again !== "inner") : -1;
      this.#all.splice(place < 0 ? this.#all.length : place, 0, request);
      this.#pump();
    }
    return id;
  }

  /** Sends what there is a place for. */
  #pump(): void {
    let places = this.#open ? this.window : 0;
    for (const request of this.#all) {
      if (!places--) break;
      if (request.flying) continue;
      request.flying = request.sent = true;
      if (request.again === "inner") request.until = this.#clock.now + ASK_MS;
      this.#send(request.id, request.rest);
    }
  }

  answered({ id, error, ok, next }: WireObject): void {
    const request = this.#all.find((each) => each.id === id && each.flying);
    if (!request) return; // a probe, or one whose session is another by now
    this.#all.splice(this.#all.indexOf(request), 1);
    request.done?.(error ? { error: refusal(error, this.#href) } : { ok, next });
    this.#pump();
  }

  /** Nothing can be sent until the next welcome. */
  lost(): void {
    this.#open = false;
  }

  /** The session is there: what was sent and not answered goes first, under its old id, as far as it may be sent again. */
  welcomed(resumed: boolean, sameEndpoint: boolean): void {
    if (!sameEndpoint) this.fail("endpoint_changed", "the client is connected as another endpoint now");
    this.#all = this.#all.filter((request) => {
      const { again, sent } = request;
      request.flying = false;
      if (!resumed) {
        // Even one that was never sent: what it is about was of the former session.
        if (again === "inner") return false;
        if (again === "session" && sent) this.#end(request, "in_doubt", "the connection was lost before the answer came");
      }
      return request.done;
    });
    this.#open = true;
    this.#pump();
  }

  /** Ends one for the user. Its answer may still come, and then nobody hears it. */
  give(id: number, code: string, text: string): void {
    const request = this.#all.find((each) => each.id === id);
    if (!request) return;
    if (!request.flying) this.#all.splice(this.#all.indexOf(request), 1);
    this.#end(request, code, text);
  }

  /** Ends all, since nothing will be sent any more. */
  fail(code: string, text: string): void {
    for (const request of this.#all.splice(0)) if (request.again !== "inner") this.#end(request, code, text);
  }

  /** What was sent and may have been done is in doubt, whatever ended the wait for it. */
  #end(request: Request, code: string, text: string): void {
    const { sent, again, done } = request;
    if (!done) return;
    request.done = undefined;
    if (!sent || again === "read") done({ error: new RespokeError(code, text, { href: this.#href }) });
    else done({ error: new RespokeError("in_doubt", `${text}; it may have been done`, { outcome: "unknown", href: this.#href }) });
  }

  tick(now: number): void {
    for (const { id, until, done } of [...this.#all]) if (done && until <= now) this.give(id, "timed_out", "no answer in time");
  }

  /** When the next one is over. */
  due(): number {
    return Math.min(Infinity, ...this.#all.map(({ done, until }) => (done ? until : Infinity)));
  }

  /** Whether somebody waits for an answer that may be on its way. */
  get unanswered(): boolean {
    return this.#open && this.#all.some(({ flying, done }) => flying && done);
  }

  /** How many the user waits for. */
  get waiting(): number {
    return this.#all.filter(({ done, again }) => done && again !== "inner").length;
  }
}
