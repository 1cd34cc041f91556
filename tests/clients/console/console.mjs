// The Dev Console in a browser, as its users see it, and what every visit to it is held against.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
const PAGE_BYTES_MAX = 100_000;

/** A tab on the sign-in page. `told` keeps what the server sent for every page of the console. */
export async function openConsole(bench, server, options) {
  const tab = await bench.tab(`${server.origin}/console/sign-in`, options);
  const told = [];
  tab.page.on('response', (response) => {
    if (/html|json/.test(response.headers()['content-type'] ?? '') && response.url().includes('/console')) {
      told.push(response.text().then((text) => ({ url: response.url(), text }), () => ({ url: response.url(), text: '' })));
    }
  });
  return { ...tab, told: () => Promise.all(told) };
}

export async function signIn({ page }, { username, password }) {
  await page.getByLabel('User name').fill(username);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/** The App-Secret that the page shows, this once. */
export async function shownSecret(page) {
  await page.getByText('This is shown once.').waitFor();
  const secret = await page.locator('.once code').textContent();
  assert.match(secret, /^rspk_/);
  return secret;
}

/** How many of the answers to the tab hold `text`. */
export async function timesTold(tab, text) {
  return (await tab.told()).filter((answer) => answer.text.includes(text)).length;
}

/** Opens what is done only after a second look. */
export const lookAt = (scope, name) => scope.locator('summary', { hasText: name }).click();

/** Holds the page against the accessibility rules. */
export async function assertAccessible(page, what) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate((rules) => axe.run({ runOnly: rules }), RULES);
  assert.ok(passes.length > 10, 'the rules were looked at');
  const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join('\n    ')}`);
  assert.deepEqual(found, [], `${what} is not accessible`);
}

/** Leaves a picture of the page in the folder for them. */
export async function picture(page, name) {
  const folder = process.env.RESPOKED_SHOTS_DIR;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}

/** The page and what it loads are small. */
export async function assertSmall(page) {
  const bytes = await page.evaluate(() => performance.getEntriesByType('resource')
    .concat(performance.getEntriesByType('navigation')).reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0));
  assert.ok(bytes > 0 && bytes < PAGE_BYTES_MAX, `${page.url()} is ${bytes} bytes`);
}
