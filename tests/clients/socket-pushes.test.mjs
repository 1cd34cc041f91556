// What the server pushes to whom, in which shape and order (protocol dossier 4.9, 5, 6.2 and 7).

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';

import { UPPER_UUID_V4 } from './answers.mjs';
import { connectDevice } from './devices.mjs';
import { startWithApp } from './harness.mjs';
import { assertMembership, assertMessage, assertPresence, assertPubsub, assertSignal, assertTaken } from './pushes.mjs';

let world;
before(async () => {
  world = await startWithApp();
});
after(() => world?.server.stop());

const devices = [];
after(() => devices.forEach((device) => device.socket.end()));

/** A connection of `endpointId`, which is made unlike that of any other test. */
async function connect(endpointId, dialect = 'javascript') {
  const device = await connectDevice(world, dialect, endpointId);
  devices.push(device);
  return device;
}

const unlike = (name) => `${name}-${randomUUID()}`;
const join = (device, ...groups) => device.ok('post', '/v1/groups/', { groups });
const leave = (device, ...groups) => device.ok('delete', '/v1/groups/', { groups });
const publish = (device, group, message, more) =>
  device.ok('post', `/v1/channels/${encodeURIComponent(group)}/publish/`, { to: group, message, ...more });
const observe = (device, ...endpointList) => device.ok('post', '/v1/presenceobservers', { endpointList });
const setPresence = (device, type, more) => device.ok('post', '/v1/presence', { presence: { ...more, type } });
const signal = (device, to, body, more) =>
  device.ok('post', '/v1/signaling', { signal: JSON.stringify(body), to, toType: 'web', ...more });

describe('a message', () => {
  it('reaches every connection of the endpoint, with the payload as it was sent', async () => {
    const bob = unlike('bob');
    const [alice, first, second] = [await connect(unlike('alice')), await connect(bob), await connect(bob, 'android')];
    const payloads = ['hi', '', 'a\u2028b\u2029c\u0085d\n"\\', '𝄞 ünïcödé', { deep: [1, { x: null }] }, [1, 'two'], 0, false];
    for (const message of payloads) {
      const { messageId } = assertTaken(await alice.ok('post', '/v1/messages', { to: bob, message }));
      for (const device of [first, second]) {
        assertMessage(await device.push('message'), { from: alice, to: bob, body: message, messageId });
      }
    }
    await alice.assertQuiet();
  });

  it('is copied to the other connections of the sender with ccSelf, and to nobody else', async () => {
    const [alice, bob] = [unlike('alice'), unlike('bob')];
    const [sender, other, receiver] = [await connect(alice), await connect(alice), await connect(bob)];
    const copy = { from: sender, to: alice, body: 'to myself too', toOriginal: bob };
    await sender.ok('post', '/v1/messages', { to: bob, message: 'to myself too', ccSelf: true });
    assertMessage(await receiver.push('message'), { from: sender, to: bob, body: 'to myself too' });
    assertMessage(await other.push('message'), copy);

    await sender.ok('post', '/v1/messages', { to: bob, message: 'to bob alone', ccSelf: false });
    await sender.ok('post', '/v1/messages', { to: bob, message: 'to bob alone' });
    for (let count = 0; count < 2; count += 1) {
      assertMessage(await receiver.push('message'), { from: sender, to: bob, body: 'to bob alone' });
    }
    for (const device of [sender, other, receiver]) await device.assertQuiet();
  });

  for (const key of ['toConnection', 'connectionId']) {
    it(`goes to one connection with ${key}`, async () => {
      const bob = unlike('bob');
      const [alice, first, second] = [await connect(unlike('alice')), await connect(bob), await connect(bob)];
      await alice.ok('post', '/v1/messages', { to: bob, message: 'you only', [key]: second.id });
      assertMessage(await second.push('message'), { from: alice, to: bob, body: 'you only' });
      await first.assertQuiet();
    });
  }

  it('to an absent endpoint is taken all the same', async () => {
    const alice = await connect(unlike('alice'));
    await alice.ok('post', '/v1/messages', { to: unlike('nobody'), message: 'hello?' });
  });

  it('names every field that is missing', async () => {
    const alice = await connect(unlike('alice'));
    const body = await alice.refused(400, 'post', '/v1/messages', {});
    assert.equal(body.error, 'Validation Error.');
    assert.deepEqual(body.validationErrors, {
      to: ['to is a missing required parameter.'], message: ['message is a missing required parameter.'],
    });
  });
});

