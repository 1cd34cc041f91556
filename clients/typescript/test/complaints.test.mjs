// What users of other systems complain of, each as a test of this client under a fake clock.

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { leastGap, outcome, scene, URL_ } from './scene.mjs';

const HOUR = 3_600_000;

it('K1: after a sleep a token is asked for at send time, and never sent twice', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  world.network = false;
  world.link.cut();
  await world.run(HOUR);
  door.revoke('alice'); // while the machine slept
  assert.equal(alice.asked.length, 1, 'nobody asks for a token that cannot be sent');
  world.network = true;
  await is(alice, 'connected');
  assert.deepEqual(alice.asked.map(({ reason }) => reason), ['connect', 'expired']);
  const sent = door.connects.at(-1);
  assert.ok(sent.at - alice.asked.at(-1).at < 100, 'the token was asked for just before it was sent');
  const tokens = door.connects.map(({ tokenId }) => tokenId).filter(Boolean);
  assert.equal(new Set(tokens).size, tokens.length);
});

it('K1: a token that is refused is asked for once more, and then the client stops and says why', async () => {
  const { door, world, client, is } = scene();
  door.refuses = true;
  const alice = client('alice');
  const connecting = outcome(alice.connect());
  await is(alice, 'stopped');
  assert.deepEqual(alice.asked.map(({ reason }) => reason), ['connect', 'refused']);
  assert.equal(alice.state.reason.code, 'token_refused');
  await world.run(HOUR);
  assert.equal(door.connects.length, 2);
  assert.equal(connecting.error.code, 'token_refused');
  door.refuses = false;
  void alice.connect().catch(() => {});
  await is(alice, 'connected');
});

it('K2: a page that is shown again finds out within three seconds that its connection is dead', async () => {
  const { world, connected, is } = scene();
  const alice = await connected('alice');
  world.link.halfOpen = true;
  world.wake();
  await world.run(2_999);
  assert.equal(alice.state.state, 'connected');
  await is(alice, 'connected', 10_000);
  await world.until(() => world.links.length === 2 && alice.state.state === 'connected', 'a new connection', 1_500);
});

it('K2: what was on its way when the connection died is not taken for an answer', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  world.link.latency = 500;
  door.push('alice', { ev: 'message', to: 'alice', m: 'm', from: 'bob', at: 0, data: 'late' });
  door.deaf = () => true; // whatever is said from now on arrives nowhere
  world.wake();
  await world.until(() => alice.state.state !== 'connected', 'the end', 3_600);
});

it('K2: a page keeps a connection that is slow to answer, while something comes', async () => {
  const { door, world, connected } = scene();
  const alice = await connected('alice');
  world.link.latency = 2_000;
  world.wake(); // answered after four seconds
  world.later(500, () => door.push('alice', { ev: 'message', to: 'alice', m: 'm', from: 'bob', at: 0, data: 'meanwhile' }));
  await world.run(10_000);
  assert.equal(alice.state.state, 'connected');
  assert.equal(world.dials.length, 1);
});

it('K2: a connection that is given up is come back to, and not left', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  door.deaf = ({ op }) => op.ping !== undefined; // what the client says arrives, and so does its close
  world.wake();
  await is(alice, 'waiting', 4_000);
  assert.equal(alice.state.reason.code, 'silent');
  door.deaf = undefined;
  await is(alice, 'connected');
  assert.equal(alice.state.resumed, true);
});

it('K2: a page that is shown again keeps a connection that answers', async () => {
  const { world, connected } = scene();
  const alice = await connected('alice');
  for (let times = 0; times < 20; times++) {
    world.wake();
    world.wake();
    await world.run(4_000);
  }
  assert.equal(alice.state.state, 'connected');
  assert.equal(world.dials.length, 1);
});

it('K2: a silent connection is found without any event of the page', async () => {
  const { door, world, connected } = scene();
  await connected('alice');
  world.link.halfOpen = true;
  await world.until(() => world.links.length === 2, 'a new connection', (door.ping + 10) * 1000);
});

