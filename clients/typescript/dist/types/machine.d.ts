import { Interests } from "./interests.js";
import { Requests } from "./requests.js";
import type { Again, Answer } from "./requests.js";
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
export type Effect = {
    do: "dial";
    socket: number;
} | {
    do: "send";
    socket: number;
    text: string;
} | {
    do: "hangUp";
    socket: number;
    code: number;
} | {
    do: "ask";
    ask: number;
    reason: TokenReason;
} | {
    do: "unask";
    ask: number;
} | {
    do: "answer";
    answer: Answer;
    to: (answer: Answer) => void;
} | {
    do: "tell";
    to: string;
    name: string;
    event: object;
};
export interface Settings {
    random(): number;
    /** A new text that nobody guesses or has. */
    key(): string;
    sdk: string;
    /** Where codes are explained. */
    href: string;
}
/**
 * The client without a world: socket, clock and chance come in by calls, and what it wants done goes out as effects. It
 * calls nobody, so nothing that a user does in a listener can reach it half way through a step.
 */
export declare class Machine {
    #private;
    now: number;
    effects: Effect[];
    readonly requests: Requests;
    readonly interests: Interests;
    constructor(settings: Settings);
    random(): number;
    get phase(): string;
    connect(): void;
    /** Asks for what is text already: what a user gave may throw, or call, while it is made to that. */
    request(op: string, again: Again, timeout: number, to: (answer: Answer) => void): number;
    close(): void;
    /** The page is there again, or the network: whoever waits need not, and whoever thinks it is connected makes sure. */
    wake(): void;
    /** When `tick` is to be called next. */
    due(): number;
    tick(): void;
    /** It cannot come to a connection here. */
    halt(reason: Reason): void;
    opened(socket: number): void;
    closed(socket: number, code: number, word: string): void;
    said(socket: number, text: string): void;
    tokenCame(ask: number, text: string): void;
    tokenFailed(ask: number, error: unknown): void;
}
