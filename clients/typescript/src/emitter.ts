/** Takes a listener away. Calling it again does nothing. */
export type Off = () => void;

/** Shows a failure of a listener: it is its author's, and breaks nothing of ours. */
export function report(error: unknown): void {
  const { reportError } = globalThis as { reportError?: (error: unknown) => void };
  if (reportError) reportError(error);
  else console.error(error);
}

/** Runs what is the user's: whatever it throws, now or later, goes no further than the console. */
export function safely(run: () => unknown): void {
  try {
    const later = run() as { then?: unknown } | undefined;
    if (typeof later?.then === "function") Promise.resolve(later).catch(report);
  } catch (error) {
    report(error);
  }
}

/** Listeners by name. One that was taken away hears nothing more, not even of what is just being told. */
export class Emitter<Events> {
  #listeners = new Map<keyof Events, Set<{ hear: (event: never) => unknown }>>();

  on<Name extends keyof Events>(name: Name, hear: (event: Events[Name]) => unknown): Off {
    const entry = { hear: hear as (event: never) => unknown }; // one listener may be there twice
    let entries = this.#listeners.get(name);
    if (!entries) this.#listeners.set(name, (entries = new Set()));
    entries.add(entry);
    return () => void entries.delete(entry);
  }

  /** Tells all listeners; false if there is none. */
  emit<Name extends keyof Events>(name: Name, event: Events[Name]): boolean {
    const entries = this.#listeners.get(name);
    if (!entries?.size) return false;
    for (const entry of [...entries]) {
      if (entries.has(entry)) safely(() => entry.hear(event as never));
    }
    return true;
  }
}
