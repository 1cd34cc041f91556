import type { Off } from "./emitter.js";
/** A WebSocket as browsers, Node 22, Deno, Bun and the package `ws` have it. */
export interface SocketLike {
    onopen: ((event: never) => void) | null;
    onmessage: ((event: never) => void) | null;
    onclose: ((event: never) => void) | null;
    onerror: ((event: never) => void) | null;
    send(text: string): void;
    close(code?: number, reason?: string): void;
}
export type SocketMaker = new (url: string, protocol: string) => SocketLike;
/** The world as the client sees it. Whoever tests an application may give another one. */
export interface Environment {
    /** Milliseconds that only grow. */
    now(): number;
    /** Milliseconds since 1970. */
    wall(): number;
    /** At least 0 and less than 1. */
    random(): number;
    /** A new text that nobody guesses. */
    key(): string;
    setTimeout(run: () => void, ms: number): unknown;
    clearTimeout(timer: unknown): void;
    WebSocket: SocketMaker | undefined;
    /** Calls `woke` whenever the page is shown again, or the network is back. */
    onWake(woke: () => void): Off;
}
export declare const real: Environment;
