// Three real nodes behind a real proxy serve as one; and what happens when one of them goes.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';

import { startCluster } from '../cluster.mjs';
import { connectDevice, DIALECTS, handedOver, handshake, logInAs, openDevice } from '../devices.mjs';
import { createApp, createRole, logIn } from '../harness.mjs';
import { call, json } from '../http.mjs';
import { Poller } from '../polling.mjs';
import { assertMembership, assertPresence, assertPubsub } from '../pushes.mjs';
import { within } from '../waiting.mjs';

const KNOWN_MS = 15_000; // until a death is known everywhere
const READY_MS = 30_000; // until a node that was declared dead serves again
const ROUNDS = Number(process.env.RESPOKED_ROUNDS ?? 1); // of nodes that are killed
const JOINS = Number(process.env.RESPOKED_JOINS ?? 300);
const CONFIRMED_MS = 250; // how long an end waits for all to confirm it
const ANSWERED_MS = 1_000; // how long a list waits for the parts of all
const FULL_MS = 20_000; // until all were in time
const PUBLISHED_MIN = 100; // while three nodes are restarted

let cluster, world, adminToken, app;
before(async () => {
  cluster = await startCluster({ settings: { drain_secs: 3 } });
  adminToken = await logIn(cluster);
  app = await createApp(cluster, adminToken);
  // The load of one test is not what an app's limits are for.
  const limits = { app: null, endpoint: null, address: null, endpointMessages: null, endpointDeliveries: null };
  await ask(cluster, 'PUT', `/v1/apps/${app.id}`, { 'Admin-Token': adminToken }, { limits });
  world = { server: cluster, adminToken, app, role: await createRole(cluster, adminToken, app) };
});

after(() => cluster?.stop());

const devices = [];
afterEach(() => devices.splice(0).forEach((device) => device.socket.end()));

const unlike = (name) => `${name}-${randomUUID()}`;
const withSecret = () => ({ 'App-Secret': app.secret });

async function ask(server, method, path, headers, value) {
  const answer = await call(server, { method, path, ...(value ? json(value, headers) : { headers }) });
  assert.equal(answer.status, 200, `${method} ${path}: ${answer.text}`);
  return answer;
}

/** A device on a node, or wherever the proxy leads it. */
async function connect(name, server = cluster, options) {
  const isElsewhere = server === cluster;
  const device = await connectDevice({ ...world, server }, 'javascript', unlike(name), {}, { isElsewhere, ...options });
  devices.push(device);
  return device;
}

/** A device on each node, all in a new group, who know of each other. If a node `dies`, all are told that they may have missed something. */
async function together({ count = cluster.nodes.length, dies = false } = {}) {
  const group = unlike('room');
  const members = [];
  for (const node of cluster.nodes.slice(0, count)) {
    const device = await connect('member', node, { mayMiss: dies });
    await device.ok('post', '/v1/groups/', { groups: [group] });
    for (const member of members) {
      assertMembership(await member.push('join'), 'join', { group, who: device });
    }
    members.push(device);
  }
  return { group, members };
}

/**
 * What `ask` gives once that is an answer of all nodes: one that is busy for a moment gives none in time. So each other answer was
 * waited for: one that comes before `waits` milliseconds are over is not of all for another reason. `prepare` is done before each.
 */
async function full(waits, ask, prepare = () => {}) {
  for (const since = performance.now(); ;) {
    const prepared = await prepare();
    const began = performance.now();
    const answer = await ask(prepared);
    if (answer) return answer;
    const now = performance.now();
    assert.ok(now - began >= waits, `it took ${now - began} ms, and nobody was late`);
    assert.ok(now - since < FULL_MS, 'not all nodes answered in time, however often they were asked');
  }
}

/** How often `device` was told this of `who`. */
function told(device, name, who) {
  const is = ({ kind, name: found, argument }) => kind === 'push' && found === name
    && (argument.connectionId ?? argument.header.fromConnection) === who.id;
  return device.frames.filter(is);
}

async function untilReady(node) {
  const asked = async () => {
    while ((await call(node, { path: '/readyz' }).catch(() => ({}))).status !== 200) await pause(50);
  };
  await within(asked(), 'a ready node', READY_MS);
}

