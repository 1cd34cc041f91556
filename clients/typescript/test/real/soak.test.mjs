// Clients that publish to one group while their connections fail at random. What each of them heard and was answered is held against
// what the server kept and what the others were told.
//
// SDK_SOAK_SECS is how long that goes on (8), SDK_SEED what is drawn.

import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';

import { WebSocket } from 'ws';

import { noteSecret, startWithApp } from '../../../../tests/clients/harness.mjs';
import { call, json } from '../../../../tests/clients/http.mjs';
import { within } from '../../../../tests/clients/waiting.mjs';
import { Respoke } from '../../dist/respoked.js';
import { chance } from '../world.mjs';
import { startProxy } from './proxy.mjs';

const SECONDS = Number(process.env.SDK_SOAK_SECS ?? 8);
const SEED = Number(process.env.SDK_SEED ?? Date.now() % 1_000_000);
const CLIENTS = 12;
const SETTLE_MS = 60_000;

let world, proxy;
const users = [];
before(async () => {
  world = await startWithApp();
  proxy = await startProxy(world.server);
});
after(async () => {
  users.forEach(({ client }) => client.close());
  proxy?.stop();
  await world?.server.stop();
});

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Noting extends WebSocket {
  constructor(url, protocol) {
    super(url, protocol);
    this.on('message', (data) => {
      for (const [, secret] of String(data).matchAll(/"(?:appToken|resume)":"([^"]+)"/g)) noteSecret(secret);
    });
  }
}

async function mint(endpointId) {
  const { app, role, server } = world;
  const body = json({ appId: app.id, endpointId, roleId: role.id, ttl: 3600 }, { 'App-Secret': app.secret });
  const minted = await call(server, { method: 'POST', path: '/v1/tokens', ...body });
  if (minted.status !== 200) throw new Error(minted.text);
  return minted.body.tokenId;
}

/** A client that publishes numbers, and notes what it hears. */
function enter(name, random) {
  const wakers = new Set();
  const client = new Respoke({
    url: proxy.origin,
    getToken: () => mint(name),
    WebSocket: Noting,
    timeout: SETTLE_MS,
    environment: { onWake: (woke) => (wakers.add(woke), () => wakers.delete(woke)) },
  });
  const room = client.group('soak', { history: true });
  const user = { name, client, room, heard: [], said: [], wake: () => wakers.forEach((woke) => woke()) };
  room.on('message', ({ from, data, offset }) => user.heard.push({ from, n: data.n, kept: offset !== undefined, at: performance.now() }));
  room.on('gap', ({ kind, why }) => user.heard.push({ gap: kind, why, at: performance.now() }));
  room.on('state', ({ error }) => assert.equal(error, undefined));
  user.say = (persist = random() < 0.5) => {
    const entry = { n: user.said.length, persist, at: performance.now() };
    user.said.push(entry);
    entry.settled = room.publish({ n: entry.n }, { persist }).then(
      ({ id }) => Object.assign(entry, { id }),
      (error) => Object.assign(entry, { error }),
    );
    return entry.settled;
  };
  return user;
}

