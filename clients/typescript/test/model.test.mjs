// Clients, a door, and seeded random faults between them; at the end what everybody was told is held against what happened.

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { leastGap, outcome, scene } from './scene.mjs';
import { chance } from './world.mjs';

const ROUNDS = Number(process.env.SDK_STORMS ?? 60);
const STEPS = 120;

/** What may go wrong, and what may happen besides. */
const DEEDS = {
  publish: ({ publish }) => publish({}),
  keep: ({ publish }) => publish({ persist: true }),
  cut: ({ link }) => link()?.cut(),
  halfOpen: ({ link }) => link() && (link().halfOpen = true),
  slow: ({ link, random }) => link() && (link().latency = 1 + Math.floor(random() * 2_000)),
  networkDown: ({ world }) => (world.network = false),
  networkUp: ({ world }) => (world.network = true),
  restart: ({ door }) => door.restart(),
  down: ({ door }) => (door.down = !door.down),
  wake: ({ world }) => world.wake(),
  stop: ({ world, random }) => world.stop(Math.floor(random() * 40_000), { clock: random() < 0.5 }),
  revoke: ({ door, random }) => door.revoke(random() < 0.5 ? 'alice' : 'bob'),
  forget: ({ door }) => door.forget('room'),
  purge: ({ door, published }) => (door.purge('room'), published.push({ purged: true })),
  smallRing: ({ door }) => (door.ringMax = door.ringMax === undefined ? 0 : undefined),
  drain: ({ door, link }) => link()?.session && door.bye(link(), { code: 4011, word: 'drain', again: 'resume', after: [0, 5] }),
  mute: ({ door }) => (door.mute = door.mute ? undefined : () => true),
  expiring: ({ door }) => door.push('bob', { ev: 'expiring', in: 60 }),
  bang: ({ bang }) => (bang.now = !bang.now),
  listen: ({ listeners }) => listeners.change(),
};
/** How often each is done. */
const WEIGHTS = { publish: 12, keep: 12, wake: 3, networkUp: 4 };
const DRAW = Object.keys(DEEDS).flatMap((name) => Array(WEIGHTS[name] ?? 1).fill(name));

async function storm(seed) {
  const { world, door, connected, until } = scene(seed);
  const random = chance(seed + 1_000_000);
  const bang = { now: false };
  const alice = await connected('alice');
  const bob = await connected('bob');
  const heard = [];
  const hear = (entry) => {
    heard.push({ ...entry, at: world.now });
    if (bang.now) throw new Error('of the user');
  };
  const room = bob.group('room', { history: true });
  room.on('message', ({ data, offset }) => hear({ data, kept: offset !== undefined }));
  room.on('gap', ({ kind, why }) => hear({ gap: kind, why }));
  room.on('state', ({ error }) => assert.equal(error, undefined));
  for (const client of [alice, bob]) {
    client.on('state', () => {
      if (bang.now) throw new Error('of the user');
    });
  }
  await world.run(200);

  const published = [];
  let count = 0;
  const publish = (options) => {
    const data = ++count;
    const entry = { data, persist: Boolean(options.persist) };
    published.push(entry);
    Object.assign(entry, { outcome: outcome(alice.group('room').publish(data, { ...options, timeout: 20_000 })) });
  };
  let off;
  const listeners = { change: () => (off ? (off(), (off = undefined)) : (off = bob.group('other').on('message', () => {}))) };
  const link = () => world.links[Math.floor(world.links.length - random() * Math.min(3, world.links.length))] ?? world.link;
  const scope = { world, door, random, publish, published, link, bang, listeners };

  const done = [];
  for (let step = 0; step < STEPS; step++) {
    const name = DRAW[Math.floor(random() * DRAW.length)];
    done.push(`${Math.round(world.now)} ${name}`);
    DEEDS[name](scope);
    await world.run(random() < 0.5 ? Math.floor(random() * 20) : Math.floor(random() * 3_000));
  }

  // The world heals.
  Object.assign(world, { network: true });
  Object.assign(door, { down: false, mute: undefined, ringMax: undefined });
  bang.now = false;
  await until(() => alice.state.state === 'connected' && bob.state.state === 'connected', 'both to be connected', 120_000);
  await world.run(60_000);
  const last = outcome(alice.group('room').publish('last', { persist: true }));
  await until(() => last.settled, 'the last answer', 60_000);
  await world.run(10_000);
  judge({ published, said: door.said_, heard, dials: world.dials, last }, `seed ${seed}\n${done.join('\n')}`);
}

