// What an application's compiler makes of the package: this file is compiled by `npm run check`, and never run.

import { Refused, Respoke, RespokeError, tokenFrom } from "respoked";
import type { ConnectionState, GroupMessage, Presence } from "respoked";
import { RespokeProvider, useConnection, useGroup, useMessages, usePresence } from "respoked/react";
import { tokenHandler } from "respoked/server";

interface Chat {
  text: string;
}

type Same<One, Other> = (<T>() => T extends One ? 1 : 2) extends <T>() => T extends Other ? 1 : 2 ? true : false;
const same = <One, Other>(_: Same<One, Other>): void => {};

export async function application(): Promise<void> {
  await using client = new Respoke({ url: "https://chat.example.com", getToken: tokenFrom("/respoke-token") });
  client.on("state", ({ state, reason, retryAt }) => {
    same<typeof state, ConnectionState["state"]>(true);
    console.log(state, reason?.code, reason?.text, reason?.href, retryAt);
  });
  const { state } = client;
  if (state.state === "waiting") same<typeof state.retryAt, number>(true);
  if (state.state === "stopped") console.log(state.reason.text);
  if (state.state === "connected") console.log(state.endpoint, state.resumed);

  const room = client.group<Chat>("room", { history: true });
  const off = room.on("message", ({ data, from, at }) => {
    same<typeof data, Chat>(true);
    console.log(data.text, from.toUpperCase(), new Date(at));
  });
  off();
  for await (const item of room.messages({ signal: AbortSignal.timeout(1000), buffer: 10 })) {
    if (item.type === "message") same<typeof item, GroupMessage<Chat>>(true);
    else if (item.why === "overflow" && "missed" in item) same<typeof item.missed, number>(true);
  }
  await room.publish({ text: "hi" }, { persist: true, signal: AbortSignal.timeout(1000) });
  // @ts-expect-error: it is no Chat
  await room.publish({ txt: "hi" });
  // @ts-expect-error: there is no such event
  room.on("mesage", () => {});
  const before: GroupMessage<Chat>[] = await room.history({ limit: 20 });
  await room.history({ before: before[0]?.at ?? Date.now() });

  try {
    await client.endpoint("bob").send({ any: ["thing"] });
  } catch (error) {
    if (error instanceof RespokeError && error.code === "in_doubt") console.log(error.outcome === "unknown", error.requestId);
  }
  const stop = client.endpoint("bob").observe(({ presence, connections }) => {
    same<typeof presence, Presence>(true);
    console.log(presence.type, Object.keys(connections).length);
  });
  stop();
  await client.presence("away");
  await client.presence({ type: "chat", status: "here" });
}

export const refusing = new Respoke({
  url: "wss://chat.example.com",
  getToken: async (reason, signal) => {
    same<typeof reason, "connect" | "refused" | "expired" | "revoked" | "expiring">(true);
    if (signal.aborted) throw new Refused("signed out");
    return "token";
  },
});

// @ts-expect-error: without getToken nobody can connect
export const lacking = new Respoke({ url: "https://chat.example.com" });

export function Room(): string {
  const { group, publish, error } = useGroup<Chat>("room");
  const messages = useMessages(group);
  void publish({ text: "hi" });
  const { state } = useConnection();
  return `${state} ${error?.code} ${messages.map((item) => (item.type === "gap" ? item.why : item.data.text))} ${Object.values(usePresence("bob"))[0]?.type}`;
}

export const page = RespokeProvider({ client: refusing, children: "text" });

export const handler: (request: Request) => Promise<Response> = tokenHandler({
  url: "http://localhost:8080",
  appSecret: "…",
  authorize: (request) => (request.headers.get("Cookie") ? { endpoint: "alice" } : null),
});

// @ts-expect-error: authorize is mandatory
export const open = tokenHandler({ url: "http://localhost:8080", appSecret: "…" });
