// A world with a door, and clients in it.

import { Respoke } from '../dist/respoked.js';
import { Door } from './door.mjs';
import { World } from './world.mjs';

export const URL_ = 'https://chat.example.test';

export function scene(seed = 1) {
  const door = new Door();
  const world = new World(door, seed);
  /** A client of `endpoint`, with what it was told. */
  const client = (endpoint, options = {}) => {
    const asked = [];
    const getToken = (reason) => {
      asked.push({ reason, at: world.now });
      return door.mint(endpoint);
    };
    const made = new Respoke({ url: URL_, getToken, environment: world.environment(), ...options });
    const states = [];
    made.on('state', (state) => states.push(state));
    return Object.assign(made, { asked, states });
  };
  /** The same, connected. */
  const connected = async (endpoint, options) => {
    const made = client(endpoint, options);
    void made.connect();
    await world.until(() => made.state.state === 'connected', `${endpoint}'s welcome`);
    return made;
  };
  const until = (condition, what, most) => world.until(condition, what, most);
  const is = (made, state, most) => world.until(() => made.state.state === state, `the state ${state}, not ${made.state.state},`, most);
  return { door, world, client, connected, until, is };
}

/** The least time between two dials. */
export function leastGap(dials) {
  return Math.min(...dials.slice(1).map(({ at }, index) => at - dials[index].at));
}

/** What came of a promise, as soon as that is known: `{value}` or `{error}`. */
export function outcome(promise) {
  const result = {};
  promise.then(
    (value) => Object.assign(result, { value, settled: true }),
    (error) => Object.assign(result, { error, settled: true }),
  );
  return result;
}
