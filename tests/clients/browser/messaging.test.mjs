// The published respoke.js in Chromium: logging in, messages, groups, presence, over a websocket and by polling.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';

import { createApp, createRole, startWithApp } from '../harness.mjs';
import { call, json } from '../http.mjs';
import { openBench } from './bench.mjs';

let bench, server, adminToken, app, role, open;
let users = [];
before(async () => {
  ({ server, adminToken, app, role } = await startWithApp());
  open = await createApp(server, adminToken, { developmentMode: true });
  bench = await openBench();
});
after(async () => {
  await bench?.close();
  await server?.stop();
});
afterEach(async () => {
  const ended = users;
  users = [];
  for (const user of ended) await user.close();
  for (const user of ended) user.assertNoErrors();
});

/** A tokenId as the developer's server obtains it. */
async function mint(endpointId, roleId = role.id) {
  const { status, body, text } = await call(server, {
    method: 'POST', path: '/v1/tokens', ...json({ endpointId, roleId, ttl: 3600 }, { 'App-Secret': app.secret }),
  });
  assert.equal(status, 200, text);
  return body.tokenId;
}

const unlike = (name) => `${name} ${randomUUID()}`;

for (const transport of ['websocket', 'xhr-polling']) {
  describe(`over ${transport}`, () => {
    const openUser = async () => {
      users.push(await bench.open({ polling: transport === 'xhr-polling' }));
      return users.at(-1);
    };

    /** A page that is logged in as `endpointId` with a token from the developer's server. */
    async function logIn(endpointId, options) {
      const user = await openUser();
      await user.connect({ baseURL: server.origin, token: await mint(endpointId), ...options });
      assert.equal(user.endpointId, endpointId);
      assert.equal(user.transport, transport);
      return user;
    }

    it('logs in in development mode, out, and in again with the same client', async () => {
      const user = await openUser();
      const options = { baseURL: server.origin, appId: open.id, endpointId: unlike('alice'), developmentMode: true };
      await user.connect({ ...options, reconnect: false });
      assert.equal(user.endpointId, options.endpointId);
      assert.equal(user.transport, transport);
      const first = user.connectionId;
      await user.hears('connect');
      await user.do('disconnect');
      await user.hears('disconnect');
      await user.connect({ ...options, reconnect: false });
      assert.notEqual(user.connectionId, first);
    });

    it('does not log in without a token in an app that is not in development mode, nor with a spent one', async () => {
      const refused = await openUser();
      const closed = { baseURL: server.origin, appId: app.id, endpointId: 'alice', developmentMode: true, reconnect: false };
      await assert.rejects(refused.connect(closed), /developer mode token/);
      const token = await mint(unlike('alice'));
      const user = await openUser();
      await user.connect({ baseURL: server.origin, token });
      const late = await openUser();
      await assert.rejects(late.connect({ baseURL: server.origin, token }), /authenticate app/);
    });

    it('sends texts and objects', async () => {
      const [alice, bob] = [await logIn(unlike('alice')), await logIn(unlike('bob'))];
      for (const message of ['hi', '𝄞 ünï\u2028cödé \ufffd5\ufffd', { text: 'hi', deep: [1, { two: null }] }]) {
        await alice.do('send', { to: bob.endpointId, message });
        const heard = await bob.hears('message');
        assert.deepEqual(heard, {
          what: 'message', from: alice.endpointId, fromConnection: alice.connectionId, toOriginal: null, message, group: null,
        });
      }
      assert.equal(await alice.count('message'), 0);
    });

    it('copies to its other pages what one of them sends, unless told not to', async () => {
      const [name, bob] = [unlike('alice'), await logIn(unlike('bob'))];
      const [one, other] = [await logIn(name), await logIn(name)];
      await one.do('send', { to: bob.endpointId, message: 'not to me', ccSelf: false });
      await one.do('send', { to: bob.endpointId, message: 'to me too' });
      const copy = await other.hears('message');
      assert.deepEqual([copy.message, copy.from, copy.toOriginal], ['to me too', name, bob.endpointId]);
      await bob.hears('message', { message: 'not to me' });
      await bob.hears('message', { message: 'to me too' });
      assert.equal(await one.count('message'), 0);
    });

    it('joins a group, sees who comes and goes, and publishes without hearing itself', async () => {
      const [name, group] = [unlike('alice'), unlike('room/with %')];
      const [alice, twin, bob] = [await logIn(name), await logIn(name), await logIn(unlike('bob'))];
      await alice.do('join', group);
      await twin.do('join', group);
      await alice.hears('group-join', { group, who: name, connection: twin.connectionId });
      await bob.do('join', group);
      await alice.hears('group-join', { group, who: bob.endpointId, connection: bob.connectionId });
      const members = await bob.do('members', group);
      const ids = [alice, twin, bob].map(({ endpointId, connectionId }) => ({ endpointId, connectionId }));
      const sorted = (list) => [...list].sort((a, b) => a.connectionId.localeCompare(b.connectionId));
      assert.deepEqual(sorted(members), sorted(ids));

      for (const message of ['all of you', { an: ['object'] }]) {
        await alice.do('publish', { group, message });
        for (const user of [twin, bob]) {
          const heard = await user.hears('message', { group });
          assert.deepEqual([heard.from, heard.fromConnection, heard.message], [name, alice.connectionId, message]);
        }
      }
      await bob.do('publish', { group, message: 'you too' });
      await alice.hears('message', { group, message: 'you too' });
      assert.equal(await alice.count('message'), 1, 'no echo of what it published');

      await bob.do('leave', group);
      await alice.hears('group-leave', { group, who: bob.endpointId, connection: bob.connectionId });
      await twin.do('disconnect');
      await alice.hears('group-leave', { group, who: name, connection: twin.connectionId });
    });

    it('may not do in a group what its role does not allow', async () => {
      const rules = { subscribe: true, unsubscribe: true, create: true, getsubscribers: true, destroy: false, publish: false };
      const { id } = await createRole(server, adminToken, app, { groups: { list: true, 'quiet-*': rules } });
      const eve = await openUser();
      await eve.connect({ baseURL: server.origin, token: await mint(unlike('eve'), id) });
      await assert.rejects(eve.do('join', unlike('loud')));
      const group = `quiet-${randomUUID()}`;
      await eve.do('join', group);
      await assert.rejects(eve.do('publish', { group, message: 'psst' }));
    });

    it('sees presence: what it is, how it changes, that it ends', async () => {
      const bob = await logIn(unlike('bob'), { presence: 'dnd' });
      const alice = await logIn(unlike('alice'));
      await alice.do('observe', bob.endpointId);
      await alice.hears('presence', { of: bob.endpointId, presence: 'dnd' }); // how it is
      for (const presence of ['away', 'available', { my: 'own' }]) {
        await bob.do('setPresence', presence);
        await alice.hears('presence', { of: bob.endpointId, presence });
      }
      await bob.do('disconnect');
      await alice.hears('presence', { of: bob.endpointId, presence: 'unavailable' });
    });

    it('sees the presence of a page that was closed end', async () => {
      const bob = await logIn(unlike('bob'), { presence: 'available' });
      const alice = await logIn(unlike('alice'));
      await alice.do('observe', bob.endpointId);
      await alice.hears('presence', { of: bob.endpointId, presence: 'available' });
      // A poller that vanishes is only missed after a minute; its own good-bye is the case above.
      await (transport === 'websocket' ? bob.close() : bob.do('disconnect'));
      await alice.hears('presence', { of: bob.endpointId, presence: 'unavailable' });
    });

    it('is cut off when its session is revoked, and others see it go', async () => {
      const eve = await logIn(unlike('eve'), { presence: 'available' });
      const bob = await logIn(unlike('bob'));
      await bob.do('observe', eve.endpointId);
      await bob.hears('presence', { of: eve.endpointId, presence: 'available' });
      const { status } = await call(server, {
        method: 'DELETE', path: `/v1/sessions?endpointId=${encodeURIComponent(eve.endpointId)}`,
        headers: { 'App-Secret': app.secret },
      });
      assert.equal(status, 200);
      await eve.hears('disconnect');
      await bob.hears('presence', { of: eve.endpointId, presence: 'unavailable' });
    });
  });
}

