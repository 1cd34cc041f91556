// What goes over the socket, as docs/socket.md of the server describes it. Nothing here is shown to users.

/** Where a client stands in a group's history. One value, replaced whole: an offset means nothing in another epoch. */
export interface Position {
  readonly epoch: string;
  readonly offset: number;
}

export interface WireError {
  code: string;
  text: string;
  retry?: "no" | "later" | "unknown";
  after?: number;
  requestId?: string;
  href?: string;
  fields?: Record<string, string[]>;
  reason?: string;
}

export interface WireBye {
  code?: number;
  word?: string;
  text?: string;
  href?: string;
  again?: "resume" | "token" | "never";
  after?: [number, number];
}

export interface WireGroup extends Partial<Position> {
  g: string;
  recovered?: boolean;
  why?: string;
  error?: WireError;
}

export interface WireWatch {
  endpointId: string;
  connectionStates?: Record<string, Presence>;
  error?: WireError;
}

export interface Welcome {
  connection: string;
  endpoint: string;
  appToken?: string;
  resumed?: boolean;
  resume?: string;
  ping?: number;
  window?: number;
  groups?: WireGroup[];
  observe?: WireWatch[];
  presence?: { error?: WireError };
}

/** What a connection says of itself. */
export interface Presence {
  type: string;
  show?: string;
  status?: string;
}

export interface WireEvent extends Partial<Position> {
  ev: string;
  g?: string;
  m?: string;
  from: string;
  to?: string;
  connection?: string;
  at: number;
  data?: unknown;
  kind?: string;
  why?: string;
  in?: number;
  fromType?: string;
  toType?: string;
}

/** Any object of the server. */
export interface WireObject {
  id?: number;
  ok?: unknown;
  next?: string;
  error?: WireError;
  ev?: string;
  bye?: WireBye;
}

/** A number that the server said, if it is one to reckon with. */
export function numberOr<Otherwise>(said: unknown, otherwise: Otherwise): number | Otherwise {
  return Number.isFinite(said) && (said as number) >= 0 ? (said as number) : otherwise;
}

/** How many bytes a text takes on the wire. */
export function bytes(text: string): number {
  return new TextEncoder().encode(text).length;
}

/** A request's name and fields. */
export type Op = { [name: string]: object };
