// What a client is there for: groups, endpoints and its presence, however it is connected; under a fake clock.

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { outcome, scene } from './scene.mjs';

const settled = async (promise, world, most = 60_000) => {
  const result = outcome(promise);
  await world.until(() => result.settled, 'an answer', most);
  return result;
};

it('says in one frame what it wants to be in', async () => {
  const { door, world, client, is } = scene();
  const alice = client('alice');
  alice.group('one').on('message', () => {});
  alice.group('two').on('message', () => {});
  alice.endpoint('bob').observe(() => {});
  void alice.presence('away');
  await is(alice, 'connected');
  await world.run(100);
  const { state, sdk, once, tokenId } = door.connects[0];
  assert.deepEqual(state, { groups: [{ g: 'one' }, { g: 'two' }], observe: ['bob'], presence: { type: 'away' } });
  assert.match(sdk, /^respoked-js\/\d/);
  assert.ok(once && tokenId);
});

it('joins more groups than a connect may name', async () => {
  const { door, world, client, is } = scene();
  const alice = client('alice');
  let joined = 0;
  for (let group = 0; group < 450; group++) alice.group(`g${group}`).on('state', ({ state }) => state === 'joined' && joined++);
  await is(alice, 'connected');
  await world.until(() => joined === 450, '450 groups');
  assert.equal(door.connects[0].state.groups.length, 200);
});

it('asks again for what was refused for now, when the server says and not all at once', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  const asked = [];
  door.refused = (name) => {
    if (name !== 'join' || asked.push(world.now) > 30) return undefined;
    return { code: 'rate_limited', text: 'Too Many Requests', retry: 'later', after: 2 };
  };
  const started = world.now;
  let joined = 0;
  for (let group = 0; group < 10; group++) alice.group(`g${group}`).on('state', ({ state }) => state === 'joined' && joined++);
  await world.until(() => joined === 10, 'all groups', 30_000);
  assert.ok(asked.slice(10).every((at) => at - started >= 2_000), 'none before it may');
  assert.ok(new Set(asked.slice(10).map(Math.round)).size > 10, 'not all at once');
});

it('presence of an endpoint is whole again after a break', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  await settled(bob.presence('away'), world);
  let connections;
  const told = [];
  alice.endpoint('bob').observe((event) => {
    ({ connections } = event);
    told.push(event.presence.type);
  });
  await world.run(100);
  assert.deepEqual(told, ['away']);
  bob.close();
  await world.run(10);
  door.restart();
  await world.run(20);
  await is(alice, 'connected');
  await world.run(1_000);
  assert.equal(told.at(-1), 'unavailable');
  assert.deepEqual(connections, {});
});

it('what was asked in a session that is over is not said in the next one', async () => {
  for (const back of ['before the welcome', 'after it']) {
    const { door, world, connected, is } = scene();
    const alice = await connected('alice');
    const bob = await connected('bob');
    const heard = [];
    const listen = () => {
      const room = alice.group('room');
      const offs = [room.on('message', ({ data }) => heard.push(data)), room.on('state', ({ state }) => heard.push(state))];
      return () => offs.forEach((off) => off());
    };
    const leave = listen();
    await world.run(100);
    const link = world.links.findLast(({ session }) => session?.endpoint === 'alice');
    link.halfOpen = true;
    for (let data = 0; data < 70; data++) alice.endpoint('bob').send(data).catch(() => {});
    leave();
    await world.run(100); // no place for it: it waits
    door.ringMax = 0;
    await settled(bob.endpoint('alice').send('missed'), world);
    door.ringMax = undefined;
    heard.length = 0;
    link.cut();
    if (back === 'before the welcome') listen();
    await is(alice, 'waiting');
    await is(alice, 'connected');
    assert.equal(alice.state.resumed, false);
    if (back === 'after it') listen();
    await world.run(1_000);
    await settled(bob.group('room').publish('hi'), world);
    await world.run(100);
    assert.deepEqual(heard.filter((each) => each !== 'joining'), ['joined', 'hi'], back);
    assert.equal(door.group('room').members.size, 1);
  }
});

it('leaves a group that nobody wants any more when the welcome says that it is in', async () => {
  const { door, world, client, is } = scene();
  const alice = client('alice');
  const off = alice.group('room').on('message', () => {});
  await world.until(() => alice.state.state === 'connecting' && world.link?.socket.readyState === 1, 'the open socket');
  world.link.latency = 100;
  await world.until(() => door.connects.length === 1, 'the connect');
  off();
  await is(alice, 'connected');
  await world.run(1_000);
  assert.equal(door.group('room').members.size, 0);
});

