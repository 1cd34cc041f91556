// The published respoke-admin 2.0.1 on a socket, beyond its own spec: it comes back by itself, and only while it may.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, it } from 'node:test';

import Respoke from 'respoke-admin';

import { connectDevice, logInAs } from './devices.mjs';
import { startWithApp } from './harness.mjs';
import { call } from './http.mjs';
import { within } from './waiting.mjs';

const COME_BACK_MS = 30_000; // its pauses double from half a second

let world, server, app;
before(async () => {
  world = await startWithApp();
  ({ server, app } = world);
});

const clients = [];
after(async () => {
  for (const client of clients) client.socket?.disconnect();
  await world?.server.stop();
});

async function connect(credential, options) {
  const client = new Respoke({ baseURL: `${server.origin}/v1`, appId: app.id, ...credential });
  clients.push(client);
  client.errors = [];
  client.on('error', (error) => client.errors.push(error));
  client.auth.connect(options);
  await event(client, 'connect');
  return client;
}

const event = (client, name, ms) =>
  within(new Promise((resolve) => client.once(name, resolve)), () => `${name} (errors: ${client.errors.join('; ')})`, ms);
const unlike = (name) => `${name}-${randomUUID()}`;

/** A message from a browser reaches the client. */
async function assertReachable(client) {
  const browser = await connectDevice(world, 'javascript', unlike('bob'));
  const heard = event(client, 'message');
  await browser.ok('post', '/v1/messages', { to: client.endpointId, message: { text: 'hello' } });
  const { header, body } = await heard;
  assert.deepEqual([header.from, header.fromConnection, body], [browser.endpointId, browser.id, { text: 'hello' }]);
  browser.socket.end();
}

it('a backend comes back when the server does, on a connection of its own again', async () => {
  const admin = await connect({ 'App-Secret': app.secret }, { endpointId: unlike('brewster') });
  await assertReachable(admin);
  const before = admin.connectionId;
  const back = event(admin, 'connect', COME_BACK_MS);
  await server.restart();
  await back;
  assert.notEqual(admin.connectionId, before);
  await assertReachable(admin);
});

it('an endpoint whose session is revoked is disconnected and does not come back', async () => {
  const name = unlike('joe');
  const joe = await connect({ 'App-Token': await logInAs(world, name) });
  assert.equal(joe.endpointId, name);
  await assertReachable(joe);
  const gone = event(joe, 'disconnect');
  const { status } = await call(server, {
    method: 'DELETE', path: `/v1/sessions?endpointId=${name}`, headers: { 'App-Secret': app.secret },
  });
  assert.equal(status, 200);
  await gone;
  assert.equal(joe.socket.socket.connected, false);
  assert.equal(joe.socket.socket.reconnecting ?? false, false);
});

it('a backend whose App-Secret is revoked is disconnected and does not come back', async () => {
  const asAdmin = { 'Admin-Token': world.adminToken };
  const { body: extra } = await call(server, {
    method: 'POST', path: `/v1/apps/${app.id}/secrets`, body: '{"name":"second"}',
    headers: { ...asAdmin, 'Content-Type': 'application/json' },
  });
  const admin = await connect({ 'App-Secret': extra.secret }, { endpointId: unlike('brewster') });
  const gone = event(admin, 'disconnect');
  await call(server, { method: 'DELETE', path: `/v1/apps/${app.id}/secrets/${extra.id}`, headers: asAdmin });
  await gone;
  assert.equal(admin.socket.socket.reconnecting ?? false, false, 'it was told not to');
});
