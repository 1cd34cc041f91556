// Waiting for what must come, and never longer than a deadline.

const DEADLINE_MS = 10_000; // far above what anything takes on a loaded machine

/** The value of `promise`, or a failure that names `what` did not come in time. */
export function within(promise, what, ms = DEADLINE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    const name = () => (typeof what === 'function' ? what() : what);
    timer = setTimeout(() => reject(new Error(`${name()} did not come within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
