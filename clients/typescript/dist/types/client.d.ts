/// <reference lib="esnext.disposable" preserve="true" />
import type { Off } from "./emitter.js";
import { Endpoint } from "./endpoint.js";
import type { Environment, SocketMaker } from "./environment.js";
import { Group } from "./group.js";
import type { TokenReason } from "./machine.js";
import type { ClientEvents, ConnectionState, RequestOptions } from "./types.js";
import type { Presence } from "./wire.js";
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
declare const asyncDispose: typeof Symbol.asyncDispose;
/** A client of respoked. It connects when something is asked of it, and comes back by itself. */
export declare class Respoke {
    #private;
    constructor(options: Options);
    /** How the client stands. */
    get state(): ConnectionState;
    on<Name extends keyof ClientEvents>(name: Name, hear: (event: ClientEvents[Name]) => unknown): Off;
    /** Connects now; resolves when it is connected, and rejects if it cannot come to that. */
    connect(): Promise<void>;
    /** Leaves at once. What was sent and not answered ends as `in_doubt`. */
    close(): void;
    /** Waits up to three seconds for what is under way, then leaves. */
    [asyncDispose](): Promise<void>;
    /** Keeps the client connected until the result is called; it is closed when nobody holds it for a second. */
    hold(): Off;
    /** A group; nothing is joined yet. With `history` what was missed is asked for when the client comes back. */
    group<Data = unknown>(name: string, { history }?: {
        history?: boolean;
    }): Group<Data>;
    endpoint(name: string): Endpoint;
    /** What this connection says of itself, now and after it came back. */
    presence(presence: string | Presence, options?: RequestOptions): Promise<void>;
    /** Any operation of the API, as the connection's endpoint. */
    call(method: string, path: string, body?: unknown, { key, ...options }?: RequestOptions & {
        key?: string;
    }): Promise<unknown>;
}
export {};
