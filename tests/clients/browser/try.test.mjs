// The page on which two tabs can talk, as the README has a newcomer use it.

import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';

import { startWithApp } from '../harness.mjs';
import { call, json } from '../http.mjs';
import { openBench } from './bench.mjs';

let bench, server, app, role;
before(async () => {
  ({ server, app, role } = await startWithApp());
  bench = await openBench();
});
after(async () => {
  await bench?.close();
  await server?.stop();
});

const part = (tab, name) => tab.page.locator(`[data-part="${name}"]`);
const log = (tab, text) => part(tab, 'log').getByText(text, { exact: true }).waitFor();

/** A tab with a tokenId of `endpointId` pasted in. */
async function openTab(endpointId) {
  const { body } = await call(server, {
    method: 'POST', path: '/v1/tokens', ...json({ endpointId, roleId: role.id }, { 'App-Secret': app.secret }),
  });
  const tab = await bench.tab(`${server.origin}/try`);
  await tab.page.getByLabel('tokenId').fill(body.tokenId);
  await tab.page.getByRole('button', { name: 'Connect' }).click();
  await part(tab, 'who').getByText(endpointId, { exact: true }).waitFor();
  return tab;
}

it('two tabs exchange messages, meet in a group, and are told when a session is ended', async () => {
  const [alice, bob] = [await openTab('alice'), await openTab('bob')];
  await alice.page.getByLabel('To endpoint').fill('bob');
  await alice.page.getByLabel('Message', { exact: true }).fill('hi <b>bob</b>');
  await alice.page.getByRole('button', { name: 'Send' }).click();
  await log(alice, 'to bob: hi <b>bob</b>');
  await log(bob, 'message from alice: hi <b>bob</b>');

  for (const [tab, message] of [[bob, ''], [alice, 'all of you']]) {
    await tab.page.getByLabel('Group', { exact: true }).fill('room');
    await tab.page.getByLabel('Message to the group').fill(message);
    await tab.page.getByRole('button', { name: 'Join and publish' }).click();
    await log(tab, 'joined room');
  }
  await log(bob, 'join from alice in room: ');
  await log(bob, 'pubsub from alice in room: all of you');

  await call(server, { method: 'DELETE', path: '/v1/sessions?endpointId=alice', headers: { 'App-Secret': app.secret } });
  await part(alice, 'log').getByText(/^disconnected/).waitFor();
  await log(bob, 'leave from alice in room: ');
  for (const tab of [alice, bob]) tab.assertNoErrors();
});

it('a tokenId that is refused is said so', async () => {
  const tab = await bench.tab(`${server.origin}/try`);
  await tab.page.getByLabel('tokenId').fill('00000000-0000-4000-8000-000000000000');
  await tab.page.getByRole('button', { name: 'Connect' }).click();
  await part(tab, 'log').locator('.error').waitFor();
  assert.equal(await part(tab, 'who').textContent(), 'nobody yet');
});