it('a group is refused by the server alone, however long it waits to be asked for', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  door.deaf = ({ op }) => op?.send !== undefined; // unanswered, all of them
  for (let data = 0; data < 70; data++) alice.endpoint('bob').send(data, { timeout: 120_000 }).catch(() => {});
  const read = [];
  void (async () => {
    for await (const { type, data } of alice.group('room').messages()) read.push(data ?? type);
  })().catch((error) => read.push(error.code));
  await world.run(40_000);
  world.network = false;
  await world.run(40_000);
  door.deaf = undefined;
  world.network = true;
  await is(alice, 'connected', 60_000);
  await is(bob, 'connected', 60_000);
  await world.run(5_000);
  await settled(bob.group('room').publish('hi'), world);
  await world.run(100);
  assert.deepEqual(read, ['hi']);
});

it('thousands of groups are joined, and take no place of what the user says', async () => {
  const { world, client, is } = scene();
  const alice = client('alice');
  const states = [];
  for (let group = 0; group < 2_500; group++) alice.group(`g${group}`).on('state', ({ state }) => states.push(state));
  await is(alice, 'connected');
  const said = outcome(alice.endpoint('bob').send('hello'));
  await world.until(() => said.settled, 'the answer');
  assert.ok(said.value.id);
  await world.until(() => states.filter((state) => state === 'joined').length === 2_500, 'all groups');
  assert.ok(!states.includes('refused'));
});

it('what was refused is asked for in a new session, and the same refusal is told once', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  for (let group = 0; group < 249; group++) alice.group(`g${group}`).on('message', () => {});
  const states = [];
  door.forbidden.add('g249'); // beyond what a connect may name
  alice.group('g249').on('state', ({ state, error }) => states.push(error?.code ?? state));
  const again = async () => {
    await world.run(2_000);
    door.restart();
    await is(alice, 'waiting');
    await is(alice, 'connected');
    await world.run(2_000);
  };
  await again();
  await again();
  assert.deepEqual(states, ['joining', 'forbidden']);
  door.forbidden.clear();
  await again();
  assert.deepEqual(states, ['joining', 'forbidden', 'joined']);
});

/** The client comes back in a new session. */
const comeBack = async ({ door, world, is }, client) => {
  await world.run(3_000);
  door.restart();
  await is(client, 'waiting');
  await world.until(() => !['waiting', 'connecting'].includes(client.state.state), 'the end of the tries');
  await world.run(3_000);
};

it('a name that is cut in two is refused alone, whenever the client connects', async () => {
  const there = scene();
  const { door, world, client, is } = there;
  const alice = client('alice');
  const errors = [];
  const name = 'room \u{1F600}'.slice(0, 6);
  alice.on('error', ({ code }) => errors.push(code));
  alice.group(name).on('message', () => {});
  alice.group('room').on('message', () => {});
  await is(alice, 'connected');
  await world.run(100);
  assert.deepEqual(errors, ['malformed']);
  await comeBack(there, alice);
  assert.equal(alice.state.state, 'connected');
  assert.deepEqual(errors, ['malformed']);
  assert.equal(door.group('room').members.size, 1);
  for (const name of [undefined, null, 7, 1n, {}]) {
    assert.throws(() => alice.group(name), TypeError);
    assert.throws(() => alice.endpoint(name), TypeError);
  }
});

it('what is too much for one frame is joined by requests, whenever the client connects', async () => {
  const there = scene();
  const { door, world, client, is } = there;
  const alice = client('alice');
  const long = 'ü'.repeat(120);
  let joined = 0;
  for (let each = 0; each < 150; each++) {
    alice.group(`${long}${each}`).on('state', ({ state }) => state === 'joined' && joined++);
    alice.endpoint(`${long}${each}`).observe(() => {});
  }
  await is(alice, 'connected');
  await comeBack(there, alice);
  assert.equal(alice.state.state, 'connected');
  assert.equal(joined, 300);
  for (let each = 0; each < 150; each++) assert.equal(door.group(`${long}${each}`).members.size, 1);
  await world.run(0);
});

it('a presence that was refused is not said again, and the one before is', async (t) => {
  const reported = [];
  t.mock.method(console, 'error', (error) => reported.push(error));
  const there = scene();
  const { door, world, connected } = there;
  const alice = await connected('alice');
  const said = async (presence) => (await settled(alice.presence(presence), world)).error;
  assert.equal(await said('away'), undefined);
  const circular = { type: 'x' };
  circular.circular = circular;
  const bad = [[circular, 'TypeError'], [{ type: 1n }, 'TypeError'], [{ type: 'x', status: 'y'.repeat(70_000) }, 'too_large'], [{ type: 'x', status: 'y'.repeat(30_000) }, 'invalid'], [{ show: 'x' }, 'invalid']];
  for (const [presence, why] of bad) {
    const error = await said(presence);
    assert.equal(error.code ?? error.name, why);
    await comeBack(there, alice);
    assert.equal(alice.state.state, 'connected', why);
    assert.deepEqual(door.connects.at(-1).state.presence, { type: 'away' }, why);
  }
  assert.deepEqual(reported, []);

  // Several at once: what was refused is gone, whatever came before and behind it.
  const all = [{ show: 'x' }, 'busy', { show: 'y' }].map((presence) => outcome(alice.presence(presence)));
  await world.until(() => all.every((each) => each.settled), 'the answers');
  await comeBack(there, alice);
  assert.deepEqual(door.connects.at(-1).state.presence, { type: 'busy' });
});