it('K2: a request that nobody answers finds out that its connection is dead, in time to be done', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  const started = world.now;
  world.link.halfOpen = true;
  const kept = outcome(alice.group('room').publish('kept', { persist: true }));
  const said = outcome(alice.group('room').publish('said'));
  await world.until(() => kept.settled && said.settled, 'the answers', 10_000);
  assert.ok(kept.value?.id, 'it is in doubt');
  assert.ok(said.value?.id, 'the session went on, so nobody is in doubt about the other either');
  assert.ok(world.now - started < 9_500, `${world.now - started} ms`);
  assert.deepEqual(door.said_.map(({ data }) => data), ['kept', 'said']);
  await is(alice, 'connected');

  // Nor does a connection end on which something comes, or the ping is answered.
  const dials = world.dials.length;
  const pings = [];
  door.mute = ({ op }) => op?.publish !== undefined;
  door.refused = (name) => void (name === 'ping' && pings.push(world.now));
  const slow = outcome(alice.group('room').publish('slow'));
  await world.run(29_000);
  assert.equal(world.dials.length, dials);
  assert.equal(slow.settled, undefined);
  assert.ok(pings.length > 3 && pings.length < 7, `${pings.length} pings`);
  door.mute = undefined;
  await world.run(60_000);
  assert.ok(pings.length < 9, 'nobody asks for what was given up');
});

it('K3: every state says why, where that is explained, and when it is tried again', async () => {
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  door.bye(world.link, { code: 4011, word: 'drain', again: 'resume', after: [2, 4] });
  await is(alice, 'waiting');
  const { reason, retryAt } = alice.state;
  assert.equal(reason.code, 'drain');
  assert.match(reason.text, /drain/);
  assert.equal(reason.href, `${URL_}/docs`);
  const wait = retryAt - 1_700_000_000_000 - world.now;
  assert.ok(wait > 1_900 && wait <= 4_000, `${wait}`);
  await is(alice, 'connecting');
  assert.equal(alice.state.reason.code, 'drain');
  await is(alice, 'connected');
  world.network = false;
  world.link.cut();
  await world.run(0);
  door.bye(world.link, { code: 4201, word: 'banned', again: 'never' }); // into nothing
  await is(alice, 'waiting');
  for (const state of alice.states.filter((each) => each.state === 'waiting')) {
    assert.ok(state.reason.code && state.reason.text && Number.isFinite(state.retryAt), JSON.stringify(state));
  }
});

it('K3: a client that the server stops says by which word, and stays stopped', async () => {
  for (const [code, word] of [[4200, 'bad_frame'], [4201, 'banned'], [4202, 'origin'], [4205, 'version']]) {
    const { door, world, connected, is } = scene();
    const alice = await connected('alice');
    door.bye(world.link, { code, word, again: 'never' });
    await is(alice, 'stopped');
    assert.equal(alice.state.reason.code, word);
    await world.run(HOUR);
    assert.equal(world.dials.length, 1);
    await assert.rejects(alice.group('room').publish('hi'), { code: 'stopped', outcome: 'none' });
  }
});

it('K3: a close code says the same as a bye that a proxy ate', async () => {
  for (const [code, state] of [[4008, 'connected'], [4014, 'connected'], [4015, 'connected'], [4102, 'connected'], [4202, 'stopped'], [1011, 'connected']]) {
    const { world, connected, is } = scene();
    const alice = await connected('alice');
    world.link.close(code, 'word');
    await world.until(() => alice.state.state !== 'connected', 'the end');
    await is(alice, state);
  }
});

it('K4: a session is resumed with no event, a hundred times in a row, a millisecond after the drop', async () => {
  const { world, connected, until } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  const heard = [];
  bob.group('room').on('message', ({ data }) => heard.push(data));
  bob.group('room').on('gap', (gap) => heard.push(gap));
  bob.on('gap', (gap) => heard.push(gap));
  await world.run(100);
  for (let time = 0; time < 100; time++) {
    world.links.findLast(({ session }) => session?.endpoint === 'bob').cut();
    if (time % 2) await outcomeOf(alice.group('room').publish(time), world);
    await until(() => bob.state.state !== 'connected', 'the drop');
    await until(() => bob.state.state === 'connected', 'the welcome');
    assert.equal(bob.state.resumed, true, `time ${time}`);
    await world.run(1);
  }
  await world.run(100);
  assert.deepEqual(heard, Array.from({ length: 50 }, (_, index) => 2 * index + 1));
  assert.equal(bob.asked.length, 1);
});

