import { RespokeError } from "./errors.js";
import { numberOr } from "./wire.js";
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
  sent: boolean;
  until: number;
  done: ((answer: Answer) => void) | undefined;
}

/** How many wait while there is no connection, or the server is busy. */
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
  /** Sent and not answered. */
  #flying: Request[] = [];
  #queue: Request[] = [];
  #ids = 0;
  #open = false;
  window = 64;
  readonly #send: (id: number, rest: string) => void;
  readonly #href: string;

  constructor(send: (id: number, rest: string) => void, href: string) {
    this.#send = send;
    this.#href = href;
  }

  id(): number {
    return ++this.#ids;
  }

  /** Adds a request and returns its id. `done` is called once, unless the request is `inner` and its session ends. */
  add(rest: string, again: Again, until: number, done: (answer: Answer) => void): number {
    const id = this.id();
    const bytes = rest.length > FRAME_MAX / 3 ? new TextEncoder().encode(rest).length : 0;
    if (bytes > FRAME_MAX) {
      done({ error: new RespokeError("too_large", `a request has at most ${FRAME_MAX} bytes, and this has ${bytes}`) });
    } else if (this.#queue.length >= QUEUE_MAX) {
      done({ error: new RespokeError("queue_full", `${QUEUE_MAX} requests wait already`, { retry: true }) });
    } else {
      this.#queue.push({ id, rest, again, until, done, sent: false });
      this.#pump();
    }
    return id;
  }

  #pump(): void {
    while (this.#open && this.#queue.length && this.#flying.length < this.window) this.#fly(this.#queue.shift()!);
  }

  #fly(request: Request): void {
    request.sent = true;
    this.#flying.push(request);
    this.#send(request.id, request.rest);
  }

  answered(object: WireObject): void {
    const at = this.#flying.findIndex((request) => request.id === object.id);
    if (at < 0) return; // a probe, or one that was given up and whose session is another by now
    const [request] = this.#flying.splice(at, 1);
    const { error, ok, next } = object;
    request!.done?.(error ? { error: refusal(error, this.#href) } : { ok, next });
    this.#pump();
  }

  /** Nothing can be sent until the next welcome. */
  lost(): void {
    this.#open = false;
  }

  /** The session is there: what was sent and not answered goes first, under its old id, as far as it may be sent again. */
  welcomed(resumed: boolean, sameEndpoint: boolean): void {
    const unanswered = this.#flying;
    this.#flying = [];
    if (!sameEndpoint) this.fail("endpoint_changed", "the client is connected as another endpoint now");
    this.#open = true;
    for (const request of unanswered) {
      const { again, done } = request;
      if (!done || (!resumed && again === "inner")) continue;
      if (resumed || (sameEndpoint && again !== "session")) this.#fly(request);
      else this.#end(request, "in_doubt", "the connection was lost before the answer came");
    }
    this.#pump();
  }

  /** Ends one for the user. Its answer may still come, and then nobody hears it. */
  give(id: number, code: string, text: string): void {
    const queued = this.#queue.findIndex((request) => request.id === id);
    const request = queued < 0 ? this.#flying.find((flying) => flying.id === id) : this.#queue.splice(queued, 1)[0];
    if (request) this.#end(request, code, text);
  }

  /** Ends all, since nothing will be sent any more. */
  fail(code: string, text: string): void {
    const all = [...this.#flying.splice(0), ...this.#queue.splice(0)];
    for (const request of all) if (request.again !== "inner") this.#end(request, code, text);
  }

  /** What was sent and may have been done is in doubt, whatever ended the wait for it. */
  #end(request: Request, code: string, text: string): void {
    const { sent, again, done } = request;
    request.done = undefined;
    if (!sent || again === "read") done?.({ error: new RespokeError(code, text, { href: this.#href }) });
    else done?.({ error: new RespokeError("in_doubt", `${text}; it may have been done`, { outcome: "unknown", href: this.#href }) });
  }

  tick(now: number): void {
    for (const { id, until, done } of [...this.#flying, ...this.#queue]) {
      if (done && until <= now) this.give(id, "timed_out", "no answer in time");
    }
  }

  /** When the next one is over. */
  due(): number {
    return [...this.#flying, ...this.#queue].reduce((due, { until, done }) => (done ? Math.min(due, until) : due), Infinity);
  }

  /** How many the user waits for. */
  get waiting(): number {
    return [...this.#flying, ...this.#queue].filter(({ done, again }) => done && again !== "inner").length;
  }
}
