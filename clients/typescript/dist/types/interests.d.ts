import type { Requests } from "./requests.js";
import type { Position, Welcome, WireEvent } from "./wire.js";
interface Clock {
    readonly now: number;
    random(): number;
}
type Tell = (to: string, name: string, event: object) => void;
/** What the client is there for: it is wanted by the user, and this brings the server to it. */
export declare class Interests {
    #private;
    constructor(requests: Requests, tell: Tell, clock: Clock, href: string);
    want(kind: "g" | "e", name: string, history: boolean): void;
    unwant(kind: "g" | "e", name: string): void;
    standing(kind: "g" | "e", name: string): string | undefined;
    /** What is, as the events that a listener would have been told who was there before. */
    told(kind: "g" | "e", name: string, event: string): object[];
    /** A presence is to be said. The result is told what became of it: one that was refused is not said again, and the one before is. */
    say(text: string): (kept: boolean) => void;
    /** A message of this client's own is to be kept, has ended without that being known, or stands there. */
    published(group: string, step: "sent" | "ended" | Partial<Position>): void;
    /** The `state` of a connect, as text: what a frame holds of it. The rest is asked for by requests. */
    state(): string;
    lost(): void;
    welcomed(welcome: Welcome, resumed: boolean, first: boolean): void;
    /** Brings the server to what is wanted: one request under way for each. */
    tick(): void;
    /** An event of a group or an observed endpoint; false if it is neither. */
    event(event: WireEvent): boolean;
    /** Something may be missing in any group. */
    gaps(why: string): void;
    /** The earliest instant at which something is to be done. */
    due(): number;
    /** Nothing of it is there any more; what is wanted stays wanted. */
    end(): void;
}
export {};
