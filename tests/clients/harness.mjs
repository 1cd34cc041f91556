// A whole respoked: the real binary on a free port with a fresh data folder or database, and what a test needs inside it.
//
// Environment of the test run:
//   RESPOKED_BIN          path of the binary; required
//   RESPOKED_LOG_DIR      keep each server's output (at RESPOKED_LOG=trace) and data folder here
//   RESPOKED_CANARY_FILE  append every secret a server hands out, one a line, for the leak search that follows
//   RESPOKED_POSTGRES     address of a PostgreSQL server: every server gets a fresh database there instead of a folder
//   RESPOKED_PSQL         its psql, where that is not found by itself
//   RESPOKED_NODES        how many nodes behind a proxy every server is, on that PostgreSQL server (cluster.mjs)
//
// Free text that must stay secret (passwords, idempotency keys, invented secrets) carries the word CANARY.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

import { call, json } from './http.mjs';

const READY_MS = 20_000; // a debug build on a loaded machine; the release figure is measured elsewhere
const STOP_MS = 20_000;

// respoke-admin's HTTP library obeys proxy variables even for the loopback address.
process.env.NO_PROXY = '*';

/** Remembers a secret for the leak search. Answers read through `call` are noted there already. */
export function noteSecret(secret) {
  assert.equal(typeof secret, 'string', 'a secret is text');
  const file = process.env.RESPOKED_CANARY_FILE;
  if (file) appendFileSync(file, `${secret}\n`);
}

/**
 * Starts a server, waits until it says where it listens, and returns it. Always `await server.stop()`.
 *
 * `settings` are further settings by their names in the configuration file. `server.restart()` ends the server and starts
 * it again on the same port with the same data.
 */
export async function startServer({ settings = {} } = {}) {
  if (process.env.RESPOKED_NODES) {
    const { startCluster } = await import('./cluster.mjs');
    return startCluster({ count: Number(process.env.RESPOKED_NODES), settings });
  }
  return startNode({ settings, database: process.env.RESPOKED_POSTGRES && freshDatabase() });
}

/**
 * The same of one process, on the PostgreSQL database at `database` or a folder of its own. `kill()` ends it as a crash does,
 * and `start()` starts it again then; `signal()` sends it a signal.
 */
export async function startNode({ settings = {}, database } = {}) {
  const binary = process.env.RESPOKED_BIN;
  assert.ok(binary, 'RESPOKED_BIN must name the respoked binary');

  const name = basename(process.argv[1] ?? 'server', '.test.mjs');
  const logDir = process.env.RESPOKED_LOG_DIR;
  if (logDir) mkdirSync(logDir, { recursive: true });
  const home = logDir
    ? mkdtempSync(join(resolve(logDir), `${name}-`))
    : mkdtempSync(join(tmpdir(), 'respoked-clients-'));
  const log = logDir ? openSync(`${home}.log`, 'a', 0o600) : undefined;
  const admin = { username: 'client-tests', password: `CANARY-password-${randomUUID()}` };

  // Nothing of ours may reach the server by accident: it refuses RESPOKED_* names it does not know.
  const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => !key.startsWith('RESPOKED_')));
  env.RESPOKED_ADMIN_USERNAME = admin.username;
  env.RESPOKED_ADMIN_PASSWORD = admin.password;
  if (logDir) env.RESPOKED_LOG = 'trace';
  for (const [key, value] of Object.entries(settings)) env[`RESPOKED_${key.toUpperCase()}`] = String(value);

  let output = '';
  const write = (chunk) => {
    if (log !== undefined) writeSync(log, chunk);
    output = (output + chunk).slice(-4000); // enough to explain a failure
  };
  const options = { cwd: home, env, stdio: ['ignore', 'pipe', 'pipe'] }; // no configuration file of the checkout is near
  const place = database ? ['--database', database] : ['--data', join(home, 'data')];
  const launch = (listen) => {
    const child = spawn(resolve(binary), ['serve', '--listen', listen, ...place], options);
    for (const stream of [child.stdout, child.stderr]) stream.on('data', write);
    return { child, ended: once(child, 'close') };
  };
  let running = launch('127.0.0.1:0');

  async function end() {
    const { child, ended } = running;
    if (child.signalCode === 'SIGKILL') return; // by a test
    const killer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    child.kill('SIGTERM');
    const [code, signal] = await ended;
    clearTimeout(killer);
    assert.equal(signal, null, `the server had to be killed:\n${output}`);
    assert.equal(code, 0, `the server did not end cleanly:\n${output}`);
  }

  function clear() {
    if (log !== undefined) closeSync(log);
    else rmSync(home, { recursive: true, force: true });
  }

  async function stop() {
    try {
      await end();
    } finally {
      clear();
    }
  }

  try {
    const [host, port, setupToken] = await announcedAddress(running, () => output);
    const start = async () => {
      running = launch(`${host}:${port}`);
      await announcedAddress(running, () => output);
    };
    const restart = async () => {
      await end();
      await start();
    };
    const signal = (name) => running.child.kill(name);
    const kill = async () => {
      signal('SIGKILL');
      await running.ended;
    };
    return { host, port, origin: `http://${host}:${port}`, admin, setupToken, start, restart, signal, kill, stop };
  } catch (error) {
    running.child.kill('SIGKILL');
    await running.ended.catch(() => {});
    clear();
    throw error;
  }
}

