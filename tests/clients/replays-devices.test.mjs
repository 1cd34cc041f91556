// The request shapes of the clients users hold in their hands: respoke.js in a browser, Android, iOS.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';

import {
  assertOk, assertPreflight, assertReadableFrom, assertRefused, assertSessionAnswer, assertTokenAnswer,
} from './answers.mjs';
import { createApp, createRole, startWithApp } from './harness.mjs';
import { call } from './http.mjs';

const TTL = 21600; // six hours, fixed in all three clients

let server, adminToken, app;
before(async () => {
  ({ server, adminToken, app } = await startWithApp({ developmentMode: true }));
});
after(() => server?.stop());

const send = (method, path, headers, body) => call(server, { method, path, headers, body });

async function assertMints(headers, body, endpointId) {
  const since = Date.now();
  const answer = await send('POST', '/v1/tokens', headers, body);
  return assertTokenAnswer(answer, { app, endpointId, ttl: TTL, since, forDevelopment: true }).tokenId;
}

describe('respoke.js in development mode', () => {
  const page = 'http://localhost:8000';
  const browser = { Origin: page, 'Respoke-SDK': 'Respoke.js/v2.1.1' };
  const asJson = { 'Content-Type': 'application/json;charset=UTF-8' };
  const mintBody = (endpointId) => JSON.stringify({ appId: app.id, endpointId, ttl: TTL });

  /** What the browser asks before each of the calls, and what it must hear to go on. */
  async function preflight(path, method, names) {
    const answer = await send('OPTIONS', path, {
      Origin: page, 'Access-Control-Request-Method': method, 'Access-Control-Request-Headers': names.join(','),
    });
    assertPreflight(answer, { origin: page, methods: [method], names });
  }

  const readable = (answer) => assertReadableFrom(page, answer);

  async function logIn(endpointId, staleToken, path = '/v1/session-tokens') {
    const headers = { ...browser, ...asJson, ...(staleToken && { 'App-Token': staleToken }) };
    const names = staleToken ? ['app-token', 'content-type', 'respoke-sdk'] : ['content-type', 'respoke-sdk'];
    await preflight('/v1/tokens', 'POST', names);
    const tokenId = await assertMints(headers, mintBody(endpointId), endpointId);
    await preflight(path, 'POST', names);
    return assertSessionAnswer(readable(await send('POST', path, headers, JSON.stringify({ tokenId }))));
  }

  it('logs in, out by a last DELETE, and in again with the dead token in the header', async () => {
    const token = await logIn('alice');
    assertOk(await send('GET', '/v1/session-tokens', { 'App-Token': token }));

    await preflight('/v1/session-tokens', 'DELETE', ['app-token', 'respoke-sdk']);
    assertOk(readable(await send('DELETE', '/v1/session-tokens', { ...browser, 'App-Token': token })));
    assertRefused(await send('GET', '/v1/session-tokens', { 'App-Token': token }), 401);
    assertOk(await send('DELETE', '/v1/session-tokens', { ...browser, 'App-Token': token })); // once more does no harm

    const second = await logIn('alice', token);
    assert.notEqual(second, token);
    assertOk(await send('GET', '/v1/session-tokens', { 'App-Token': second }));
  });

  it('does the same over the older name', async () => {
    const token = await logIn('alice', undefined, '/v1/appauthsessions');
    assertOk(await send('DELETE', '/v1/appauthsessions', { ...browser, 'App-Token': token }));
    assertRefused(await send('GET', '/v1/session-tokens', { 'App-Token': token }), 401);
  });

  it('ends a session it never had', async () => {
    assertOk(await send('DELETE', '/v1/session-tokens', { ...browser, 'App-Token': randomUUID().toUpperCase() }));
  });

  it('reads the refusal when the app is not in development mode', async () => {
    const closed = await createApp(server, adminToken);
    const { id: roleId } = await createRole(server, adminToken, closed);
    for (const extra of [{}, { roleId }]) {
      const body = JSON.stringify({ appId: closed.id, endpointId: 'alice', ttl: TTL, ...extra });
      assertRefused(readable(await send('POST', '/v1/tokens', { ...browser, ...asJson }, body)), 401);
    }
  });
});

describe('Android', () => {
  const android = {
    'Content-Type': 'application/x-www-form-urlencoded',
    Accept: 'application/xml',
    'Respoke-SDK': 'Respoke-Android/1.5.0 (Android 5.1)',
    'User-Agent': 'Dalvik/2.1.0 (Linux; U; Android 5.1)',
    Connection: 'close',
    'Accept-Encoding': 'gzip',
  };

  it('mints and redeems with forms it does not encode', async () => {
    const form = `appId=${app.id}&endpointId=anna smith@example.com&ttl=21600`;
    const tokenId = await assertMints(android, form, 'anna smith@example.com');
    assertSessionAnswer(await send('POST', '/v1/session-tokens', android, `tokenId=${tokenId}`));
    assertRefused(await send('POST', '/v1/session-tokens', android, `tokenId=${tokenId}`), 401);
  });
});

describe('iOS', () => {
  const ios = (body) => ({
    Accept: 'application/xml',
    'Content-Type': 'application/x-www-form-urlencoded',
    'Content-length': String(Buffer.byteLength(body)),
    'User-Agent': 'RespokeSDKTests/1 CFNetwork/711.3.18 Darwin/14.0.0',
  });
  const post = (path, body) => send('POST', path, ios(body), body);

  for (const path of ['/v1/session-tokens', '/v1/appauthsessions']) {
    it(`mints and redeems at ${path} with raw UTF-8 in the form`, async () => {
      const form = `appId=${app.id}&endpointId=zoë müller&ttl=21600`;
      const tokenId = await assertMints(ios(form), form, 'zoë müller');
      assertSessionAnswer(await post(path, `tokenId=${tokenId}`));
    });
  }

  it('is understood when an app has encoded the endpoint after all', async () => {
    const form = `appId=${app.id}&endpointId=zo%C3%AB+m%C3%BCller%40example.com&ttl=21600`;
    await assertMints(ios(form), form, 'zoë müller@example.com');
  });
});
