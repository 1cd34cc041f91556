// What every client relies on whatever it asks: CORS, the rate-limit and request-id headers, and refusals it can read.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';

import {
  assertCommon, assertOk, assertPreflight, assertReadableFrom, assertRefused, assertSessionAnswer, refusalText, ROLE_NOT_FOUND,
} from './answers.mjs';
import { createApp, createRole, startWithApp } from './harness.mjs';
import { call, json } from './http.mjs';

const BODY_MAX = 20_000;
const origin = 'https://app.example';

let server, adminToken, app, role;
before(async () => {
  ({ server, adminToken, app, role } = await startWithApp());
});
after(() => server?.stop());

const fields = (changes) => ({ appId: app.id, endpointId: 'spock', roleId: role.id, ttl: 3600, ...changes });
const mint = (changes, headers) => post('/v1/tokens', fields(changes), headers ?? { 'App-Secret': app.secret });
const post = (path, value, headers) => call(server, { method: 'POST', path, ...json(value, headers) });
const postText = (path, body, extra) => call(server, {
  method: 'POST', path, body, headers: { 'Content-Type': 'application/json', 'App-Secret': app.secret }, ...extra,
});

describe('headers', () => {
  it('each request has an id of its own, and the rest of the limit is told', async () => {
    const answers = [await mint(), await mint(), await call(server, { path: '/v1/' })];
    answers.forEach(assertCommon);
    assert.equal(new Set(answers.map((answer) => answer.headers['request-id'])).size, answers.length);
  });

  it('a preflight allows every method and header a client may send, on every resource', async () => {
    const names = ['app-token', 'app-secret', 'admin-token', 'respoke-sdk', 'content-type'];
    for (const path of ['/v1/tokens', '/v1/tokens/', '/v1/session-tokens', '/v1/appauthsessions', '/v1/roles', '/v1/apps']) {
      for (const method of ['GET', 'POST', 'PUT', 'DELETE']) {
        const answer = await call(server, {
          method: 'OPTIONS',
          path,
          headers: {
            Origin: origin, 'Access-Control-Request-Method': method, 'Access-Control-Request-Headers': names.join(','),
          },
        });
        assertPreflight(answer, { origin, methods: ['GET', 'POST', 'PUT', 'DELETE'], names });
      }
    }
  });

  it('a page may read refusals too, and finds the limit in them', async () => {
    for (const answer of [
      await call(server, { path: '/v1/', headers: { Origin: origin } }),
      await mint({}, { Origin: origin }),
      await postText('/v1/tokens', 'x'.repeat(BODY_MAX + 1), { headers: { Origin: origin, 'Content-Type': 'application/json' } }),
    ]) {
      assertCommon(answer);
      assertReadableFrom(origin, answer);
    }
  });
});

describe('refusals', () => {
  it('an unknown role is 404, in the recorded words', async () => {
    const unknown = randomUUID().toUpperCase();
    const secret = { 'App-Secret': app.secret };
    assert.equal(assertRefused(await mint({ roleId: unknown }), 404).error, ROLE_NOT_FOUND);
    assert.equal(assertRefused(await mint({ roleId: null, roleName: 'no such role' }), 404).error, ROLE_NOT_FOUND);
    for (const method of ['GET', 'DELETE']) {
      const answer = await call(server, { method, path: `/v1/roles/${unknown}`, headers: secret });
      assert.equal(assertRefused(answer, 404).error, ROLE_NOT_FOUND);
    }
  });

  it('an unknown path is 404 and a wrong method 405', async () => {
    assertRefused(await call(server, { path: `/v1/no-such-resource/${randomUUID()}` }), 404);
    assertRefused(await call(server, { method: 'PATCH', path: '/v1/tokens' }), 405);
  });

  it('a missing field is named, for each that is missing', async () => {
    const missing = (answer) => {
      const body = assertRefused(answer, 400);
      assert.equal(body.error, 'Validation Error.');
      return body.validationErrors;
    };
    const named = (...names) => Object.fromEntries(names.map((name) => [name, [`${name} is a missing required parameter.`]]));
    assert.deepEqual(missing(await mint({ endpointId: undefined })), named('endpointId'));
    assert.deepEqual(missing(await mint({ endpointId: null })), named('endpointId'));
    assert.deepEqual(missing(await post('/v1/session-tokens', {})), named('tokenId'));
    assert.deepEqual(missing(await post('/v1/roles', { appId: app.id }, { 'App-Secret': app.secret })), named('name'));
    assert.deepEqual(missing(await post('/v1/apps', {}, { 'Admin-Token': adminToken })), named('name'));
    assert.deepEqual(missing(await post('/v1/admin-sessions', {})), named('username', 'password'));
    assert.ok('roleId' in missing(await mint({ roleId: undefined })), 'outside development mode a role is required');
  });

  it('what is not JSON, or not of the right kind, is 400', async () => {
    const notUtf8 = Buffer.from('{"endpointId":"\xff"}', 'latin1');
    for (const body of ['{"endpointId":', 'endpoint', '', '[]', '"text"', notUtf8, '['.repeat(9000)]) {
      assertRefused(await postText('/v1/tokens', body), 400);
    }
    assertRefused(await mint({ endpointId: { name: 'spock' } }), 400);
    assertRefused(await mint({ endpointId: '' }), 400);
    assertRefused(await mint({ ttl: 'soon' }), 400);
  });

  it('a body of 20000 bytes is taken and one byte more is 413, with its length told or not', async () => {
    const padded = (size) => {
      const empty = JSON.stringify(fields({ padding: '' }));
      return JSON.stringify(fields({ padding: 'x'.repeat(size - empty.length) }));
    };
    for (const chunked of [false, true]) {
      assertOk(await postText('/v1/tokens', padded(BODY_MAX), { chunked }));
      assertRefused(await postText('/v1/tokens', padded(BODY_MAX + 1), { chunked }), 413);
    }
  });

  it('nobody mints without a credential or with that of another app', async () => {
    assertRefused(await mint({}, {}), 401);
    const other = await createApp(server, adminToken);
    const foreign = await mint({}, { 'App-Secret': other.secret });
    assert.ok([401, 403].includes(foreign.status), foreign.text);
    assertRefused(foreign, foreign.status);
    const { id } = await createRole(server, adminToken, other);
    assert.equal(assertRefused(await mint({ roleId: id }), 404).error, ROLE_NOT_FOUND);
  });

  it('a secret that is malformed, altered or of no app is refused in the same words', async () => {
    const last = app.secret.at(-1);
    const altered = app.secret.slice(0, -1) + (last === 'a' ? 'b' : 'a');
    const wrong = ['CANARY-no-secret', `rspk_CANARY${randomUUID()}`, altered, randomUUID()];
    const answers = [];
    for (const secret of wrong) answers.push(await mint({}, { 'App-Secret': secret }));
    for (const answer of answers) {
      assertRefused(answer, 401);
      assert.deepEqual(refusalText(answer), refusalText(answers[0]));
    }
  });

  it('a tokenId that is spent, unknown or malformed is refused in the same words', async () => {
    const { tokenId } = assertOk(await mint());
    assertSessionAnswer(await post('/v1/session-tokens', { tokenId }));
    const answers = [];
    for (const each of [tokenId, randomUUID().toUpperCase(), 'CANARY-no-token']) {
      answers.push(await post('/v1/session-tokens', { tokenId: each }));
    }
    for (const answer of answers) {
      assertRefused(answer, 401);
      assert.deepEqual(refusalText(answer), refusalText(answers[0]));
    }
  });
});
