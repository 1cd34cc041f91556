// The backend of the examples, which people copy: no request ends it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { after, before, it } from 'node:test';
import { fileURLToPath } from 'node:url';

let backend, origin;
before(async () => {
  const env = { ...process.env, RESPOKED_URL: 'http://127.0.0.1:9', RESPOKED_APP_SECRET: 'CANARY-of-a-test', PORT: '0' };
  const script = fileURLToPath(new URL('../examples/backend.mjs', import.meta.url));
  backend = spawn(process.execPath, [script, 'chat'], { env, stdio: ['ignore', 'pipe', 'ignore'] });
  const [said] = await once(createInterface({ input: backend.stdout }), 'line', { signal: AbortSignal.timeout(20_000) });
  origin = said.slice(said.indexOf('http://'));
});
after(() => backend.kill());

/** Sends bytes, and returns the first line of the answer; none if there was no answer. */
async function raw(text) {
  const socket = connect(Number(new URL(origin).port), '127.0.0.1');
  socket.on('error', () => {}); // it may be closed before all was read
  socket.write(text);
  let answer = '';
  socket.on('data', (data) => (answer += data));
  await once(socket, 'close', { signal: AbortSignal.timeout(10_000) });
  return answer.split('\r\n')[0];
}

it('answers what is no request of an application, and goes on', async () => {
  const end = 'Connection: close\r\n\r\n';
  assert.match(await raw(`TRACE /x HTTP/1.1\r\nHost: localhost\r\n${end}`), / 400 /);
  assert.match(await raw(`GET /x HTTP/1.1\r\nHost: no address\r\n${end}`), / 400 /);
  assert.match(await raw(`GET http://[/x HTTP/1.1\r\nHost: localhost\r\n${end}`), / 404 /);
  assert.match(await raw(`POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n${end}null`), / 400 /);
  assert.match(await raw(`POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n${end}${'x'.repeat(100_000)}`), / 413 /);
  assert.equal((await fetch(origin)).status, 200);
  assert.equal(backend.exitCode, null);
});
