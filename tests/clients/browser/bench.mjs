// Pages of a real Chromium with the published respoke.js in them, unmodified, served from another origin than the API's.

import assert from 'node:assert/strict';
import { accessSync, constants, readFileSync } from 'node:fs';
import http from 'node:http';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { build } from 'esbuild';
import { chromium } from 'playwright-core';

import { noteSecret } from '../harness.mjs';
import { within } from '../waiting.mjs';

const DEADLINE_MS = 30_000; // two cores run the server, the browser and the media
const POLL_MS = 50;
const FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
  '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', '--disable-features=WebRtcHideLocalIpsWithMdns',
];

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** A browser and the site that its pages come from. Always `await bench.close()`. */
export async function openBench() {
  const site = await serveSite();
  const browser = await chromium.launch({ executablePath: onPath('chromium'), args: FLAGS });
  const users = [];
  return {
    /** A page with the client in it; the options are those of `openUser`. */
    async open(options) {
      users.push(await openUser(browser, site.url, options));
      return users.at(-1);
    },
    /** A tab on any page; the options are those of a browser context. */
    async tab(url, options) {
      users.push(await openTab(browser, url, options));
      return users.at(-1);
    },
    async close() {
      for (const user of users) await user.close();
      await browser.close();
      site.close();
    },
  };
}

/**
 * One page with nothing in it but the client. `polling` hides WebSocket before any script runs, which leaves the client
 * its fall-back.
 */
async function openUser(browser, url, { polling = false } = {}) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.addInitScript(keepPeers);
  if (polling) await page.addInitScript(() => delete window.WebSocket);
  const user = new User(context, page);
  await page.goto(url);
  return user;
}

/** A page of somebody else's, its errors and refusals kept. */
async function openTab(browser, url, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE_MS);
  const errors = [];
  const noting = [];
  page.on('pageerror', (error) => errors.push(error.stack ?? String(error)));
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  page.on('response', (response) => noting.push(noteSecretsOf(response)));
  await page.goto(url);
  return {
    page,
    assertNoErrors: () => assert.deepEqual(errors, []),
    async close() {
      await Promise.allSettled(noting);
      await context.close();
    },
  };
}

/** In the page: keeps each peer connection the client makes, for its statistics, and changes nothing about it. */
function keepPeers() {
  window.peers = [];
  const keeping = new Proxy(window.RTCPeerConnection, {
    construct(target, args) {
      const peer = Reflect.construct(target, args);
      window.peers.push(peer);
      return peer;
    },
  });
  window.RTCPeerConnection = keeping;
  window.webkitRTCPeerConnection = keeping;
}

class User {
  #errors = [];
  #console = [];
  #noting = [];
  #read = 0;
  #context;
  #page;