const outcomeOf = async (promise, world) => {
  const result = outcome(promise);
  await world.until(() => result.settled, 'an answer');
  if (result.error) throw result.error;
  return result.value;
};

it('K5: nothing but the server, or a refusal of the backend, ends the tries', async () => {
  const { door, world, client, is } = scene();
  world.network = false;
  const alice = client('alice');
  void alice.connect();
  await world.run(3 * HOUR);
  world.network = true;
  await is(alice, 'connected', 20_100);

  world.dialsHang = true; // neither opened nor refused
  world.link.cut();
  await world.run(HOUR);
  world.dialsHang = false;
  await is(alice, 'connected', 31_000);

  door.welcomes = false; // opened, and never a word
  world.link.cut();
  await world.run(HOUR);
  door.welcomes = true;
  await is(alice, 'connected', 61_100); // 40 seconds of patience by then, which a slow welcome may need

  world.refuses = true; // not even a socket can be made
  world.link.cut();
  await world.run(HOUR);
  world.refuses = false;
  await is(alice, 'connected', 31_000);
});

it('K5: a getToken that never answers, throws, or gives no text, is asked again', async () => {
  const { door, world, client, is } = scene();
  const bad = [() => new Promise(() => {}), () => Promise.reject(new Error('no backend')), () => '', () => 7, () => { throw new Error('at once'); }];
  const aborted = [];
  const alice = client('alice', {
    getToken: (reason, signal) => {
      signal.addEventListener('abort', () => aborted.push(reason));
      return bad.length ? bad.shift()() : door.mint('alice');
    },
  });
  void alice.connect();
  await is(alice, 'connected', 200_000);
  assert.equal(bad.length, 0);
  assert.deepEqual(aborted, ['connect']);
  assert.equal(alice.states.find(({ reason }) => reason?.text === 'no backend').reason.code, 'token_failed');
});

it('K5: a token that comes when its connection is gone serves the next one', async () => {
  const { door, world, client, is } = scene();
  let asked = 0;
  const alice = client('alice', { getToken: () => new Promise((give) => world.later(12_000, () => give(door.mint('alice', asked++)))) });
  void alice.connect();
  await world.run(6_000);
  door.bye(world.link, { code: 4010, word: 'silent', again: 'resume' });
  await is(alice, 'connected', 8_000);
  assert.equal(asked, 1);

  // The same when there is no socket at all at that moment; but not for long.
  for (const [away, asks] of [[20_000, 1], [60_000, 2]]) {
    asked = 0;
    alice.close();
    void alice.connect().catch(() => {});
    await is(alice, 'connecting');
    await world.run(6_000);
    world.network = false;
    world.link.cut();
    await world.run(away);
    world.network = true;
    world.wake();
    await is(alice, 'connected', 13_000);
    assert.equal(asked, asks, `after ${away} ms`);
  }
});

it('K6: what came while the process stood still is heard before its timers are believed', async () => {
  for (const clock of [false, true]) {
    const { world, connected } = scene();
    const alice = await connected('alice');
    world.wake(); // a probe, whose answer is on its way when the process stops
    await world.run(6);
    world.stop(600_000, { clock });
    await world.run(1_000);
    assert.equal(alice.state.state, 'connected');
    assert.equal(world.dials.length, 1, `the process clock stood still: ${clock}`);
  }
});

it('K7: one slow answer changes nothing for later', async () => {
  const { door, world, client, connected, is } = scene();
  door.welcomes = false;
  const alice = client('alice');
  void alice.connect();
  await world.run(11_000); // given up
  door.welcomes = true;
  await is(alice, 'connected', 31_000);
  await world.run(300_000);
  world.link.cut();
  await is(alice, 'waiting');
  await is(alice, 'connected', 520);
  assert.ok(world.dials.every(({ url }) => url === world.dials[0].url), 'always the same way in');

  const bob = await connected('bob');
  door.mute = ({ op }) => op.publish !== undefined; // an answer that does not come at all
  const said = outcome(bob.group('room').publish('slow'));
  await world.run(29_000);
  assert.equal(bob.state.state, 'connected', 'a slow request is no reason to connect anew');
  await world.run(2_000);
  assert.equal(said.error.code, 'in_doubt');
  door.mute = undefined;
  await outcomeOf(bob.group('room').publish('fast'), world);
});

