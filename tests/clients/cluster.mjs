// Several nodes on one database, behind the proxy that operators are given.
//
// Environment of the test run, beside that of harness.mjs:
//   RESPOKED_PROXY   the program that starts the proxy: `xtask`
//   RESPOKED_NATS    address of a NATS server, where nodes are to talk by one
//   RESPOKED_JOINS   how often somebody joins a group and is spoken to from another node, in `cluster/nodes.test.mjs`
//   RESPOKED_ROUNDS  how often each node is killed there

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { freshDatabase, startNode } from './harness.mjs';
import { within } from './waiting.mjs';

const PROXY_MS = 60_000; // until it found a node that is ready

/**
 * Starts `count` nodes and the proxy before them. Returns the proxy as a server (`host`, `port`, `origin`, `admin`) with its
 * `nodes`, each of them a server. Always `await cluster.stop()`.
 */
export async function startCluster({ count = 3, settings = {}, nats = process.env.RESPOKED_NATS } = {}) {
  const database = freshDatabase();
  const all = { ...settings, trusted_proxies: '127.0.0.1/32', ...(nats ? { nats } : {}) };
  const nodes = [];
  let proxy;
  async function stop() {
    await proxy?.stop();
    const stopped = await Promise.allSettled(nodes.map((node) => node.stop()));
    for (const { status, reason } of stopped) if (status === 'rejected') throw reason;
  }
  try {
    for (let at = 1; at <= count; at += 1) {
      nodes.push(await startNode({ settings: { ...all, node_name: `node-${at}` }, database }));
    }
    proxy = await startProxy(nodes);
    const { admin, setupToken } = nodes[0];
    const restart = async () => {
      for (const node of nodes) await node.restart();
    };
    return { ...proxy, admin, setupToken, nodes, restart, stop };
  } catch (error) {
    await stop().catch(() => {}); // the first failure is the one to read
    throw error;
  }
}

async function startProxy(nodes) {
  const program = process.env.RESPOKED_PROXY;
  assert.ok(program, 'RESPOKED_PROXY must name the program that starts the proxy');
  const home = mkdtempSync(join(tmpdir(), 'respoked-proxy-'));
  const addresses = nodes.map(({ host, port }) => `${host}:${port}`);
  const child = spawn(program, ['cluster', 'proxy', '--log', join(home, 'log'), ...addresses], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(child, 'close');
  async function stop() {
    child.stdin.end();
    await within(ended, 'the end of the proxy');
    rmSync(home, { recursive: true, force: true });
  }
  const listens = new Promise((found, failed) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const match = /^proxy listening on http:\/\/([^\s/]+):(\d+)$/.exec(line);
      if (match) found({ host: match[1], port: Number(match[2]) });
    });
    ended.then(() => failed(new Error('the proxy ended before it listened')), failed);
  });
  try {
    const { host, port } = await within(listens, 'the proxy', PROXY_MS);
    return { host, port, origin: `http://${host}:${port}`, stop };
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
}
