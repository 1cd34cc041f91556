// The published respoke-admin 2.0.1, unmodified, does everything it can over HTTP.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';

import Respoke from 'respoke-admin';

import { assertRole, assertToken, LOWER_UUID, ROLE_NOT_FOUND, UPPER_UUID_V4 } from './answers.mjs';
import { ALL_GROUPS, createApp, createRole, noteSecret, startWithApp } from './harness.mjs';

const DEFAULT_TTL = 84600; // sic: the package's own default

let server, adminToken, app, role, baseURL;
before(async () => {
  ({ server, adminToken, app, role } = await startWithApp());
  baseURL = `${server.origin}/v1`;
});
after(() => server?.stop());

const client = (options) => new Respoke({ baseURL, ...options });
const asAdmin = () => client({ 'Admin-Token': adminToken, appId: app.id });
const withSecret = () => client({ 'App-Secret': app.secret, appId: app.id });

/** The package reports every answer that is not 2xx as one error, the answer attached as `res`. */
const refusedWith = (status, text) => (error) => {
  assert.equal(error.name, 'UnexpectedServerResponseError', error.stack);
  assert.equal(error.res.statusCode, status);
  assert.ok(typeof error.res.body.error === 'string' && error.res.body.error !== '');
  if (text) assert.equal(error.res.body.error, text);
  return true;
};

async function mint(respoke, options) {
  const since = Date.now();
  const token = await respoke.auth.endpoint(options);
  noteSecret(token.tokenId);
  return { token, since };
}

async function redeem(tokenId, respoke = client()) {
  const session = await respoke.auth.sessionToken({ tokenId });
  noteSecret(session.token);
  return { session, respoke };
}

it('is the published version', () => {
  const manifest = new URL('node_modules/respoke-admin/package.json', import.meta.url);
  assert.equal(JSON.parse(readFileSync(manifest, 'utf8')).version, '2.0.1');
});

describe('admin login', () => {
  it('good credentials give an Admin-Token that works', async () => {
    const respoke = client();
    const body = await respoke.auth.admin(server.admin);
    noteSecret(body.token);
    assert.equal(body.message, 'Authorization successful');
    assert.match(body.token, UPPER_UUID_V4);
    assert.equal(respoke.tokens['Admin-Token'], body.token);
    assert.equal((await respoke.apps.get({ appId: app.id })).id, app.id);
  });

  it('works through callbacks, and with a dead Admin-Token still in the header', (t, done) => {
    const respoke = client({ 'Admin-Token': randomUUID().toUpperCase() });
    respoke.auth.admin(server.admin, (error, body) => {
      if (error) return done(error);
      noteSecret(body.token);
      done(respoke.tokens['Admin-Token'] === body.token ? undefined : new Error('the new token was not kept'));
    });
  });

  it('a wrong password and an unknown user are both refused', async () => {
    for (const credentials of [
      { username: server.admin.username, password: 'CANARY-sea-monkeys' },
      { username: 'ducksized', password: 'CANARY-sea-monkeys' },
    ]) {
      const respoke = client();
      await assert.rejects(respoke.auth.admin(credentials), refusedWith(401));
      assert.equal(respoke.tokens['Admin-Token'], null);
    }
  });
});

describe('apps', () => {
  const readable = (read) => {
    assert.match(read.id, LOWER_UUID);
    assert.match(read.accountId, UPPER_UUID_V4);
    assert.equal(read.secret, '<redacted>');
    assert.equal(read.locked, false);
    assert.equal(read.permittedDomains, null);
    assert.equal(typeof read.developmentMode, 'boolean');
  };

  it('lists all apps of the account', async () => {
    const other = await createApp(server, adminToken);
    const apps = await asAdmin().apps.get();
    assert.ok(Array.isArray(apps));
    apps.forEach(readable);
    for (const id of [app.id, other.id]) assert.equal(apps.filter((each) => each.id === id).length, 1);
  });

  it('reads one app, through a callback', (t, done) => {
    asAdmin().apps.get({ appId: app.id }, (error, read) => {
      if (error) return done(error);
      readable(read);
      assert.equal(read.id, app.id);
      assert.equal(read.name, app.name);
      assert.equal(read.developmentMode, false);
      done();
    });
  });

  it('an App-Secret reads its own app and lists it alone', async () => {
    readable(await withSecret().apps.get({ appId: app.id }));
    const apps = await withSecret().apps.get();
    assert.deepEqual(apps.map((each) => each.id), [app.id]);
  });

  it('nobody reads an app without a credential', async () => {
    await assert.rejects(client().apps.get({ appId: app.id }), refusedWith(401));
  });
});

