// The request shapes of the server-side clients, replayed byte for byte: shell, Ruby, PHP, Java, .NET, Go, Node, and the
// founding document. Where a comment says "recorded", the live service's own answer is the measure.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';

import {
  assertOk, assertRefused, assertRole, assertSessionAnswer, assertTokenAnswer, LOWER_UUID, ISO_MILLIS, ROLE_NOT_FOUND,
  UPPER_UUID_V4,
} from './answers.mjs';
import { ALL_GROUPS, createApp, createRole, startWithApp } from './harness.mjs';
import { call } from './http.mjs';

let server, adminToken, app, role;
before(async () => {
  ({ server, adminToken, app, role } = await startWithApp());
});
after(() => server?.stop());

const send = (method, path, headers, body) => call(server, { method, path, headers, body });

/** Sends a mint and checks the whole recorded answer. Returns the tokenId. */
async function assertMints(request, { endpointId, ttl, roleId = role.id, method = 'POST', path = '/v1/tokens' }) {
  const since = Date.now();
  const answer = await call(server, { method, path, ...request });
  return assertTokenAnswer(answer, { app, endpointId, roleId, ttl, since }).tokenId;
}

describe('shell scripts with curl', () => {
  const curl = { 'User-Agent': 'curl/7.37.1', Accept: '*/*' };
  const asJson = { 'Content-type': 'application/json' };

  it('log in, create an app, list and read it (with a body on the GETs, as documented)', async () => {
    const credentials = `{\n    "username":  "${server.admin.username}",\n    "password": "${server.admin.password}"\n}`;
    const login = assertOk(await send('POST', '/v1/admin-sessions', { ...curl, ...asJson }, credentials));
    assert.equal(login.message, 'Authorization successful');
    assert.match(login.token, UPPER_UUID_V4);

    const headers = { ...curl, 'Admin-Token': login.token, ...asJson };
    const body = '{\n    "name": "New App",\n    "description": "New app description."\n}';
    const created = assertOk(await send('POST', '/v1/apps', headers, body));
    assert.match(created.id, LOWER_UUID);
    assert.match(created.accountId, UPPER_UUID_V4);
    assert.match(created.secret, /^rspk_\S+$/);
    assert.match(created.createdAt, ISO_MILLIS);
    assert.match(created.updatedAt, ISO_MILLIS);
    const { name, description, locked, developmentMode } = created;
    assert.deepEqual({ name, description, locked, developmentMode }, {
      name: 'New App', description: 'New app description.', locked: false, developmentMode: false,
    });

    const read = assertOk(await send('GET', `/v1/apps/${created.id}`, headers, body));
    assert.equal(read.secret, '<redacted>');
    assert.equal(read.permittedDomains, null);
    const listed = assertOk(await send('GET', '/v1/apps', headers, body));
    // What is kept of an app is counted for one that is asked for by itself.
    const { kept, ...alike } = read;
    assert.deepEqual(kept, { bytes: 0, max: 1_073_741_824 });
    assert.deepEqual(listed.filter((each) => each.id === created.id), [alike]);
    assert.ok(listed.every((each) => each.secret === '<redacted>'));
  });

  it('mint and redeem, cutting the tokenId out of the answer with a greedy pattern', async () => {
    const body = `{\n    "appId": "${app.id}",\n    "endpointId": "spock",\n    "ttl": 3600,\n    "roleId": "${role.id}"\n}`;
    const since = Date.now();
    const minted = await send('POST', '/v1/tokens', { ...curl, 'App-Secret': app.secret, ...asJson }, body);
    const { tokenId } = assertTokenAnswer(minted, { app, endpointId: 'spock', roleId: role.id, ttl: 3600, since });
    // The documented `expr` takes all up to the last quote, so no text may follow the tokenId.
    assert.equal(/^.*"tokenId": *"(.*)"/.exec(minted.text)?.[1], tokenId);

    assertSessionAnswer(await send('POST', '/v1/session-tokens', { ...curl, ...asJson }, `{ "tokenId": "${tokenId}" }`));
  });

  it('mint with a ttl of 30, shorter than any session of ours', async () => {
    const body = `{"appId": "${app.id}", "endpointId": "spock", "ttl": 30, "roleId": "${role.id}" }`;
    const token = assertOk(await send('POST', '/v1/tokens', { ...curl, 'App-Secret': app.secret, ...asJson }, body));
    const ttl = token.expiryTime - token.createTime;
    assert.ok(ttl >= 30 && ttl <= 60, `a session of ${ttl} s is not the short one asked for`);
  });

  it('create a role under an id of their own, then mint with it', async () => {
    const chosen = randomUUID(); // lower case, as the documentation's example runner makes it
    const name = `role ${randomUUID()}`;
    const body = JSON.stringify({
      appId: app.id, name, id: chosen, mediaRelay: false, events: { subscribe: false, unsubscribe: false }, groups: ALL_GROUPS,
    }, null, 4);
    const headers = { ...curl, 'App-Secret': app.secret, ...asJson };
    const created = assertOk(await send('POST', '/v1/roles', headers, body));
    assertRole(created, { name, appId: app.id, groups: ALL_GROUPS, events: { subscribe: false, unsubscribe: false } });
    assert.equal(created.id.toLowerCase(), chosen);

    const mint = JSON.stringify({ appId: app.id, endpointId: 'spock', ttl: 3600, roleId: chosen });
    await assertMints({ headers, body: mint }, { endpointId: 'spock', ttl: 3600, roleId: created.id });
  });

  it('repeat a creation with the same Idempotency-Key', async () => {
    const name = `role ${randomUUID()}`;
    const headers = { ...curl, 'App-Secret': app.secret, 'Idempotency-Key': `CANARY-key-${randomUUID()}`, ...asJson };
    const body = JSON.stringify({ name });
    const first = assertOk(await send('POST', '/v1/roles', headers, body));
    const again = assertOk(await send('POST', '/v1/roles', headers, body));
    assert.equal(again.id, first.id);
    const listed = assertOk(await send('GET', '/v1/roles', { ...curl, 'App-Secret': app.secret }));
    assert.equal(listed.filter((each) => each.name === name).length, 1);
  });
});

