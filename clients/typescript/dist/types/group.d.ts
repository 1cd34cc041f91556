import type { Respoke } from "./client.js";
import type { Off } from "./emitter.js";
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
/** A group. It is joined while somebody listens to it, or after `join()`. */
export declare class Group<Data = unknown> {
    #private;
    readonly name: string;
    /** Made by `client.group(name)`. */
    constructor(client: Respoke, name: string, history: boolean);
    /** Listens, and joins the group if that is news. The result stops listening. */
    on<Name extends keyof GroupEvents<Data>>(name: Name, hear: (event: GroupEvents<Data>[Name]) => unknown): Off;
    /** Joins without listening; resolves when the server says that it is so. */
    join(options?: RequestOptions): Promise<void>;
    /** Takes back every `join()` of this group. It is left when nobody listens any more. */
    leave(): void;
    /**
     * The group's messages as they come. It ends with the signal, or when the client is closed; it throws when the group is refused or
     * the client stopped. A `gap` among them says that something may be missing there.
     */
    messages({ signal, buffer }?: MessagesOptions): AsyncIterableIterator<GroupMessage<Data> | GroupGap | Overflow, undefined>;
    /** Says something to all members. Resolves when the server has it; rejects as `in_doubt` where nobody knows. */
    publish(data: Data, options?: PublishOptions): Promise<{
        id: string;
    }>;
    /** What was kept, the oldest first: the last `limit` (50, at most 200), or those before an instant. */
    history({ limit, before, ...options }?: RequestOptions & {
        limit?: number;
        before?: number;
    }): Promise<GroupMessage<Data>[]>;
    /** Who is in the group now, up to 10,000 connections. */
    members(options?: RequestOptions): Promise<{
        endpoint: string;
        connection: string;
    }[]>;
}
