import { Refused } from "./errors.js";
import type { TokenReason } from "./machine.js";

/** Any other status may pass. */
const NOT_FOR_GOOD = [408, 425, 429];

/**
 * A `getToken` that asks a backend: `POST` to `address`, answered `{"token": "…"}` as `respoked/server` does. 4xx stops the client, all
 * else is asked again. Tokens are sent over https alone, or to this machine.
 */
export function tokenFrom(address: string | URL, init: RequestInit = {}): (reason: TokenReason, signal: AbortSignal) => Promise<string> {
  return async (_reason, signal) => {
    const page = (globalThis as { location?: { href: string } }).location?.href;
    const url = new URL(address, page);
    const here = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|.*\.localhost)$/.test(url.hostname);
    if (url.protocol !== "https:" && !(url.protocol === "http:" && here)) throw new Refused("a token is asked for over https only", "insecure");
    const answer = await fetch(url, { credentials: "same-origin", cache: "no-store", ...init, method: "POST", signal });
    const body = (await answer.json().catch(() => ({}))) as { token?: unknown; tokenId?: unknown; error?: unknown };
    if (answer.ok) return String(body.token ?? body.tokenId ?? "");
    const text = typeof body.error === "string" ? body.error : `the backend answered ${answer.status}`;
    if (answer.status >= 400 && answer.status < 500 && !NOT_FOR_GOOD.includes(answer.status)) throw new Refused(text);
    throw new Error(text);
  };
}
