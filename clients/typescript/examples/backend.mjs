// The backend of an example: its pages, a sign-in that believes whatever name it is told, and tokens for who signed in.
//
//   RESPOKED_APP_SECRET='rspk_…' node backend.mjs chat      or react, after `npm ci`
//
// RESPOKED_URL is where respoked is (http://127.0.0.1:8080), RESPOKED_ROLE the users' role (member), PORT where this listens (3000).

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { fileURLToPath } from 'node:url';
import { tokenHandler } from 'respoked/server';

const server = process.env.RESPOKED_URL ?? 'http://127.0.0.1:8080';
const users = new Map(); // by session; an application has its own

const mint = tokenHandler({
  url: server,
  appSecret: process.env.RESPOKED_APP_SECRET,
  role: process.env.RESPOKED_ROLE ?? 'member',
  authorize: (request) => {
    const name = users.get(sessionOf(request.headers.get('Cookie')));
    return name ? { endpoint: name } : null;
  },
});

const sessionOf = (cookies) => /(?:^|; )session=([^;]+)/.exec(cookies ?? '')?.[1];

const example = process.argv[2] ?? 'chat';
const page = (name) => readFileSync(new URL(`${example}/${name}`, import.meta.url));
const FILES = {
  '/': [page('index.html'), 'text/html; charset=utf-8'],
  '/page.js': [example === 'react' ? (await import('./react/bundle.mjs')).page : page('page.js'), 'text/javascript; charset=utf-8'],
  '/respoked.js': [readFileSync(fileURLToPath(import.meta.resolve('respoked'))), 'text/javascript; charset=utf-8'],
};
const POLICY = `default-src 'none'; script-src 'self'; img-src data:; connect-src 'self' ${server.replace(/^http/, 'ws')}`;

const BODY_MAX = 10_000;

const listening = http.createServer(async (request, response) => {
  const path = request.url.split('?')[0];
  const file = FILES[path];
  if (file) {
    response.writeHead(200, { 'Content-Type': file[1], 'Content-Security-Policy': POLICY });
    return response.end(file[0]);
  }
  // Whatever comes: a request that is none ends with its answer, and not with this process.
  const answer = await answered(path, request).catch(() => Response.json({ error: 'this is no request' }, { status: 400 }));
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  response.end(await answer.text());
});

async function answered(path, request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    if ((size += chunk.length) > BODY_MAX) return Response.json({ error: `a body has at most ${BODY_MAX} bytes` }, { status: 413, headers: { Connection: 'close' } });
    chunks.push(chunk);
  }
  const address = `http://${request.headers.host}${request.url}`;
  const body = request.method === 'POST' ? Buffer.concat(chunks) : undefined;
  return answerTo(path, new Request(address, { method: request.method, headers: request.headers, body }));
}

async function answerTo(path, request) {
  if (path === '/respoke-token') return mint(request);
  if (path === '/sign-in' && request.method === 'POST') {
    const { name } = await request.json().catch(() => ({}));
    if (!/^[\w.-]{1,40}$/.test(name)) return Response.json({ error: 'a name has letters and digits, 40 at most' }, { status: 400 });
    const session = randomUUID();
    users.set(session, name);
    return Response.json({ server }, { headers: { 'Set-Cookie': `session=${session}; HttpOnly; SameSite=Strict; Path=/` } });
  }
  return Response.json({ error: 'there is nothing here' }, { status: 404 });
}

listening.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`the ${example} example is at http://127.0.0.1:${listening.address().port}`);
});
