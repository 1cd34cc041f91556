/** What an iterator gives where it had to let go of items, because its reader was too slow. */
export interface Overflow {
    type: "gap";
    why: "overflow";
    /** How many items. */
    missed: number;
}
/** A bounded queue with one reader: the oldest items go first when it is full, and a gap tells of them. */
export declare class Queue<Item> implements AsyncIterableIterator<Item | Overflow, undefined> {
    #private;
    constructor(max: number, ended: () => void);
    push(item: Item): void;
    /** Ends it behind what waits: in order, or with an error. */
    end(error?: unknown): void;
    next(): Promise<IteratorResult<Item | Overflow, undefined>>;
    return(): Promise<IteratorResult<Item | Overflow, undefined>>;
    [Symbol.asyncIterator](): this;
}
