// A world under a fake clock: time, chance, timers, a network with faults, and sockets on it. Nothing here waits for real time.

const LATENCY_MS = 5;

/** Numbers from a seed, at least 0 and less than 1. */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Lets everything that is ready run: promises and what they start. */
const settle = () => new Promise((resolve) => setImmediate(resolve));

export class World {
  now = 1000;
  /** Whether dialing succeeds and frames pass. */
  network = true;
  dials = [];
  /** All links that were made, the newest last. */
  links = [];
  #queue = [];
  #order = 0;
  #keys = 0;
  #wakers = new Set();
  /** The clock of the process stands behind this much, after the machine slept. */
  #asleep = 0;

  constructor(door, seed = 1) {
    this.door = door;
    door.world = this;
    this.random = chance(seed);
  }

  /** What a client is given instead of the real one. */
  environment() {
    const world = this;
    return {
      now: () => this.now - this.#asleep,
      wall: () => 1_700_000_000_000 + this.now,
      random: () => this.random(),
      key: () => `key-${++this.#keys}`,
      // As the real ones, which take for one millisecond what they cannot hold.
      setTimeout: (run, ms) => this.later(ms >= 0 && ms < 2 ** 31 ? ms : 1, run),
      clearTimeout: (timer) => this.cancel(timer),
      WebSocket: class extends Socket {
        constructor(url, protocol) {
          super(world, url, protocol);
        }
      },
      onWake: (woke) => {
        this.#wakers.add(woke);
        return () => this.#wakers.delete(woke);
      },
    };
  }

  later(ms, run) {
    const entry = { at: this.now + Math.max(0, ms), order: this.#order++, run };
    this.#queue.push(entry);
    return entry;
  }

  cancel(entry) {
    const at = this.#queue.indexOf(entry);
    if (at >= 0) this.#queue.splice(at, 1);
  }

  /** The page is shown, or the network is back. */
  wake() {
    for (const woke of [...this.#wakers]) woke();
  }

  get wakers() {
    return this.#wakers.size;
  }

  /** Does what is next, up to an instant; false if there is nothing. */
  async #step(end) {
    this.#queue.sort((one, other) => one.at - other.at || one.order - other.order);
    const next = this.#queue[0];
    if (!next || next.at > end) return false;
    this.#queue.shift();
    this.now = Math.max(this.now, next.at);
    next.run();
    await settle();
    return true;
  }

  async run(ms) {
    const end = this.now + ms;
    await settle();
    while (await this.#step(end));
    this.now = Math.max(this.now, end);
  }

  /** Runs until it is so; fails after `most` milliseconds of the fake clock. */
  async until(condition, what, most = 60_000) {
    const end = this.now + most;
    await settle();
    while (!condition()) {
      if (await this.#step(end)) continue;
      this.now = Math.max(this.now, end);
      if (!condition()) throw new Error(`${what} did not come within ${most} ms`);
    }
  }

  /**
   * The process stands still: when it goes on, all timers of that time are overdue, and they come before whatever came over the
   * network. With `clock` the process's own clock stood still, too.
   */
  stop(ms, { clock = false } = {}) {
    this.now += ms;
    if (clock) this.#asleep += ms;
    const late = this.#queue.filter(({ at, arrives }) => arrives && at <= this.now);
    for (const entry of late) Object.assign(entry, { at: this.now, order: this.#order++ });
  }

  /** Something that comes over the network: behind timers, if the process stood still. */
  arrive(ms, run) {
    const entry = this.later(ms, run);
    entry.arrives = true;
    return entry;
  }

  get link() {
    return this.links.at(-1);
  }
}

/** The two ends of one connection. Frames keep their order, whatever the latency is. */
class Link {
  alive = true;
  /** Nothing passes, and neither end is told. */
  halfOpen = false;
  latency = LATENCY_MS;
  #to = { client: 0, door: 0 };

  constructor(world, socket) {
    this.world = world;
    this.socket = socket;
  }

  pass(end, run) {
    const at = Math.max(this.#to[end], this.world.now + this.latency);
    this.#to[end] = at;
    this.world.arrive(at - this.world.now, () => {
      if (!this.world.network) this.halfOpen = true; // of a stream nothing is lost but all that is left
      if (this.alive && !this.halfOpen) run();
    });
  }

  /** What the door says. */
  say(...objects) {
    const text = objects.map((object) => (typeof object === 'string' ? object : JSON.stringify(object))).join('\n');
    this.pass('client', () => this.socket.onmessage?.({ data: text }));
  }

  /** The connection breaks, and both ends notice. */
  cut() {
    if (!this.alive) return;
    this.alive = false;
    this.world.arrive(this.latency, () => {
      this.world.door.closed(this, 1006);
      this.socket.ended(1006, '');
    });
  }

  /** The door closes it, behind what it said. */
  close(code, word) {
    this.pass('client', () => {
      this.alive = false;
      this.socket.ended(code, word);
    });
  }
}

class Socket {
  readyState = 0;
  onopen = null;
  onmessage = null;
  onclose = null;
  onerror = null;

  constructor(world, url, protocol) {
    Object.assign(this, { world, url, protocol });
    this.link = new Link(world, this);
    world.dials.push({ at: world.now, url, protocol });
    if (world.refuses) throw new Error('no socket here');
    if (!world.network || world.door.down) {
      world.later(world.network ? LATENCY_MS : 40, () => this.ended(1006, ''));
      return;
    }
    if (world.dialsHang) return;
    world.links.push(this.link);
    this.link.pass('client', () => {
      if (this.readyState) return;
      this.readyState = 1;
      world.door.opened(this.link);
      this.onopen?.({});
    });
  }

  send(text) {
    if (this.readyState === 0) throw new Error('the socket is not open yet');
    if (this.readyState > 1) return;
    this.link.pass('door', () => this.world.door.said(this.link, text));
  }

  close(code = 1005) {
    if (this.readyState > 1) return;
    this.readyState = 2;
    this.link.pass('door', () => {
      this.link.alive = false;
      this.world.door.closed(this.link, code);
    });
  }

  ended(code, reason) {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.onclose?.({ code, reason });
  }
}
