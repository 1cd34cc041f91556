import type { RespokeError } from "./errors.js";
import type { Reason } from "./machine.js";
import type { Presence } from "./wire.js";
/** How the client stands, told whenever it changes. */
export type ConnectionState = 
/** Nothing was asked of it yet. */
{
    state: "idle";
    reason?: undefined;
    retryAt?: undefined;
} | {
    state: "connecting"; /** Why it was lost before. */
    reason?: Reason;
    retryAt?: undefined;
} | {
    state: "connected"; /** Whether nothing was missed. */
    resumed: boolean;
    endpoint: string;
    connection: string;
    reason?: undefined;
    retryAt?: undefined;
}
/** It comes back by itself. */
 | {
    state: "waiting";
    reason?: Reason; /** Milliseconds since 1970. */
    retryAt: number;
}
/** The server, or `getToken`, said that it is over: only `connect()` tries again. */
 | {
    state: "stopped";
    reason: Reason;
    retryAt?: undefined;
} | {
    state: "closed";
    reason?: undefined;
    retryAt?: undefined;
};
/** A message to a group. */
export interface GroupMessage<Data = unknown> {
    type: "message";
    group: string;
    id: string;
    from: string;
    /** Absent where a backend spoke. */
    connection?: string | undefined;
    /** Milliseconds since 1970, by the server's clock. */
    at: number;
    data: Data;
    /** Where it stands in the group's history, if it is kept. */
    epoch?: string | undefined;
    offset?: number | undefined;
}
/** A message to this endpoint. */
export interface DirectMessage<Data = unknown> {
    type: "message";
    id: string;
    from: string;
    /** Somebody else, if this is a copy of what another of the endpoint's own connections sent. */
    to: string;
    connection?: string | undefined;
    at: number;
    data: Data;
}
/** A connection came to a group, or left it. */
export interface Membership {
    type: "join" | "leave";
    group: string;
    endpoint: string;
    connection: string;
    at: number;
}
/**
 * Something may be missing here. `live`: whatever was said while the client was away; of a group with `history: true` what was kept is
 * told all the same. `kept`: not that either; `history()` may still have it.
 */
export interface Gap {
    type: "gap";
    kind: "live" | "kept";
    why: string;
}
export interface GroupGap extends Gap {
    group: string;
}
/** How a group stands. */
export interface GroupState {
    type: "state";
    state: "joining" | "joined" | "left" | "refused";
    error?: RespokeError;
}
/** What a connection of an observed endpoint says of itself. `unavailable`: it is gone. */
export interface PresenceEvent {
    type: "presence";
    endpoint: string;
    connection: string;
    presence: Presence;
    /** What all of the endpoint's connections say now. */
    connections: Record<string, Presence>;
}
/** A step of a call or a direct connection. */
export interface SignalEvent<Data = unknown> {
    type: "signal";
    from: string;
    to: string;
    connection?: string | undefined;
    at: number;
    data: Data;
    fromType?: string | undefined;
    toType?: string | undefined;
}
export interface ClientEvents {
    state: ConnectionState;
    message: DirectMessage;
    signal: SignalEvent;
    /** What was said to this endpoint may be missing. */
    gap: Gap;
    /** What was refused and had nobody waiting for it. */
    error: RespokeError;
}
export interface GroupEvents<Data> {
    message: GroupMessage<Data>;
    join: Membership;
    leave: Membership;
    gap: GroupGap;
    state: GroupState;
}
export interface RequestOptions {
    /** Ends the wait. What was sent by then is `in_doubt`. */
    signal?: AbortSignal;
    /** Milliseconds; 30,000 without it. */
    timeout?: number;
}
