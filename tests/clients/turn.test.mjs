// The relay credentials that the server hands out are the ones a real coturn takes, and only a role decides who gets them.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { connectDevice, logInAs } from './devices.mjs';
import { createRole, noteSecret, startWithApp } from './harness.mjs';
import { call } from './http.mjs';
import { within } from './waiting.mjs';

const SECRET = `CANARY-turn-${randomUUID()}`;
const TTL_SECS = 120;
const USE_MS = 30_000;

let coturn, world, relay;
before(async () => {
  noteSecret(SECRET);
  coturn = await startCoturn();
  const uris = `turn:127.0.0.1:${coturn.port}?transport=udp,turn:127.0.0.1:${coturn.port}?transport=tcp`;
  world = await startWithApp({ settings: { turn_secret: SECRET, turn_uris: uris, turn_ttl_secs: TTL_SECS } });
  relay = await createRole(world.server, world.adminToken, world.app, { mediaRelay: true });
});
after(async () => {
  await world?.server.stop();
  await coturn?.stop();
});

const withRelay = () => ({ ...world, role: relay });

/** Credentials over HTTP, as the documentation's examples ask for them. */
async function ask(headers, { method = 'GET', path = '/v1/turn' } = {}) {
  const { status, body, text } = await call(world.server, { method, path, headers });
  assert.equal(status, 200, text);
  if (body.password) noteSecret(body.password);
  return body;
}

/** The shape and the arithmetic: base64 of HMAC-SHA1 over a name that carries its own end. */
function assertCredentials({ username, password, ttl, uris, ...rest }) {
  assert.deepEqual(rest, {});
  assert.equal(ttl, TTL_SECS);
  assert.deepEqual(uris, ['udp', 'tcp'].map((transport) => `turn:127.0.0.1:${coturn.port}?transport=${transport}`));
  assert.equal(password, createHmac('sha1', SECRET).update(username).digest('base64'));
  const ends = Number(/^\d+/.exec(username)?.[0] ?? /\d+$/.exec(username)?.[0]);
  const now = Date.now() / 1000;
  assert.ok(ends > now + TTL_SECS - 60 && ends <= now + TTL_SECS + 1, `${ends} is not ${TTL_SECS} s from ${now}`);
  return { username, password };
}

it('a role with media relay gets credentials that allocate a relay', async () => {
  const token = { 'App-Token': await logInAs(withRelay(), 'alice') };
  for (const method of ['GET', 'POST']) assert.ok(await allocates(assertCredentials(await ask(token, { method }))));
});

it('coturn refuses them with another password, or under another name', async () => {
  const { username, password } = assertCredentials(await ask({ 'App-Token': await logInAs(withRelay(), 'alice') }));
  assert.ok(!(await allocates({ username, password: createHmac('sha1', 'CANARY-other').update(username).digest('base64') })));
  const later = username.replace(/^\d+|\d+$/, (ends) => String(Number(ends) + 3600));
  assert.notEqual(later, username);
  assert.ok(!(await allocates({ username: later, password })));
});

it('a client gets them over its socket, and a PBX with the App-Secret', async () => {
  const device = await connectDevice(withRelay(), 'javascript', `alice-${randomUUID()}`);
  const body = await device.ok('get', '/v1/turn');
  noteSecret(body.password);
  assert.ok(await allocates(assertCredentials(body)));
  device.socket.end();
  assertCredentials(await ask({ 'App-Secret': world.app.secret }, { path: '/v1/turn?endpointId=pbx' }));
});

it('a role without media relay gets the address of a STUN server and no credentials', async () => {
  const body = await ask({ 'App-Token': await logInAs(world, 'bob') });
  assert.deepEqual(Object.keys(body).filter((key) => ['username', 'password'].includes(key)), []);
  assert.equal(body.uris.length, 1);
  assert.match(body.uris[0], /^stun:/);
});

it('nobody gets them without a credential', async () => {
  assert.equal((await call(world.server, { path: '/v1/turn' })).status, 401);
});

/** Whether coturn's own test client gets a relay with these credentials and a packet through it. */
async function allocates({ username, password }) {
  const args = ['-u', username, '-w', password, '-y', '-c', '-n', '1', '-m', '1', '-p', String(coturn.port), '127.0.0.1'];
  return new Promise((resolve, reject) => {
    execFile('turnutils_uclient', args, { timeout: USE_MS }, (error, stdout) => {
      if (!error) resolve(/tot_recv_msgs=[1-9]/.test(stdout));
      else if (stdout.includes('Cannot complete Allocation')) resolve(false);
      else reject(new Error(`turnutils_uclient: ${error.message.split('\n')[0]}\n${stdout.slice(-2000)}`));
    });
  });
}

/** A coturn on a free port of the loopback address, with the shared secret and nothing else of a configuration. */
async function startCoturn() {
  const home = mkdtempSync(join(tmpdir(), 'respoked-coturn-'));
  const port = await freePort();
  const child = spawn('turnserver', [
    '-n', '--listening-ip=127.0.0.1', '--relay-ip=127.0.0.1', `--listening-port=${port}`, '--allow-loopback-peers',
    '--use-auth-secret', `--static-auth-secret=${SECRET}`, '--realm=respoked.test', '--no-tls', '--no-dtls', '--no-cli',
    '--simple-log', '--log-file=stdout', `--pidfile=${join(home, 'pid')}`, `--userdb=${join(home, 'db')}`,
  ], { cwd: home, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output = (output + chunk).slice(-2000)));
  const ended = once(child, 'close');
  async function stop() {
    child.kill();
    await ended;
    rmSync(home, { recursive: true, force: true });
  }
  try {
    await within(answersBinding(port, () => child.exitCode === null && child.signalCode === null), () => `coturn (${output})`);
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, stop };
}

/** Asks with STUN binding requests (RFC 5389) until one is answered, for as long as `runs` says that there is a server. */
async function answersBinding(port, runs) {
  const socket = dgram.createSocket('udp4');
  try {
    let answered = false;
    socket.on('message', () => (answered = true)).on('error', () => {});
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    while (!answered) {
      assert.ok(runs(), 'coturn has ended');
      socket.send(Buffer.concat([Buffer.from('000100002112a442', 'hex'), randomBytes(12)]), () => {});
      await pause(50);
    }
  } finally {
    socket.close();
  }
}

async function freePort() {
  const socket = dgram.createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  return port;
}