it('what is to be heard does not wait for what is to be said', async () => {
  const { world, connected } = scene();
  const alice = await connected('alice');
  world.link.latency = 100; // 64 requests in 200 ms
  const said = Array.from({ length: 640 }, (_, data) => outcome(alice.endpoint('bob').send(data)));
  const rooms = ['a', 'b', 'c'];
  const states = [];
  for (const name of rooms) alice.group(name).on('state', ({ state }) => states.push(`${name} ${state}`));
  await world.until(() => states.filter((state) => state.endsWith('joined')).length === 3, 'the groups', 500);
  assert.deepEqual(states, ['a joining', 'b joining', 'c joining', 'a joined', 'b joined', 'c joined']);
  assert.ok(said.some(({ settled }) => !settled));
  await world.until(() => said.every(({ value }) => value?.id), 'all answers');
});

it('reading and joining end at once where the client has ended already', async () => {
  const { door, world, connected } = scene();
  const read = (client) => outcome(client.group('room').messages().next());
  const alice = await connected('alice');
  alice.close();
  const ended = read(alice);
  const joined = outcome(alice.group('room').join());
  await world.run(0);
  assert.equal(ended.value.done, true);
  assert.deepEqual([joined.error.code, joined.error.retry], ['closed', false]);
  const bob = await connected('bob');
  door.bye(world.link, { code: 4201, word: 'banned', again: 'never' });
  await world.until(() => bob.state.state === 'stopped', 'the end');
  const stopped = read(bob);
  const refused = outcome(bob.group('room').join());
  await world.run(0);
  assert.deepEqual([stopped.error.code, refused.error.code], ['banned', 'banned']);
  // Not where it is about to come back, and nothing is left of those that ended.
  const waiting = read(bob);
  void bob.connect().catch(() => {});
  await world.until(() => bob.state.state === 'connected', 'the welcome');
  await world.run(100);
  assert.equal(waiting.settled, undefined);
  assert.equal(door.group('room').members.size, 1);
});

it('whoever listens later is told what is', async () => {
  const { world, connected } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  await settled(bob.presence('away'), world);
  const told = [[], []];
  const listen = (index) => [
    alice.group('room').on('state', ({ state }) => told[index].push(state)),
    alice.endpoint('bob').observe(({ presence, connections }) => told[index].push(`${presence.type} of ${Object.keys(connections).length}`)),
  ];
  const first = listen(0);
  await world.run(100);
  let calls = 0;
  const off = alice.group('room').on('state', () => ++calls);
  assert.equal(calls, 0, 'nobody is called before he can take himself away');
  off();
  listen(1);
  await world.run(100);
  assert.equal(calls, 0);
  assert.deepEqual(told, [['joining', 'joined', 'away of 1'], ['joined', 'away of 1']]);

  // So is whoever comes just behind the last who went; what changed between them counts.
  const carol = await connected('carol');
  carol.endpoint('bob').observe(() => {})();
  const stop = carol.endpoint('bob').observe(() => {});
  await world.run(100);
  stop();
  const busy = outcome(bob.presence('busy'));
  await world.run(15);
  assert.ok(busy.settled);
  const seen = [];
  carol.endpoint('bob').observe(({ presence }) => seen.push(presence.type));
  await world.run(100);
  assert.deepEqual(seen, ['busy']);
  first.forEach((off) => off());
});

it('a join is taken back by the name of its group, whoever asked for it', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  const members = () => door.group('room').members.size;
  assert.equal((await settled(alice.group('room').join(), world)).error, undefined);
  assert.equal((await settled(alice.group('room').join(), world)).error, undefined);
  assert.equal(members(), 1);
  alice.group('other').leave();
  await world.run(200);
  assert.equal(members(), 1);
  alice.group('room').leave();
  await world.run(200);
  assert.equal(members(), 0);
  alice.group('room').leave();
  const off = alice.group('room').on('message', () => {});
  assert.equal((await settled(alice.group('room').join(), world)).error, undefined);
  alice.group('room').leave();
  await world.run(200);
  assert.equal(members(), 1, 'somebody listens');
  off();
  await world.run(200);
  assert.equal(members(), 0);
});