it(`nothing is lost in silence, nothing comes twice, and the order is kept (seed ${SEED})`, { timeout: (SECONDS + 180) * 1000 }, async () => {
  const random = chance(SEED);
  users.push(...Array.from({ length: CLIENTS }, (_, index) => enter(`user-${index}`, random)));
  await within(Promise.all(users.map(({ room }) => room.join())), 'everybody to join', SETTLE_MS);

  const faults = [proxy.cut, proxy.cut, proxy.cut, proxy.silence, proxy.slow];
  const end = performance.now() + SECONDS * 1000;
  while (performance.now() < end) {
    users[Math.floor(random() * CLIENTS)].say();
    if (random() < 0.2) faults[Math.floor(random() * faults.length)](random);
    if (random() < 0.01) proxy.refuse(random() < 0.5);
    if (random() < 0.05) users[Math.floor(random() * CLIENTS)].wake();
    await pause(random() * 20);
  }

  // All is well again. Whoever sits on a silent connection finds out.
  proxy.refuse(false);
  users.forEach(({ wake }) => wake());
  await within(Promise.all(users.flatMap(({ said }) => said.map(({ settled }) => settled))), 'all answers', SETTLE_MS);
  const connected = () => users.every(({ client }) => client.state.state === 'connected');
  for (const deadline = performance.now() + SETTLE_MS; !connected(); await pause(50)) assert.ok(performance.now() < deadline, 'all to be connected');
  await pause(3_200); // a probe that is under way has ended, whichever way
  await within(Promise.all(users.map(({ room }) => room.join())), 'everybody to be joined', SETTLE_MS);
  for (const user of users) assert.ok((await within(user.say(true), 'the last answer', SETTLE_MS)).id, 'the last is said');
  const heardLast = (user) => users.every((other) => other === user || user.heard.some(({ from, n }) => from === other.name && n === other.said.length - 1));
  for (const deadline = performance.now() + SETTLE_MS; !users.every(heardLast); await pause(50)) assert.ok(performance.now() < deadline, 'the last of all to be heard');

  judge(await readAll(users[0].room));
});

async function readAll(room) {
  const all = [];
  for (let before; ; ) {
    const page = await within(room.history({ limit: 200, ...(before && { before }) }), 'the history');
    if (!page.length) return all;
    all.unshift(...page);
    before = page[0].at;
  }
}

function judge(kept) {
  let heard = 0;
  let gaps = 0;
  let doubts = 0;
  const times = new Map();
  for (const { from, data } of kept) times.set(`${from} ${data.n}`, (times.get(`${from} ${data.n}`) ?? 0) + 1);
  for (const sender of users) {
    for (const { n, persist, id, error } of sender.said) {
      const stands = times.get(`${sender.name} ${n}`) ?? 0;
      assert.ok(stands <= 1, `${sender.name} ${n} stands ${stands} times in the history`);
      if (persist && id) assert.equal(stands, 1, `${sender.name} ${n} was acknowledged, and is not in the history`);
      if (!persist) assert.equal(stands, 0);
      if (error?.outcome === 'none') assert.equal(stands, 0, `${sender.name} ${n}: ${error.code}, and it is in the history`);
      if (error?.outcome === 'unknown') doubts++;
    }
    for (const receiver of users) {
      if (receiver !== sender) between(sender, receiver);
    }
  }
  for (const { heard: all } of users) {
    heard += all.filter(({ from }) => from).length;
    gaps += all.filter(({ gap }) => gap).length;
  }
  const said = users.reduce((sum, { said: each }) => sum + each.length, 0);
  console.log(`${said} said, ${heard} heard, ${gaps} gaps told, ${doubts} in doubt`);
  assert.ok(heard > said, 'most was heard');
}

/** What one of them said, as another of them heard it. */
function between(sender, receiver) {
  const heard = receiver.heard.filter(({ from }) => from === sender.name);
  const numbers = heard.map(({ n }) => n);
  assert.deepEqual(numbers, [...new Set(numbers)].sort((one, other) => one - other), `${receiver.name} heard ${sender.name} twice or out of order`);
  const set = new Set(numbers);
  for (const { n, at, id, error, persist } of sender.said) {
    assert.ok(!(set.has(n) && error?.outcome === 'none'), `${receiver.name} heard ${sender.name} ${n}, which was not said`);
    if (!id || set.has(n)) continue;
    const next = receiver.heard.findIndex((entry) => entry.from === sender.name && entry.n > n);
    const told = receiver.heard.slice(0, next < 0 ? undefined : next).some((entry) => entry.at >= at && (entry.gap === 'kept' || (entry.gap && !persist)));
    assert.ok(told, `${receiver.name} missed ${sender.name} ${n}, and was not told`);
  }
}