describe('roles', () => {
  for (const [credential, make] of [['Admin-Token', asAdmin], ['App-Secret', withSecret]]) {
    it(`creates, lists, reads and deletes with the ${credential}`, async () => {
      const respoke = make();
      const name = `role ${randomUUID()}`;
      const created = await respoke.roles.create({ appId: app.id, name, groups: ALL_GROUPS });
      assertRole(created, { appId: app.id, accountId: app.accountId, name, groups: ALL_GROUPS });

      const listed = (await respoke.roles.get({ appId: app.id })).filter((each) => each.id === created.id);
      assert.deepEqual(listed, [created]);
      assert.deepEqual(await respoke.roles.get({ appId: app.id, roleId: created.id }), created);

      // The package takes the `json` default for these too, so the body arrives unpacked.
      assert.deepEqual(await respoke.roles.delete({ roleId: created.id }), { message: 'Success' });
      await assert.rejects(respoke.roles.get({ appId: app.id, roleId: created.id }), refusedWith(404, ROLE_NOT_FOUND));
      await assert.rejects(respoke.roles.delete({ roleId: created.id }), refusedWith(404, ROLE_NOT_FOUND));
      const left = await respoke.roles.get({ appId: app.id });
      assert.ok(left.every((each) => each.id !== created.id));
    });
  }

  it('a role of another app is not there for an App-Secret', async () => {
    const other = await createApp(server, adminToken);
    const foreign = await createRole(server, adminToken, other);
    await assert.rejects(withSecret().roles.delete({ roleId: foreign.id }), refusedWith(404, ROLE_NOT_FOUND));
    assert.equal((await asAdmin().roles.get({ appId: other.id, roleId: foreign.id })).id, foreign.id);
  });
});

describe('a token for an endpoint', () => {
  for (const [credential, make] of [['App-Secret', withSecret], ['Admin-Token', asAdmin]]) {
    it(`is minted with the ${credential}`, async () => {
      const { token, since } = await mint(make(), { endpointId: 'billy', roleId: role.id });
      assertToken(token, { app, endpointId: 'billy', roleId: role.id, ttl: DEFAULT_TTL, since });
    });
  }

  it('is minted with the secret among the options, which then also stands in the body', async () => {
    const { token, since } = await mint(client({ appId: app.id }), {
      endpointId: 'billy',
      roleId: role.id,
      ttl: 3600,
      headers: { 'App-Secret': app.secret },
    });
    assertToken(token, { app, endpointId: 'billy', roleId: role.id, ttl: 3600, since });
  });

  it('is minted without a credential in a development-mode app', async () => {
    const open = await createApp(server, adminToken, { developmentMode: true });
    const { token, since } = await mint(client({ appId: open.id }), { endpointId: 'billy' });
    assertToken(token, { app: open, endpointId: 'billy', ttl: DEFAULT_TTL, since, forDevelopment: true });
    await redeem(token.tokenId);
  });

  it('is refused without a credential otherwise', async () => {
    await assert.rejects(client({ appId: app.id }).auth.endpoint({ endpointId: 'billy', roleId: role.id }), refusedWith(401));
  });

  it('is refused for a wrong secret and for an unknown role', async () => {
    const wrong = client({ appId: app.id, 'App-Secret': 'rspk_CANARY_not_a_secret' });
    await assert.rejects(wrong.auth.endpoint({ endpointId: 'billy', roleId: role.id }), refusedWith(401));
    const unknown = randomUUID().toUpperCase();
    await assert.rejects(withSecret().auth.endpoint({ endpointId: 'billy', roleId: unknown }), refusedWith(404, ROLE_NOT_FOUND));
  });
});

describe('a session token', () => {
  it('comes from a tokenId once; the second use is refused', async () => {
    const { token } = await mint(withSecret(), { endpointId: 'billy', roleId: role.id });
    const { session, respoke } = await redeem(token.tokenId);
    assert.deepEqual(Object.keys(session).sort(), ['message', 'token']);
    assert.equal(session.message, 'Authorization successful');
    assert.match(session.token, UPPER_UUID_V4);
    assert.notEqual(session.token, token.tokenId);
    assert.equal(respoke.tokens['App-Token'], session.token);

    const late = client();
    await assert.rejects(late.auth.sessionToken({ tokenId: token.tokenId }), refusedWith(401));
    assert.equal(late.tokens['App-Token'], null);
  });

  it('is refused for a tokenId that never was', async () => {
    await assert.rejects(client().auth.sessionToken({ tokenId: randomUUID().toUpperCase() }), refusedWith(401));
  });

  it('does not stand in the way of the App-Secret beside it: the same client mints again', async () => {
    const respoke = withSecret(); // from now on it sends App-Token and App-Secret together
    const first = await mint(respoke, { endpointId: 'billy', roleId: role.id });
    await redeem(first.token.tokenId, respoke);
    const { token, since } = await mint(respoke, { endpointId: 'sally', roleId: role.id });
    assertToken(token, { app, endpointId: 'sally', roleId: role.id, ttl: DEFAULT_TTL, since });
  });
});
