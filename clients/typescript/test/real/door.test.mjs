// The client and a real server: RESPOKED_BIN names its binary, as for the tests of the other clients, whose harness this uses.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, it } from 'node:test';

import { WebSocket } from 'ws';

import { createRole, noteSecret, startWithApp } from '../../../../tests/clients/harness.mjs';
import { call, json } from '../../../../tests/clients/http.mjs';
import { within } from '../../../../tests/clients/waiting.mjs';
import { Refused, Respoke, tokenFrom } from '../../dist/respoked.js';
import { tokenHandler } from '../../dist/server.js';

const AdminClient = createRequire(new URL('../../../../tests/clients/package.json', import.meta.url))('respoke-admin');

let world;
const ended = [];
before(async () => {
  world = await startWithApp();
});
after(async () => {
  for (const end of ended) end();
  await world?.server.stop();
});

async function mint(endpointId, { role = world.role } = {}) {
  const { app, server } = world;
  const body = json({ appId: app.id, endpointId, roleId: role.id, ttl: 3600 }, { 'App-Secret': app.secret });
  const minted = await call(server, { method: 'POST', path: '/v1/tokens', ...body });
  assert.equal(minted.status, 200, minted.text);
  return minted.body.tokenId;
}

/** Sockets of this client, the newest last: to cut them as a network does. */
function sockets() {
  const made = [];
  class Noting extends WebSocket {
    constructor(url, protocol) {
      super(url, protocol);
      made.push(this);
      // Session tokens and keys to come back are secrets, too.
      this.on('message', (data) => {
        for (const [, secret] of String(data).matchAll(/"(?:appToken|resume)":"([^"]+)"/g)) noteSecret(secret);
      });
    }
  }
  return { made, WebSocket: Noting };
}

async function connect(endpoint, options = {}) {
  const { made, WebSocket: Socket } = sockets();
  const asked = [];
  const getToken = (reason) => {
    asked.push(reason);
    return mint(endpoint, options);
  };
  const client = new Respoke({ url: world.server.origin, getToken, WebSocket: Socket, ...options.client });
  ended.push(() => client.close());
  const states = [];
  client.on('state', (state) => states.push(state));
  const errors = [];
  client.on('error', (error) => errors.push(error));
  await within(client.connect(), () => `${endpoint}'s welcome (${JSON.stringify(states)})`);
  return Object.assign(client, { sockets: made, asked, states, errors });
}

/** The next event of a name, of a client or a group. */
const next = (source, name, fits = () => true) =>
  within(
    new Promise((resolve) => {
      const off = source.on(name, (event) => {
        if (!fits(event)) return;
        off();
        resolve(event);
      });
    }),
    name,
  );

/** Users of one test alone: each endpoint has rates of its own. */
const people = () => Object.fromEntries(['alice', 'bob', 'carol', 'mallory'].map((name) => [name, named(name)]));

const named = ((count) => (name) => `${name}-${++count}`)(0);

it('two clients chat, and see each other come and go', async () => {
  const names = people();
  const room = named('room');
  const alice = await connect(names.alice);
  const bob = await connect(names.bob);
  const here = alice.group(room);
  const there = bob.group(room);
  await within(here.join(), 'the join');
  const came = next(here, 'join');
  await within(there.join(), 'the join');
  assert.deepEqual([(await came).endpoint, (await came).group], [names.bob, room]);
  assert.deepEqual((await here.members()).map(({ endpoint }) => endpoint).sort(), [names.alice, names.bob]);

  const heard = next(there, 'message');
  const { id } = await here.publish({ text: 'hi', markup: '<b>&</b>\n\u2028' });
  const message = await heard;
  assert.deepEqual([message.from, message.group, message.id], [names.alice, room, id]);
  assert.deepEqual(message.data, { text: 'hi', markup: '<b>&</b>\n\u2028' });
  assert.equal(message.connection, alice.state.connection);
  assert.ok(Math.abs(message.at - Date.now()) < 60_000);

  const left = next(here, 'leave');
  bob.close();
  assert.equal((await left).endpoint, names.bob);
  assert.deepEqual(alice.asked, ['connect']);
});

