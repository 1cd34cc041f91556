// What the console refuses: guessed passwords, forms of other pages, other apps' objects, its cookie elsewhere.

import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';

import { openBench } from '../browser/bench.mjs';
import { createApp, createRole, logIn, noteSecret, startServer } from '../harness.mjs';
import { call, json } from '../http.mjs';
import { openConsole, signIn } from './console.mjs';

const LONG_SECS = 8;

let bench, server, adminToken, mine, other;
before(async () => {
  server = await startServer();
  adminToken = await logIn(server);
  mine = await createApp(server, adminToken);
  other = await createApp(server, adminToken);
  bench = await openBench();
});
after(async () => {
  await bench?.close();
  await server?.stop();
});

/** A signed-in tab, with its cookie and the mark of its forms. */
async function signedIn() {
  const tab = await openConsole(bench, server);
  await signIn(tab, server.admin);
  await tab.page.waitForURL('**/console/apps');
  const [cookie] = await tab.page.context().cookies(`${server.origin}/console`);
  noteSecret(cookie.value);
  const csrf = await tab.page.locator('input[name=csrf]').first().inputValue();
  return { ...tab, cookie, csrf };
}

/** A form sent by other means than our pages. */
function send(path, { cookie, csrf, headers = {}, ...fields }) {
  const body = new URLSearchParams({ ...(csrf && { csrf }), ...fields }).toString();
  const sent = { 'Content-Type': 'application/x-www-form-urlencoded', ...(cookie && { Cookie: `respoked_console=${cookie.value}` }) };
  return call(server, { method: 'POST', path, body, headers: { ...sent, ...headers } });
}
const OWN = { 'Sec-Fetch-Site': 'same-origin' };

it('the cookie is kept from scripts and other sites, and opens pages only', async () => {
  const { page, cookie } = await signedIn();
  assert.deepEqual(
    [cookie.name, cookie.httpOnly, cookie.sameSite, cookie.path], ['respoked_console', true, 'Strict', '/console']);
  assert.equal(await page.evaluate(() => document.cookie), '');
  const asked = (path) => call(server, { path, headers: { Cookie: `respoked_console=${cookie.value}` } });
  assert.equal((await asked('/console/apps')).status, 200);
  assert.equal((await asked('/v1/apps')).status, 401);
  assert.equal((await asked('/v1/apps?admin-token=')).status, 401);
});

it('forms of other sites, of nobody known, and without the mark of the sign-in are refused', async () => {
  const { cookie, csrf } = await signedIn();
  const { csrf: foreign } = await signedIn();
  const path = `/console/apps/${mine.id}/development`;
  for (const [what, form] of Object.entries({
    'another site': { cookie, csrf, headers: { 'Sec-Fetch-Site': 'cross-site' } },
    'another site of an old browser': { cookie, csrf, headers: { Origin: 'http://evil.test' } },
    'nobody known': { cookie, csrf },
    'no mark': { cookie, headers: OWN },
    'the mark of another sign-in': { cookie, csrf: foreign, headers: OWN },
  })) {
    const answer = await send(path, { ...form, on: 'true' });
    assert.equal(answer.status, 403, what);
    assert.match(answer.text, /Nothing was changed/);
    assert.equal(answer.headers['access-control-allow-origin'], undefined);
  }
  const app = await call(server, { path: `/v1/apps/${mine.id}`, headers: { 'Admin-Token': adminToken } });
  assert.equal(app.body.developmentMode, false);
  assert.equal((await send(path, { cookie, csrf, headers: OWN, on: 'true' })).status, 303);
  const strange = await send('/console/sign-in', { ...server.admin, headers: { 'Sec-Fetch-Site': 'cross-site' } });
  assert.equal(strange.status, 403, 'nobody is signed in by another site');
});

