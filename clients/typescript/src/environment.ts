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

export const real: Environment = {
  now: () => performance.now(),
  wall: () => Date.now(),
  random: () => Math.random(),
  // Not `randomUUID`, which pages on plain HTTP do not have.
  key: () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as number),
  get WebSocket() {
    return (globalThis as { WebSocket?: SocketMaker }).WebSocket;
  },
  onWake(woke) {
    if (typeof document === "undefined") return () => {};
    const shown = () => document.visibilityState === "visible" && woke();
    // Not when it is loaded, only when it was put away and brought back.
    const back = ({ persisted }: PageTransitionEvent) => persisted && woke();
    document.addEventListener("visibilitychange", shown);
    addEventListener("pageshow", back);
    addEventListener("online", woke);
    return () => {
      document.removeEventListener("visibilitychange", shown);
      removeEventListener("pageshow", back);
      removeEventListener("online", woke);
    };
  },
};