/** Makes a database and returns its address. It stays with the server, for the leak search. */
export function freshDatabase() {
  const server = new URL(process.env.RESPOKED_POSTGRES);
  const name = `respoked_clients_${randomUUID().replaceAll('-', '')}`;
  const make = ['--no-psqlrc', '--quiet', '--dbname', server.href, '--command', `CREATE DATABASE ${name} TEMPLATE template0 ENCODING 'UTF8'`];
  execFileSync(process.env.RESPOKED_PSQL ?? 'psql', make, { stdio: ['ignore', 'ignore', 'inherit'] });
  server.pathname = `/${name}`;
  return server.href;
}

async function announcedAddress({ child, ended }, output) {
  const announced = new Promise((found) => {
    let setupToken; // printed at the first start only
    createInterface({ input: child.stdout }).on('line', (line) => {
      setupToken ??= /\/console\/setup#(\S+)/.exec(line)?.[1];
      const match = /^respoked listening on http:\/\/([^\s/]+):(\d+)$/.exec(line);
      if (match) found([match[1], Number(match[2]), setupToken]);
    });
  });
  const gone = ended.then(() => Promise.reject(new Error(`the server ended before it listened:\n${output()}`)));
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the server is not listening after ${READY_MS} ms:\n${output()}`)), READY_MS);
  });
  gone.catch(() => {}); // a server that ends later has nobody waiting here any more
  return Promise.race([announced, gone, late]).finally(() => clearTimeout(timer));
}

/** Everything of one group of the app may be done; the documentation's own example. */
export const ALL_GROUPS = {
  list: true,
  '*': { subscribe: true, unsubscribe: true, create: true, destroy: true, publish: true, getsubscribers: true },
};

/** Logs in as the administrator and returns the Admin-Token. */
export async function logIn(server) {
  const answer = await call(server, { method: 'POST', path: '/v1/admin-sessions', ...json(server.admin) });
  assert.equal(answer.status, 200, answer.text);
  return answer.body.token;
}

/** Creates an app and returns its creation answer: `id`, `secret` and the rest. */
export async function createApp(server, adminToken, { developmentMode = false } = {}) {
  const name = `client tests ${randomUUID()}`;
  const created = await call(server, {
    method: 'POST',
    path: '/v1/apps',
    ...json({ name }, { 'Admin-Token': adminToken }),
  });
  assert.equal(created.status, 200, created.text);
  if (developmentMode) {
    const updated = await call(server, {
      method: 'PUT',
      path: `/v1/apps/${created.body.id}`,
      ...json({ developmentMode: true }, { 'Admin-Token': adminToken }),
    });
    assert.equal(updated.status, 200, updated.text);
    assert.equal(updated.body.developmentMode, true);
  }
  return created.body;
}

/** Creates a role in `app` and returns its creation answer. */
export async function createRole(server, adminToken, app, fields = {}) {
  const answer = await call(server, {
    method: 'POST',
    path: '/v1/roles',
    ...json({ name: `role ${randomUUID()}`, appId: app.id, groups: ALL_GROUPS, ...fields }, { 'Admin-Token': adminToken }),
  });
  assert.equal(answer.status, 200, answer.text);
  return answer.body;
}

/** A running server with one app and one role: what most tests begin with. */
export async function startWithApp({ developmentMode, settings } = {}) {
  const server = await startServer({ settings });
  try {
    const adminToken = await logIn(server);
    const app = await createApp(server, adminToken, { developmentMode });
    const role = await createRole(server, adminToken, app);
    return { server, adminToken, app, role };
  } catch (error) {
    await server.stop().catch(() => {}); // the first failure is the one to read
    throw error;
  }
}
