// The setup link, a second factor, and admins who may do less.

import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { after, before, it } from 'node:test';

import { openBench } from '../browser/bench.mjs';
import { createApp, createRole, logIn, noteSecret, startServer } from '../harness.mjs';
import { assertAccessible, lookAt, openConsole, picture, signIn } from './console.mjs';

let bench, server, app, role;
before(async () => {
  server = await startServer();
  const adminToken = await logIn(server);
  app = await createApp(server, adminToken);
  role = await createRole(server, adminToken, app);
  bench = await openBench();
});
after(async () => {
  await bench?.close();
  await server?.stop();
});

/** The code an authenticator shows for a base32 key (RFC 6238, RFC 4226). */
function codeOf(key, at = Date.now()) {
  const bits = [...key].map((symbol) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(symbol).toString(2).padStart(5, '0')).join('');
  const bytes = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(at / 30_000)));
  const mac = createHmac('sha1', bytes).update(step).digest();
  const number = mac.readUInt32BE(mac[19] & 15) & 0x7fffffff;
  return String(number % 1_000_000).padStart(6, '0');
}

const openSetup = async () => {
  const tab = await openConsole(bench, server);
  await tab.page.goto(`${server.origin}/console/setup#${server.setupToken}`);
  return tab;
};

it('the printed link signs in once, and leaves no trace in the address', async () => {
  const { page } = await openSetup();
  await page.getByText('Welcome. You are signed in').waitFor();
  assert.ok(!page.url().includes(server.setupToken));
  const again = await openSetup();
  await again.page.getByText('This link was used before').waitFor();
  await assertAccessible(again.page, 'setup');
  await picture(again.page, 'setup-used');
});

it('a second factor is taken up, asked for, stood in for, and removed', async () => {
  const tab = await openConsole(bench, server);
  const { page } = tab;
  const signedIn = () => page.waitForURL('**/console/apps');
  await signIn(tab, server.admin);
  await signedIn();
  await page.getByRole('link', { name: 'Account' }).click();
  await page.locator('#totp').getByLabel('Password').fill('CANARY-wrong');
  await page.getByRole('button', { name: 'Set one up' }).click();
  await page.getByText('The password or the code is wrong.').waitFor();
  await page.locator('#totp').getByLabel('Password').fill(server.admin.password);
  await page.getByRole('button', { name: 'Set one up' }).click();
  await page.getByText('It is shown once.').waitFor();
  await page.getByRole('img', { name: 'The key, to be scanned' }).waitFor();
  await picture(page, 'second-factor');
  const key = await page.locator('.once code').first().textContent();
  noteSecret(key);
  await page.getByLabel('Code').fill(codeOf(key));
  await page.getByRole('button', { name: 'Take it up' }).click();
  await page.getByText('They are shown once.').waitFor();
  const recovery = await page.locator('.codes code').allTextContents();
  assert.equal(recovery.length, 10);
  recovery.forEach(noteSecret);
  await page.getByRole('link', { name: 'I have stored them' }).click();
  await page.locator('#totp').getByText('on', { exact: true }).waitFor();
  assert.equal(await page.getByText(recovery[0]).count(), 0);

  // No code is taken twice. That of the next step is good already, and is another one however little time has passed.
  for (const code of [() => codeOf(key, Date.now() + 30_000), () => recovery[0]]) {
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.waitForURL('**/console/sign-in');
    await signIn(tab, server.admin);
    await page.getByText('Now the code from your device as well.').waitFor();
    await page.getByLabel('Code').fill('000000');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByText('The user name, the password or the code is wrong.').waitFor();
    assert.equal(await page.getByLabel('Password').inputValue(), server.admin.password, 'it need not be typed again');
    await page.getByLabel('Code').fill(code());
    await page.getByRole('button', { name: 'Sign in' }).click();
    await signedIn();
  }

  await page.goto(`${server.origin}/console/account`);
  await lookAt(page, 'Remove it…');
  await page.locator('#totp').getByLabel('Password').fill(server.admin.password);
  await page.locator('#totp').getByLabel('Code').fill(recovery[1]);
  await page.getByRole('button', { name: 'Remove the second factor' }).click();
  await page.getByText('The second factor is removed.').waitFor();
});

