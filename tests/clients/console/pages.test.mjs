// Every page: its picture, its accessibility in both colour schemes, its size, and that it works without a script.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';

import { openBench } from '../browser/bench.mjs';
import { noteSecret, startWithApp } from '../harness.mjs';
import { call, json } from '../http.mjs';
import { assertAccessible, assertSmall, lookAt, openConsole, picture, shownSecret, signIn } from './console.mjs';

let bench, server, app, role;
before(async () => {
  ({ server, app, role } = await startWithApp({ developmentMode: true }));
  bench = await openBench();
  for (const endpointId of ['alice', 'bob', 'carol@example.org']) {
    const headers = { 'App-Secret': app.secret };
    const minted = await call(server, { method: 'POST', path: '/v1/tokens', ...json({ endpointId, roleId: role.id }, headers) });
    const { body: { token } } = await call(server, { method: 'POST', path: '/v1/session-tokens', ...json({ tokenId: minted.body.tokenId }) });
    const debugData = { report: { callerendpoint: 'alice', calleeendpoint: 'bob', callStarted: Date.now() - 90_000, callStopped: Date.now(), os: 'Linux', sdpsSent: ['v=0 of a call'] } };
    await call(server, { method: 'POST', path: '/v1/call-debugs', ...json({ debugData }, { 'App-Token': token }) });
  }
  await call(server, { method: 'POST', path: '/v1/endpoints/mallory/ban', ...json({ reason: 'spam' }, { 'App-Secret': app.secret }) });
});
after(async () => {
  await bench?.close();
  await server?.stop();
});

const PAGES = {
  apps: '/apps', 'new-app': '/apps/new', general: '/apps/APP', secrets: '/apps/APP/secrets', roles: '/apps/APP/roles',
  role: '/apps/APP/roles/ROLE', 'new-role': '/apps/APP/roles/new', try: '/apps/APP/try', sessions: '/apps/APP/sessions',
  endpoint: '/apps/APP/endpoints/alice', 'banned-endpoint': '/apps/APP/endpoints/mallory',
  connections: '/apps/APP/connections', calls: '/apps/APP/calls', bans: '/apps/APP/bans', audit: '/audit',
  dashboard: '/dashboard', 'dashboard-app': '/dashboard?app=APP&range=24h', requests: '/requests', account: '/account', admins: '/admins', nodes: '/nodes',
};
const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

/** Opens everything that is folded up, also what folds up its neighbours. */
const openAll = (page) => page.evaluate(() => {
  for (const folded of document.querySelectorAll('details')) {
    folded.removeAttribute('name');
    folded.open = true;
  }
});

for (const colorScheme of ['light', 'dark']) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    it(`every page is accessible and small: ${colorScheme}, ${size}`, async () => {
      const tab = await openConsole(bench, server, { colorScheme, viewport });
      const name = (page) => `${page}-${size}-${colorScheme}`;
      await assertAccessible(tab.page, 'sign-in');
      await picture(tab.page, name('sign-in'));
      await signIn(tab, server.admin);
      await tab.page.waitForURL('**/console/apps');
      for (const [title, path] of Object.entries(PAGES)) {
        await tab.page.goto(`${server.origin}/console${path.replace('APP', app.id).replace('ROLE', role.id)}`);
        assert.equal(await tab.page.locator('h1').count(), 1, title);
        await assertAccessible(tab.page, `${title}, folded`);
        await openAll(tab.page);
        await assertAccessible(tab.page, title);
        await assertSmall(tab.page);
        const wide = await tab.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(wide, 0, `${title} is wider than the window`);
        await tab.page.reload();
        await picture(tab.page, name(title));
      }
      tab.assertNoErrors();
      await tab.page.goto(`${server.origin}/console/nothing`);
      await assertAccessible(tab.page, 'not found');
      await picture(tab.page, name('not-found'));
    });
  }
}

describe('without scripts', () => {
  it('an app is made, a role saved, a token minted, a session ended', async () => {
    const tab = await openConsole(bench, server, { javaScriptEnabled: false });
    const { page } = tab;
    await signIn(tab, server.admin);
    await page.getByRole('link', { name: 'New app' }).click();
    await page.getByLabel('Name').fill('plain');
    await page.getByRole('button', { name: 'Create app' }).click();
    noteSecret(await shownSecret(page));
    await page.getByRole('link', { name: /make a role/ }).click();
    await page.getByLabel('Name', { exact: true }).fill('reader');
    await page.getByRole('button', { name: 'Add a rule' }).click();
    await page.getByRole('textbox', { name: 'Name or pattern of rule 2' }).fill('news');
    await page.getByRole('group', { name: 'Rule 2' }).getByLabel('Join').check();
    await page.getByLabel('May an endpoint with this role publish to the group…').fill('news');
    await page.getByRole('button', { name: 'Ask' }).click();
    await page.getByText(/may not publish to “news”/).waitFor();
    await page.getByRole('button', { name: 'Save role' }).click();
    await page.getByText('The role is saved.').waitFor();
    await page.getByRole('link', { name: 'Try it' }).click();
    await page.getByRole('button', { name: 'Mint', exact: true }).click();
    const tokenId = await page.locator('.result code').first().textContent();
    noteSecret(tokenId);
    const redeemed = await call(server, { method: 'POST', path: '/v1/session-tokens', ...json({ tokenId }) });
    assert.equal(redeemed.status, 200);
    await page.getByRole('link', { name: 'Sessions' }).click();
    await lookAt(page, 'End…');
    await page.getByRole('button', { name: 'End the session' }).click();
    await page.getByText('The session is over.').waitFor();
    const gone = await call(server, { path: '/v1/session-tokens', headers: { 'App-Token': redeemed.body.token } });
    assert.equal(gone.status, 401);
  });
});