it("another app's secrets, roles and sessions are not found under an app's own address", async () => {
  const { cookie, csrf } = await signedIn();
  const headers = { 'App-Secret': other.secret };
  const role = await createRole(server, adminToken, other);
  const { body: { tokenId } } = await call(server, {
    method: 'POST', path: '/v1/tokens', ...json({ endpointId: 'alice', roleId: role.id }, headers),
  });
  const { body: { token } } = await call(server, { method: 'POST', path: '/v1/session-tokens', ...json({ tokenId }) });
  const { body: [secret] } = await call(server, { path: `/v1/apps/${other.id}/secrets`, headers });
  const { body: [session] } = await call(server, { path: '/v1/sessions', headers });
  for (const path of [
    `/secrets/${secret.id}/revoke`, `/secrets/${secret.id}/roll`, `/roles/${role.id}`, `/roles/${role.id}/delete`,
    `/sessions/${session.id}/end`,
  ]) {
    const form = { cookie, csrf, headers: OWN, overlap: 'now', name: 'taken over' };
    const answer = await send(`/console/apps/${mine.id}${path}`, form);
    assert.equal(answer.status, 404, `${path} ${answer.text}`);
  }
  assert.equal((await call(server, { path: '/v1/session-tokens', headers: { 'App-Token': token } })).status, 200);
  assert.equal((await call(server, { path: `/v1/roles/${role.id}`, headers })).body.name, role.name);
});

it('pages cannot be framed, and run nothing inline', async () => {
  const { headers } = await call(server, { path: '/console/sign-in' });
  assert.match(headers['content-security-policy'], /script-src 'self'.*frame-ancestors 'none'/);
  assert.doesNotMatch(headers['content-security-policy'], /unsafe/);
  assert.equal(headers['cache-control'], 'no-store');
});

/** Answers what htmx asks at `path` with a refusal, as the console's pages of them are. */
async function refuse(page, path) {
  const body = '<!DOCTYPE html><body><main id="main"><section id="outcome"><h1>Something failed</h1></section></main>';
  await page.route(path, (route) => (route.request().headers()['hx-request'] ?
    route.fulfill({ status: 503, contentType: 'text/html', body }) : route.continue()));
}

it('a sign-in that is refused for another reason says so, and can be tried again', async () => {
  const tab = await openConsole(bench, server);
  await refuse(tab.page, '**/console/sign-in');
  await signIn(tab, server.admin);
  await tab.page.getByRole('heading', { name: 'Something failed' }).waitFor();
  await tab.page.unroute('**/console/sign-in');
  await tab.page.getByRole('button', { name: 'Sign in' }).click();
  await tab.page.waitForURL('**/console/apps');
});

it('a list that follows what happens stays while it cannot', async () => {
  const { page } = await signedIn();
  await page.goto(`${server.origin}/console/apps/${mine.id}/connections`);
  await refuse(page, '**/connections');
  for (let times = 0; times < 2; times += 1) {
    await page.waitForResponse((response) => response.status() === 503);
    assert.equal(await page.locator('#live').getByText('No connection.').count(), 1);
  }
});

it('a part of the role editor that is refused is told above it', async () => {
  const { page } = await signedIn();
  await page.goto(`${server.origin}/console/apps/${mine.id}/roles/new`);
  await refuse(page, '**/roles/draft?part=*');
  await page.getByRole('checkbox', { name: 'Publish' }).uncheck();
  await page.locator('#problems').getByText('Something failed').waitFor();
  assert.equal(await page.locator('#json-area').count(), 1);
});

it('guessing a password has to wait, in the console as in the API', async () => {
  const tab = await openConsole(bench, server);
  const { page } = tab;
  /** The answer to a sign-in, once the page shows it in the place of the one before. */
  const answered = async (admin) => {
    await page.locator('#outcome').evaluate((outcome) => outcome.setAttribute('data-old', ''));
    const isIts = (response) => response.request().method() === 'POST' && response.url().endsWith('/console/sign-in');
    const [response] = await Promise.all([page.waitForResponse(isIts), signIn(tab, admin)]);
    await page.locator('#outcome:not([data-old])').waitFor();
    return response;
  };
  const wrong = { username: server.admin.username, password: 'CANARY-wrong' };
  for (let attempt = 0; attempt < 5; attempt += 1) {
    assert.equal((await answered(wrong)).status(), 401);
    await page.getByText('The user name or the password is wrong.').waitFor();
  }
  // Until one has to wait for longer than the next try takes.
  let waits = 0;
  for (let attempt = 0; waits < LONG_SECS; attempt += 1) {
    assert.ok(attempt < 500, `it has to wait for ${waits} s at most`);
    await answered(wrong);
    waits = Number(/in (\d+) second/.exec(await page.locator('#outcome').textContent())?.[1] ?? 0);
  }
  assert.equal((await answered(server.admin)).status(), 429);
  await page.getByText(/Too many attempts\. Try again in \d+ second/).waitFor();
});