describe('Ruby', () => {
  const faraday = () => ({
    'App-Secret': app.secret,
    'User-Agent': 'Faraday v0.9.1',
    'Accept-Encoding': 'gzip;q=1.0,deflate;q=0.6,identity;q=0.3',
    Accept: '*/*',
  });
  const asJson = { 'Content-Type': 'application/json' };

  it('mints, and redeems with the App-Secret and the appId still along', async () => {
    const body = `{"appId":"${app.id}","endpointId":"foo-bar","roleId":"${role.id}","ttl":86400}`;
    const tokenId = await assertMints({ headers: { ...faraday(), ...asJson }, body }, { endpointId: 'foo-bar', ttl: 86400 });
    const redeem = `{"appId":"${app.id}","tokenId":"${tokenId}"}`;
    assertSessionAnswer(await send('POST', '/v1/session-tokens', { ...faraday(), ...asJson }, redeem));
  });

  it('creates, finds, saves whole, finds again and deletes a role', async () => {
    const name = randomUUID();
    const headers = { ...faraday(), ...asJson };
    const created = assertOk(await send('POST', '/v1/roles', headers, `{"name":"${name}"}`)); // no appId: the secret's app
    const defaults = { name, appId: app.id, accountId: app.accountId, groups: {}, events: {} };
    assertRole(created, defaults);

    const path = `/v1/roles/${created.id}`;
    const found = assertOk(await send('GET', path, faraday()));
    assertRole(found, defaults);

    // The library sends back all it read but id and name, and changes one rule. The recorded answer was a raw database
    // row with texts in place of objects; ours is the role itself.
    const { id: _id, name: _name, ...rules } = found;
    const saved = assertOk(await send('PUT', path, headers, JSON.stringify({ ...rules, mediaRelay: true })));
    assertRole(saved, { ...defaults, mediaRelay: true });
    const reread = assertOk(await send('GET', path, faraday()));
    assertRole(reread, { ...defaults, id: created.id, mediaRelay: true, createdAt: created.createdAt });
    assert.deepEqual(saved, reread);

    assert.deepEqual(assertOk(await send('DELETE', path, faraday())), { message: 'Success' }); // recorded
    assert.equal(assertRefused(await send('GET', path, faraday()), 404).error, ROLE_NOT_FOUND); // recorded
  });

  it('lists all roles in one answer, more than a hundred of them', async () => {
    const other = await createApp(server, adminToken);
    const made = new Set();
    for (let count = 0; count < 120; count += 1) made.add((await createRole(server, adminToken, other)).id);
    const listed = assertOk(await send('GET', '/v1/roles', { ...faraday(), 'App-Secret': other.secret }));
    assert.ok(Array.isArray(listed));
    assert.deepEqual(new Set(listed.map((each) => each.id)), made); // the library knows no pages; it recorded 160 in one list
  });
});

