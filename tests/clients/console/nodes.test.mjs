// What the console shows of two nodes on one database: their list, and by which of them everything is; and that one is drained.

import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';

import { openBench } from '../browser/bench.mjs';
import { connectDevice } from '../devices.mjs';
import { createApp, createRole, freshDatabase, logIn, startNode } from '../harness.mjs';
import { assertAccessible, assertSmall, lookAt, openConsole, picture, signIn } from './console.mjs';

let bench, first, second, app, alice, bob;
before(async () => {
  const database = freshDatabase();
  const start = (node_name) => startNode({ settings: { node_name, drain_secs: 1 }, database });
  first = await start('frankfurt-1');
  second = await start('frankfurt-2');
  const adminToken = await logIn(first);
  app = await createApp(first, adminToken);
  const world = { adminToken, app, role: await createRole(first, adminToken, app) };
  alice = await connectDevice({ ...world, server: first }, 'javascript', 'alice');
  bob = await connectDevice({ ...world, server: second }, 'javascript', 'bob');
  bench = await openBench();
});
after(async () => {
  await bench?.close();
  alice?.socket.end();
  bob?.socket.end();
  await Promise.all([first?.stop(), second?.stop()]);
});

const PAGES = {
  nodes: '/nodes', connections: '/apps/APP/connections', sessions: '/apps/APP/sessions', endpoint: '/apps/APP/endpoints/bob',
  requests: '/requests',
};
const SIZES = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

/** The rows of the page's table, each as the texts of its cells. */
const rows = (page, table) => page.getByRole('group', { name: table }).locator('tbody tr')
  .evaluateAll((found) => found.map((row) => [...row.cells].map((cell) => cell.innerText.trim())));

const at = (path) => `${first.origin}/console${path.replace('APP', app.id)}`;

for (const colorScheme of ['light', 'dark']) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    it(`pages that tell of nodes are accessible and small: ${colorScheme}, ${size}`, async () => {
      const tab = await openConsole(bench, first, { colorScheme, viewport });
      await signIn(tab, first.admin);
      await tab.page.waitForURL('**/console/apps');
      for (const [title, path] of Object.entries(PAGES)) {
        await tab.page.goto(at(path));
        await assertAccessible(tab.page, `${title}, folded`);
        await picture(tab.page, `two-${title}-${size}-${colorScheme}`);
        await tab.page.evaluate(() => document.querySelectorAll('details').forEach((folded) => (folded.open = true)));
        await assertAccessible(tab.page, title);
        await assertSmall(tab.page);
        const wide = await tab.page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.equal(wide, 0, `${title} is wider than the window`);
      }
      tab.assertNoErrors();
    });
  }
}

it('everything is shown with its node, and found by it', async () => {
  const tab = await openConsole(bench, first);
  const { page } = tab;
  await signIn(tab, first.admin);
  await page.getByRole('link', { name: 'Nodes' }).click();
  const nodes = await rows(page, 'Nodes');
  const [one, two] = nodes.map(([name]) => /\((\d+)\)/.exec(name)[1]);
  const address = ({ host, port }) => `${host}:${port}`;
  const shown = [
    [`frankfurt-1 (${one}) this one\n${address(first)}`, 'serving'], [`frankfurt-2 (${two})\n${address(second)}`, 'serving'],
  ];
  assert.deepEqual(nodes.map(([name, state]) => [name, state]), shown);

  const connected = async (query) => {
    await page.goto(at(`/apps/APP/connections${query}`));
    return (await rows(page, 'Connections')).map(([endpoint, , , node]) => [endpoint, node]).sort();
  };
  const all = [['alice', `frankfurt-1 (${one})`], ['bob', `frankfurt-2 (${two})`]];
  assert.deepEqual(await connected(''), all);
  await page.getByLabel('Node').selectOption(`frankfurt-2 (${two})`);
  await page.getByRole('button', { name: 'Search' }).click();
  await page.waitForURL(`**node=${two}**`);
  assert.deepEqual((await rows(page, 'Connections')).map(([endpoint]) => endpoint), ['bob']);

  await page.goto(at('/apps/APP/sessions'));
  assert.deepEqual((await rows(page, 'Sessions')).map(([endpoint, , , node]) => [endpoint, node]).sort(), all);

  await page.goto(at(`/requests?node=${two}`));
  const requests = await rows(page, 'Requests');
  assert.ok(requests.length > 0 && requests.every((row) => row[6].endsWith(`\nfrankfurt-2 (${two})`)), JSON.stringify(requests));
  tab.assertNoErrors();
});

it('a node is drained from its row', async () => {
  const tab = await openConsole(bench, first);
  const { page } = tab;
  await signIn(tab, first.admin);
  await page.waitForURL('**/console/apps');
  await page.goto(at('/nodes'));
  const row = page.getByRole('row').filter({ hasText: 'frankfurt-2' });
  await lookAt(row, 'Drain…');
  await row.getByRole('button', { name: 'Drain frankfurt-2' }).click();
  await page.getByText('The node sends its clients to the others, and ends.').waitFor();
  // The list follows what happens: once the node has ended it is gone from it.
  await row.waitFor({ state: 'detached' });
  const left = await rows(page, 'Nodes');
  assert.ok(left.length === 1 && left[0][0].startsWith('frankfurt-1 '), JSON.stringify(left));
  tab.assertNoErrors();
});
