// `respoked/server`: who gets a token, and who does not.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { it } from 'node:test';

import { tokenHandler } from '../dist/server.js';

const PAGE = 'https://chat.example.test';
const SECRET = 'CANARY-app-secret';

function backend({ answer = () => Response.json({ tokenId: 'TOKEN' }), ...options } = {}) {
  const minted = [];
  const handler = tokenHandler({
    url: 'http://respoked.internal:8080',
    appSecret: SECRET,
    role: 'member',
    authorize: (request) => (request.headers.get('Cookie') === 'user=alice' ? { endpoint: 'alice' } : null),
    fetch: async (url, init) => {
      minted.push({ url: String(url), ...init, body: JSON.parse(init.body) });
      return answer();
    },
    ...options,
  });
  return { handler, minted };
}

const asked = (headers = {}, init = {}) =>
  new Request(`${PAGE}/respoke-token`, { method: 'POST', ...init, headers: { Cookie: 'user=alice', 'Sec-Fetch-Site': 'same-origin', Origin: PAGE, ...headers } });

it('mints for whoever is signed in', async () => {
  const { handler, minted } = backend();
  const answer = await handler(asked());
  assert.equal(answer.status, 200);
  assert.deepEqual(await answer.json(), { token: 'TOKEN' });
  assert.equal(answer.headers.get('Cache-Control'), 'no-store');
  assert.equal(minted[0].url, 'http://respoked.internal:8080/v1/tokens');
  assert.equal(minted[0].headers['App-Secret'], SECRET);
  assert.deepEqual(minted[0].body, { endpointId: 'alice', roleName: 'member' });
});

it('lets authorize say more than the endpoint', async () => {
  const { handler, minted } = backend({ authorize: async () => ({ endpoint: 'bob', role: 'guest', ttl: 60 }) });
  await handler(asked());
  assert.deepEqual(minted[0].body, { endpointId: 'bob', roleName: 'guest', ttl: 60 });
});

it('looks at nothing but authorize for the endpoint', async () => {
  const { handler, minted } = backend();
  const body = JSON.stringify({ endpoint: 'root', endpointId: 'root', roleName: 'admin' });
  const request = new Request(`${PAGE}/respoke-token?endpointId=root`, { method: 'POST', body, headers: asked().headers });
  await handler(request);
  assert.deepEqual(minted[0].body, { endpointId: 'alice', roleName: 'member' });
});

for (const [what, request, status] of [
  ['nobody signed in', asked({ Cookie: 'user=mallory' }), 401],
  ['a page of another site', asked({ 'Sec-Fetch-Site': 'cross-site', Origin: 'https://evil.test' }), 403],
  ['a page of a sister site', asked({ 'Sec-Fetch-Site': 'same-site', Origin: 'https://blog.example.test' }), 403],
  ['an address that somebody typed', asked({ 'Sec-Fetch-Site': 'none' }), 403],
  ['an older browser, another site', new Request(`${PAGE}/t`, { method: 'POST', headers: { Cookie: 'user=alice', Origin: 'https://evil.test' } }), 403],
  ['a page without an origin', new Request(`${PAGE}/t`, { method: 'POST', headers: { Cookie: 'user=alice', Origin: 'null' } }), 403],
  ['who says nothing of where it comes from', new Request(`${PAGE}/t`, { method: 'POST', headers: { Cookie: 'user=alice' } }), 403],
  ['a link', new Request(`${PAGE}/t`, { headers: { Cookie: 'user=alice', 'Sec-Fetch-Site': 'same-origin' } }), 405],
]) {
  it(`refuses ${what}`, async () => {
    const { handler, minted } = backend();
    const answer = await handler(request);
    assert.equal(answer.status, status);
    assert.equal(answer.headers.get('Cache-Control'), 'no-store');
    assert.equal(minted.length, 0);
    assert.ok((await answer.json()).code);
  });
}

it('takes an older browser by its origin, and behind a proxy the origins that are named', async () => {
  const old = new Request(`${PAGE}/t`, { method: 'POST', headers: { Cookie: 'user=alice', Origin: PAGE } });
  assert.equal((await backend().handler(old)).status, 200);
  const { handler } = backend({ origins: [`${PAGE}/`] });
  const inside = (headers) => new Request('http://10.0.0.1:3000/t', { method: 'POST', headers: { Cookie: 'user=alice', ...headers } });
  assert.equal((await handler(inside({ Origin: PAGE, 'Sec-Fetch-Site': 'same-origin' }))).status, 200);
  assert.equal((await handler(inside({ Origin: 'http://10.0.0.1:3000', 'Sec-Fetch-Site': 'same-origin' }))).status, 403);
});

it('tells the page nothing of what is between the backend and the server', async (t) => {
  const logged = [];
  t.mock.method(console, 'error', (...texts) => logged.push(texts.join(' ')));
  for (const answer of [
    () => Response.json({ code: 'unauthenticated', error: `bad App-Secret` }, { status: 401 }),
    () => new Response('<html>', { status: 502 }),
    () => new Response('no json', { status: 200 }),
    () => Response.json({}),
    () => Promise.reject(new Error(`connect ECONNREFUSED ${SECRET}`)),
  ]) {
    const refused = await backend({ answer }).handler(asked());
    assert.equal(refused.status, 503);
    assert.ok(refused.headers.get('Retry-After'));
    const text = await refused.text();
    assert.ok(!text.includes('Secret') && !text.includes(SECRET), text);
  }
  assert.ok(logged.length >= 2);
  assert.ok(!logged.join().includes(SECRET));
});

it('says that an endpoint is banned, so that its page stops asking', async () => {
  const banned = () => Response.json({ code: 'endpoint_banned', error: 'This endpoint is suspended.' }, { status: 401 });
  const answer = await backend({ answer: banned }).handler(asked());
  assert.deepEqual([answer.status, (await answer.json()).code], [403, 'endpoint_banned']);
});

it('is not made without authorize or a secret, nor by an authorize that names nobody', async () => {
  assert.throws(() => backend({ authorize: undefined }), /authorize/);
  assert.throws(() => backend({ appSecret: '' }), /appSecret/);
  await assert.rejects(backend({ authorize: () => ({ endpoint: '' }) }).handler(asked()), /authorize/);
});

it('throws where there is a page', () => {
  const script = `globalThis.document = {}; await import(${JSON.stringify(new URL('../dist/server.js', import.meta.url).href)})`;
  assert.throws(() => execFileSync(process.execPath, ['--input-type=module', '-e', script], { stdio: 'pipe' }), /must not load it/);
});
