import type { TokenReason } from "./machine.js";
/**
 * A `getToken` that asks a backend: `POST` to `address`, answered `{"token": "…"}` as `respoked/server` does. 4xx stops the client, all
 * else is asked again. Tokens are sent over https alone, or to this machine.
 */
export declare function tokenFrom(address: string | URL, init?: RequestInit): (reason: TokenReason, signal: AbortSignal) => Promise<string>;
