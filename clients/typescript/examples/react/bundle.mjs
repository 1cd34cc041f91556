// What a bundler makes of the page.

import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const entryPoints = [fileURLToPath(new URL('page.jsx', import.meta.url))];
const define = { 'process.env.NODE_ENV': '"development"' };
const { outputFiles } = await build({ entryPoints, define, bundle: true, write: false, format: 'esm', jsx: 'automatic' });

export const page = outputFiles[0].contents;