describe('three nodes are one', () => {
  it('for the members of a group, each of whom hears the others in their order', async () => {
    const { group, members } = await together();
    for (let number = 1; number <= 5; number += 1) {
      for (const from of members) await from.ok('post', `/v1/channels/${group}/publish`, { message: `${from.id} ${number}` });
    }
    for (const member of members) {
      for (const from of members.filter((each) => each !== member)) {
        for (let number = 1; number <= 5; number += 1) {
          const push = await member.push('pubsub', ({ header }) => header.fromConnection === from.id);
          assertPubsub(push, { from, group, message: `${from.id} ${number}` });
        }
      }
      await member.assertQuiet();
    }
  });

  it('for who has just joined, and misses nothing that is said from then on at another', async () => {
    const [alice, bob] = [await connect('alice', cluster.nodes[0]), await connect('bob', cluster.nodes[1])];
    for (let nth = 1; nth <= JOINS; nth += 1) {
      const group = unlike('new');
      await bob.ok('post', '/v1/groups/', { groups: [group] });
      await alice.ok('post', `/v1/channels/${group}/publish`, { message: `number ${nth}` });
      assertPubsub(await bob.push('pubsub'), { from: alice, group, message: `number ${nth}` });
      await bob.ok('delete', '/v1/groups/', { groups: [group] });
      for (const device of [alice, bob]) device.forgetRead();
    }
  });

  it('for those who observe presence', async () => {
    const [alice, bob] = [await connect('alice', cluster.nodes[0]), await connect('bob', cluster.nodes[1])];
    await bob.ok('post', '/v1/presenceobservers', { endpointList: [alice.endpointId] });
    await alice.ok('post', '/v1/presence', { presence: { type: 'available' } });
    assertPresence(await bob.push('presence', ({ type }) => type === 'available'), { from: alice, type: 'available' });
    alice.socket.end();
    assertPresence(await bob.push('presence', ({ type }) => type === 'unavailable'), { from: alice, type: 'unavailable' });
    await bob.assertQuiet();
  });

  it('for an end, which closes the sockets on every node and is known there', async () => {
    const [first, second, third] = cluster.nodes;
    const device = await full(CONFIRMED_MS, async (eve) => {
      const { headers } = await ask(first, 'DELETE', `/v1/sessions?endpointId=${eve.endpointId}`, withSecret());
      assert.match(headers['respoke-confirmed'], /^[123]\/3$/);
      return headers['respoke-confirmed'] === '3/3' && eve;
    }, () => connect('eve', second));
    for (const node of cluster.nodes) {
      assert.equal((await handshake(node, DIALECTS.javascript.query(device.credential))).status, 403);
    }
    await device.closed();
    await (await connect('bystander', third)).fence();
  });

  it('for sockets that the proxy leads to another node than their handshakes', async () => {
    const bob = await connect('bob');
    for (const [at, node] of cluster.nodes.entries()) {
      const credential = { 'App-Token': await logInAs(world, unlike('anywhere')) };
      const socketAt = cluster.nodes.at(at - 1);
      const device = await openDevice(node, 'javascript', credential, { socketAt });
      devices.push(device);
      await device.connect();
      await bob.ok('post', '/v1/messages', { to: device.endpointId, message: `number ${at}` });
      assert.equal((await device.push('message')).body, `number ${at}`);
    }
    const spread = await Promise.all(Array.from({ length: 6 }, () => connect('anywhere')));
    await Promise.all(spread.map((device) => device.fence()));
  });

  it('for clients that poll', async () => {
    const bob = await connect('bob');
    for (let nth = 0; nth < 4; nth += 1) {
      const credential = { 'App-Token': await logInAs(world, unlike('polls')) };
      const poller = await handedOver(async () => {
        const { sid } = await handshake(cluster, DIALECTS.javascript.query(credential));
        const polls = new Poller(cluster, sid);
        await polls.poll();
        const [{ text }] = polls.frames;
        assert.ok(['1::', '7:::1+0'].includes(text), text);
        return text === '1::' && polls;
      });
      const request = { url: '/v1/connections', headers: credential, data: {} };
      await poller.send(`5:1+::${JSON.stringify({ name: 'post', args: [request] })}`);
      const { argument } = await within(poller.frame((frame) => frame.id === 1), 'the answer to a poll');
      await bob.ok('post', '/v1/messages', { to: argument.body.endpointId, message: `number ${nth}` });
      const { argument: push } = await within(poller.frame((frame) => frame.name === 'message'), 'a message');
      assert.equal(push.body, `number ${nth}`);
    }
  });
});

