// Calls between pages: the server carries the signals, the pages carry the media.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, afterEach, before, it } from 'node:test';

import { createApp, startWithApp } from '../harness.mjs';
import { openBench } from './bench.mjs';

let bench, server, app;
let users = [];
before(async () => {
  let adminToken;
  ({ server, adminToken } = await startWithApp());
  app = await createApp(server, adminToken, { developmentMode: true });
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

async function logIn(endpointId) {
  const user = await bench.open();
  users.push(user);
  await user.connect({ baseURL: server.origin, appId: app.id, endpointId, developmentMode: true, reconnect: false });
  return user;
}

const unlike = (name) => `${name}-${randomUUID()}`;

/** Audio and video keep coming in. */
async function assertReceives(user) {
  const { audio, video } = await user.until('received', undefined, (bytes) => bytes.audio > 0 && bytes.video > 0, 'media comes in');
  await user.until('received', undefined, (bytes) => bytes.audio > audio && bytes.video > video, 'media keeps coming in');
}

/** The caller rings; returns the call's id once every callee hears it. */
async function ring(caller, callees) {
  const id = await caller.do('call', callees[0].endpointId);
  for (const callee of callees) await callee.hears('call', { id, from: caller.endpointId, caller: false });
  return id;
}

it('a video call carries media both ways until it is hung up', async () => {
  const [alice, bob] = [await logIn(unlike('alice')), await logIn(unlike('bob'))];
  const id = await ring(alice, [bob]);
  await bob.do('answer', id);
  for (const user of [alice, bob]) {
    await user.hears('call-connect', { id });
    await assertReceives(user);
  }
  await alice.do('hangUp', id);
  for (const user of [alice, bob]) await user.hears('call-hangup', { id });
});

it('the callee hangs up as well', async () => {
  const [alice, bob] = [await logIn(unlike('alice')), await logIn(unlike('bob'))];
  const id = await ring(alice, [bob]);
  await bob.do('answer', id);
  for (const user of [alice, bob]) await user.hears('call-connect', { id });
  await bob.do('hangUp', id);
  for (const user of [alice, bob]) await user.hears('call-hangup', { id });
});

it('a second device of the callee stops ringing when the other answers', async () => {
  const name = unlike('bob');
  const [alice, answering, ringing] = [await logIn(unlike('alice')), await logIn(name), await logIn(name)];
  const id = await ring(alice, [answering, ringing]);
  await answering.do('answer', id);
  await ringing.hears('call-hangup', { id });
  for (const user of [alice, answering]) await assertReceives(user);
  assert.equal(await answering.count('call-hangup'), 0, 'the call that was answered goes on');
  await alice.do('hangUp', id);
  await answering.hears('call-hangup', { id });
});

it('a rejected call ends at the caller and on the callee\'s other devices', async () => {
  const name = unlike('bob');
  const [alice, rejecting, ringing] = [await logIn(unlike('alice')), await logIn(name), await logIn(name)];
  const id = await ring(alice, [rejecting, ringing]);
  await rejecting.do('reject', id);
  for (const user of [alice, ringing]) await user.hears('call-hangup', { id });
});

it('a caller who gives up stops the ringing', async () => {
  const [alice, bob] = [await logIn(unlike('alice')), await logIn(unlike('bob'))];
  const id = await ring(alice, [bob]);
  await alice.do('hangUp', id);
  await bob.hears('call-hangup', { id });
});

it('a call to nobody ends', async () => {
  const alice = await logIn(unlike('alice'));
  const id = await alice.do('call', unlike('nobody'));
  await alice.hears('call-hangup', { id });
});

it('a direct connection carries data both ways', async () => {
  const [alice, bob] = [await logIn(unlike('alice')), await logIn(unlike('bob'))];
  await alice.do('startDirect', bob.endpointId);
  const { id } = await bob.hears('direct', { from: alice.endpointId, caller: false });
  await bob.do('acceptDirect', id);
  for (const user of [alice, bob]) await user.hears('direct-open', { id });
  await alice.do('sendDirect', { id, message: 'there' });
  await bob.hears('direct-message', { id, message: 'there' });
  await bob.do('sendDirect', { id, message: { and: ['back'] } });
  await alice.hears('direct-message', { id, message: { and: ['back'] } });
});