describe('PHP', () => {
  it('mints as the Guzzle library does', async () => {
    const headers = { 'Content-type': 'application/json', 'App-Secret': app.secret, 'User-Agent': 'Guzzle/5.2.0 curl/7.37.1 PHP/5.5.9' };
    const body = `{"appId":"${app.id}","endpointId":"spock@enterprise.com","roleId":"${role.id}","ttl":3600}`;
    await assertMints({ headers, body }, { endpointId: 'spock@enterprise.com', ttl: 3600 });
  });

  it('mints as the WordPress plug-in does', async () => {
    const body = `{"appId":"${app.id}","endpointId":"Xk29fLq0aPz71mWcRt5u","roleId":"${role.id}","ttl":86400}`;
    const headers = {
      Accept: '*/*', 'App-Secret': app.secret, 'Content-Type': 'application/json', 'Content-Length': String(body.length),
    };
    await assertMints({ headers, body }, { endpointId: 'Xk29fLq0aPz71mWcRt5u', ttl: 86400 });
  });
});

describe('Java', () => {
  it('mints with the ttl as text', async () => {
    const headers = {
      'accept-encoding': 'gzip', 'Content-type': 'application/json', 'App-Secret': app.secret, 'user-agent': 'unirest-java/1.3.11',
    };
    const body = `{"ttl":"3600","appId":"${app.id}","roleId":"${role.id}","endpointId":"spock@enterprise.com"}`;
    await assertMints({ headers, body }, { endpointId: 'spock@enterprise.com', ttl: 3600 });
  });
});

describe('.NET', () => {
  const dotnet = { 'Content-Type': 'application/json', 'User-Agent': 'Respoke .NET Client' };

  it('mints by role name after "Expect: 100-continue"', async () => {
    const body = `{"appId":"${app.id}","endpointId":"myendpoint123","ttl":86000,"roleName":"${role.name}"}`;
    const headers = { ...dotnet, 'App-Secret': app.secret, Expect: '100-continue' };
    await assertMints({ headers, body }, { endpointId: 'myendpoint123', ttl: 86000 });
  });

  it('reads a 404 with a JSON object from GET /v1/', async () => {
    const refused = assertRefused(await send('GET', '/v1/', { ...dotnet, 'Content-Length': '0' }), 404);
    // It is read into the type of the token answer, which has a list of texts called `errors`.
    assert.ok(refused.errors === undefined || Array.isArray(refused.errors));
  });
});

describe('Go', () => {
  it('redeems', async () => {
    const tokenId = await assertMints(
      { headers: { 'App-Secret': app.secret, 'Content-Type': 'application/json' },
        body: JSON.stringify({ appId: app.id, endpointId: 'gopher', roleId: role.id }) },
      { endpointId: 'gopher', ttl: 86400 }, // no ttl: one day
    );
    const headers = { 'User-Agent': 'Go-http-client/1.1', 'Content-Type': 'application/json', 'Accept-Encoding': 'gzip' };
    assertSessionAnswer(await send('POST', '/v1/session-tokens', headers, `{"tokenId":"${tokenId}"}`));
  });
});