function judge({ published, said, heard, dials, last }, story) {
  const times = (list, data) => list.filter((each) => each.data === data).length;
  // Two clients share the list of dials, so each is looked at alone elsewhere; the address is the same.
  assert.ok(dials.length > 1, story);
  for (const { data, outcome: { settled, value, error } } of published.filter((entry) => entry.data)) {
    assert.ok(settled, `publication ${data} has no answer\n${story}`);
    const count = times(said, data);
    if (value) assert.equal(count, 1, `publication ${data} was acknowledged, and said ${count} times\n${story}`);
    else if (error.outcome === 'none') assert.equal(count, 0, `publication ${data}: ${error.code}, and it was said\n${story}`);
    else assert.ok(count <= 1, `publication ${data} was in doubt, and said ${count} times\n${story}`);
  }
  assert.ok(last.value, story);
  // What was heard is in the order in which it was said, each once.
  const order = said.map(({ data }) => data);
  let at = -1;
  for (const entry of heard.filter(({ data }) => data !== undefined)) {
    assert.equal(times(heard, entry.data), 1, `${entry.data} was heard twice\n${story}`);
    const now = order.indexOf(entry.data);
    assert.ok(now >= 0, `${entry.data} was heard, and never said\n${story}`);
    if (entry.kept) {
      assert.ok(now > at, `${entry.data} was heard out of order\n${story}`);
      at = now;
    }
  }
  // What is missing is told as a gap, and before anything that was said later.
  said.forEach(({ data, persist, at }, index) => {
    if (times(heard, data)) return;
    const later = new Set(order.slice(index + 1));
    const next = heard.findIndex((entry) => later.has(entry.data));
    const gaps = heard.slice(0, next < 0 ? undefined : next).filter((entry) => entry.gap && entry.at >= at);
    const told = gaps.some(({ gap }) => gap === 'kept' || !persist);
    assert.ok(told, `${data} (${persist ? 'kept' : 'live'}) is missing, and nothing was said\n${JSON.stringify(heard)}\n${story}`);
  });
}

it(`what is told is true, in ${ROUNDS} storms`, async (t) => {
  t.mock.method(console, 'error', () => {});
  for (let seed = 1; seed <= ROUNDS; seed++) await storm(Number(process.env.SDK_SEED ?? seed));
});

