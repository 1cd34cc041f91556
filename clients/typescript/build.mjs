// Builds what the package ships: one file for each entry, and their types. `node build.mjs --check` builds beside and compares.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const ENTRIES = { respoked: 'src/index.ts', react: 'src/react/index.ts', server: 'src/server/index.ts' };
/** The most that each may have, gzipped. */
const BYTES_MAX = { respoked: 10 * 1024, react: 2 * 1024 };

/** Names that nobody outside the bundle sees, neither users nor the wire: they are shortened. */
const INNER =
  /^(phase|interests|requests|unseen|presences|wanted|effects|tokenFailed|tokenCame|published|welcomed|answered|standing|unwant|retryIn|listeners|refs|listen|entered|ending)$/;

async function make(outdir) {
  await build({
    absWorkingDir: here,
    entryPoints: ENTRIES,
    outdir,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    external: ['react'],
    legalComments: 'none',
    mangleProps: INNER,
    logLevel: 'warning',
  });
  const tsc = join(here, 'node_modules/typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, '--project', here, '--outDir', join(outdir, 'types'), '--stripInternal'], { stdio: 'inherit' });
}

function filesOf(folder) {
  const found = readdirSync(folder, { recursive: true }).map((name) => join(folder, name));
  return found.filter((path) => statSync(path).isFile()).map((path) => relative(folder, path)).sort();
}

/** Names the files in which two folders differ. */
function differences(one, other) {
  const names = new Set([...filesOf(one), ...filesOf(other)]);
  const read = (folder, name) => {
    try {
      return readFileSync(join(folder, name), 'utf8');
    } catch {
      return undefined;
    }
  };
  return [...names].filter((name) => read(one, name) !== read(other, name));
}

const dist = join(here, 'dist');
if (process.argv.includes('--check')) {
  const fresh = mkdtempSync(join(here, '.fresh-'));
  try {
    await make(fresh);
    const stale = differences(dist, fresh);
    if (stale.length) {
      console.error(`stale in dist: ${stale.join(', ')}; run \`npm run build\``);
      process.exitCode = 1;
    }
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
} else {
  rmSync(dist, { recursive: true, force: true });
  await make(dist);
}
for (const [name, most] of Object.entries(BYTES_MAX)) {
  const bytes = gzipSync(readFileSync(join(dist, `${name}.js`)), { level: 9 }).length;
  console.log(`${name}.js: ${bytes} of ${most} bytes, gzipped`);
  if (bytes > most) process.exitCode = 1;
}
