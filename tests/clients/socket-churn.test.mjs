// Hundreds of clients come, meet and go in every way there is: none is forgotten and none leaves anything behind.

import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { DIALECTS, handshake, logInAs, openDevice } from './devices.mjs';
import { startWithApp } from './harness.mjs';
import { call, json } from './http.mjs';
import { openRawSocket } from './raw-socket.mjs';

const ROUNDS = 8;
const AT_ONCE = 25;
const GAUGES = ['sockets', 'hub_connections', 'hub_endpoints', 'hub_groups', 'hub_members', 'hub_observers'];
const EMPTY_MS = 60_000;

let world, server, tokens;
before(async () => {
  const settings = { heartbeat_interval_secs: 2, heartbeat_timeout_secs: 15, address_requests_burst: 100_000 };
  world = await startWithApp({ settings });
  ({ server } = world);
  const limits = { app: null, endpoint: null, address: null };
  const { status } = await call(server, {
    method: 'PUT', path: `/v1/apps/${world.app.id}`, ...json({ limits }, { 'Admin-Token': world.adminToken }),
  });
  assert.equal(status, 200);
  tokens = await Promise.all(Array.from({ length: 10 }, (_, count) => logInAs(world, `endpoint-${count}`)));
});
after(() => world?.server.stop());

async function gauges() {
  const { text } = await call(server, { path: '/metrics' });
  return GAUGES.map((name) => [name, Number(new RegExp(`^respoked_${name} (\\d+)$`, 'm').exec(text)?.[1])]);
}

const endings = [
  (device) => device.socket.send('0::'),
  (device) => device.socket.close(),
  (device) => device.socket.vanish(),
  (device) => device.socket.end(),
  (device) => device.ok('delete', `/v1/connections/${device.id}`).then(() => device.socket.close()),
  (device) => call(server, { path: `/socket.io/1//${device.sid}/?disconnect=1` }),
  (device) => (device.beats = false), // and is found out
  (device) => { // passed over once, and cut off as a flood
    for (let count = 0; count < 1_500; count += 1) device.socket.send('hello');
  },
  async (device) => { // another socket takes the session over, and ends it
    const again = await openRawSocket(server, { path: `/socket.io/1/websocket/${device.sid}` });
    again.send('0::');
    again.end();
  },
];

/** One client's life. */
async function live(count) {
  const dialect = ['javascript', 'android', 'ios'][count % 3];
  const credential = { 'App-Token': tokens[count % tokens.length] };
  if (count % 11 === 10) return handshake(server, DIALECTS[dialect].query(credential)); // never opened
  const device = await openDevice(server, dialect, credential);
  await device.connect();
  const groups = [count % 5, (count + 1) % 5, 'all'].map((group) => `group-${group}`);
  await device.ok('post', '/v1/groups', { groups });
  await device.ok('post', '/v1/presenceobservers', { endpointList: [`endpoint-${(count + 1) % tokens.length}`] });
  await device.ok('post', '/v1/presence', { presence: { type: 'available' } });
  await device.ok('post', '/v1/groups/group-all/publish', { message: count });
  await device.ok('delete', '/v1/groups', { groups: [groups[0]] });
  await endings[count % endings.length](device);
}

it('the figures return to nothing', async () => {
  for (let round = 0; round < ROUNDS; round += 1) {
    await Promise.all(Array.from({ length: AT_ONCE }, (_, count) => live(round * AT_ONCE + count)));
  }
  const since = Date.now();
  for (;;) {
    const left = (await gauges()).filter(([, value]) => value !== 0);
    if (left.length === 0) break;
    assert.ok(Date.now() - since < EMPTY_MS, `left behind: ${JSON.stringify(left)}`);
    await pause(100);
  }
});

it('and the server serves as before', async () => {
  const device = await openDevice(server, 'javascript', { 'App-Token': tokens[0] });
  await device.connect();
  await device.ok('post', '/v1/groups', { groups: ['group-all'] });
  assert.deepEqual(await device.ok('get', '/v1/groups/group-all'), [{ endpointId: 'endpoint-0', connectionId: device.id }]);
  assert.deepEqual(Object.fromEntries(await gauges()), {
    sockets: 1, hub_connections: 1, hub_endpoints: 1, hub_groups: 1, hub_members: 1, hub_observers: 0,
  });
  device.socket.end();
});
