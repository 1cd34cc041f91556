// `respoked/server`: what a backend needs so that its signed-in users connect. For Node 20 and later, Deno, Bun and edge runtimes.

/** Who the request's user is to respoked. */
export interface Authorized {
  /** The endpoint: the user's id, from the session of the application. */
  endpoint: string;
  /** Instead of the handler's `role`. */
  role?: string;
  /** For how many seconds the session lasts, instead of the handler's `ttl`. */
  ttl?: number;
}

export interface TokenHandlerOptions {
  /** Where respoked is, as this backend reaches it. */
  url: string;
  /** The app's secret. It stays here. */
  appSecret: string;
  /** The name of the role that tokens have. */
  role?: string;
  ttl?: number;
  /** Where the application's pages are, such as `https://chat.example.com`. Without it: where the request says that it went to. */
  origins?: readonly string[];
  /** Says who is signed in, by the request's cookies or headers. `null`: nobody, or somebody who gets no token. */
  authorize(request: Request): Promise<Authorized | null> | Authorized | null;
  /** How requests are made; `fetch` without it. */
  fetch?: typeof fetch;
}

// A page that loads this has the App-Secret near.
if (typeof document !== "undefined") throw new Error("respoked/server holds the App-Secret of a backend: a page must not load it");

const MINT_MS = 10_000;

/** A handler that mints a token for whoever is signed in: `POST`, from the application's own pages, answered `{"token": "…"}`. */
export function tokenHandler(options: TokenHandlerOptions): (request: Request) => Promise<Response> {
  const { url, appSecret, authorize, role, ttl, origins } = options;
  if (typeof authorize !== "function") throw new TypeError("authorize is missing: it says who is signed in");
  if (typeof appSecret !== "string" || !appSecret) throw new TypeError("appSecret is missing");
  const mint = new URL("/v1/tokens", url);
  const permitted = origins?.map((origin) => new URL(origin).origin);

  return async (request) => {
    if (request.method !== "POST") return refuse(405, "method_not_allowed", "a token is asked for by POST", { Allow: "POST" });
    if (!isOwnPage(request, permitted)) return refuse(403, "origin_refused", "this is no page of the application");
    const user = await authorize(request);
    if (!user) return refuse(401, "unauthenticated", "nobody is signed in");
    if (typeof user.endpoint !== "string" || !user.endpoint) throw new TypeError("authorize named no endpoint");
    // What the request says in its body is not looked at: only `authorize` names the endpoint.
    const body = { endpointId: user.endpoint, roleName: user.role ?? role, ttl: user.ttl ?? ttl };
    let answer: Response;
    try {
      answer = await (options.fetch ?? fetch)(mint, {
        method: "POST",
        headers: { "App-Secret": appSecret, "Content-Type": "application/json" },
        body: JSON.stringify(body),
        redirect: "error",
        signal: AbortSignal.timeout(MINT_MS),
      });
      if (answer.ok) {
        const { tokenId } = (await answer.json()) as { tokenId?: unknown };
        if (typeof tokenId !== "string") throw new TypeError("there is no tokenId");
        return say(200, { token: tokenId });
      }
    } catch {
      return refuse(503, "unavailable", "respoked cannot be reached", { "Retry-After": "1" });
    }
    const { code, error } = (await answer.json().catch(() => ({}))) as { code?: string; error?: string };
    if (code === "endpoint_banned") return refuse(403, code, error ?? "banned");
    // Anything else is between this backend and respoked: the page can do nothing about it, and need not know.
    console.error(`respoked refused to mint a token: ${answer.status} ${code ?? ""} ${error ?? ""}`);
    return refuse(503, "unavailable", "no token could be minted", { "Retry-After": answer.headers.get("Retry-After") ?? "5" });
  };
}

/** Whether a page of the application asks: browsers say which page does, and a page cannot lie about it. */
function isOwnPage(request: Request, permitted: string[] | undefined): boolean {
  const site = request.headers.get("Sec-Fetch-Site");
  const origin = request.headers.get("Origin");
  if (permitted) return origin !== null && permitted.includes(origin);
  if (site !== null) return site === "same-origin";
  return origin !== null && origin === new URL(request.url).origin;
}

function refuse(status: number, code: string, error: string, headers: Record<string, string> = {}): Response {
  return say(status, { error, code }, headers);
}

function say(status: number, body: object, headers: Record<string, string> = {}): Response {
  const all = { "Content-Type": "application/json", "Cache-Control": "no-store", ...headers };
  return new Response(JSON.stringify(body), { status, headers: all });
}
