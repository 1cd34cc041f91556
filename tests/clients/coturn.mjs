// A real coturn, as a site would run it beside the server: the shared secret, and nothing else of a configuration.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

import { noteSecret } from './harness.mjs';
import { within } from './waiting.mjs';

/** Starts one on a free port of the loopback address. `uris` are what clients are told. Always `await coturn.stop()`. */
export async function startCoturn() {
  const secret = `CANARY-turn-${randomUUID()}`;
  noteSecret(secret);
  const home = mkdtempSync(join(tmpdir(), 'respoked-coturn-'));
  const port = await freePort();
  const child = spawn('turnserver', [
    '-n', '--listening-ip=127.0.0.1', '--relay-ip=127.0.0.1', `--listening-port=${port}`, '--allow-loopback-peers',
    '--use-auth-secret', `--static-auth-secret=${secret}`, '--realm=respoked.test', '--no-tls', '--no-dtls', '--no-cli',
    '--simple-log', '--log-file=stdout', `--pidfile=${join(home, 'pid')}`, `--userdb=${join(home, 'db')}`,
  ], { cwd: home, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output = (output + chunk).slice(-2000)));
  const ended = once(child, 'close');
  async function stop() {
    child.kill();
    await ended;
    rmSync(home, { recursive: true, force: true });
  }
  try {
    await within(answersBinding(port, () => child.exitCode === null && child.signalCode === null), () => `coturn (${output})`);
  } catch (error) {
    await stop();
    throw error;
  }
  return { port, secret, uris: ['udp', 'tcp'].map((transport) => `turn:127.0.0.1:${port}?transport=${transport}`), stop };
}

/** Asks with STUN binding requests (RFC 5389) until one is answered, for as long as `runs` says that there is a server. */
async function answersBinding(port, runs) {
  const socket = dgram.createSocket('udp4');
  try {
    let answered = false;
    socket.on('message', () => (answered = true)).on('error', () => {});
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    while (!answered) {
      assert.ok(runs(), 'coturn has ended');
      socket.send(Buffer.concat([Buffer.from('000100002112a442', 'hex'), randomBytes(12)]), () => {});
      await pause(50);
    }
  } finally {
    socket.close();
  }
}

async function freePort() {
  const socket = dgram.createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  return port;
}
