// The relay credentials that the server hands out are the ones a real coturn takes, and only a role decides who gets them.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHmac, randomUUID } from 'node:crypto';
import { after, before, it } from 'node:test';

import { startCoturn } from './coturn.mjs';
import { connectDevice, logInAs } from './devices.mjs';
import { createRole, noteSecret, startWithApp } from './harness.mjs';
import { call } from './http.mjs';

const TTL_SECS = 120;
const USE_MS = 30_000;

let coturn, world, relay;
before(async () => {
  coturn = await startCoturn();
  const settings = { turn_secret: coturn.secret, turn_uris: coturn.uris.join(','), turn_ttl_secs: TTL_SECS };
  world = await startWithApp({ settings });
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
  assert.deepEqual(uris, coturn.uris);
  assert.equal(password, createHmac('sha1', coturn.secret).update(username).digest('base64'));
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