describe('a group', () => {
  it('tells the other members who joins and who leaves, and not who asked', async () => {
    const group = unlike('room/with ünusual % name');
    const [alice, bob] = [await connect(unlike('alice')), await connect(unlike('bob'))];
    await join(alice, group);
    await join(bob, group);
    assertMembership(await alice.push('join'), 'join', { group, who: bob });
    await join(bob, group); // once more changes nothing
    await leave(bob, group);
    assertMembership(await alice.push('leave'), 'leave', { group, who: bob });
    for (const device of [alice, bob]) await device.assertQuiet();
  });

  it('shows its members, the asker included, under both families of paths', async () => {
    const group = unlike('room');
    const alice = unlike('alice');
    const members = [await connect(alice), await connect(alice, 'ios'), await connect(unlike('bob'), 'android')];
    for (const member of members) await join(member, group);
    const expected = members.map(({ endpointId, id }) => ({ endpointId, connectionId: id }));
    const sorted = (list) => [...list].sort((a, b) => a.connectionId.localeCompare(b.connectionId));
    for (const path of [`/v1/channels/${group}/subscribers/`, `/v1/groups/${group}`]) {
      const listed = await members[0].ok('get', path);
      assert.ok(Array.isArray(listed));
      assert.deepEqual(sorted(listed), sorted(expected));
    }
  });

  it('carries a publication to every member but the connection that publishes', async () => {
    const group = unlike('room');
    const alice = unlike('alice');
    const [publisher, other, bob, outside] = [
      await connect(alice), await connect(alice), await connect(unlike('bob')), await connect(unlike('carol')),
    ];
    for (const member of [publisher, other, bob]) await join(member, group);
    for (const device of [publisher, other]) while (device.unread().length) await device.push(device.unread()[0][0]);

    for (const message of ['hi', { deep: [true] }, 'x\u2028y']) {
      const more = { ccSelf: false, requestConnectionReply: false, push: false, persist: false };
      const { messageId } = assertTaken(await publish(publisher, group, message, more));
      for (const device of [other, bob]) {
        assertPubsub(await device.push('pubsub'), { from: publisher, group, message, messageId });
      }
    }
    for (const device of [publisher, outside]) await device.assertQuiet();
  });

  it('forgets who left', async () => {
    const group = unlike('room');
    const [alice, bob] = [await connect(unlike('alice')), await connect(unlike('bob'))];
    await join(alice, group);
    await leave(alice, group);
    await join(bob, group);
    await publish(bob, group, 'anybody?');
    await alice.assertQuiet();
  });
});

describe('presence', () => {
  it('is pushed to the observers of the endpoint, with show and status as they were set', async () => {
    const [bob, alice] = [await connect(unlike('bob')), await connect(unlike('alice'))];
    await observe(alice, bob.endpointId);
    await setPresence(bob, 'available', { show: 'yes', status: 'at my desk' });
    assertPresence(await alice.push('presence'), { from: bob, type: 'available', show: 'yes', status: 'at my desk' });
    await setPresence(bob, { any: ['JSON', 1] });
    assertPresence(await alice.push('presence'), { from: bob, type: { any: ['JSON', 1] } });
    for (const device of [alice, bob]) await device.assertQuiet();
  });

  it('comes with the registration: the snapshot in the answer, and before it a push per connection that is available', async () => {
    const bob = unlike('bob');
    const [desk, phone, silent, hidden] = [await connect(bob), await connect(bob), await connect(bob), await connect(bob)];
    await setPresence(desk, 'available');
    await setPresence(phone, 'away\u2028');
    await setPresence(hidden, 'unavailable');
    const alice = await connect(unlike('alice'), 'android');
    const nobody = unlike('nobody');

    const seen = alice.frames.length;
    const states = await observe(alice, bob, nobody);
    assert.ok(Array.isArray(states));
    const byName = Object.fromEntries(states.map((state) => [state.endpointId, state.connectionStates]));
    assert.deepEqual(byName[bob], {
      [desk.id]: { type: 'available' }, [phone.id]: { type: 'away\u2028' },
      [silent.id]: { type: 'unavailable' }, [hidden.id]: { type: 'unavailable' },
    });
    assert.deepEqual(byName[nobody] ?? {}, {});

    const order = alice.frames.slice(seen).map((frame) => frame.kind).filter((kind) => kind !== '2::');
    assert.deepEqual(order, ['push', 'push', 'ack'], 'the pushes come before the answer');
    const mine = (device) => ({ header }) => header.fromConnection === device.id;
    assertPresence(await alice.push('presence', mine(desk)), { from: desk, type: 'available' });
    assertPresence(await alice.push('presence', mine(phone)), { from: phone, type: 'away\u2028' });
    await alice.assertQuiet();
  });

  it('is not told to members of a group who do not observe', async () => {
    const group = unlike('room');
    const [alice, bob] = [await connect(unlike('alice')), await connect(unlike('bob'))];
    await join(bob, group);
    await join(alice, group);
    await bob.push('join');
    await setPresence(alice, 'available');
    await bob.assertQuiet();
  });
});

