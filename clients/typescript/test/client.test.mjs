// What else the client promises, under a fake clock.

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { Respoke, RespokeError, tokenFrom } from '../dist/respoked.js';
import { outcome, scene, URL_ } from './scene.mjs';

const settled = async (promise, world, most = 60_000) => {
  const result = outcome(promise);
  await world.until(() => result.settled, 'an answer', most);
  return result;
};

it('keeps the token out of the address, and asks for the protocol', async () => {
  const { world, connected } = scene();
  await connected('alice', { url: 'https://chat.example.test/respoke/?token=x#y' });
  assert.deepEqual(world.dials.map(({ url, protocol }) => [url, protocol]), [['wss://chat.example.test/respoke/v1/socket', 'respoke.1']]);
  assert.throws(() => new Respoke({ url: 'ftp://chat.example.test', getToken: () => '' }), TypeError);
});

it('sends the same token again with the same key, if the welcome was lost', async () => {
  const { door, world, client, is } = scene();
  door.welcomes = false;
  const alice = client('alice');
  void alice.connect();
  await world.until(() => door.connects.length === 1, 'the connect');
  world.link.cut();
  door.welcomes = true;
  await is(alice, 'connected');
  assert.equal(alice.asked.length, 1);
  const [first, second] = door.connects;
  assert.deepEqual([first.tokenId, first.once], [second.tokenId, second.once]);
});

it('what was never sent is not in doubt, and what was sent may be', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice', { timeout: 5_000 });
  const room = alice.group('room');
  door.mute = ({ op }) => Boolean(op?.publish);
  const sent = outcome(room.publish(1));
  await world.run(100);
  world.network = false;
  world.link.cut();
  await world.run(100);
  const unsent = outcome(room.publish(2));
  const stopped = new AbortController();
  const aborted = outcome(room.publish(3, { signal: stopped.signal }));
  stopped.abort();
  await world.run(6_000);
  assert.deepEqual([sent.error.code, sent.error.outcome], ['in_doubt', 'unknown']);
  assert.deepEqual([unsent.error.code, unsent.error.outcome], ['timed_out', 'none']);
  assert.deepEqual([aborted.error.code, aborted.error.outcome], ['aborted', 'none']);
  assert.ok(unsent.error instanceof RespokeError);
  await assert.rejects(room.publish(4, { signal: AbortSignal.abort() }), { code: 'aborted', outcome: 'none' });
  assert.deepEqual(door.said_.map(({ data }) => data), [1]);
});

it('what waits while there is no connection is sent in order, and is bounded', async () => {
  const { door, world, client, is } = scene();
  world.network = false;
  const alice = client('alice');
  const room = alice.group('room');
  const results = Array.from({ length: 1_001 }, (_, data) => outcome(room.publish(data)));
  await world.run(100);
  assert.equal(results[1_000].error.code, 'queue_full');
  world.network = true;
  world.wake();
  await is(alice, 'connected');
  await world.until(() => results.every((each) => each.settled), 'all answers');
  assert.deepEqual(door.said_.map(({ data }) => data), Array.from({ length: 1_000 }, (_, data) => data));
});

it('has no more under way than the server takes', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  let most = 0;
  let open = 0;
  door.refused = () => void (most = Math.max(most, ++open));
  door.mute = () => open > 0 && void open--; // answered at once: each is counted while it is carried out
  const results = Array.from({ length: 300 }, (_, data) => outcome(alice.group('room').publish(data)));
  await world.until(() => results.every((each) => each.settled), 'all answers');
  door.deaf = ({ op }) => Boolean(op.publish);
  let sent = 0;
  const { said } = door;
  door.said = function (link, text) {
    sent += text.includes('"publish"');
    return said.call(this, link, text);
  };
  for (let data = 0; data < 100; data++) outcome(alice.group('room').publish(data));
  await world.run(1_000);
  assert.equal(sent, 63, 'one less than the window: the server may have answered one and not be done with it');
});