it('messages come to the endpoint, in the order in which they were sent', async () => {
  const names = people();
  const alice = await connect(names.alice);
  const bob = await connect(names.bob);
  const heard = [];
  bob.on('message', ({ data }) => heard.push(data));
  const last = next(bob, 'message', ({ data }) => data === 39);
  await within(Promise.all(Array.from({ length: 40 }, (_, data) => alice.endpoint(names.bob).send(data))), 'the answers');
  await last;
  assert.deepEqual(heard, Array.from({ length: 40 }, (_, data) => data));
});

it('an observed endpoint is seen to come, to say something of itself, and to go', async () => {
  const names = people();
  const alice = await connect(names.alice);
  const seen = [];
  let told;
  alice.endpoint(names.carol).observe(({ presence }) => (seen.push(presence.type), told?.()));
  const until = (type) =>
    within(new Promise((resolve) => (told = () => seen.includes(type) && resolve())), () => `${type}, not ${seen}`);
  await alice.call('GET', '/v1/turn'); // behind what was asked before
  const away = until('away');
  const carol = await connect(names.carol);
  await carol.presence({ type: 'away', status: 'at lunch' });
  await away;
  const gone = until('unavailable');
  carol.close();
  await gone;
});

it('a missing right is an error that names the operation, by each way in', async () => {
  const names = people();
  const role = await createRole(world.server, world.adminToken, world.app, { groups: { '*': { subscribe: false, publish: false } } });
  const mallory = await connect(names.mallory, { role });
  const refused = { name: 'RespokeError', code: 'forbidden', outcome: 'none', retry: false };
  await assert.rejects(within(mallory.group('staff').join(), 'an answer'), refused);
  await assert.rejects(within(mallory.group('staff').publish('hi'), 'an answer'), refused);
  await assert.rejects(within(mallory.group('staff').history(), 'an answer'), refused);
  await assert.rejects(within(mallory.group('staff').messages().next(), 'an answer'), refused);
  // And in the state of a connect.
  const { made, WebSocket: Socket } = sockets();
  const again = new Respoke({ url: world.server.origin, getToken: () => mint(names.mallory, { role }), WebSocket: Socket });
  ended.push(() => again.close());
  const error = next(again, 'error');
  again.group('staff').on('message', () => {});
  assert.equal((await error).code, 'forbidden');
  assert.ok((await error).requestId);
  assert.equal(made.length, 1);
});

it('a published message is kept, and its history is read', async () => {
  const names = people();
  const alice = await connect(names.alice);
  const room = alice.group(named('kept'));
  for (const text of ['one', 'two', 'three']) await within(room.publish({ text }, { persist: true }), 'an answer');
  const kept = await within(room.history({ limit: 2 }), 'the history');
  assert.deepEqual(kept.map(({ data }) => data.text), ['two', 'three']);
  const before = await within(room.history({ before: kept[0].at }), 'the history');
  assert.deepEqual(before.map(({ data }) => data.text), ['one']);
});

it('what is published twice with one key is said once', async () => {
  const names = people();
  const alice = await connect(names.alice);
  const bob = await connect(names.bob);
  const name = named('room');
  const heard = [];
  const room = bob.group(name);
  room.on('message', ({ data }) => heard.push(data));
  await within(room.join(), 'the join');
  const first = await alice.group(name).publish('once', { key: 'the-same' });
  const second = await alice.group(name).publish('once', { key: 'the-same' });
  assert.equal(first.id, second.id);
  const last = next(room, 'message', ({ data }) => data === 'last');
  await alice.group(name).publish('last');
  await last;
  assert.deepEqual(heard, ['once', 'last']);
});

