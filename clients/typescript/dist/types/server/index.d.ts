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
/** A handler that mints a token for whoever is signed in: `POST`, from the application's own pages, answered `{"token": "…"}`. */
export declare function tokenHandler(options: TokenHandlerOptions): (request: Request) => Promise<Response>;