it('an admin who may only look is offered nothing else, and refused it', async () => {
  const owner = await openConsole(bench, server);
  await signIn(owner, server.admin);
  await owner.page.waitForURL('**/console/apps');
  await owner.page.goto(`${server.origin}/console/admins`);
  const looker = { username: 'looker', password: 'CANARY-looker-password' };
  const form = owner.page.locator('form.make');
  await form.getByLabel('User name').fill(looker.username);
  await form.getByLabel('Password', { exact: true }).fill(looker.password);
  await form.getByLabel('Your own password').fill('not the own password');
  await form.getByLabel('Role').selectOption('read-only');
  await form.getByRole('button', { name: 'Make the admin' }).click();
  await owner.page.getByText('Your own password is not the one').waitFor();
  await form.getByLabel('Password', { exact: true }).fill(looker.password);
  await form.getByLabel('Role').selectOption('read-only');
  await form.getByLabel('Your own password').fill(server.admin.password);
  await form.getByRole('button', { name: 'Make the admin' }).click();
  await owner.page.getByText('The admin is made').waitFor();
  await assertAccessible(owner.page, 'admins');
  await picture(owner.page, 'admins');

  const tab = await openConsole(bench, server);
  const { page } = tab;
  await signIn(tab, looker);
  await page.getByText('Your role is read-only').waitFor();
  const root = `${server.origin}/console/apps/${app.id}`;
  for (const path of ['', '/secrets', '/roles', `/roles/${role.id}`, '/try', '/sessions', '/endpoints/alice', '/bans']) {
    await page.goto(root + path);
    for (const button of await page.locator('main form[method=post] button:visible').allTextContents()) {
      assert.equal(button, 'Ask', path);
    }
    await assertAccessible(page, path);
  }
  await picture(page, 'read-only');
  await page.goto(root);
  // As if the page had offered it.
  await page.evaluate(() => document.querySelectorAll('[data-locked]').forEach((mark) => mark.removeAttribute('data-locked')));
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByRole('heading', { name: 'Not permitted' }).waitFor();
  await page.getByText('read-only').waitFor();

  await owner.page.locator('tr', { hasText: 'looker' }).locator('summary', { hasText: 'Role…' }).click();
  await owner.page.locator('tr', { hasText: 'looker' }).getByLabel('Role').selectOption('developer');
  await owner.page.locator('tr', { hasText: 'looker' }).getByLabel('Your own password').first().fill(server.admin.password);
  await owner.page.locator('tr', { hasText: 'looker' }).getByRole('button', { name: 'Save' }).click();
  await owner.page.getByText('Saved.').waitFor();
  await page.goto(root);
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved.').waitFor();
  assert.equal(await page.locator('summary', { hasText: 'Delete…' }).isVisible(), false, 'owners do that');
  assert.equal(await page.getByLabel('Connections of the app').isDisabled(), true);
  await page.evaluate(() => document.querySelectorAll('[data-locked]').forEach((mark) => mark.removeAttribute('data-locked')));
  await lookAt(page, 'Delete…');
  await page.getByLabel(/^Type/).fill(app.name);
  await page.getByRole('button', { name: 'Delete the app for good' }).click();
  await page.getByRole('heading', { name: 'Not permitted' }).waitFor();
});

it('a changed password ends the other sign-ins, and signing out everywhere ends all', async () => {
  const [one, other] = [await openConsole(bench, server), await openConsole(bench, server)];
  for (const tab of [one, other]) {
    await signIn(tab, server.admin);
    await tab.page.waitForURL('**/console/apps');
  }
  await one.page.goto(`${server.origin}/console/account`);
  const changed = 'CANARY-changed-password';
  await one.page.getByLabel('Present password').fill(server.admin.password);
  await one.page.getByLabel('New password', { exact: true }).fill(changed);
  await one.page.getByLabel('New password once more').fill(changed);
  await one.page.getByRole('button', { name: 'Change the password' }).click();
  await one.page.getByText('The password is changed').waitFor();
  await other.page.goto(`${server.origin}/console/apps`);
  await other.page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await signIn(other, { ...server.admin, password: changed });
  await other.page.waitForURL('**/console/apps');
  await lookAt(one.page, 'Sign out everywhere…');
  await one.page.getByRole('button', { name: 'End all my sign-ins' }).click();
  await one.page.waitForURL('**/console/sign-in');
  await other.page.reload();
  await other.page.getByRole('heading', { name: 'Sign in' }).waitFor();
});
