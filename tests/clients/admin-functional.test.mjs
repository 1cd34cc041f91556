// The functional spec that the published respoke-admin ships, unmodified: ten runs, or RESPOKED_RUNS, all 13 cases in each.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';

import { noteSecret, startWithApp } from './harness.mjs';

const RUNS = Number(process.env.RESPOKED_RUNS ?? 10);
const CASES = 13;
const RUN_MS = 60_000;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

let config, server;
before(async () => {
  const { server: started, app, role } = await startWithApp();
  server = started;
  config = {
    baseURL: `${server.origin}/v1`, auth: server.admin, appId: app.id, appSecret: app.secret, roleId: role.id,
    role: { appId: app.id, name: role.name },
  };
});
after(() => server?.stop());

for (let run = 1; run <= RUNS; run += 1) {
  it(`run ${run}`, async () => {
    const { stdout, stderr } = await mocha();
    const tokens = noteTokens(stderr);
    const report = JSON.parse(stdout.slice(stdout.indexOf('{\n')));
    assert.deepEqual(report.failures.map(({ fullTitle, err }) => `${fullTitle}: ${err.message ?? JSON.stringify(err)}`), []);
    assert.equal(report.stats.passes, CASES);
    assert.equal(report.stats.pending, 0);
    assert.ok(tokens > CASES, `only ${tokens} tokens in the trace`);
  });
}

/** One run of the spec. The package's own trace goes to standard error. */
function mocha() {
  const program = here('node_modules/mocha/bin/_mocha');
  const spec = here('node_modules/respoke-admin/spec/functional/client.spec.js');
  const env = { ...process.env, TEST_CONFIG: JSON.stringify(config), DEBUG: 'respoke-client' };
  const options = { env, timeout: RUN_MS, maxBuffer: 64 * 1024 * 1024 };
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [program, '--reporter', 'json', spec], options, (error, stdout, stderr) => {
      // A run with failures ends with their number; the report says more than that.
      if (error && !stdout.includes('"stats"')) reject(new Error(`mocha: ${error.message}\n${stderr.slice(-4000)}`));
      else resolve({ stdout, stderr });
    });
  });
}

/** Notes the tokens of a run, which stand nowhere but in the trace, and returns their number. */
function noteTokens(trace) {
  const found = new Set();
  for (const [, token] of trace.matchAll(/(?:'App-Token'|'Admin-Token'|\btoken(?:Id)?): '([0-9A-F-]{36})'/g)) found.add(token);
  found.forEach(noteSecret);
  return found.size;
}
