// From the first sign-in to a client in session and back out, as somebody new to it would go.

import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';

import { openBench } from '../browser/bench.mjs';
import { noteSecret, startServer } from '../harness.mjs';
import { call, json } from '../http.mjs';
import { lookAt, openConsole, picture, shownSecret, signIn, timesTold } from './console.mjs';

let bench, server, tab, page, secret, rolled;
before(async () => {
  server = await startServer();
  bench = await openBench();
  tab = await openConsole(bench, server);
  page = tab.page;
});
after(async () => {
  await bench?.close();
  await server?.stop();
});

/** Whether the server takes an App-Secret. */
async function taken(appSecret) {
  const { status } = await call(server, { path: '/v1/roles', headers: { 'App-Secret': appSecret } });
  assert.ok(status === 200 || status === 401, `${status}`);
  return status === 200;
}

const goTo = (name) => page.getByRole('navigation', { name: 'App' }).getByRole('link', { name, exact: true }).click();

it('signs in with what the server printed', async () => {
  await page.goto(`${server.origin}/console`);
  await signIn(tab, server.admin);
  await page.getByRole('heading', { name: 'Apps', exact: true }).waitFor();
});

it('makes an app, whose secret is shown once and can be copied', async () => {
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByRole('link', { name: 'New app' }).click();
  await page.getByLabel('Name').fill('Support <b>chat</b>');
  await page.getByRole('button', { name: 'Create app' }).click();
  secret = await shownSecret(page);
  noteSecret(secret);
  await page.getByRole('button', { name: 'Copy the App-Secret' }).click();
  await page.getByRole('button', { name: 'Copy the App-Secret' }).filter({ hasText: 'Copied' }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
  assert.equal(await taken(secret), true);
  assert.equal(await timesTold(tab, secret), 1);
  await page.reload();
  assert.equal(await page.getByText(secret).count(), 0);
  await page.goto(`${server.origin}/console/apps`);
  await page.getByRole('link', { name: 'Support <b>chat</b>' }).waitFor();
});

it('makes a role with switches, and changes it as JSON', async () => {
  await page.getByRole('link', { name: 'Support <b>chat</b>' }).click();
  await goTo('Roles');
  await page.getByRole('link', { name: 'Make one' }).click();
  await page.getByLabel('Name', { exact: true }).fill('member');
  const rule = page.getByRole('group', { name: 'Rule 1' });
  await rule.getByLabel('Destroy').uncheck();
  // The other side follows.
  const permissions = async () => JSON.parse(await page.getByRole('textbox', { name: 'As JSON' }).inputValue());
  await page.waitForFunction(() => !document.querySelector('#json').value.includes('destroy'));
  assert.equal((await permissions()).groups['*'].publish, true);
  await page.getByRole('button', { name: 'Save role' }).click();
  await page.getByText('The role is saved.').waitFor();
  await page.getByRole('textbox', { name: 'As JSON' }).fill(JSON.stringify({ groups: { '*': { subscribe: true }, 'team-*': { create: true, publish: true, subscribe: true } } }));
  await page.getByRole('textbox', { name: 'As JSON' }).blur();
  await page.getByRole('textbox', { name: 'Name or pattern of rule 2' }).waitFor();
  assert.equal(await page.getByRole('group', { name: 'Rule 2' }).getByLabel('Publish').isChecked(), true);
  assert.equal(await rule.getByLabel('Publish').isChecked(), false);
  for (const [group, answer] of [['team-1', /Yes\. .* by the rule “team-\*”/], ['other', /No\. .* by the rule “\*”/]]) {
    await page.getByLabel('May an endpoint with this role publish to the group…').fill(group);
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.locator('#verdict').getByText(answer).waitFor();
  }
  await page.getByRole('button', { name: 'Save the JSON' }).click();
  await page.getByText('The role is saved.').waitFor();
  const { body: [role] } = await call(server, { path: '/v1/roles', headers: { 'App-Secret': secret } });
  assert.deepEqual(role.groups, { '*': { subscribe: true }, 'team-*': { create: true, publish: true, subscribe: true } });
});

it('mints a token that the unmodified client redeems, sees the session and ends it', async () => {
  await goTo('Try it');
  await page.getByRole('textbox', { name: 'Endpoint' }).first().fill('carol');
  await page.getByRole('button', { name: 'Mint', exact: true }).click();
  const token = await page.locator('.result code').first().textContent();
  noteSecret(token);
  assert.ok((await page.locator('.sample').first().textContent()).includes('$APP_SECRET'));
  const user = await bench.open();
  await user.connect({ baseURL: server.origin, token, reconnect: false });
  assert.equal(user.endpointId, 'carol');
  await goTo('Connections');
  await page.getByText(user.connectionId).waitFor();
  await goTo('Sessions');
  const row = page.getByRole('row').filter({ hasText: 'carol' });
  await row.getByText('member').waitFor();
  await lookAt(row, 'End…');
  await row.getByRole('button', { name: 'End the session' }).click();
  await page.getByText('The session is over.').waitFor();
  await user.hears('disconnect');
  await page.getByText('Nobody is in session.').waitFor();
});

it('opens two clients that talk', async () => {
  await goTo('Try it');
  const clients = page.locator('[data-client]');
  for (const at of [0, 1]) {
    await clients.nth(at).getByRole('button', { name: 'Mint and connect' }).click();
    await clients.nth(at).getByText(/^connected as/).waitFor();
  }
  const [alice, bob] = [clients.nth(0), clients.nth(1)];
  await alice.getByLabel('To endpoint').fill('bob');
  await alice.getByLabel('Message', { exact: true }).fill('hello');
  await alice.getByRole('button', { name: 'Send' }).click();
  await bob.getByText('message from alice: hello').waitFor();
  for (const client of [bob, alice]) {
    await client.getByLabel('Group', { exact: true }).fill('team-1');
    await client.getByRole('button', { name: 'Join and publish' }).click();
    await client.getByText('joined team-1').waitFor();
  }
  await alice.getByLabel('Message to the group').fill('hello all');
  await alice.getByRole('button', { name: 'Join and publish' }).click();
  await bob.getByText('pubsub from alice in team-1: hello all').waitFor();
  await picture(page, 'two-clients');

  // Somebody looks on while they talk.
  const watcher = await page.context().newPage();
  await watcher.goto(`${page.url().replace(/\/try$/, '')}/endpoints/bob`);
  await watcher.getByRole('row').getByText('team-1').waitFor();
  const frames = watcher.locator('[data-tail-frames]');
  for (const [payloads, text] of [[false, 'private words'], [true, 'words shown']]) {
    await watcher.getByLabel('Show what is said').setChecked(payloads);
    await watcher.getByRole('button', { name: 'Look on' }).click();
    await watcher.getByRole('button', { name: 'Stop' }).waitFor();
    await alice.getByLabel('Message', { exact: true }).fill(text);
    await alice.getByRole('button', { name: 'Send' }).click();
    await frames.getByText(/event message from alice/).nth(payloads ? 1 : 0).waitFor();
    assert.equal(await frames.getByText(text).count(), payloads ? 1 : 0);
    await watcher.getByRole('button', { name: 'Stop' }).click();
  }
  await picture(watcher, 'looking-on');
  await watcher.close();
});

it('rolls a secret: with overlap both are taken, without it the old one stops', async () => {
  const roll = async (overlap, old) => {
    await goTo('Secrets');
    const row = page.getByRole('row').filter({ hasText: old.slice(-4) });
    await lookAt(row, 'Roll…');
    await row.getByLabel('The old one is taken for').selectOption(overlap);
    await row.getByRole('button', { name: 'Roll' }).click();
    const made = await shownSecret(page);
    noteSecret(made);
    await page.getByRole('link', { name: 'I have stored it' }).click();
    await page.getByRole('heading', { name: 'New secret' }).waitFor();
    return made;
  };
  rolled = await roll('1h', secret);
  assert.deepEqual([await taken(secret), await taken(rolled)], [true, true]);
  const last = await roll('now', rolled);
  assert.deepEqual([await taken(secret), await taken(rolled), await taken(last)], [true, false, true]);
  const row = page.getByRole('row').filter({ hasText: secret.slice(-4) });
  await lookAt(row, 'Revoke…');
  await row.getByRole('link', { name: 'How many would that be?' }).click();
  await row.getByText(/It would cut off .* live session/).waitFor();
  await row.getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('The secret is revoked.').waitFor();
  assert.equal(await taken(secret), false);
  for (const each of [secret, rolled, last]) assert.equal(await timesTold(tab, each), 1);
});

it('bans an endpoint, whose user stays out until the ban is lifted', async () => {
  await page.goto(`${page.url().split('/secrets')[0]}/endpoints/${encodeURIComponent('bob')}`);
  await lookAt(page, 'Ban…');
  await page.getByLabel('Reason').fill('spam');
  await page.getByRole('button', { name: 'Ban the endpoint' }).click();
  await page.getByText('The endpoint is banned').waitFor();
  await page.getByText('It is not in session.').waitFor();
  await goTo('Bans');
  await page.getByRole('link', { name: 'bob' }).click();
  await page.getByRole('button', { name: 'Lift the ban' }).click();
  await page.getByText('The ban is lifted.').waitFor();
  tab.assertNoErrors();
});

it('says what is wrong with JSON that cannot be read, and saves nothing', async () => {
  await goTo('Roles');
  await page.getByRole('link', { name: 'member' }).click();
  await page.getByRole('textbox', { name: 'As JSON' }).fill('{"groups":');
  await page.getByRole('button', { name: 'Save the JSON' }).click();
  await page.getByText('The JSON cannot be read').first().waitFor();
  await goTo('Roles');
  await page.getByRole('row').filter({ hasText: 'member' }).getByText('2 group rules').waitFor();
});

it('switches development mode, and deletes the app once its name is typed', async () => {
  await goTo('General');
  await lookAt(page, 'Switch it on…');
  await page.getByRole('button', { name: 'Switch development mode on' }).click();
  await page.getByText('Development mode is on.').first().waitFor();
  const id = await page.locator('.copyable code').first().textContent();
  const mint = () => call(server, { method: 'POST', path: '/v1/tokens', ...json({ appId: id, endpointId: 'dave' }) });
  assert.equal((await mint()).status, 200);
  await page.getByRole('button', { name: 'Switch it off' }).click();
  await page.getByText('Development mode is off.').waitFor();
  assert.equal((await mint()).status, 401);
  for (const [typed, said] of [['Support', "The name that was typed is not the app's."], ['Support <b>chat</b>', 'The app is deleted']]) {
    await lookAt(page, 'Delete…');
    await page.getByLabel(/^Type/).fill(typed);
    await page.getByRole('button', { name: 'Delete the app for good' }).click();
    await page.getByText(said).waitFor();
  }
});

it('finds all of it in the audit log, and exports it', async () => {
  await page.getByRole('link', { name: 'Audit log' }).click();
  for (const action of ['app.created', 'secret.rolled', 'endpoint.banned', 'app.deleted']) {
    await page.getByRole('link', { name: action }).first().waitFor();
  }
  await page.getByLabel('Action').selectOption('secret.rolled');
  await page.getByRole('button', { name: 'Search' }).click();
  await page.waitForURL(/action=secret.rolled/);
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export' }).click()]);
  let text = '';
  for await (const chunk of await download.createReadStream()) text += chunk;
  const rows = text.trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(rows.map(({ action }) => action), ['secret.rolled', 'secret.rolled']);
});

it('signs out, after which the pages ask to sign in', async () => {
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.goto(`${server.origin}/console/audit?action=app.created`);
  await signIn(tab, server.admin);
  await page.waitForURL(/audit\?action=app\.created/);
});