/** Listeners come and go while the window is full and the connection fails; at the end the door is asked who is in which group. */
async function comings(seed) {
  const { world, door, connected, until } = scene(seed);
  const random = chance(seed + 4_000_000);
  const pick = (list) => list[Math.floor(random() * list.length)];
  const alice = await connected('alice');
  const bob = await connected('bob');
  const rooms = ['a', 'b', 'c'].map((name) => ({ name, off: undefined, state: undefined, heard: [] }));
  const done = [];
  const change = (room) => {
    done.push(`${Math.round(world.now)} ${room.off ? 'leave' : 'listen'} ${room.name}`);
    if (room.off) return void (room.off.forEach((off) => off()), (room.off = undefined));
    const group = alice.group(room.name);
    room.off = [
      group.on('message', ({ data }) => room.heard.push(data)),
      group.on('gap', ({ why }) => room.heard.push(why)),
      group.on('state', ({ state }) => ((room.state = state), state === 'joined' || room.heard.push(state))),
    ];
    room.heard.push('listens');
  };
  const mine = () => world.links.findLast(({ session }) => session?.endpoint === 'alice');
  const burst = () => {
    for (let data = 0; data < 70; data++) alice.endpoint('bob').send(data, { timeout: 60_000 }).catch(() => {});
  };
  const deeds = {
    burst,
    slow: () => mine() && (mine().latency = 1 + Math.floor(random() * 3_000)),
    quick: () => mine() && (mine().latency = 5),
    cut: () => mine()?.cut(),
    halfOpen: () => mine() && (mine().halfOpen = true),
    wake: () => world.wake(),
    restart: () => random() < 0.3 && door.restart(),
    revoke: () => random() < 0.3 && door.revoke('alice'),
    smallRing: () => (door.ringMax = door.ringMax === undefined ? 0 : undefined),
    networkDown: () => (world.network = false),
    networkUp: () => (world.network = true),
    busy: () => (door.refused = door.refused ? undefined : (name) => (name === 'join' || name === 'leave') && random() < 0.7 && { code: 'rate_limited', text: 'busy', retry: 'later' }),
    unsure: () => (door.unsure = door.unsure ? undefined : (name) => (name === 'join' || name === 'leave') && random() < 0.7),
    mute: () => (door.mute = door.mute ? undefined : ({ op }) => Boolean(op?.join ?? op?.leave) && random() < 0.7),
    change: () => change(pick(rooms)),
  };
  const draw = Object.keys(deeds).flatMap((name) => Array({ change: 6, burst: 2, networkUp: 2 }[name] ?? 1).fill(name));
  for (let step = 0; step < 100; step++) {
    const name = pick(draw);
    done.push(`${Math.round(world.now)} ${name}`);
    deeds[name]();
    if (random() < 0.5) for (const { name } of rooms) outcome(bob.group(name).publish(step));
    await world.run(random() < 0.6 ? Math.floor(random() * 60) : Math.floor(random() * 2_000));
  }
  Object.assign(world, { network: true });
  Object.assign(door, { ringMax: undefined, refused: undefined, unsure: undefined, mute: undefined });
  await until(() => alice.state.state === 'connected' && bob.state.state === 'connected', 'both to be connected', 120_000);
  await world.run(90_000);

  const story = `seed ${seed}\n${done.join('\n')}`;
  for (const { name, off, state, heard } of rooms) {
    // This door never finds out that the link of a former connection is half open.
    const isIn = [...door.group(name).members].some(({ connection }) => connection === alice.state.connection);
    assert.equal(isIn, off !== undefined, `whether alice is in ${name}\n${story}`);
    if (off) assert.equal(state, 'joined', `${name}\n${story}`);
    const last = outcome(bob.group(name).publish('last'));
    await until(() => last.settled, 'the last answer');
    await world.run(5_000);
    assert.equal(heard.at(-1) === 'last', off !== undefined, `${name}: ${heard}\n${story}`);
    // What was said between two that were heard is missing only where something was told.
    const said = door.said_.filter(({ group }) => group === name).map(({ data }) => data);
    heard.forEach((data, index) => {
      const next = said.indexOf(data);
      const before = said.indexOf(heard[index - 1]);
      if (next < 0 || before < 0) return;
      assert.equal(next, before + 1, `${name}: ${said.slice(before + 1, next)} is missing, and nothing was told\n${heard}\n${story}`);
    });
  }
}

it(`who listens is a member and hears, and nobody else, after ${ROUNDS} storms of comings and goings`, async (t) => {
  t.mock.method(console, 'error', () => {});
  for (let seed = 1; seed <= ROUNDS; seed++) await comings(Number(process.env.SDK_SEED ?? seed));
});

