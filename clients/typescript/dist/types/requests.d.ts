import { RespokeError } from "./errors.js";
import type { WireError, WireObject } from "./wire.js";
/**
 * What may be done with a request whose answer did not come.
 *
 * `read`: it changes nothing, so it is sent again. `keyed`: the server does it once, so it is sent again. `session`: only
 * to the session that knows whether it did it. `inner`: the machine's own, and gone with the session.
 */
export type Again = "read" | "keyed" | "session" | "inner";
export type Answer = {
    ok: unknown;
    next?: string;
} | {
    error: RespokeError;
};
export declare function refusal(error: WireError, href: string): RespokeError;
/** Requests in the order in which they were made: those that were sent wait for their answers, the others for a place. */
export declare class Requests {
    #private;
    window: number;
    constructor(send: (id: number, rest: string) => void, clock: {
        readonly now: number;
    }, href: string);
    id(): number;
    /**
     * Adds a request and returns its id. `done` is called once, unless the request is `inner` and its session ends. One that is
     * `inner` waits for a place as long as it takes, and takes none of the user's: each is of one wish, so they are no more than these.
     */
    add(op: string, again: Again, until: number, done: (answer: Answer) => void): number;
    answered({ id, error, ok, next }: WireObject): void;
    /** Nothing can be sent until the next welcome. */
    lost(): void;
    /** The session is there: what was sent and not answered goes first, under its old id, as far as it may be sent again. */
    welcomed(resumed: boolean, sameEndpoint: boolean): void;
    /** Ends one for the user. Its answer may still come, and then nobody hears it. */
    give(id: number, code: string, text: string): void;
    /** Ends all, since nothing will be sent any more. */
    fail(code: string, text: string): void;
    tick(now: number): void;
    /** When the next one is over. */
    due(): number;
    /** Whether somebody waits for an answer that may be on its way. */
    get unanswered(): boolean;
    /** How many the user waits for. */
    get waiting(): number;
}
