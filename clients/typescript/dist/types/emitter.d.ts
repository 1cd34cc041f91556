/** Takes a listener away. Calling it again does nothing. */
export type Off = () => void;
/** Shows a failure of a listener: it is its author's, and breaks nothing of ours. */
export declare function report(error: unknown): void;
/** Runs what is the user's: whatever it throws, now or later, goes no further than the console. */
export declare function safely(run: () => unknown): void;
/** Listeners by name. One that was taken away hears nothing more, not even of what is just being told. */
export declare class Emitter<Events> {
    #private;
    on<Name extends keyof Events>(name: Name, hear: (event: Events[Name]) => unknown): Off;
    /** Tells all listeners; false if there is none. */
    emit<Name extends keyof Events>(name: Name, event: Events[Name]): boolean;
}
