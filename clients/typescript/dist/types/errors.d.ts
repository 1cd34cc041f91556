/** A code of the server (docs/errors.md), or one of the client's own. */
export type ErrorCode = "in_doubt" | "timed_out" | "aborted" | "closed" | "stopped" | "queue_full" | "too_large" | "forbidden" | "not_found" | "rate_limited" | "unavailable" | "overloaded" | "invalid" | "quota_exceeded" | (string & {});
/** What is known of a request that failed. */
export interface ErrorFacts {
    /** `none`: nothing was done. `unknown`: it may have been done, and nobody can say. */
    outcome?: "none" | "unknown";
    /** Whether the same request may succeed later. */
    retry?: boolean;
    /** After how many milliseconds, where the server said that. */
    after?: number;
    /** Names the request in the server's log. */
    requestId?: string;
    /** Where the code is explained. */
    href?: string;
}
/** Why a request, a subscription or the connection failed. Programs match `code`; `message` is for people. */
export declare class RespokeError extends Error {
    readonly code: ErrorCode;
    readonly outcome: "none" | "unknown";
    readonly retry: boolean;
    readonly after: number | undefined;
    readonly requestId: string | undefined;
    readonly href: string | undefined;
    constructor(code: ErrorCode, text: string, facts?: ErrorFacts);
}
/** Thrown by `getToken` when this user gets no token: the client stops and asks no more. */
export declare class Refused extends RespokeError {
    constructor(text?: string, code?: ErrorCode);
}
/** A name that the user gave, which may be anything where nobody checks types. */
export declare function text(name: unknown): string;
