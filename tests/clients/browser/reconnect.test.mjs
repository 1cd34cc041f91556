// respoke.js comes back by itself, with its groups, when the server has gone or the wire was cut.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { after, afterEach, before, it } from 'node:test';

import { startWithApp } from '../harness.mjs';
import { openBench } from './bench.mjs';

let bench, server, app, wire;
let users = [];
before(async () => {
  ({ server, app } = await startWithApp({ developmentMode: true }));
  wire = await layWire(server);
  bench = await openBench();
});
after(async () => {
  await bench?.close();
  wire?.close();
  await server?.stop();
});
afterEach(async () => {
  const ended = users;
  users = [];
  for (const user of ended) await user.close();
  for (const user of ended) user.assertNoErrors();
});

/** A way to the server that can be cut: all its connections break at once, new ones can be made. */
async function layWire({ host, port }) {
  const open = new Set();
  const listener = net.createServer((near) => {
    const far = net.connect({ host, port, noDelay: true });
    for (const [from, to] of [[near, far], [far, near]]) {
      open.add(from);
      from.on('error', () => {}).on('close', () => open.delete(from) && to.destroy()).pipe(to);
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const cut = () => open.forEach((socket) => socket.resetAndDestroy());
  const close = () => {
    listener.close();
    cut();
  };
  return { origin: `http://127.0.0.1:${listener.address().port}`, cut, close };
}

async function logIn(name, baseURL, { polling = false } = {}) {
  const user = await bench.open({ polling });
  users.push(user);
  const endpointId = `${name}-${randomUUID()}`;
  await user.connect({ baseURL, appId: app.id, endpointId, developmentMode: true, presence: 'available' });
  return user;
}

/** Two pages that have met in a group. */
async function meet(baseURL, options) {
  const [alice, bob] = [await logIn('alice', baseURL, options), await logIn('bob', baseURL, options)];
  const group = `room-${randomUUID()}`;
  for (const user of [alice, bob]) await user.do('join', group);
  return { alice, bob, group };
}

/** Both pages come back: on new connections, or `onTheSame`. */
async function comeBack({ alice, bob, group }, { onTheSame = false } = {}) {
  for (const user of [alice, bob]) {
    await user.hears('disconnect');
    await user.hears('reconnect');
    await user.until('isJoined', group, Boolean, 'the group is joined again');
    const before = user.connectionId;
    Object.assign(user, await user.do('whoAmI'));
    assert.equal(user.connectionId === before, onTheSame);
  }
}

/** They hear each other, in the group and directly. */
async function talk({ alice, bob, group }) {
  await alice.do('publish', { group, message: 'back' });
  await bob.hears('message', { group, message: 'back', fromConnection: alice.connectionId });
  await bob.do('send', { to: alice.endpointId, message: 'welcome' });
  await alice.hears('message', { message: 'welcome', fromConnection: bob.connectionId });
}

for (const polling of [false, true]) {
  it(`the server is restarted, ${polling ? 'pages poll' : 'pages have websockets'}`, async () => {
    const both = await meet(server.origin, { polling });
    await server.restart();
    // Of several nodes each sends its clients to the others, which go on with their connections.
    await comeBack(both, { onTheSame: Boolean(process.env.RESPOKED_NODES) });
    await talk(both);
  });
}

it('the wire of websockets is cut', async () => {
  const both = await meet(wire.origin);
  wire.cut();
  await comeBack(both);
  await talk(both);
});

it('the wire of pages that poll is cut, and their sessions go on', async () => {
  const both = await meet(wire.origin, { polling: true });
  wire.cut();
  await talk(both);
  for (const user of [both.alice, both.bob]) assert.equal(await user.count('disconnect'), 0);
});
