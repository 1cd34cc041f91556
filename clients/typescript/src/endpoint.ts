import type { Respoke } from "./client.js";
import type { Off } from "./emitter.js";
import { text } from "./errors.js";
import type { PresenceEvent, RequestOptions } from "./types.js";

export interface SendOptions extends RequestOptions {
  /** Only to this one of its connections. */
  connection?: string;
  /** The sender's other connections get a copy. */
  copy?: boolean;
  /** With the same key the same message is said once, however often it is sent within a day. */
  key?: string;
}

/** Somebody: a user of the application, on any number of devices. */
export class Endpoint {
  readonly name: string;
  readonly #client: Respoke;

  /** Made by `client.endpoint(name)`. */
  constructor(client: Respoke, name: string) {
    this.#client = client;
    this.name = text(name);
  }

  /** Says something to all of the endpoint's connections. Resolves when the server has it. */
  async send(data: unknown, { connection, copy, key, ...options }: SendOptions = {}): Promise<{ id: string }> {
    const op = { send: { to: this.name, message: data, toConnection: connection, ccSelf: copy, key } };
    const { ok } = await this.#client.ask(op, key === undefined ? "session" : "keyed", options);
    return { id: (ok as { messageId: string }).messageId };
  }

  /** Is told what each of the endpoint's connections says of itself, now and whenever that changes. */
  observe(hear: (event: PresenceEvent) => unknown): Off {
    return this.#client.listen("e", this.name, "presence", hear as (event: never) => unknown, false);
  }
}
