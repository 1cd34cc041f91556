// What an answer must look like for the published clients to take it (docs/protocol.md 2.5 and 3).

import assert from 'node:assert/strict';

export const UPPER_UUID_V4 = /^[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$/;
export const LOWER_UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
export const ISO_MILLIS = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;
export const ROLE_NOT_FOUND = "Object 'Roles' not found.";

const TOKEN_KEYS = [
  'accountId', 'appId', 'createTime', 'createdAt', 'endpointId', 'expiryTime', 'forDevelopment', 'id', 'roleId', 'tokenId',
];

/** Holds for every answer below /v1, good or bad. */
export function assertCommon(answer) {
  assert.equal(answer.headers['content-type'], 'application/json; charset=utf-8');
  assert.ok(answer.body !== null && typeof answer.body === 'object', `a JSON object or array, not: ${answer.text}`);
  assert.match(answer.headers['request-id'] ?? '', LOWER_UUID);

  const limit = answer.headers['ratelimit-limit'] ?? '';
  assert.match(limit, /^[1-9]\d*$/); // Android divides 1000 by it
  assert.ok(Number(limit) <= 1000, `RateLimit-Limit ${limit} is above 1000`);
  assert.equal(answer.headers['ratelimit-time-units'], 'seconds');
  assert.match(answer.headers['ratelimit-remaining'] ?? '', /^\d+$/);
}

/** A success is exactly 200: Android and Ruby accept nothing else. Returns the body. */
export function assertOk(answer) {
  assert.equal(answer.status, 200, answer.text);
  assertCommon(answer);
  assert.ok(!('error' in answer.body), answer.text);
  return answer.body;
}

/** A refusal: a text for people, a code for programs, and the id to look it up by. Returns the body. */
export function assertRefused(answer, status) {
  assert.equal(answer.status, status, answer.text);
  assertCommon(answer);
  assert.ok(!Array.isArray(answer.body), 'a refusal is an object');
  assert.ok(typeof answer.body.error === 'string' && answer.body.error !== '', answer.text);
  assert.match(answer.body.code ?? '', /^[a-z][a-z0-9_]*$/);
  assert.equal(answer.body.requestId, answer.headers['request-id']);
  return answer.body;
}

/** What one refusal may tell: everything but the id of the request. */
export function refusalText(answer) {
  const { requestId, ...rest } = answer.body;
  return { status: answer.status, ...rest };
}

/** A server on PostgreSQL goes by that one's clock, which it knows to half of what an answer took, and that is half a second at most. */
const CLOCKS_APART_MS = process.env.RESPOKED_POSTGRES ? 250 : 0;

/** The recorded answer of `POST /v1/tokens`, field for field. `since`: before the request, in ms. */
export function assertTokenAnswer(answer, expected) {
  return assertToken(assertOk(answer), expected);
}

/** The same for a body that a client library has already unpacked. */
export function assertToken(token, { app, endpointId, roleId, ttl, since, forDevelopment = false }) {
  assert.deepEqual(Object.keys(token).sort(), TOKEN_KEYS);
  assert.equal(token.appId, app.id);
  assert.equal(token.accountId, app.accountId);
  assert.equal(token.endpointId, endpointId);
  assert.equal(token.forDevelopment, forDevelopment);
  if (forDevelopment) assert.ok(token.roleId === null || UPPER_UUID_V4.test(token.roleId), `roleId ${token.roleId}`);
  else assert.equal(token.roleId, roleId);

  assert.match(token.tokenId, UPPER_UUID_V4);
  assert.equal(token.id, token.tokenId);
  assert.match(token.accountId, UPPER_UUID_V4);

  for (const time of [token.createTime, token.expiryTime]) {
    assert.ok(Number.isInteger(time) && time > 0 && time <= 0x7fffffff, `epoch seconds in 32 bits, not ${time}`); // .NET
  }
  assert.equal(token.expiryTime, token.createTime + ttl);
  assert.match(token.createdAt, ISO_MILLIS);
  const createdAt = Date.parse(token.createdAt);
  assert.equal(Math.floor(createdAt / 1000), token.createTime);
  const [from, to] = [since - CLOCKS_APART_MS, Date.now() + CLOCKS_APART_MS];
  assert.ok(createdAt >= from && createdAt <= to, `${token.createdAt} is not from ${from} to ${to}, the time of the request`);
  return token;
}

/** The recorded answer of `POST /v1/session-tokens`. Returns the App-Token. */
export function assertSessionAnswer(answer) {
  const body = assertOk(answer);
  assert.deepEqual(Object.keys(body).sort(), ['message', 'token']);
  assert.equal(body.message, 'Authorization successful');
  assert.match(body.token, UPPER_UUID_V4);
  return body.token;
}

/** A preflight that lets a page at `origin` send `method` with the headers `names`, each by name: old browsers know no `*`. */
export function assertPreflight(answer, { origin, methods, names }) {
  assert.ok(answer.status === 200 || answer.status === 204, `preflight ${answer.status}`);
  assert.ok(['*', origin].includes(answer.headers['access-control-allow-origin']), 'the origin is allowed');
  const allowed = list(answer.headers['access-control-allow-methods']);
  for (const method of methods) assert.ok(allowed.includes(method.toLowerCase()), `${method} is allowed`);
  const headers = list(answer.headers['access-control-allow-headers']);
  for (const name of names) assert.ok(headers.includes(name), `${name} is allowed`);
}

/** A page at `origin` may read the answer, its request id and its rate limit. */
export function assertReadableFrom(origin, answer) {
  assert.ok(['*', origin].includes(answer.headers['access-control-allow-origin']), 'the origin is allowed');
  const exposed = list(answer.headers['access-control-expose-headers']);
  for (const name of ['request-id', 'ratelimit-limit', 'ratelimit-time-units', 'ratelimit-remaining']) {
    assert.ok(exposed.includes(name), `${name} is exposed on ${answer.status}`);
  }
  return answer;
}

const list = (header = '') => header.toLowerCase().split(/\s*,\s*/);

/** A role as it reads everywhere: real JSON, defaults filled in. */
export function assertRole(role, expected) {
  assert.match(role.id, UPPER_UUID_V4);
  assert.match(role.createdAt, ISO_MILLIS);
  assert.match(role.updatedAt, ISO_MILLIS);
  for (const [key, value] of Object.entries({ mediaRelay: false, pstnOut: [], callerIds: [], ...expected })) {
    assert.deepEqual(role[key], value, key);
  }
  for (const key of ['groups', 'events']) {
    assert.ok(role[key] !== null && typeof role[key] === 'object' && !Array.isArray(role[key]), `${key} is an object`);
  }
}