it('a client of 2014 and this one hear and see each other in one group', async () => {
  const names = people();
  const name = named('both');
  const old = new AdminClient({ baseURL: `${world.server.origin}/v1`, appId: world.app.id, 'App-Secret': world.app.secret });
  ended.push(() => old.socket?.disconnect());
  const heardBy = (event) => within(new Promise((resolve) => old.once(event, resolve)), `${event} at the old client`);
  old.on('error', () => {});
  const open = heardBy('connect');
  old.auth.connect({ endpointId: 'oldie' });
  await open;
  await old.groups.join({ groupId: name });

  const came = heardBy('join');
  const alice = await connect(names.alice);
  const room = alice.group(name);
  await within(room.join(), 'the join');
  assert.equal((await came).endpointId, names.alice);
  assert.deepEqual((await room.members()).map(({ endpoint }) => endpoint).sort(), [names.alice, 'oldie']);

  const pushed = heardBy('pubsub');
  await room.publish({ text: 'from the new' });
  const { header, message } = await pushed;
  assert.deepEqual([header.from, header.groupId, message], [names.alice, name, { text: 'from the new' }]);

  const heard = next(room, 'message');
  await old.groups.publish({ groupId: name, message: { text: 'from the old' } });
  assert.deepEqual([(await heard).from, (await heard).data], ['oldie', { text: 'from the old' }]);

  const direct = next(alice, 'message');
  await old.messages.send({ to: names.alice, message: 'psst' });
  assert.deepEqual([(await direct).from, (await direct).data], ['oldie', 'psst']);
  const answered = heardBy('message');
  await alice.endpoint('oldie').send('yes?');
  assert.equal((await answered).body, 'yes?');

  const seen = heardBy('presence');
  await old.presence.observe([names.alice]);
  await alice.presence('away');
  assert.equal((await seen).type, 'away');

  const left = heardBy('leave');
  alice.close();
  assert.equal((await left).endpointId, names.alice);
});

it('a client that lost its connection comes back to its groups, and says what may be missing', async () => {
  const names = people();
  const name = named('back');
  const alice = await connect(names.alice);
  const bob = await connect(names.bob);
  const room = bob.group(name);
  await within(room.join(), 'the join');
  for (let times = 0; times < 3; times++) {
    const gap = [];
    const offs = [bob.on('gap', (event) => gap.push(event))];
    const back = next(bob, 'state', ({ state }) => state === 'connected');
    bob.sockets.at(-1).terminate();
    const { resumed } = await back;
    assert.equal(gap.length, resumed ? 0 : 1, 'either nothing was missed, or it is said');
    const heard = next(room, 'message', ({ data }) => data === times);
    await alice.group(name).publish(times);
    await heard;
    offs.forEach((off) => off());
  }
  assert.deepEqual(bob.asked, ['connect'], 'its session goes on');
});

it('a client comes back to its session time after time, and nobody hears that it was away', async () => {
  const names = people();
  const name = named('resumed');
  const alice = await connect(names.alice);
  // At once: the least time between two dials is all that it waits.
  const bob = await connect(names.bob, { client: { environment: { random: () => 0 } } });
  const here = alice.group(name);
  const heard = [];
  here.on('join', () => heard.push('join'));
  here.on('leave', () => heard.push('leave'));
  here.on('message', ({ data }) => heard.push(data));
  await within(here.join(), 'the join');
  const room = bob.group(name);
  const told = [];
  room.on('message', ({ data }) => told.push(data));
  room.on('gap', ({ kind }) => told.push(kind));
  bob.on('gap', ({ kind }) => told.push(kind));
  await within(room.join(), 'the join');
  const { connection } = bob.state;
  const said = [];
  for (let time = 0; time < 20; time++) {
    const back = next(bob, 'state', ({ state }) => state === 'connected');
    said.push(room.publish(time)); // sent, and perhaps done: its answer has no way back
    bob.sockets.at(-1).terminate();
    await within(here.publish(time), 'an answer');
    const now = await back;
    assert.deepEqual([now.resumed, now.connection], [true, connection], `time ${time}`);
  }
  await within(Promise.all(said), 'the answers');
  const last = next(room, 'message', ({ data }) => data === 'last');
  const lastHere = next(here, 'message', ({ data }) => data === 'last');
  await Promise.all([here.publish('last'), room.publish('last')]);
  await Promise.all([last, lastHere]);
  const all = [...Array(20).keys(), 'last'];
  assert.deepEqual(told, all);
  assert.deepEqual(heard, ['join', ...all]);
  assert.deepEqual(bob.asked, ['connect']);
});

