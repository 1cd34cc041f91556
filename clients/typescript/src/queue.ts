/** What an iterator gives where it had to let go of items, because its reader was too slow. */
export interface Overflow {
  type: "gap";
  why: "overflow";
  /** How many items. */
  missed: number;
}

interface Reader<Item> {
  resolve(result: IteratorResult<Item, undefined>): void;
  reject(error: unknown): void;
}

/** A bounded queue with one reader: the oldest items go first when it is full, and a gap tells of them. */
export class Queue<Item> implements AsyncIterableIterator<Item | Overflow, undefined> {
  #items: Item[] = [];
  #missed = 0;
  #readers: Reader<Item | Overflow>[] = [];
  #end: { error?: unknown } | undefined;
  readonly #max: number;
  readonly #ended: () => void;

  constructor(max: number, ended: () => void) {
    this.#max = Math.max(1, max);
    this.#ended = ended;
  }

  push(item: Item): void {
    if (this.#end) return;
    const reader = this.#readers.shift();
    if (reader) return reader.resolve({ done: false, value: item });
    if (this.#items.length === this.#max) {
      this.#items.shift();
      this.#missed++;
    }
    this.#items.push(item);
  }

  /** Ends it behind what waits: in order, or with an error. */
  end(error?: unknown): void {
    if (this.#end) return;
    this.#end = error === undefined ? {} : { error };
    this.#ended();
    for (const reader of this.#readers.splice(0)) this.#last(reader);
  }

  #last(reader: Reader<Item | Overflow>): void {
    const { error } = this.#end!;
    this.#end = {}; // an error is told once
    if (error === undefined) reader.resolve({ done: true, value: undefined });
    else reader.reject(error);
  }

  next(): Promise<IteratorResult<Item | Overflow, undefined>> {
    return new Promise((resolve, reject) => {
      if (this.#missed) {
        const missed = this.#missed;
        this.#missed = 0;
        resolve({ done: false, value: { type: "gap", why: "overflow", missed } });
      } else if (this.#items.length) resolve({ done: false, value: this.#items.shift()! });
      else if (this.#end) this.#last({ resolve, reject });
      else this.#readers.push({ resolve, reject });
    });
  }

  return(): Promise<IteratorResult<Item | Overflow, undefined>> {
    this.#items = [];
    this.#missed = 0;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
