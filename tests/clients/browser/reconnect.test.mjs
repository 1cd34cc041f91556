// respoke.js comes back by itself, with its groups, when the server has gone or the wire was cut.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { after, afterEach, before, describe, it } from 'node:test';

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

for (const polling of [false, true]) {
  describe(polling ? 'by polling' : 'on a websocket', () => {
    async function logIn(name, baseURL) {
      const user = await bench.open({ polling });
      users.push(user);
      const endpointId = `${name}-${randomUUID()}`;
      await user.connect({ baseURL, appId: app.id, endpointId, developmentMode: true, presence: 'available' });
      return user;
    }

    /** Both pages come back on new connections, in their group and present for each other. */
    async function assertBack(alice, bob, group) {
      for (const user of [alice, bob]) {
        await user.hears('disconnect');
        await user.hears('reconnect');
        await user.until('isJoined', group, Boolean, 'the group is joined again');
        const before = user.connectionId;
        Object.assign(user, await user.do('whoAmI'));
        assert.notEqual(user.connectionId, before);
      }
      await alice.do('publish', { group, message: 'back' });
      await bob.hears('message', { group, message: 'back', fromConnection: alice.connectionId });
      await bob.do('send', { to: alice.endpointId, message: 'welcome' });
      await alice.hears('message', { message: 'welcome', fromConnection: bob.connectionId });
    }

    it('the server is restarted', async () => {
      const [alice, bob] = [await logIn('alice', server.origin), await logIn('bob', server.origin)];
      const group = `room-${randomUUID()}`;
      for (const user of [alice, bob]) await user.do('join', group);
      await server.restart();
      await assertBack(alice, bob, group);
    });

    it('the wire is cut', async () => {
      const [alice, bob] = [await logIn('alice', wire.origin), await logIn('bob', wire.origin)];
      const group = `room-${randomUUID()}`;
      for (const user of [alice, bob]) await user.do('join', group);
      wire.cut();
      await assertBack(alice, bob, group);
    });
  });
}