it('K8: a server that closes at once is tried at most every 250 ms, and less and less often', async () => {
  const { door, world, client } = scene();
  door.refusal = [{ code: 'overloaded', text: 'busy', retry: 'later' }, { code: 4013, word: 'overloaded', again: 'resume' }];
  const alice = client('alice');
  void alice.connect();
  await world.run(60_000);
  assert.ok(leastGap(world.dials) >= 250, `${leastGap(world.dials)} ms`);
  assert.ok(world.dials.length < 20, `${world.dials.length} tries in a minute`);
  const before = world.dials.length;
  for (let times = 0; times < 1000; times++) {
    world.wake();
    void alice.connect().catch(() => {});
    await world.run(1);
  }
  assert.ok(world.dials.length - before <= 5);
  assert.ok(leastGap(world.dials) >= 250);
});

it('K8: a server that takes its time for a welcome is given more of it, try after try', async () => {
  const { door, world, client, is } = scene();
  const { said } = door;
  let takes = 35_000;
  door.said = function (link, text) {
    if (text.includes('"connect":')) world.later(takes, () => said.call(this, link, text));
    else said.call(this, link, text);
  };
  const alice = client('alice');
  void alice.connect();
  await is(alice, 'connected', 120_000);
  assert.equal(world.dials.length, 3);
  // Another time it begins anew.
  takes = 60_000;
  const before = world.dials.length;
  world.link.cut();
  await is(alice, 'waiting');
  await is(alice, 'connecting');
  const began = world.now;
  await is(alice, 'waiting');
  assert.equal(alice.state.reason.code, 'no_answer');
  assert.ok(world.now - began < 10_100, `${world.now - began}`);
  takes = 0;
  await is(alice, 'connected', 21_000);
  assert.equal(world.dials.length, before + 2);
});

it('K8: nobody comes before the server wants it', async () => {
  const { door, world, connected } = scene();
  await connected('alice');
  door.bye(world.link, { code: 4013, word: 'overloaded', again: 'resume', after: [10, 10] });
  await world.run(20);
  for (let times = 0; times < 90; times++) {
    world.wake();
    await world.run(100);
  }
  assert.equal(world.dials.length, 1);
  await world.until(() => world.dials.length === 2, 'the try', 1_100);
});

it('K9: a callback that throws breaks nothing', async (t) => {
  const reported = [];
  t.mock.method(console, 'error', (error) => reported.push(error));
  const { door, world, connected, is } = scene();
  const alice = await connected('alice');
  const bob = await connected('bob');
  const bang = (where) => () => { throw new Error(where); };
  const later = (where) => async () => { throw new Error(where); };
  const heard = [];
  for (const each of [bang, later]) {
    bob.on('state', each('state'));
    bob.on('message', each('message'));
    bob.on('gap', each('gap'));
    bob.group('room').on('message', each('group'));
    bob.group('room').on('join', each('join'));
    bob.group('room').on('state', each('group state'));
    bob.endpoint('alice').observe(each('presence'));
  }
  bob.group('room').on('message', ({ data }) => heard.push(data));
  await world.run(100);
  for (let time = 0; time < 5; time++) {
    await outcomeOf(alice.group('room').publish(time), world);
    await outcomeOf(alice.presence('away'), world);
    await outcomeOf(alice.endpoint('bob').send(time), world);
    if (time % 2) door.restart();
    else world.link.cut();
    await world.run(50);
    await is(alice, 'connected');
    await is(bob, 'connected');
    await world.run(300);
  }
  assert.deepEqual(heard, [0, 1, 2, 3, 4]);
  const where = new Set(reported.map(({ message }) => message));
  for (const each of ['state', 'message', 'gap', 'group', 'group state', 'presence']) assert.ok(where.has(each), `${each} threw`);
});