describe('a signal', () => {
  const offer = (sessionId, more) => ({
    signalType: 'offer', sessionId, target: 'call', signalId: randomUUID(), version: '1.0',
    sessionDescription: { type: 'offer', sdp: 'v=0\r\n' }, unknownKey: [1], ...more,
  });

  it('reaches every connection of the callee as an object', async () => {
    const bob = unlike('bob');
    const [alice, first, second] = [await connect(unlike('alice')), await connect(bob, 'android'), await connect(bob, 'ios')];
    const body = offer(randomUUID());
    await signal(alice, bob, body);
    for (const device of [first, second]) assertSignal(await device.push('signal'), { from: alice, to: bob, body });
    await alice.assertQuiet();
  });

  it('goes to one connection with toConnection, but `connected` to all of them', async () => {
    const bob = unlike('bob');
    const [alice, winner, loser] = [await connect(unlike('alice')), await connect(bob), await connect(bob)];
    const sessionId = randomUUID();
    const candidates = { signalType: 'iceCandidates', sessionId, target: 'call', iceCandidates: [] };
    await signal(alice, bob, candidates, { toConnection: winner.id });
    assertSignal(await winner.push('signal'), { from: alice, to: bob, body: candidates });
    await loser.assertQuiet();

    const connected = { signalType: 'connected', sessionId, target: 'call', connectionId: winner.id };
    await signal(alice, bob, connected, { toConnection: winner.id });
    for (const device of [winner, loser]) {
      assertSignal(await device.push('signal'), { from: alice, to: bob, body: connected });
    }
  });

  it('of hanging up is copied to the callee\'s other connections, and says whom it was for', async () => {
    const [alice, bob] = [unlike('alice'), unlike('bob')];
    const [caller, rejecting, ringing] = [await connect(alice), await connect(bob), await connect(bob)];
    const sessionId = randomUUID();
    const body = offer(sessionId);
    await signal(caller, bob, body);
    for (const device of [rejecting, ringing]) await device.push('signal');
    const bye = { signalType: 'bye', sessionId, target: 'call', reason: 'rejected' };
    await signal(rejecting, alice, bye, { toConnection: caller.id, ccSelf: true });
    assertSignal(await caller.push('signal'), { from: rejecting, to: alice, body: bye, toOriginal: undefined });
    const { header, body: copied } = await ringing.push('signal');
    assert.deepEqual(copied, bye);
    assert.equal(header.from, bob);
    assert.equal(header.fromConnection, rejecting.id);
    assert.equal(header.toOriginal, alice);
    await rejecting.assertQuiet();
  });

  it('of a late reject does not reach the device of the callee that has answered', async () => {
    const [alice, bob] = [unlike('alice'), unlike('bob')];
    const [caller, answering, late] = [await connect(alice), await connect(bob), await connect(bob)];
    const sessionId = randomUUID();
    await signal(caller, bob, offer(sessionId));
    for (const device of [answering, late]) await device.push('signal');
    const answer = { signalType: 'answer', sessionId, target: 'call', connectionId: caller.id };
    await signal(answering, alice, answer, { toConnection: caller.id });
    assertSignal(await caller.push('signal'), { from: answering, to: alice, body: answer });
    await signal(late, alice, { signalType: 'bye', sessionId, target: 'call' }, { ccSelf: true });
    await caller.push('signal');
    await answering.assertQuiet();
  });

  it('is refused when it is no JSON object, and when an offer finds nobody', async () => {
    const alice = await connect(unlike('alice'));
    for (const text of ['[1]', '"offer"', '{"signalType":', '']) {
      await alice.refused(400, 'post', '/v1/signaling', { signal: text, to: alice.endpointId, toType: 'web' });
    }
    const nobody = unlike('nobody');
    await alice.refused(404, 'post', '/v1/signaling', { signal: JSON.stringify(offer(randomUUID())), to: nobody });
    await signal(alice, nobody, { signalType: 'bye', sessionId: randomUUID(), target: 'call' }); // everything else is taken
  });
});