  constructor(context, page) {
    this.#context = context;
    this.#page = page;
    page.on('pageerror', (error) => this.#errors.push(error.stack ?? String(error)));
    page.on('console', (message) => this.#console.push(message.text()));
    page.on('response', (response) => this.#noting.push(noteSecretsOf(response)));
  }

  /** Runs one of the page's actions (page.js) and returns what it gives. */
  async do(action, argument) {
    try {
      const done = this.#page.evaluate(([name, value]) => app[name](value), [action, argument]);
      return await within(done, 'its end', DEADLINE_MS);
    } catch (error) {
      // Where in the client it was thrown is told below; what its console says comes first.
      const [what, ...where] = error.message.split('\n');
      throw new Error(`${action}: ${what}${this.#tail()}\n${where.join('\n')}`);
    }
  }

  /** Connects and keeps who this user then is: `endpointId`, `connectionId`, `transport`. */
  async connect(options) {
    return Object.assign(this, await this.do('connect', options));
  }

  /** The next report called `what`, after those already read, that has all of `detail`. Others in between are read too. */
  async hears(what, detail = {}) {
    const find = ([from, name, fields]) => {
      const matches = (entry) => entry.what === name
        && Object.entries(fields).every(([key, value]) => JSON.stringify(entry[key]) === JSON.stringify(value));
      const at = seen.findIndex((entry, index) => index >= from && matches(entry));
      return at < 0 ? null : { at, entry: seen[at] };
    };
    const { at, entry } = await this.#until(find, [this.#read, what, detail], `${what} ${JSON.stringify(detail)}`);
    this.#read = at + 1;
    return entry;
  }

  /** Waits until an action gives something that passes `test`, and returns it. */
  async until(action, argument, test, what) {
    const since = Date.now();
    for (;;) {
      const value = await this.do(action, argument);
      if (test(value)) return value;
      assert.ok(Date.now() - since < DEADLINE_MS, `${what}: still ${JSON.stringify(value)}${this.#tail()}`);
    }
  }

  /** How often a report called `what` with all of `detail` has come, read or not. */
  async count(what, detail = {}) {
    const all = await this.#page.evaluate(() => seen);
    const same = (entry) => Object.entries(detail).every(([key, value]) => JSON.stringify(entry[key]) === JSON.stringify(value));
    return all.filter((entry) => entry.what === what && same(entry)).length;
  }

  /** The page has thrown nothing. */
  assertNoErrors() {
    assert.deepEqual(this.#errors, []);
  }

  /** The page goes away as when a user closes it. */
  async close() {
    await Promise.allSettled(this.#noting);
    await this.#context.close();
  }

  async #until(find, argument, what) {
    try {
      const handle = await this.#page.waitForFunction(find, argument, { polling: POLL_MS, timeout: DEADLINE_MS });
      return await handle.jsonValue();
    } catch (error) {
      const reports = await this.#page.evaluate(() => seen.slice(-12)).catch(() => 'the page is gone');
      throw new Error(`${what} did not come: ${error.message}\nreported: ${JSON.stringify(reports)}${this.#tail()}`);
    }
  }

  #tail() {
    return [...this.#errors, ...this.#console.slice(-8)].map((line) => `\n  ${line}`).join('');
  }
}

/** The tokens that pages obtain for themselves are secrets like all others. */
async function noteSecretsOf(response) {
  const { pathname } = new URL(response.url());
  if (!response.ok() || response.request().method() === 'OPTIONS') return;
  if (/^\/v1\/(session-)?tokens$/.test(pathname) && response.request().method() === 'POST') {
    const { tokenId, token } = await response.json();
    noteSecret(tokenId ?? token);
  } else if (pathname === '/socket.io/1/') {
    noteSecret((await response.text()).split(':')[0]);
  }
}

/** Serves one blank page with the bundle and page.js in it. */
async function serveSite() {
  const { outputFiles: [bundle] } = await build({
    entryPoints: [here('../node_modules/respoke/index.js')],
    bundle: true, format: 'iife', globalName: 'respoke', mainFields: ['browser', 'browserify', 'main'],
    write: false, logLevel: 'error',
  });
  const page = '<!doctype html><meta charset="utf-8"><title>respoke</title>'
    + '<script src="respoke.js"></script><script src="page.js"></script>';
  const files = {
    '/': ['text/html', page],
    '/respoke.js': ['text/javascript', bundle.text],
    '/page.js': ['text/javascript', readFileSync(here('page.js'))],
  };
  const site = http.createServer(({ url }, answer) => {
    const [type, content] = files[url] ?? [];
    answer.writeHead(type ? 200 : 404, type && { 'Content-Type': type }).end(content);
  });
  await new Promise((listening) => site.listen(0, '127.0.0.1', listening));
  return { url: `http://127.0.0.1:${site.address().port}/`, close: () => site.close() };
}

function onPath(program) {
  const found = process.env.PATH.split(delimiter).map((folder) => join(folder, program)).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  assert.ok(found, `${program} must be on the PATH`);
  return found;
}