describe('Node, seen from the wire', () => {
  it('sends the credentials it has not got as the word null', async () => {
    const sdk = { 'Respoke-SDK': 'Respoke-Node.js/2.0.1 (Linux 3.13) Node.js/v0.12.0', accept: 'application/json' };
    const headers = { 'Admin-Token': 'null', 'App-Secret': app.secret, 'App-Token': 'null', ...sdk };
    const body = JSON.stringify({ endpointId: 'billy', roleId: role.id, appId: app.id, ttl: 84600, headers: { 'App-Secret': null } });
    await assertMints({ headers: { ...headers, 'content-type': 'application/json' }, body }, { endpointId: 'billy', ttl: 84600 });
    assert.equal(assertOk(await send('GET', `/v1/apps/${app.id}`, headers)).id, app.id);

    const admin = { 'admin-token': adminToken, 'app-secret': 'null', 'app-token': 'null', ...sdk };
    assert.ok(assertOk(await send('GET', `/v1/roles?appId=${app.id}`, admin)).some((each) => each.id === role.id));
  });

  it('takes null, undefined and empty for no credential at all', async () => {
    for (const nothing of ['null', 'undefined', '']) {
      const headers = { 'Admin-Token': nothing, 'App-Secret': nothing, 'App-Token': nothing };
      assertRefused(await send('GET', `/v1/apps/${app.id}`, headers), 401);
    }
  });
});

describe('the founding document', () => {
  const asJson = { 'Content-Type': 'application/json' };
  const fields = (endpointId) => JSON.stringify({ appId: app.id, endpointId, roleId: role.id, ttl: 3600 });
  const mint = (endpointId) => assertMints(
    { headers: { 'App-Secret': app.secret, ...asJson }, body: fields(endpointId) }, { path: '/v1/tokens/', endpointId, ttl: 3600 });
  const replace = (endpointId, path = `/v1/tokens/?App-Secret=${app.secret}`) => assertMints(
    { headers: asJson, body: fields(endpointId) }, { method: 'PUT', path, endpointId, ttl: 3600 });
  const redeem = (tokenId, headers) => send('POST', '/v1/session-tokens/', { ...asJson, ...headers }, JSON.stringify({ tokenId }));
  const session = (token) => send('GET', '/v1/session-tokens', { 'App-Token': token });

  it('mints and redeems on paths with a trailing slash', async () => {
    assertSessionAnswer(await redeem(await mint('kirk')));
  });

  it('PUT with the secret in the query leaves one live token after any number of calls', async () => {
    const bystander = await mint('uhura');
    const tokenIds = [await mint('kirk'), await replace('kirk'), await replace('kirk', `/v1/tokens?app-secret=${app.secret}`)];
    const last = tokenIds.pop();
    for (const spent of tokenIds) assertRefused(await redeem(spent), 401);
    assertSessionAnswer(await redeem(last));
    assertSessionAnswer(await redeem(bystander));
  });

  it('PUT refuses a wrong secret in the query', async () => {
    const path = '/v1/tokens/?App-Secret=rspk_CANARY_not_a_secret';
    assertRefused(await send('PUT', path, asJson, fields('kirk')), 401);
  });

  it('an App-Token sent along to redeem is superseded if it is the endpoint\'s own, and ignored otherwise', async () => {
    const own = assertSessionAnswer(await redeem(await mint('kirk')));
    const foreign = assertSessionAnswer(await redeem(await mint('uhura')));

    const second = assertSessionAnswer(await redeem(await mint('kirk'), { 'App-Token': own }));
    assertRefused(await session(own), 401);
    assertOk(await session(second));

    const third = assertSessionAnswer(await redeem(await mint('kirk'), { 'App-Token': foreign }));
    assertOk(await session(foreign));
    assertOk(await session(third));

    const stale = { 'App-Token': randomUUID().toUpperCase() };
    assertSessionAnswer(await redeem(await mint('kirk'), stale));
  });
});