describe('a connection that ends', () => {
  const endings = {
    'says 0::': (device) => device.socket.send('0::'),
    'sends a close frame': (device) => device.socket.close(),
    'is reset': (device) => device.socket.vanish(),
    'is deleted by its endpoint': (device) => device.ok('delete', `/v1/connections/${device.endpointId}/`),
    'is deleted by its id': (device) => device.ok('delete', `/v1/endpointconnections/${device.id}`),
  };
  for (const [how, end] of Object.entries(endings)) {
    it(`and ${how} leaves its groups, then is unavailable`, async () => {
      const group = unlike('room');
      const bob = unlike('bob');
      const [alice, leaving, staying] = [await connect(unlike('alice')), await connect(bob), await connect(bob)];
      for (const device of [alice, leaving]) await join(device, group);
      await alice.push('join');
      await setPresence(leaving, 'available');
      await observe(alice, bob);
      await alice.push('presence');
      const seen = alice.frames.length;

      await end(leaving);
      assertMembership(await alice.push('leave'), 'leave', { group, who: leaving });
      assertPresence(await alice.push('presence'), { from: leaving, type: 'unavailable' });
      const pushes = alice.frames.slice(seen).filter((frame) => frame.kind === 'push').map((frame) => frame.name);
      assert.deepEqual(pushes, ['leave', 'presence']);

      const listed = await alice.ok('get', `/v1/channels/${group}/subscribers`);
      assert.deepEqual(listed, [{ endpointId: alice.endpointId, connectionId: alice.id }]);
      await staying.assertQuiet();
    });
  }

  it('by request leaves the socket open, on which another can be made', async () => {
    const bob = await connect(unlike('bob'));
    const before = bob.id;
    await bob.ok('delete', `/v1/connections/${encodeURIComponent(bob.endpointId)}/`);
    const alice = await connect(unlike('alice'));
    await alice.ok('post', '/v1/messages', { to: bob.endpointId, message: 'too early' });
    await bob.assertQuiet();
    await bob.connect({ capabilities: { iceFinalCandidates: true } });
    assert.match(bob.id, UPPER_UUID_V4);
    assert.notEqual(bob.id, before);
    await alice.ok('post', '/v1/messages', { to: bob.endpointId, message: 'now' });
    assertMessage(await bob.push('message'), { from: alice, to: bob.endpointId, body: 'now' });
  });
});

describe('order', () => {
  it('others are told before the asker is answered', async () => {
    const group = unlike('room');
    const [alice, bob] = [await connect(unlike('alice')), await connect(unlike('bob'))];
    await observe(bob, alice.endpointId);
    await join(bob, group);
    const steps = [
      ['join', () => join(alice, group)],
      ['pubsub', () => publish(alice, group, 'x')],
      ['message', () => alice.ok('post', '/v1/messages', { to: bob.endpointId, message: 'x' })],
      ['presence', () => setPresence(alice, 'available')],
      ['signal', () => signal(alice, bob.endpointId, { signalType: 'ack', sessionId: randomUUID() })],
      ['leave', () => leave(alice, group)],
    ];
    for (const [name, act] of steps) {
      await act();
      // Bob asks only after Alice has her answer, so a push that was put in line before it stands before his own answer.
      await bob.fence();
      assert.deepEqual(bob.unread().map(([each]) => each), [name]);
      await bob.push(name);
    }
  });

  it('one connection\'s messages and publications arrive in the order in which they were sent', async () => {
    const group = unlike('room');
    const [alice, bob] = [await connect(unlike('alice')), await connect(unlike('bob'))];
    for (const device of [alice, bob]) await join(device, group);
    const sent = Array.from({ length: 60 }, (_, count) => count);
    const ids = sent.map((count) => count % 2
      ? alice.send('post', '/v1/messages', { to: bob.endpointId, message: count })
      : alice.send('post', `/v1/channels/${group}/publish`, { endpointId: alice.endpointId, message: count }));
    for (const id of ids) await alice.answer(id);
    await bob.fence();
    const arrived = bob.unread().map(([, push]) => push.body ?? push.message);
    assert.deepEqual(arrived, sent);
    const answered = alice.frames.filter((frame) => ids.includes(frame.id)).map((frame) => frame.id);
    assert.deepEqual(answered, ids);
  });
});
