"use client";

// `respoked/react`: hooks for React 18 and 19. Nothing connects while a page is rendered on a server.

import { createContext, createElement, useCallback, useContext, useEffect, useMemo, useSyncExternalStore } from "react";
import type { ReactElement, ReactNode } from "react";

import type { ConnectionState, Group, GroupGap, GroupMessage, GroupState, Presence, PublishOptions, Respoke } from "../index.js";

const Context = createContext<Respoke | undefined>(undefined);

export interface RespokeProviderProps {
  /** Made once, outside of any component. */
  client: Respoke;
  children?: ReactNode;
}

/** Gives its children the client, and keeps that connected while it is mounted. */
export function RespokeProvider({ client, children }: RespokeProviderProps): ReactElement {
  useEffect(() => client.hold(), [client]);
  return createElement(Context.Provider, { value: client }, children);
}

/** The client of the nearest provider. */
export function useRespoke(): Respoke {
  const client = useContext(Context);
  if (!client) throw new Error("there is no <RespokeProvider> around this component");
  return client;
}

const IDLE: ConnectionState = { state: "idle" };

/** How the client stands. */
export function useConnection(): ConnectionState {
  const client = useRespoke();
  const subscribe = useCallback((changed: () => void) => client.on("state", changed), [client]);
  return useSyncExternalStore(subscribe, () => client.state, () => IDLE);
}

/** A value that a subscription changes: one snapshot at a time, the same until it changes. */
class Store<Value> {
  #value: Value;
  #changed = new Set<() => void>();
  #stop: (() => void) | undefined;
  readonly initial: Value;
  readonly #start: (set: (change: (value: Value) => Value) => void) => () => void;

  constructor(initial: Value, start: (set: (change: (value: Value) => Value) => void) => () => void) {
    this.initial = this.#value = initial;
    this.#start = start;
  }

  readonly get = (): Value => this.#value;

  readonly subscribe = (changed: () => void): (() => void) => {
    this.#changed.add(changed);
    this.#stop ??= this.#start((change) => {
      this.#value = change(this.#value);
      this.#changed.forEach((tell) => tell());
    });
    return () => {
      this.#changed.delete(changed);
      if (this.#changed.size) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  };
}

function useStore<Value>(make: () => Store<Value>, keys: unknown[]): Value {
  // eslint-disable-next-line react-hooks/exhaustive-deps -- the keys are all that `make` depends on
  const store = useMemo(make, keys);
  return useSyncExternalStore(store.subscribe, store.get, () => store.initial);
}

export interface UseGroup<Data> {
  group: Group<Data>;
  /** `error` says why the group was refused. */
  state: GroupState["state"];
  error: GroupState["error"];
  publish(data: Data, options?: PublishOptions): Promise<{ id: string }>;
}

/** Joins a group while the component is mounted. */
export function useGroup<Data = unknown>(name: string, { history = false }: { history?: boolean } = {}): UseGroup<Data> {
  const client = useRespoke();
  const group = useMemo(() => client.group<Data>(name, { history }), [client, name, history]);
  type Standing = Pick<GroupState, "state" | "error">;
  const { state, error } = useStore<Standing>(
    () => new Store<Standing>({ state: "joining" }, (set) => group.on("state", ({ state, error }) => set(() => ({ state, error })))),
    [group],
  );
  const publish = useCallback((data: Data, options?: PublishOptions) => group.publish(data, options), [group]);
  return { group, state, error, publish };
}

/** The last messages of a group as they come, and the gaps between them; the newest last, `max` (200) of them. */
export function useMessages<Data = unknown>(group: Group<Data>, { max = 200 }: { max?: number } = {}): readonly (GroupMessage<Data> | GroupGap)[] {
  type Item = GroupMessage<Data> | GroupGap;
  return useStore<readonly Item[]>(
    () =>
      new Store<readonly Item[]>([], (set) => {
        const add = (item: Item) => set((items) => [...items, item].slice(-Math.max(1, max)));
        const offs = [group.on("message", add), group.on("gap", add)];
        return () => offs.forEach((off) => off());
      }),
    [group, max],
  );
}

const NOBODY: Record<string, Presence> = {};

/** What each connection of an endpoint says of itself; empty if it has none. */
export function usePresence(endpoint: string): Record<string, Presence> {
  const client = useRespoke();
  return useStore(
    () => new Store(NOBODY, (set) => client.endpoint(endpoint).observe(({ connections }) => set(() => connections))),
    [client, endpoint],
  );
}