it('sends nothing beyond the window of a server that rests after it refused one', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  const { said } = door;
  const waiting = [];
  let begun = false;
  let beyond = 0;
  const next = () => {
    const { link, text } = (!begun && waiting.shift()) || {};
    if (!link) return;
    begun = true;
    said.call(door, link, text); // answered
    world.later(50, () => ((begun = false), next()));
  };
  door.said = (link, text) => {
    if (!text.includes('"op":{"send"')) return said.call(door, link, text);
    if (waiting.length + begun >= 64) return void beyond++;
    waiting.push({ link, text });
    next();
  };
  door.refused = (name) => name === 'send' && { code: 'rate_limited', text: 'Too Many Requests', retry: 'later', after: 1 };
  const results = Array.from({ length: 300 }, (_, data) => outcome(alice.endpoint('bob').send(data)));
  await world.run(5_000);
  assert.equal(beyond, 0);
  await world.until(() => results.every(({ error }) => error?.code === 'rate_limited'), 'all answers');
});

it('a request that is too long is refused here, since the server would end the connection', async () => {
  const { world, connected } = scene();
  const alice = await connected('alice');
  const { error } = await settled(alice.group('room').publish('é'.repeat(40_000)), world);
  assert.deepEqual([error.code, error.outcome], ['too_large', 'none']);
  await assert.rejects(alice.group('room').publish(1n), TypeError);
  assert.equal(alice.state.state, 'connected');
});

it('a slow reader is told of what was let go, in its place', async () => {
  const { world, connected } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  const reading = new AbortController();
  const messages = bob.group('room').messages({ buffer: 3, signal: reading.signal });
  await world.run(100);
  for (let data = 0; data < 10; data++) await settled(alice.group('room').publish(data), world);
  await world.run(100);
  const read = [];
  for (let times = 0; times < 4; times++) read.push((await messages.next()).value);
  assert.deepEqual(read.map((item) => item.missed ?? item.data), [7, 7, 8, 9], 'an overflow of seven, then the last three');
  assert.deepEqual([read[0].type, read[0].why], ['gap', 'overflow']);
  const last = messages.next();
  reading.abort();
  assert.deepEqual(await last, { done: true, value: undefined });
  assert.equal(bob.state.state, 'connected');
});

it('reading ends with the client, and throws when it stops', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  const ended = outcome(alice.group('room').messages().next());
  alice.close();
  await world.run(100);
  assert.equal(ended.value.done, true);
  const bob = await connected('bob');
  const stopped = outcome(bob.group('room').messages().next());
  await world.run(100);
  door.bye(world.link, { code: 4201, word: 'banned', again: 'never' });
  await world.run(100);
  assert.equal(stopped.error.code, 'banned');
  const left = [];
  for await (const item of bob.group('other').messages({ signal: AbortSignal.abort() })) left.push(item);
  assert.deepEqual(left, []);
});

it('a client that is connected as another endpoint says nothing of what the former wanted to say', async () => {
  const { door, world, connected, is } = scene();
  let who = 'alice';
  const client = await connected('alice', { getToken: () => door.mint(who) });
  world.network = false;
  world.link.cut();
  await is(client, 'waiting');
  const said = outcome(client.group('room').publish('as alice', { persist: true }));
  who = 'mallory';
  door.revoke('alice');
  world.network = true;
  await is(client, 'connected', 30_000);
  await world.run(1_000);
  assert.equal(client.state.endpoint, 'mallory');
  assert.deepEqual([said.error.code, said.error.outcome], ['endpoint_changed', 'none']);
  assert.deepEqual(door.said_, []);
});

it('hears nothing of its own, not even out of the history', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  const room = alice.group('room', { history: true });
  const heard = [];
  room.on('message', ({ data }) => heard.push(data));
  room.on('gap', ({ kind, why }) => heard.push(`${kind} ${why}`));
  await world.run(100);
  door.mute = ({ op }) => Boolean(op?.publish); // carried out, and the answer is lost with the session
  const said = outcome(room.publish('mine', { persist: true }));
  await world.run(100);
  door.mute = undefined;
  door.restart();
  await world.run(20);
  await is(alice, 'connected');
  await world.until(() => said.settled, 'the answer');
  await world.run(100);
  assert.ok(said.value.id);
  assert.deepEqual(heard, ['live not_resumed']);
  assert.equal(door.said_.length, 1);
});