it('a client dials at most once in 250 ms, whatever goes wrong and whatever is asked of it', async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const { world, door, client } = scene(seed);
    const random = chance(seed + 2_000_000);
    const alice = client('alice');
    const faults = [
      () => void alice.connect().catch(() => {}),
      () => alice.close(),
      () => world.wake(),
      () => world.link?.cut(),
      () => world.link?.close([1000, 1006, 1011, 4008, 4102, 4204][Math.floor(random() * 6)], 'word'),
      () => world.link && (world.link.halfOpen = true),
      () => world.link?.session && door.bye(world.link, { code: 4100, word: 'refused', again: ['resume', 'token', 'never'][Math.floor(random() * 3)] }),
      () => (world.network = !world.network),
      () => (door.down = !door.down),
      () => (world.refuses = !world.refuses),
      () => (door.refuses = !door.refuses),
      () => door.restart(),
      () => world.link?.say('no frame'),
      () => world.stop(Math.floor(random() * 60_000), { clock: random() < 0.5 }),
    ];
    for (let step = 0; step < 300; step++) {
      faults[Math.floor(random() * faults.length)]();
      await world.run(Math.floor(random() * (random() < 0.8 ? 30 : 2_000)));
    }
    // The fake process may have stood still, which its clock did not see: then dials are nearer by it than by the world's.
    assert.ok(leastGap(world.dials) >= 250, `seed ${seed}: ${leastGap(world.dials)} ms`);
    assert.ok(world.dials.length > 10, `seed ${seed}: only ${world.dials.length}`);
  }
});

it('whatever the server says, the client goes on', async (t) => {
  t.mock.method(console, 'error', () => {});
  const shapes = [
    null, 0, 1, -1, 7.5, '', 'room', [], [null], {}, { g: 'room' }, true, [{ g: 'room', epoch: 'e', offset: 3 }], [{ endpointId: 'bob' }], [0, 1], { code: 'forbidden' },
    { code: 4100, word: 'refused', again: 'token' }, { code: 4008, again: 'resume', after: ['x', null] },
  ];
  const names = ['id', 'ok', 'error', 'ev', 'g', 'm', 'from', 'data', 'bye', 'connection', 'endpoint', 'groups', 'observe', 'resumed', 'resume', 'ping', 'window', 'epoch', 'offset', 'kind', 'next', 'in', 'appToken', 'connectionStates'];
  const events = ['message', 'join', 'leave', 'presence', 'gap', 'signal', 'expiring', 'new'];
  let connections = 0;
  for (let seed = 1; seed <= 60; seed++) {
    const { world, door, client } = scene(seed);
    const random = chance(seed + 3_000_000);
    const pick = (list) => list[Math.floor(random() * list.length)];
    const object = (depth) => Object.fromEntries(Array.from({ length: Math.floor(random() * 5) }, () => [pick(names), depth && random() < 0.3 ? object(depth - 1) : pick(shapes)]));
    const alice = client('alice');
    alice.on('error', () => {});
    alice.group('room', { history: true }).on('message', () => {});
    alice.endpoint('bob').observe(() => {});
    for (let step = 0; step < 60; step++) {
      const said = object(2);
      if (random() < 0.4) said.ev = pick(events);
      if (random() < 0.4) said.id = Math.floor(random() * 12);
      if (world.link?.socket.readyState === 1) world.link.say(random() < 0.05 ? pick(['', 'null', '[]', '{"ev":', '\u0000', '7']) : said);
      if (random() < 0.1) void alice.group('room').publish(step, { persist: random() < 0.5 }).catch(() => {});
      await world.run(Math.floor(random() * 2_000));
      if (['stopped', 'closed'].includes(alice.state.state)) void alice.connect().catch(() => {});
    }
    assert.ok(leastGap(world.dials) >= 250, `seed ${seed}`);
    connections += door.connects.length;
    void alice.connect().catch(() => {});
    await world.until(() => alice.state.state === 'connected', `seed ${seed}: the client, which is ${JSON.stringify(alice.state)},`, 60_000);
    const said = outcome(alice.group('other').publish('well', { key: 'well' }));
    await world.until(() => said.settled, `seed ${seed}: an answer`, 60_000);
  }
  assert.ok(connections > 200, `${connections}`);
});
