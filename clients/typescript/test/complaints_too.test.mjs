// The second half of complaints.test.mjs: what is heard, who is refused, and what it takes to have a client.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { gzipSync } from 'node:zlib';

import { Refused, Respoke, RespokeError, tokenFrom } from '../dist/respoked.js';
import { outcome, scene, URL_ } from './scene.mjs';

const HOUR = 3_600_000;

const outcomeOf = async (promise, world) => {
  const result = outcome(promise);
  await world.until(() => result.settled, 'an answer');
  if (result.error) throw result.error;
  return result.value;
};

it('K10: nothing is heard after unsubscribing, and nothing twice after coming back', async () => {
  const { world, connected } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  const room = bob.group('room', { history: true });
  const heard = [];
  const off = room.on('message', ({ data }) => heard.push(data));
  await world.run(100);
  void alice.group('room').publish(1, { persist: true });
  await world.run(6);
  off(); // while the message is on its way
  await world.run(20);
  assert.deepEqual(heard, []);
  const again = [];
  room.on('message', ({ data }) => data === 3 && offAgain()); // by another listener, which is told of the same message before it
  const offAgain = room.on('message', ({ data }) => again.push(data));
  await world.run(100);
  for (const data of [2, 3, 4]) await outcomeOf(alice.group('room').publish(data, { persist: true }), world);
  await world.run(100);
  assert.deepEqual(again, [2]);
});

it('K10: a page that changes its listeners does not leave the group', async () => {
  const { door, world, connected } = scene();
  const bob = await connected('bob');
  const room = bob.group('room');
  let off = room.on('message', () => {});
  await world.run(100);
  const left = [];
  door.refused = (name) => void left.push(name);
  for (let times = 0; times < 10; times++) {
    off();
    off = room.on('message', () => {});
    await world.run(20);
  }
  assert.deepEqual(left, []);
  off();
  await world.run(100);
  assert.deepEqual(left, ['leave']);
});

it('K10: what still comes of a former membership is not told to the next one', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  const room = bob.group('room', { history: true });
  const off = room.on('message', () => {});
  await world.run(100);
  off();
  await world.run(51); // it is leaving, and the door does not know yet
  const heard = [];
  room.on('message', ({ data }) => heard.push(data));
  door.push('bob', { ev: 'message', g: 'room', m: 'm', from: 'alice', at: 0, data: 'of the former' });
  await world.run(100);
  assert.deepEqual(heard, []);
  await outcomeOf(alice.group('room').publish('now'), world);
  await world.run(20);
  assert.deepEqual(heard, ['now']);
});

it('K10: what is replayed and came before is told once', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  const heard = [];
  bob.group('room', { history: true }).on('message', ({ data }) => heard.push(data));
  await world.run(100);
  await outcomeOf(alice.group('room').publish('a', { persist: true }), world);
  await world.run(10);
  const [kept] = door.group('room').kept;
  door.push('bob', kept); // a server that doubles
  await world.run(20);
  assert.deepEqual(heard, ['a']);
});

it('K11: epoch and offset go together: another history is never taken for the one that was missed', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  const heard = [];
  const room = bob.group('room', { history: true });
  room.on('message', ({ data }) => heard.push(data));
  room.on('gap', ({ kind, why }) => heard.push({ kind, why }));
  await world.run(100);
  for (const data of ['a', 'b']) await outcomeOf(alice.group('room').publish(data, { persist: true }), world);
  await world.run(20);
  const { epoch } = door.group('room');
  world.network = false;
  door.restart();
  door.purge('room');
  await world.run(1_000);
  world.network = true;
  await is(alice, 'connected', 30_000);
  for (const data of ['c', 'd', 'e']) await outcomeOf(alice.group('room').publish(data, { persist: true }), world);
  await is(bob, 'connected', 30_000);
  await world.run(100);
  assert.deepEqual(heard.slice(0, 2), ['a', 'b']);
  const named = door.connects.filter(({ state }) => state.groups[0]?.epoch).map(({ state }) => state.groups[0]);
  assert.deepEqual(named.at(-1), { g: 'room', epoch, offset: 2 });
  assert.ok(heard.some(({ why }) => why === 'epoch'), JSON.stringify(heard));
  await outcomeOf(alice.group('room').publish('f', { persist: true }), world);
  await world.run(20);
  assert.equal(heard.at(-1), 'f');
  assert.equal(heard.filter(({ why }) => why === 'epoch').length, 1);

  // The same while it is connected: the next connect names the new pair.
  door.purge('room');
  await outcomeOf(alice.group('room').publish('g', { persist: true }), world);
  await world.run(20);
  assert.deepEqual(heard.slice(-2), [{ kind: 'kept', why: 'epoch' }, 'g']);
  door.restart();
  await world.run(20);
  await is(bob, 'connected');
  assert.deepEqual(door.connects.findLast(({ state }) => state.groups[0]).state.groups, [{ g: 'room', epoch: door.group('room').epoch, offset: 1 }]);
});

