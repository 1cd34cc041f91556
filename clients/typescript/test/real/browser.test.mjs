// The built file in a page of a real Chromium, with a backend of its own that mints tokens, and a real server.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { after, before, it } from 'node:test';

import { openBench } from '../../../../tests/clients/browser/bench.mjs';
import { noteSecret, startWithApp } from '../../../../tests/clients/harness.mjs';
import { tokenHandler } from '../../dist/server.js';

const DEADLINE_MS = 30_000;
const FILES = {
  '/': ['page/index.html', 'text/html; charset=utf-8'],
  '/page.js': ['page/page.js', 'text/javascript'],
  '/respoked.js': ['../../dist/respoked.js', 'text/javascript'],
};

let world, bench, backend, origin, minted;
before(async () => {
  world = await startWithApp();
  backend = http.createServer(serve).listen(0, '127.0.0.1');
  await once(backend, 'listening');
  origin = `http://127.0.0.1:${backend.address().port}`;
  minted = 0;
  bench = await openBench();
});
after(async () => {
  await bench?.close();
  backend?.close();
  await world?.server.stop();
});

/** The application's backend: its pages, and a token for whom the cookie names. */
async function serve(request, response) {
  const { pathname, searchParams } = new URL(request.url, origin);
  const policy = `default-src 'none'; script-src 'self'; img-src data:; connect-src 'self' ${world.server.origin.replace('http', 'ws')}`;
  if (FILES[pathname]) {
    const [file, type] = FILES[pathname];
    const headers = { 'Content-Type': type, 'Content-Security-Policy': policy };
    if (pathname === '/') headers['Set-Cookie'] = `user=${searchParams.get('user')}; HttpOnly; SameSite=Strict`;
    return response.writeHead(200, headers).end(readFileSync(new URL(file, import.meta.url)));
  }
  if (pathname === '/where') return response.end(JSON.stringify({ server: world.server.origin }));
  if (pathname !== '/respoke-token') return response.writeHead(404).end();
  const answer = await mint(new Request(`${origin}${request.url}`, { method: request.method, headers: request.headers }));
  const text = await answer.text();
  const { token } = JSON.parse(text);
  if (token) noteSecret(token), minted++;
  return response.writeHead(answer.status, Object.fromEntries(answer.headers)).end(text);
}

function mint(request) {
  const handler = tokenHandler({
    url: world.server.origin,
    appSecret: world.app.secret,
    role: world.role.name,
    authorize: ({ headers }) => {
      const user = /user=(\w+)/.exec(headers.get('Cookie') ?? '')?.[1];
      return user ? { endpoint: user } : null;
    },
  });
  return handler(request);
}

async function open(user) {
  const tab = await bench.tab(`${origin}/?user=${user}`);
  await shows(tab, '#state', 'connected');
  return tab;
}

const shows = ({ page }, where, text) =>
  page.waitForFunction(([where, text]) => document.querySelector(where).textContent.includes(text), [where, text], { timeout: DEADLINE_MS });
const states = ({ page }) => page.evaluate(() => window.app.states.map(({ state, reason }) => [state, reason?.code].filter(Boolean).join(' ')));

it('two pages chat and see each other, under a strict content-security policy', async () => {
  const alice = await open('alice');
  const bob = await open('bob');
  await shows(alice, '#log', 'bob came');
  const markup = '<img src=x onerror="document.title = 1"> & \u2028 ‮';
  await alice.page.evaluate((text) => window.app.room.publish(text, { persist: true }), markup);
  await shows(bob, '#log', `alice: ${markup}`);
  const history = await bob.page.evaluate(async () => (await window.app.room.history()).map(({ data }) => data));
  assert.deepEqual(history, [markup]);
  assert.equal(await bob.page.title(), 'A room');
  await bob.close();
  await shows(alice, '#log', 'bob went');
  alice.assertNoErrors();
  await alice.close();
  assert.equal(minted, 2, 'one token for each page');
});

it('a page that is shown again while its server hears nothing finds out, and comes back with it', async () => {
  const carol = await open('carol');
  world.server.signal('SIGSTOP');
  try {
    await carol.page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
    await carol.page.waitForFunction(() => window.app.states.some(({ reason }) => reason?.code === 'silent'), undefined, { timeout: DEADLINE_MS });
  } finally {
    world.server.signal('SIGCONT');
  }
  await carol.page.evaluate(() => window.dispatchEvent(new Event('online')));
  await shows(carol, '#state', 'connected');
  const before = minted;
  await carol.page.evaluate(() => window.app.room.publish('back'));
  assert.equal(minted, before);
  assert.ok((await states(carol)).length < 20, 'it did not try all the time');
  await carol.close();
});

it('a page of another origin gets no token for the user', async () => {
  const page = await open('dora');
  const elsewhere = origin.replace('127.0.0.1', 'localhost');
  const answer = await page.page.evaluate(
    (address) => fetch(address, { method: 'POST', mode: 'no-cors', credentials: 'include' }).then(() => 'sent', () => 'blocked'),
    `${elsewhere}/respoke-token`,
  );
  assert.equal(answer, 'blocked', 'by its own policy');
  const before = minted;
  for (const headers of [{ origin: 'https://evil.test' }, { origin, 'sec-fetch-site': 'cross-site' }, {}]) {
    const refused = await fetch(`${origin}/respoke-token`, { method: 'POST', headers: { ...headers, cookie: 'user=dora' } });
    assert.equal(refused.status, 403);
  }
  assert.equal(minted, before);
  await page.close();
});
