import type { Respoke } from "./client.js";
import type { Off } from "./emitter.js";
import { text } from "./errors.js";
import { Queue } from "./queue.js";
import type { Overflow } from "./queue.js";
import type { GroupEvents, GroupGap, GroupMessage, RequestOptions } from "./types.js";

export interface PublishOptions extends RequestOptions {
  /** Keeps it in the group's history. */
  persist?: boolean;
  /** With the same key the same message is said once, however often it is published within a day. */
  key?: string;
}

export interface MessagesOptions {
  signal?: AbortSignal;
  /** How many wait for a slow reader before the oldest go; 256 without it. */
  buffer?: number;
}

/** An answer to `GET /v1/groups/{id}/history`. */
interface Kept {
  header: { messageId: string; from: string; fromConnection?: string; timestamp: number; epoch?: string; offset?: number };
  message: unknown;
}

/** A group. It is joined while somebody listens to it, or after `join()`. */
export class Group<Data = unknown> {
  readonly name: string;
  readonly #client: Respoke;
  readonly #history: boolean;

  /** Made by `client.group(name)`. */
  constructor(client: Respoke, name: string, history: boolean) {
    this.#client = client;
    this.name = text(name);
    this.#history = history;
  }

  /** Listens, and joins the group if that is news. The result stops listening. */
  on<Name extends keyof GroupEvents<Data>>(name: Name, hear: (event: GroupEvents<Data>[Name]) => unknown): Off {
    return this.#client.listen("g", this.name, name, hear as (event: never) => unknown, this.#history);
  }

  /** Joins without listening; resolves when the server says that it is so. */
  join(options: RequestOptions = {}): Promise<void> {
    const { joins } = this.#client;
    const joined = this.#client.listen("g", this.name, "message", () => {}, this.#history);
    joins.get(this.name)?.();
    joins.set(this.name, joined);
    return this.#client.entered("g", this.name, options);
  }

  /** Takes back every `join()` of this group. It is left when nobody listens any more. */
  leave(): void {
    this.#client.joins.get(this.name)?.();
    this.#client.joins.delete(this.name);
  }

  /**
   * The group's messages as they come. It ends with the signal, or when the client is closed; it throws when the group is refused or
   * the client stopped. A `gap` among them says that something may be missing there.
   */
  messages({ signal, buffer = 256 }: MessagesOptions = {}): AsyncIterableIterator<GroupMessage<Data> | GroupGap | Overflow, undefined> {
    const queue = new Queue<GroupMessage<Data> | GroupGap>(buffer, () => offs.forEach((off) => off()));
    const end = () => queue.end();
    const offs = [
      this.on("message", (message) => queue.push(message)),
      this.on("gap", (gap) => queue.push(gap)),
      this.on("state", ({ error }) => error && queue.end(error)),
      this.#client.ending((error) => queue.end(error)),
      () => signal?.removeEventListener("abort", end),
    ];
    if (signal?.aborted) end();
    signal?.addEventListener("abort", end);
    return queue;
  }

  /** Says something to all members. Resolves when the server has it; rejects as `in_doubt` where nobody knows. */
  async publish(data: Data, options: PublishOptions = {}): Promise<{ id: string }> {
    return this.#client.publish(this.name, data, options);
  }

  /** What was kept, the oldest first: the last `limit` (50, at most 200), or those before an instant. */
  async history({ limit = 50, before, ...options }: RequestOptions & { limit?: number; before?: number } = {}): Promise<GroupMessage<Data>[]> {
    const query = `limit=${limit}${before === undefined ? "" : `&before=${before}`}`;
    const kept = (await this.#client.call("GET", `${this.#path()}/history?${query}`, undefined, options)) as Kept[];
    return kept.reverse().map(({ header, message }) => ({
      type: "message",
      group: this.name,
      id: header.messageId,
      from: header.from,
      connection: header.fromConnection,
      at: header.timestamp,
      data: message as Data,
      epoch: header.epoch,
      offset: header.offset,
    }));
  }

  /** Who is in the group now, up to 10,000 connections. */
  async members(options: RequestOptions = {}): Promise<{ endpoint: string; connection: string }[]> {
    const members: { endpoint: string; connection: string }[] = [];
    let cursor: string | undefined;
    do {
      const { ok, next } = await this.#client.ask({ members: { group: this.name, limit: 200, cursor } }, "read", options);
      for (const { endpointId, connectionId } of ok as { endpointId: string; connectionId: string }[]) {
        members.push({ endpoint: endpointId, connection: connectionId });
      }
      cursor = next;
    } while (cursor !== undefined && members.length < 10_000);
    return members;
  }

  #path(): string {
    return `/v1/groups/${encodeURIComponent(this.name)}`;
  }
}