it('K12: a backend that refuses is asked once', async (t) => {
  for (const [status, asks, state] of [[403, 1, 'stopped'], [401, 1, 'stopped'], [404, 1, 'stopped'], [429, 0, 'waiting'], [500, 0, 'waiting']]) {
    let calls = 0;
    t.mock.method(globalThis, 'fetch', async (url, { method }) => {
      calls++;
      assert.deepEqual([String(url), method], ['https://chat.example.test/token', 'POST']);
      return Response.json({ error: 'not you' }, { status });
    });
    const { world, client } = scene();
    const alice = client('alice', { getToken: tokenFrom('https://chat.example.test/token') });
    void alice.connect().catch(() => {});
    await world.run(HOUR);
    if (asks) assert.equal(calls, asks, `${status}`);
    else assert.ok(calls > 2 && calls < HOUR / 5_000, `${status}: ${calls} in an hour`);
    assert.ok(state === 'waiting' ? ['waiting', 'connecting'].includes(alice.state.state) : alice.state.state === state);
    if (asks) assert.deepEqual([alice.state.reason.code, alice.state.reason.text], ['refused', 'not you']);
    t.mock.restoreAll();
  }
});

it('K12: Refused stops a client that waits, and one whose session ends, but not before it ends', async () => {
  const { door, world, connected, is } = scene();
  let refuses = false;
  const asked = [];
  const alice = await connected('alice', {
    getToken: (reason) => {
      asked.push(reason);
      if (refuses) throw new Refused('signed out');
      return door.mint('alice');
    },
  });
  door.push('alice', { ev: 'expiring', in: 60 });
  await world.run(100);
  assert.equal(door.auths, 1);
  refuses = true;
  door.push('alice', { ev: 'expiring', in: 60 });
  await world.run(59_000);
  assert.equal(alice.state.state, 'connected');
  assert.deepEqual(asked, ['connect', 'expiring', 'expiring']);
  door.revoke('alice', 4101, 'expired');
  await is(alice, 'stopped');
  assert.deepEqual(asked.slice(3), ['expired']);
  assert.equal(alice.state.reason.text, 'signed out');
});

it('K13: it is small', () => {
  const bytes = gzipSync(readFileSync(new URL('../dist/respoked.js', import.meta.url)), { level: 9 }).length;
  assert.ok(bytes <= 10 * 1024, `${bytes} bytes`);
});

it('K14: neither importing nor making a client connects, and those who hold it share one connection', async () => {
  const { world, client, is } = scene();
  const alice = client('alice');
  alice.group('room');
  alice.endpoint('bob');
  await world.run(1_000);
  assert.equal(world.dials.length, 0);
  assert.equal(world.wakers, 0);
  // As StrictMode does it: in, out and in again; and two providers.
  const first = alice.hold();
  first();
  first();
  const second = alice.hold();
  const third = alice.hold();
  await is(alice, 'connected');
  await world.run(5_000);
  assert.equal(world.dials.length, 1);
  second();
  await world.run(5_000);
  assert.equal(alice.state.state, 'connected');
  third();
  await world.run(500);
  const fourth = alice.hold(); // another page of the application
  await world.run(5_000);
  assert.equal(world.dials.length, 1);
  fourth();
  await world.run(1_100);
  assert.equal(alice.state.state, 'closed');
  assert.equal(world.wakers, 0);
  alice.hold();
  await is(alice, 'connected');
});

it('K14: where there is no WebSocket it says so, and throws nothing', async () => {
  const alice = new Respoke({ url: URL_, getToken: () => 'x', environment: { WebSocket: undefined } });
  await assert.rejects(alice.connect(), { code: 'no_websocket' });
  assert.equal(alice.state.state, 'stopped');
});