it('an answer to what it kept hides nothing that was kept before by others, and comes later', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  const { link } = world;
  const bob = await connected('bob');
  const room = alice.group('room', { history: true });
  const heard = [];
  room.on('message', ({ data }) => heard.push(data));
  room.on('gap', ({ kind, why }) => heard.push(`${kind} ${why}`));
  await world.run(100);
  const keep = async (client, data) => assert.ok((await settled(client.group('room').publish(data, { persist: true }), world)).value.id);
  await keep(bob, 1);
  const { say } = link;
  const held = [];
  link.say = (...objects) => (objects[0].ev === 'message' ? held.push(objects) : say.apply(link, objects));
  await keep(bob, 2);
  await keep(alice, 'mine'); // answered before what came before it
  await keep(alice, 'mine, too');
  link.say = say;
  for (const objects of held) link.say(...objects);
  await keep(bob, 3);
  await world.run(100);
  assert.deepEqual(heard, [1, 2, 3]);
  door.group('room').offset += 1; // and a hole is still a hole
  await keep(bob, 4);
  await keep(alice, 'mine');
  door.restart();
  await is(alice, 'waiting');
  await is(alice, 'connected');
  await is(bob, 'connected');
  await keep(bob, 5);
  await world.run(100);
  assert.deepEqual(heard, [1, 2, 3, 'kept hole', 4, 'live not_resumed', 5]);
});

it('extends its session in place, and tries again if that is refused', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  door.push('alice', { ev: 'expiring', in: 60 });
  await world.run(100);
  assert.equal(door.auths, 1);
  door.refuses = true;
  door.push('alice', { ev: 'expiring', in: 60 });
  await world.run(100);
  assert.deepEqual(alice.asked.map(({ reason }) => reason), ['connect', 'expiring', 'expiring', 'refused']);
  assert.equal(alice.state.state, 'connected', 'the session is still good');
  assert.equal(world.dials.length, 1);
});

it('asks anew for a token if the connection was lost while the session was ending', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  door.push('alice', { ev: 'expiring', in: 60 });
  world.link.pass('client', () => world.link.cut());
  await is(alice, 'waiting');
  await is(alice, 'connected');
  await world.run(100);
  assert.equal(door.auths, 1);
});

it('leaves when it is closed, and its groups hear of it at once', async () => {
  const { world, connected } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  const left = [];
  alice.group('room').on('leave', ({ endpoint }) => left.push(endpoint));
  bob.group('room').on('message', () => {});
  await world.run(100);
  bob.close();
  await world.run(20);
  assert.deepEqual(left, ['bob']);
  assert.deepEqual(bob.states.map(({ state }) => state), ['connecting', 'connected', 'closed']);
});

it('disposing of it waits for what is under way', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  const said = outcome(alice.group('room').publish('last'));
  const disposed = outcome(alice[Symbol.asyncDispose]());
  await world.until(() => disposed.settled, 'the end', 1_000);
  assert.ok(said.value.id);
  assert.equal(alice.state.state, 'closed');
  const bob = await connected('bob');
  door.mute = () => true;
  const never = outcome(bob.group('room').publish('never answered'));
  const end = outcome(bob[Symbol.asyncDispose]());
  await world.until(() => end.settled, 'the end', 3_100);
  assert.equal(never.error.code, 'in_doubt');
});

it('knows who is there, over several pages', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  const pages = { undefined: ['a', 'b', 'next'], next: ['c', 'd', undefined] };
  door.answer = (fields) => {
    const [one, other, next] = pages[fields.cursor];
    return { ok: [one, other].map((endpointId) => ({ endpointId, connectionId: `of ${endpointId}` })), next };
  };
  const { value } = await settled(alice.group('room').members(), world);
  assert.deepEqual(value.map(({ endpoint }) => endpoint), ['a', 'b', 'c', 'd']);
});

it('a token is asked for over https, or on this machine', async (t) => {
  t.mock.method(globalThis, 'fetch', async () => Response.json({ token: 'TOKEN' }));
  const { signal } = new AbortController();
  for (const address of ['https://chat.example.test/t', 'http://localhost:3000/t', 'http://127.0.0.1/t', 'http://[::1]:3000/t', 'http://app.localhost/t']) {
    assert.equal(await tokenFrom(address)('connect', signal), 'TOKEN');
  }
  for (const address of ['http://chat.example.test/t', 'http://localhost.example.test/t', 'http://10.0.0.1/t', 'ftp://localhost/t', 'http://127.0.0.1.example.test/t']) {
    await assert.rejects(tokenFrom(address)('connect', signal), { name: 'Refused', code: 'insecure' });
  }
});