describe('when a node goes', () => {
  it('by a kill, each in turn, who knew its clients is told once, in time, and all count right', async () => {
    for (const node of Array.from({ length: ROUNDS }, () => cluster.nodes).flat()) {
      const { group, members } = await together({ dies: true });
      const goes = members[cluster.nodes.indexOf(node)];
      const stay = members.filter((member) => member !== goes);
      await goes.ok('post', '/v1/presence', { presence: { type: 'available' } });
      for (const device of stay) await device.ok('post', '/v1/presenceobservers', { endpointList: [goes.endpointId] });
      const since = Date.now();
      await node.kill();
      for (const device of stay) {
        const left = ({ name, argument }) => name === 'leave' && argument.connectionId === goes.id;
        await device.frame(left, 'the leave of a dead node\'s member', KNOWN_MS);
        const away = ({ name, argument }) => name === 'presence' && argument.type === 'unavailable';
        await device.frame(away, 'the end of a dead node\'s presence', KNOWN_MS);
        await device.frame(({ name }) => name === 'missed', 'that its last words may be lost', KNOWN_MS);
      }
      assert.ok(Date.now() - since <= KNOWN_MS, `it took ${Date.now() - since} ms`);
      await node.start();
      for (const at of cluster.nodes) {
        const body = await full(ANSWERED_MS, async () => {
          const answer = await call(at, { path: `/v1/channels/${group}/subscribers`, headers: withSecret() });
          assert.ok([200, 503].includes(answer.status), answer.text);
          return answer.status === 200 && answer.body;
        });
        assert.deepEqual(body.map(({ connectionId }) => connectionId).sort(), stay.map(({ id }) => id).sort());
      }
      const again = await connect('again', node);
      await again.ok('post', '/v1/groups/', { groups: [group] });
      for (const device of stay) {
        assertMembership(await device.push('join', ({ connectionId }) => connectionId === again.id), 'join', { group, who: again });
        // What is said twice may come behind.
        await again.ok('post', `/v1/channels/${group}/publish`, { message: `behind, for ${device.id}` });
        await device.push('pubsub', ({ message }) => message === `behind, for ${device.id}`);
        assert.equal(told(device, 'leave', goes).length, 1);
        assert.equal(told(device, 'presence', goes).filter(({ argument }) => argument.type === 'unavailable').length, 1);
      }
      devices.splice(0).forEach((device) => device.socket.end());
    }
  });

  it('by standing still, it serves nothing on an old view when it goes on', async () => {
    const [first, node] = cluster.nodes;
    const { group, members: [alice, bob] } = await together({ count: 2, dies: true });
    const token = bob.credential;
    node.signal('SIGSTOP');
    await alice.frame(({ name, argument }) => name === 'leave' && argument.connectionId === bob.id, 'the leave', KNOWN_MS);
    await alice.frame(({ name }) => name === 'missed', 'that something may be lost', KNOWN_MS);
    // The node cannot confirm it, and nobody waits for it.
    await ask(first, 'DELETE', `/v1/sessions?endpointId=${bob.endpointId}`, withSecret());
    // These wait in the system's buffers until the process goes on.
    const asked = Array.from({ length: 5 }, () => call(node, { path: '/v1/session-tokens', headers: token }).catch(() => undefined));
    node.signal('SIGCONT');
    for (const answer of await Promise.all(asked)) {
      assert.notEqual(answer?.status, 200, 'an ended session was accepted');
    }
    await bob.closed();
    await untilReady(node);
    assert.equal((await call(node, { path: '/v1/session-tokens', headers: token })).status, 401);
    const again = await connect('again', node);
    await again.ok('post', '/v1/groups/', { groups: [group] });
    assertMembership(await alice.push('join', ({ connectionId }) => connectionId === again.id), 'join', { group, who: again });
    assert.equal(told(alice, 'leave', bob).length, 1);
  });

  it('one after the other for a restart, nothing fails and nothing acknowledged is lost', async () => {
    const group = unlike('room');
    const speaker = { 'App-Token': await logInAs(world, unlike('speaker')) };
    let [going, published] = [true, 0];
    /** A member on a node, who is to hear all from now on but for one that may be on its way. */
    const listen = async (node) => {
      // Some nodes hear late of who comes while others go, and say so.
      const device = await connect('listener', node, { mayMiss: true });
      await device.ok('post', '/v1/groups/', { groups: [group] });
      return { device, after: published + 1 };
    };
    const listeners = [];
    for (const node of cluster.nodes) listeners.push(await listen(node));
    const load = Promise.all([
      (async () => {
        while (going) {
          await ask(cluster, 'POST', `/v1/groups/${group}/publish`, speaker, { message: String(published + 1) });
          published += 1;
        }
      })(),
      (async () => {
        while (going) await logInAs(world, unlike('guest'));
      })(),
    ]);
    const failed = load.then(() => {}, (error) => Promise.reject(error));
    failed.catch(() => {}); // looked at below
    try {
      for (const [at, node] of cluster.nodes.entries()) {
        const others = listeners.filter((_, each) => each !== at);
        await Promise.race([node.restart().then(() => untilReady(node)), failed]);
        await listeners[at].device.closed();
        const upTo = published;
        for (const listener of others) await heardAll(listener, upTo);
        listeners[at] = await listen(node);
      }
    } finally {
      going = false;
    }
    await load;
    assert.ok(published >= PUBLISHED_MIN, `${published} publications are no load`);
    for (const listener of listeners) await heardAll(listener, published);
  });

  it('one after the other for a restart, nobody hears of those who come back', async () => {
    const group = unlike('room');
    const members = [];
    for (const node of cluster.nodes) members.push(await connect('member', node, { mayMiss: true }));
    const endpointList = members.map(({ endpointId }) => endpointId);
    /** What clients do when they have connected. */
    const settle = async (device) => {
      await device.ok('post', '/v1/presence', { presence: { type: 'available' } });
      await device.ok('post', '/v1/groups/', { groups: [group] });
      await device.ok('post', '/v1/presence-observers', { endpointList });
    };
    for (const [at, member] of members.entries()) {
      await settle(member);
      for (const other of members.slice(0, at)) await other.push('join', ({ connectionId }) => connectionId === member.id);
    }
    const heard = members.map((device) => ({ device, from: device.frames.length }));
    for (const [at, node] of cluster.nodes.entries()) {
      const restarted = node.restart();
      // The next node is the next to go, so some move twice.
      const next = cluster.nodes[(at + 1) % cluster.nodes.length];
      for (const [number, member] of members.entries()) {
        if (member.server !== node) continue;
        await member.closed();
        const back = await openDevice(next, 'javascript', member.credential, { mayMiss: true });
        devices.push(back);
        await back.connect();
        assert.equal(back.id, member.id);
        await settle(back);
        members[number] = back;
        heard.push({ device: back, from: 0 });
      }
      await restarted;
      await untilReady(node);
    }
    for (const from of members) {
      await from.ok('post', `/v1/channels/${group}/publish`, { message: `last of ${from.id}` });
      for (const member of members.filter((each) => each !== from)) {
        await member.push('pubsub', ({ message }) => message === `last of ${from.id}`);
      }
    }
    const isNews = ({ kind, name, argument }) => kind === 'push'
      && (['join', 'leave'].includes(name) || (name === 'presence' && argument.type === 'unavailable'));
    for (const { device, from } of heard) assert.deepEqual(device.frames.slice(from).filter(isNews), []);
  });

  /** All that was acknowledged up to `number` comes, and once: in no order, as it was said on several nodes. */
  async function heardAll({ device, after: from }, number) {
    const heard = () => device.frames.filter(({ name }) => name === 'pubsub').map(({ argument }) => Number(argument.message));
    const missing = () => {
      const numbers = new Set(heard());
      return Array.from({ length: Math.max(number - from, 0) }, (_, at) => from + 1 + at).filter((each) => !numbers.has(each));
    };
    const comes = async () => {
      while (missing().length > 0) await pause(20);
    };
    await within(comes(), () => `publications ${missing()} of ${number}`);
    const numbers = heard();
    assert.equal(new Set(numbers).size, numbers.length, 'each comes once');
  }
});