describe('an app\'s limits', () => {
  async function openLimited(limits) {
    const limited = await createApp(server, adminToken, { developmentMode: true });
    const { status, text } = await call(server, {
      method: 'PUT', path: `/v1/apps/${limited.id}`, ...json({ limits }, { 'Admin-Token': adminToken }),
    });
    assert.equal(status, 200, text);
    return async (endpointId) => {
      const user = await bench.open();
      users.push(user);
      await user.connect({ baseURL: server.origin, appId: limited.id, endpointId, developmentMode: true, reconnect: false });
      return user;
    };
  }

  it('make a page that asks too often wait and try again, and nothing is lost', async () => {
    const logInTo = await openLimited({ endpoint: { perSecond: 4, burst: 8 } });
    const [alice, bob] = [await logInTo('alice'), await logInTo('bob')];
    const messages = Array.from({ length: 12 }, (_, count) => `message ${count}`);
    const since = performance.now();
    await Promise.all(messages.map((message) => alice.do('send', { to: 'bob', message })));
    assert.ok(performance.now() - since > 900, 'the client pauses a second after a refusal');
    await alice.do('send', { to: 'bob', message: 'the last' });
    await bob.hears('message', { message: 'the last' });
    for (const message of messages) assert.equal(await bob.count('message', { message }), 1, message);
  });

  it('tell a page in the words it knows that there are too many connections', async () => {
    const logInTo = await openLimited({ endpointConnections: 1 });
    await logInTo('alice');
    await assert.rejects(logInTo('alice'), /Connection limit exceeded/);
    await logInTo('bob');
  });
});