it('K15: a missing right is an error that names it, whoever listens', async (t) => {
  const reported = [];
  t.mock.method(console, 'error', (error) => reported.push(error));
  const { door, world, connected } = scene();
  door.forbidden.add('staff');
  const alice = await connected('alice');
  const named = { code: 'forbidden', message: 'the role does not permit subscribe in staff', outcome: 'none', retry: false };
  await assert.rejects(outcomeOf(alice.group('staff').join(), world), named);
  assert.equal(reported.length, 0, 'whoever waits for it is told, and the console is not');

  alice.group('staff').on('message', () => {});
  await world.run(100);
  assert.equal(reported.length, 1, 'nobody listens to refusals: the console is told');
  const errors = [];
  alice.on('error', (error) => errors.push(error));
  alice.group('staff').on('message', () => {});
  await world.run(100);
  assert.equal(errors.length, 1);
  assert.ok(errors[0] instanceof RespokeError);

  const reading = outcome(alice.group('staff').messages().next());
  await world.run(100);
  assert.equal(reading.error.code, 'forbidden');

  door.refused = (name) => (name === 'publish' ? { code: 'forbidden', text: 'publish in room is not permitted', retry: 'no' } : undefined);
  await assert.rejects(outcomeOf(alice.group('room').publish('x'), world), { code: 'forbidden', message: /publish/ });
});

it('K15: a group that is refused when the client comes back is told as well', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  const states = [];
  alice.group('room').on('state', ({ state, error }) => states.push(error ? `${state}: ${error.code}` : state));
  await world.run(100);
  door.forbidden.add('room');
  door.restart();
  await world.run(20);
  await is(alice, 'connected');
  await world.run(100);
  assert.deepEqual(states, ['joining', 'joined', 'refused: forbidden']);
});

it('K16: a server that recovers nothing, and says nothing of it, is not taken for one that does', async () => {
  const { door, world, connected, is } = scene();
  const group = door.group('kept');
  group.epoch = group.offset = undefined; // it knows no positions
  const bob = await connected('bob');
  const heard = [];
  bob.group('kept', { history: true }).on('gap', ({ kind }) => heard.push(kind));
  await world.run(100);
  door.restart();
  await world.run(20);
  await is(bob, 'connected');
  await world.run(100);
  assert.deepEqual(heard, ['live', 'kept']);
});

it('K16: what was missed is replayed or told as a gap: never neither', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  const heard = [];
  const listen = (name, options) => {
    const room = bob.group(name, options);
    room.on('message', ({ data }) => heard.push(`${name} ${data}`));
    room.on('gap', ({ kind, why }) => heard.push(`${name} ${kind} ${why}`));
  };
  listen('kept', { history: true });
  listen('live');
  bob.on('gap', ({ kind, why }) => heard.push(`direct ${kind} ${why}`));
  await world.run(100);
  const away = async (meanwhile) => {
    heard.length = 0;
    world.links.findLast(({ session }) => session?.endpoint === 'bob').halfOpen = true;
    await meanwhile();
    await world.until(() => bob.state.state !== 'connected', 'the end');
    await is(bob, 'connected', 30_000);
    await world.run(100);
    return [...heard];
  };
  const both = async (data) => {
    await outcomeOf(alice.group('kept').publish(data, { persist: true }), world);
    await outcomeOf(alice.group('live').publish(data), world);
  };
  await both(0);
  // Back in time: nothing is missing.
  assert.deepEqual(await away(() => both(1)), ['kept 1', 'live 1']);
  // Too late, but what was kept is there.
  const late = await away(async () => {
    await both(2);
    door.ringMax = 0;
    await both(3);
    door.ringMax = undefined;
  });
  assert.deepEqual(late, ['direct live not_resumed', 'kept live not_resumed', 'live live not_resumed', 'kept 2', 'kept 3']);
  // Too late even for that.
  const lost = await away(async () => {
    await both(4);
    door.forget('kept');
    door.ringMax = 0;
    await both(5);
    door.ringMax = undefined;
  });
  assert.deepEqual(lost, ['direct live not_resumed', 'kept live not_resumed', 'live live not_resumed', 'kept kept expired']);
  // Never away, and something is lost all the same.
  heard.length = 0;
  door.push('bob', { ev: 'gap', kind: 'live', at: world.now, why: 'node_lost' });
  await world.run(10);
  assert.deepEqual(heard, ['direct live node_lost', 'kept live node_lost', 'live live node_lost']);
  // A hole in the history that nobody told of.
  heard.length = 0;
  door.group('kept').offset += 2;
  await both(6);
  await world.run(10);
  assert.deepEqual(heard, ['kept kept hole', 'kept 6', 'live 6']);
});
