import type { ReactElement, ReactNode } from "react";
import type { ConnectionState, Group, GroupGap, GroupMessage, GroupState, Presence, PublishOptions, Respoke } from "../index.js";
export interface RespokeProviderProps {
    /** Made once, outside of any component. */
    client: Respoke;
    children?: ReactNode;
}
/** Gives its children the client, and keeps that connected while it is mounted. */
export declare function RespokeProvider({ client, children }: RespokeProviderProps): ReactElement;
/** The client of the nearest provider. */
export declare function useRespoke(): Respoke;
/** How the client stands. */
export declare function useConnection(): ConnectionState;
export interface UseGroup<Data> {
    group: Group<Data>;
    /** `error` says why the group was refused. */
    state: GroupState["state"];
    error: GroupState["error"];
    publish(data: Data, options?: PublishOptions): Promise<{
        id: string;
    }>;
}
/** Joins a group while the component is mounted. */
export declare function useGroup<Data = unknown>(name: string, { history }?: {
    history?: boolean;
}): UseGroup<Data>;
/** The last messages of a group as they come, and the gaps between them; the newest last, `max` (200) of them. */
export declare function useMessages<Data = unknown>(group: Group<Data>, { max }?: {
    max?: number;
}): readonly (GroupMessage<Data> | GroupGap)[];
/** What each connection of an endpoint says of itself; empty if it has none. */
export declare function usePresence(endpoint: string): Record<string, Presence>;
