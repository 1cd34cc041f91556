// What is packed, and that it stands alone.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = new URL('..', import.meta.url);
const manifest = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));

it('has the version that it tells, and depends on nothing', async () => {
  const { VERSION } = await import('respoked');
  assert.equal(VERSION, manifest.version);
  const { version } = /\[workspace\.package\][^[]*?\nversion = "(?<version>[^"]+)"/.exec(readFileSync(new URL('../../Cargo.toml', root), 'utf8')).groups;
  assert.equal(manifest.version, version, 'the server that it comes with has the same');
  assert.equal(manifest.dependencies, undefined);
  assert.equal(manifest.sideEffects, false);
});

it('has every entry, and the types of each', async () => {
  for (const [entry, { types, default: file } = {}] of Object.entries(manifest.exports)) {
    if (entry === './package.json') continue;
    assert.ok(readFileSync(new URL(types, root), 'utf8').includes('export'), types);
    assert.ok(readFileSync(new URL(file, root), 'utf8').includes('export'), file);
    assert.ok(Object.keys(await import(entry.replace('.', 'respoked'))).length);
  }
});

it('packs what is built and nothing else', () => {
  const packed = execFileSync('npm', ['pack', '--dry-run', '--json'], { cwd: fileURLToPath(root), stdio: ['ignore', 'pipe', 'ignore'] });
  const [{ files }] = Object.values(JSON.parse(packed));
  const names = files.map(({ path }) => path);
  assert.deepEqual(names.filter((name) => !name.startsWith('dist/')), ['README.md', 'package.json']);
  assert.ok(names.length > 10);
});

it('shows nobody what is inner', () => {
  const types = readFileSync(new URL('dist/types/client.d.ts', root), 'utf8');
  for (const inner of ['listen', 'entered', 'ending', 'ask(', '@internal']) assert.ok(!types.includes(inner), inner);
});
