// The contents of the package `respoked`.

export { Respoke } from "./client.js";
export type { Options } from "./client.js";
export type { Off } from "./emitter.js";
export { Endpoint } from "./endpoint.js";
export type { SendOptions } from "./endpoint.js";
export type { Environment, SocketLike, SocketMaker } from "./environment.js";
export { Refused, RespokeError } from "./errors.js";
export type { ErrorCode, ErrorFacts } from "./errors.js";
export { Group } from "./group.js";
export type { MessagesOptions, PublishOptions } from "./group.js";
export type { Reason, TokenReason } from "./machine.js";
export type { Overflow } from "./queue.js";
export { tokenFrom } from "./token.js";
export type * from "./types.js";
export { VERSION } from "./version.js";
export type { Presence } from "./wire.js";
