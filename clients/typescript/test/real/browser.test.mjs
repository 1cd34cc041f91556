// The examples, as the README starts them, with a real server and in pages of a real Chromium.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { openBench } from '../../../../tests/clients/browser/bench.mjs';
import { noteSecret, startWithApp } from '../../../../tests/clients/harness.mjs';
import { within } from '../../../../tests/clients/waiting.mjs';

const DEADLINE_MS = 30_000;

let world, bench, origins;
const backends = [];
before(async () => {
  world = await startWithApp();
  origins = { chat: await start('chat'), react: await start('react') };
  bench = await openBench();
});
after(async () => {
  await bench?.close();
  for (const backend of backends) backend.kill();
  await world?.server.stop();
});

/** Starts an example, and returns where it is. */
async function start(example) {
  const env = { ...process.env, RESPOKED_URL: world.server.origin, RESPOKED_APP_SECRET: world.app.secret, RESPOKED_ROLE: world.role.name, PORT: '0' };
  const script = fileURLToPath(new URL('../../examples/backend.mjs', import.meta.url));
  const backend = spawn(process.execPath, [script, example], { env, stdio: ['ignore', 'pipe', 'inherit'] });
  backends.push(backend);
  const [said] = await within(once(createInterface({ input: backend.stdout }), 'line'), `the address of ${example}`, DEADLINE_MS);
  return said.slice(said.indexOf('http://'));
}

/** A page where somebody is signed in, how many tokens it was given, and how many sockets it opened. */
async function open(name, example = 'chat') {
  const tab = await bench.tab(origins[example]);
  Object.assign(tab, { minted: 0, sockets: 0 });
  tab.page.on('websocket', () => tab.sockets++);
  tab.page.on('response', async (response) => {
    if (!response.url().endsWith('/respoke-token')) return;
    tab.minted++;
    noteSecret((await response.json()).token);
  });
  await tab.page.fill('[name=name]', name);
  await tab.page.click('#sign-in button');
  await shows(tab, '#state', `${name}: connected`);
  return tab;
}

async function say({ page }, text) {
  await page.fill('[name=text]', text);
  await page.click('#say button');
}

const shows = ({ page }, where, text) =>
  page.waitForFunction(([where, text]) => document.querySelector(where)?.textContent.includes(text), [where, text], { timeout: DEADLINE_MS });
const lines = ({ page }) => page.evaluate(() => [...document.querySelectorAll('#messages li')].map(({ textContent }) => textContent));

it('two users chat and see each other, under a strict content-security policy', async () => {
  const alice = await open('alice');
  const bob = await open('bob');
  await shows(alice, '#here', 'bob');
  await shows(bob, '#here', 'alice');
  await bob.page.check('#away');
  await shows(alice, '#here', 'bob (away)');

  const markup = '<img src=x onerror="document.title = 1"> & \u202e';
  await say(alice, markup);
  await shows(bob, '#messages', `alice: ${markup}`);
  await say(bob, 'yes?');
  await shows(alice, '#messages', 'bob: yes?');
  assert.equal(await bob.page.title(), 'Chat');

  // Who comes later reads what was said, once.
  const carol = await open('carol');
  await shows(carol, '#messages', 'bob: yes?');
  await say(alice, 'hello carol');
  await shows(carol, '#messages', 'hello carol');
  assert.deepEqual(await lines(carol), [`alice: ${markup}`, 'bob: yes?', 'alice: hello carol']);

  await bob.close();
  await alice.page.waitForFunction(() => !document.querySelector('#here').textContent.includes('bob'), undefined, { timeout: DEADLINE_MS });
  for (const tab of [alice, carol]) {
    tab.assertNoErrors();
    assert.equal(tab.minted, 1, 'one token for each page');
    await tab.close();
  }
});

it('a room in React under StrictMode has one connection, and shows what is said', async () => {
  const alice = await open('alice', 'react');
  const bob = await open('bob', 'react');
  await shows(alice, '#state', 'joined');
  await shows(bob, '#state', 'joined');
  await say(alice, 'hi <b>bob</b>');
  await shows(bob, '#messages', 'alice: hi <b>bob</b>');
  await shows(alice, '#mine', 'hi <b>bob</b>');
  await say(bob, 'hi');
  await shows(alice, '#messages', 'bob: hi');
  for (const tab of [alice, bob]) {
    tab.assertNoErrors();
    assert.deepEqual([tab.minted, tab.sockets], [1, 1]);
    await tab.close();
  }
});

it('a page that is shown again while its server hears nothing finds out, and comes back with it', async () => {
  const dora = await open('dora');
  world.server.signal('SIGSTOP');
  try {
    await dora.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await shows(dora, '#state', 'nothing was heard of the server');
  } finally {
    world.server.signal('SIGCONT');
  }
  await dora.page.evaluate(() => window.dispatchEvent(new Event('online')));
  await shows(dora, '#state', 'dora: connected');
  await say(dora, 'back');
  await shows(dora, '#messages', 'dora: back');
  assert.ok(!(await lines(dora)).at(-1).includes('('), 'it was said');
  assert.equal(dora.minted, 1);
  await dora.close();
});

it('a page of another origin gets no token for the user', async () => {
  const eve = await open('eve');
  const blocked = await eve.page.evaluate(
    (address) => fetch(address, { method: 'POST', mode: 'no-cors', credentials: 'include' }).then(() => 'sent', () => 'blocked'),
    `${origins.chat.replace('127.0.0.1', 'localhost')}/respoke-token`,
  );
  assert.equal(blocked, 'blocked', 'by its own policy');
  const [{ name, value }] = await eve.page.context().cookies();
  for (const headers of [{ origin: 'https://evil.test' }, { origin: origins.chat, 'sec-fetch-site': 'cross-site' }, {}]) {
    const refused = await fetch(`${origins.chat}/respoke-token`, { method: 'POST', headers: { ...headers, cookie: `${name}=${value}` } });
    assert.equal(refused.status, 403);
  }
  await eve.close();
});