it('what was not answered is sent again to the session that goes on, under its id, and done once', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  const room = alice.group('room');
  door.mute = ({ op }) => Boolean(op?.publish); // done, and the answers are lost
  const said = [outcome(room.publish(1)), outcome(room.publish(2, { persist: true })), outcome(alice.endpoint('bob').send(3))];
  await world.run(20);
  world.link.halfOpen = true;
  const unheard = outcome(room.publish(4)); // not even received
  world.link.cut();
  door.mute = undefined;
  await is(alice, 'waiting');
  await is(alice, 'connected');
  await world.run(100);
  assert.equal(alice.state.resumed, true);
  for (const { value } of [...said, unheard]) assert.ok(value?.id);
  assert.deepEqual(door.said_.map(({ data }) => data), [1, 2, 4]);
});

it('what a user gives is made to text before anything is done with it', async () => {
  const { world, connected } = scene();
  const alice = await connected('alice');
  const closing = { toJSON: () => (alice.close(), 'x') };
  const { error } = await settled(alice.group('room').publish(closing), world);
  assert.deepEqual([error.code, error.outcome], ['closed', 'none']);
  const bad = { toJSON: () => { throw new Error('of the user'); } };
  void alice.connect();
  await world.until(() => alice.state.state === 'connected', 'the welcome');
  for (const result of [alice.group('room').publish(bad), alice.presence({ type: bad }), alice.endpoint('bob').send(bad), alice.call('POST', '/v1/x', bad)]) {
    await assert.rejects(result, /of the user/);
  }
  assert.ok((await settled(alice.group('room').publish('x'), world)).value.id);
});

it('a step that throws undoes nothing: what was to be told is told, and the time goes on', async () => {
  const { door, world, connected } = scene();
  let broken = false;
  const random = () => {
    if (!broken) return world.random();
    broken = false;
    throw new Error('no chance');
  };
  const alice = await connected('alice', { environment: Object.defineProperties({}, { ...Object.getOwnPropertyDescriptors(world.environment()), random: { value: random } }) });
  door.mute = ({ op }) => op?.ping === undefined;
  const first = outcome(alice.group('room').publish('first', { timeout: 30_000 }));
  alice.group('room').on('message', () => {}); // given up at the same instant, behind it
  await world.run(29_000);
  const second = outcome(alice.group('room').publish('second', { timeout: 30_000 }));
  broken = true;
  await assert.rejects(world.run(2_000), /no chance/);
  await world.run(0);
  assert.equal(first.error.code, 'in_doubt');
  await world.run(30_000);
  assert.equal(second.error.code, 'in_doubt');
});

it('says how much has come so seldom that the server takes it for no flood, however much comes', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  let heard = 0;
  alice.on('message', () => heard++);
  const counts = [];
  const { said } = door;
  door.said = function (link, text) {
    if (/^\{"got":\d+\}$/.test(text)) counts.push(world.now);
    return said.call(this, link, text);
  };
  for (let times = 0; times < 200; times++) {
    for (let each = 0; each < 100; each++) door.push('alice', { ev: 'message', to: 'alice', m: 'm', from: 'bob', at: 0, data: each });
    await world.run(10);
  }
  assert.ok(counts.length > 20 && counts.length < 30, `${counts.length} in two seconds`); // the server takes 20 in a second, all told
  await world.run(5_100);
  assert.equal(heard, 20_000);
  const before = counts.length;
  await world.run(60_000);
  assert.equal(counts.length, before, 'all is told');
  for (let each = 0; each < 64; each++) door.push('alice', { ev: 'message', to: 'alice', m: 'm', from: 'bob', at: 0, data: each });
  await world.run(10);
  assert.equal(counts.length, before + 1, 'and at once, where it was quiet');
});

it('waits for ever where it was told so, and never in circles', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  door.mute = ({ op }) => op?.ping === undefined;
  const room = alice.group('room');
  const patient = [room.publish('x', { timeout: Infinity }), room.join({ timeout: Infinity })].map(outcome);
  await world.run(100);
  assert.ok(patient.every(({ settled }) => !settled));
  const none = [room.publish('y', { timeout: NaN }), room.join({ timeout: NaN })].map(outcome);
  let timers = 0;
  const { later } = world;
  world.later = (...all) => (timers++, later.apply(world, all));
  await world.run(35_000);
  assert.ok(timers < 300, `${timers} timers in half a minute`);
  assert.ok(none.every(({ error }) => error), 'a time that is none is the usual one');
  door.mute = undefined;
  world.link.cut();
  await world.until(() => patient.every(({ settled }) => settled), 'the answers');
  assert.ok(patient.every(({ error }) => !error));
});