it('a server that is started anew is found again, with the same session', async () => {
  const names = people();
  const alice = await connect(names.alice);
  const room = alice.group(named('again'));
  await within(room.join(), 'the join');
  const back = next(alice, 'state', ({ state, resumed }) => state === 'connected' && resumed === false);
  await world.server.restart();
  await back;
  assert.deepEqual(alice.asked, ['connect']);
  await within(room.publish('here again'), 'an answer');
  const reasons = alice.states.filter(({ state }) => state === 'waiting').map(({ reason }) => reason.code);
  assert.ok(reasons.includes('drain') || reasons.includes('lost'), JSON.stringify(reasons));
});

it('a session that is revoked asks for a token again, and a client that gets none stops', async () => {
  let refuse = false;
  const name = named('dave');
  const { WebSocket: Socket } = sockets();
  const asked = [];
  const backend = tokenHandler({
    url: world.server.origin,
    appSecret: world.app.secret,
    role: world.role.name,
    authorize: () => (refuse ? null : { endpoint: name }),
  });
  // A backend without a port: `fetch` is what a page would do.
  const getToken = async (reason) => {
    asked.push(reason);
    const answer = await backend(new Request('http://localhost/respoke-token', { method: 'POST', headers: { Origin: 'http://localhost' } }));
    if (answer.status === 401) throw new Refused('signed out');
    const { token } = await answer.json();
    noteSecret(token);
    return token;
  };
  const dave = new Respoke({ url: world.server.origin, getToken, WebSocket: Socket });
  ended.push(() => dave.close());
  await within(dave.connect(), 'the welcome');
  const revoke = () => call(world.server, { method: 'DELETE', path: `/v1/sessions?endpointId=${name}`, headers: { 'App-Secret': world.app.secret } });
  const back = next(dave, 'state', ({ state }) => state === 'connected');
  assert.equal((await revoke()).status, 200);
  await back;
  assert.deepEqual(asked, ['connect', 'revoked']);
  refuse = true;
  const stopped = next(dave, 'state', ({ state }) => state === 'stopped');
  await revoke();
  assert.equal((await stopped).reason.text, 'signed out');
});

it('a banned endpoint stops, whoever says so first', async () => {
  const name = named('eve');
  const { WebSocket: Socket } = sockets();
  const backend = tokenHandler({
    url: world.server.origin,
    appSecret: world.app.secret,
    role: world.role.name,
    authorize: () => ({ endpoint: name }),
  });
  const getToken = async () => {
    const answer = await backend(new Request('http://localhost/respoke-token', { method: 'POST', headers: { Origin: 'http://localhost' } }));
    const { token, code, error } = await answer.json();
    if (answer.status === 403) throw new Refused(error, code);
    noteSecret(token);
    return token;
  };
  const eve = new Respoke({ url: world.server.origin, getToken, WebSocket: Socket });
  ended.push(() => eve.close());
  await within(eve.connect(), 'the welcome');
  const stopped = next(eve, 'state', ({ state }) => state === 'stopped');
  const banned = await call(world.server, {
    method: 'POST', path: `/v1/endpoints/${name}/ban`, ...json({ reason: 'spam' }, { 'App-Secret': world.app.secret }),
  });
  assert.equal(banned.status, 200, banned.text);
  assert.match((await stopped).reason.code, /banned/);
});

it('a token that is spent is asked for again, and then the client stops with the reason', async () => {
  const spent = await mint('frank');
  const { WebSocket: Socket } = sockets();
  const asked = [];
  const getToken = (reason) => (asked.push(reason), spent);
  const first = new Respoke({ url: world.server.origin, getToken, WebSocket: Socket });
  ended.push(() => first.close());
  await within(first.connect(), 'the welcome');
  const second = new Respoke({ url: world.server.origin, getToken, WebSocket: Socket });
  await assert.rejects(within(second.connect(), 'the end'), { code: 'token_refused' });
  assert.deepEqual(asked, ['connect', 'connect', 'refused']);
});

it('tokenFrom takes https or this machine, and nothing else', async () => {
  await assert.rejects(tokenFrom('http://chat.example.test/token')('connect', AbortSignal.timeout(1000)), { code: 'insecure' });
});
