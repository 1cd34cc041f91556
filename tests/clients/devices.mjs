// The clients on a socket: how each of them shakes hands, writes its requests and reads its answers.
//
// A device checks every frame that it is sent, whatever the test is about: exactly the text that its parser takes.

import assert from 'node:assert/strict';

import { LOWER_UUID } from './answers.mjs';
import { noteSecret } from './harness.mjs';
import { call, json } from './http.mjs';
import { openRawSocket } from './raw-socket.mjs';
import { within } from './waiting.mjs';

const SAILS = '__sails_io_sdk_version=0.10.0';
const asInner = (names) => (credential) => Object.fromEntries(names.map((name) => [name, credential[name] ?? null]));

/**
 * `query` is that of the handshake, `socketQuery` that of the socket where it is not the same. `argument` is how the one
 * argument of an event is written, `answers` what the ack's argument is. `inner` makes the headers inside a request.
 */
export const DIALECTS = {
  javascript: {
    query: (credential) => `?${SAILS}&app-token=${credential['App-Token']}&Respoke-SDK=Respoke.js/v2.1.1&t=1795444757907`,
    inner: (credential) => ({ 'App-Token': credential['App-Token'], 'Respoke-SDK': 'Respoke.js/v2.1.1' }),
    argument: 'text', answers: 'object',
  },
  admin: {
    query: (credential) => {
      const name = ['App-Token', 'App-Secret', 'Admin-Token'].find((each) => credential[each]);
      const sdk = 'Respoke-Node.js%2F2.0.1%20(Linux%203.13)%20Node.js%2Fv0.10.36';
      return `?Respoke-SDK=${sdk}&${name.toLowerCase()}=${credential[name]}&t=1795444757907`;
    },
    // Unset credentials are there, as null.
    inner: (credential) => ({
      ...(credential['App-Token'] ? asInner(['App-Token']) : asInner(['Admin-Token', 'App-Secret', 'App-Token']))(credential),
      'Respoke-SDK': 'Respoke-Node.js/2.0.1 (Linux 3.13) Node.js/v0.10.36',
    }),
    url: (server, path) => `${server.origin}${path}`, // absolute
    argument: 'text', answers: 'text',
  },
  android: {
    handshake: 'POST',
    query: (credential) => `?${SAILS}&app-token=${credential['App-Token']}&Respoke-SDK=Respoke-Android/1.5.0 (Android 5.1)`,
    inner: asInner(['App-Token']),
    firstId: 0,
    argument: 'object', answers: 'object',
  },
  ios: {
    query: (credential) => `?${SAILS}&app-token=${credential['App-Token']}&t=1795444757907.123`,
    socketQuery: () => '', // the session id alone
    inner: asInner(['App-Token']),
    argument: 'object', answers: 'object',
  },
  asterisk: {
    query: (credential) => `?app-secret=${credential['App-Secret']}&Respoke-SDK=Respoke-Asterisk/1.2.0 (Asterisk 13.6.0)`,
    inner: asInner(['App-Secret']),
    socketHeaders: [['Sec-WebSocket-Protocol', 'socket.io']],
    masked: false,
    argument: 'text', answers: 'text',
  },
  go: {
    query: (credential) => `?${SAILS}&Respoke-SDK=GoRespoke%2f0.1.0%20(linux-amd64)%20go1.6&&app-token=${credential['App-Token']}`,
    inner: (credential) => ({
      'Respoke-SDK': 'GoRespoke%2f0.1.0%20(linux-amd64)%20go1.6', 'App-Token': credential['App-Token'], endpointId: 'gopher',
    }),
    argument: 'object', answers: 'object',
  },
};

/** Mints a tokenId for `endpointId` and redeems it; returns the App-Token. */
export async function logInAs({ server, app, role }, endpointId) {
  const mint = json({ appId: app.id, endpointId, roleId: role.id, ttl: 3600 }, { 'App-Secret': app.secret });
  const minted = await call(server, { method: 'POST', path: '/v1/tokens', ...mint });
  assert.equal(minted.status, 200, minted.text);
  const redeem = json({ tokenId: minted.body.tokenId });
  const session = await call(server, { method: 'POST', path: '/v1/session-tokens', ...redeem });
  assert.equal(session.status, 200, session.text);
  return session.body.token;
}

/** Asks for a Socket.IO session. Returns the answer and, where there is one, its `sid`. */
export async function handshake(server, query, { method = 'GET', headers } = {}) {
  const path = `/socket.io/1/${query}`.replaceAll(' ', '%20');
  const answer = await call(server, { method, path, headers });
  const [, sid, ...rest] = /^([^:]*):([^:]*):([^:]*):([^:]*)$/.exec(answer.text) ?? [];
  if (answer.status !== 200 || sid === undefined) return { ...answer, sid: undefined };
  noteSecret(sid); // who knows it can read and write as this session
  return { ...answer, sid, heartbeatTimeout: rest[0], closeTimeout: rest[1], transports: rest[2] };
}

/** A socket in the dialect `name`, open and greeted, without a connection. It opens at `socketAt`, after a handshake with `server`.
 * Only if it `mayMiss` something it may be told so. If its handshake may be another node's, it may be fetched from there too late. */
export async function openDevice(server, name, credential, options = {}) {
  const { socketAt = server, isElsewhere = socketAt !== server } = options;
  if (isElsewhere) return handedOver(() => openOnce(server, name, credential, options));
  const device = await openOnce(server, name, credential, options);
  assert.ok(device, 'its session id is not known');
  return device;
}

const HANDED_OVER_MS = 250; // how long a node waits for another that is to hand a client over
const COMES_MS = 10_000; // until that was in time

/**
 * What `come` gives: a client that shakes hands with one node and comes to another. On a busy machine that may be late. Then the
 * session id is not known there, and the client shakes hands again. Whoever is refused sooner is refused for another reason.
 */
export async function handedOver(come) {
  for (const since = performance.now(); ;) {
    const began = performance.now();
    const client = await come();
    if (client) return client;
    const now = performance.now();
    assert.ok(now - began >= HANDED_OVER_MS, `it was refused after ${now - began} ms, and not for being late`);
    assert.ok(now - since < COMES_MS, 'it was never handed over in time');
  }
}

/** The same, once. Undefined: its session id is not known where it comes to. */
async function openOnce(server, name, credential, { socketAt = server, mayMiss = false }) {
  const dialect = DIALECTS[name];
  const query = dialect.query(credential);
  const { sid, status, text } = await handshake(server, query, { method: dialect.handshake });
  assert.ok(sid, `${name}'s handshake was answered ${status}: ${text}`);
  const again = (dialect.socketQuery ?? dialect.query)(credential).replaceAll(' ', '%20');
  const socket = await openRawSocket(socketAt, {
    path: `/socket.io/1/websocket/${sid}${again}`, headers: dialect.socketHeaders, masked: dialect.masked,
  });
  const device = new Device(server, dialect, credential, socket, sid, mayMiss);
  const first = await device.frame(() => true, 'the greeting 1::');
  if (first.text === '7:::1+0') {
    assert.equal((await device.closed()).code, 1001);
    return undefined;
  }
  assert.equal(first.text, '1::', 'the greeting comes first');
  return device;
}

/** A logged-in endpoint with a connection: `device.id` is the connection's. */
export async function connectDevice(world, name, endpointId, data = {}, options = {}) {
  const credential = { 'App-Token': await logInAs(world, endpointId) };
  const device = await openDevice(world.server, name, credential, options);
  await device.connect(data);
  assert.equal(device.endpointId, endpointId);
  return device;
}

class Device {
  /** Every text frame so far, understood: `{ text, kind, id?, argument?, name? }`. */
  frames = [];
  /** Whether it echoes the server's heartbeats. */
  beats = true;
  #waiting = new Set();
  #nextId;
  #read = new Set();

  constructor(server, dialect, credential, socket, sid, mayMiss) {
    Object.assign(this, { server, dialect, credential, socket, sid, mayMiss });
    this.#nextId = dialect.firstId ?? 1;
    socket.listen((arrival) => {
      this.frames.push(this.#take(arrival));
      for (const waiting of this.#waiting) waiting();
    });
  }

  #take({ kind, text, code }) {
    if (kind === 'text') {
      if (text === '2::' && this.beats) this.socket.send('2::');
      const frame = understand(text, this.dialect);
      assert.ok(frame.name !== 'missed' || this.mayMiss, `something was lost for ${this.endpointId}`);
      return frame;
    }
    if (kind === 'close' || kind === 'end') return { kind: 'closed', code };
    assert.equal(kind, 'pong', 'only text frames are sent unasked');
    return { kind };
  }

  /** `POST /connections`; keeps the connection's id and endpoint. Returns the answer's body. */
  async connect(data = {}, path = '/v1/connections') {
    const { body } = await this.request('post', path, data);
    this.id = body.id;
    this.endpointId = body.endpointId;
    return body;
  }

  /** Sends a request and returns its answer, `{ status, body, headers }`; as text, the answer is a body alone. */
  async request(method, path, data, headers) {
    return this.answer(this.send(method, path, data, headers));
  }

  /** The same for a request that must succeed: no `error`, and status 200 where the dialect shows one. Returns the body. */
  async ok(method, path, data, headers) {
    const answer = await this.request(method, path, data, headers);
    assert.ok(!('error' in answer.body), `${method} ${path}: ${JSON.stringify(answer.body)}`);
    if (answer.status !== undefined) assert.equal(answer.status, 200);
    return answer.body;
  }

  /** The same for a request that must be refused. Returns the body. */
  async refused(status, method, path, data, headers) {
    const answer = await this.request(method, path, data, headers);
    assert.ok(typeof answer.body.error === 'string' && answer.body.error !== '', JSON.stringify(answer.body));
    if (answer.status !== undefined) assert.equal(answer.status, status, JSON.stringify(answer.body));
    return answer.body;
  }

  /** Sends a request without waiting and returns its id. */
  send(method, path, data, headers = this.dialect.inner(this.credential)) {
    const id = this.#nextId;
    this.#nextId += 1;
    this.socket.send(`5:${id}+::${this.event(method, path, data, headers)}`);
    return id;
  }

  /** The JSON of one request as the dialect writes it. */
  event(method, path, data, headers, argument = this.dialect.argument) {
    const url = this.dialect.url?.(this.server, path) ?? path;
    const request = { url, headers, data };
    return JSON.stringify({ name: method, args: [argument === 'text' ? JSON.stringify(request) : request] });
  }

  /** The answer to request `id`. */
  async answer(id) {
    const { argument } = await this.frame((frame) => frame.kind === 'ack' && frame.id === id, `the answer to request ${id}`);
    if (this.dialect.answers === 'text') return { body: argument };
    return { status: argument.statusCode, body: argument.body, headers: argument.headers };
  }

  /** The next push called `name` that no test has read; with `test`, the first of them that passes it. */
  async push(name, test = () => true) {
    const frame = await this.frame(
      (each) => each.kind === 'push' && each.name === name && !this.#read.has(each) && test(each.argument), `a push ${name}`,
    );
    this.#read.add(frame);
    return frame.argument;
  }

  /** The pushes that are here and that no test has read, `[name, argument]` each. */
  unread() {
    const pushes = this.frames.filter((frame) => frame.kind === 'push' && !this.#read.has(frame));
    return pushes.map(({ name, argument }) => [name, argument]);
  }

  /** Forgets the frames that are here. No push may be among them that no test has read. */
  forgetRead() {
    assert.deepEqual(this.unread(), []);
    this.frames.length = 0;
    this.#read.clear();
  }

  /** Asks for nothing; what was put in line before the answer has then arrived. */
  async fence() {
    await this.refused(404, 'get', '/v1/no-such-resource');
  }

  /** Nothing was pushed that no test has read. */
  async assertQuiet() {
    await this.fence();
    assert.deepEqual(this.unread(), []);
  }

  /** The server has closed this socket. */
  closed() {
    return this.frame((frame) => frame.kind === 'closed', 'the end of the socket');
  }

  /** The first frame that passes `test`, as soon as there is one. */
  frame(test, what, ms) {
    const found = new Promise((resolve) => {
      const look = () => {
        const frame = this.frames.find(test);
        if (!frame) return;
        this.#waiting.delete(look);
        resolve(frame);
      };
      this.#waiting.add(look);
      look();
    });
    const seen = () => `${what}, after ${JSON.stringify(this.frames.slice(-8).map((frame) => frame.text ?? frame.kind))},`;
    return within(found, seen, ms);
  }
}

/** Takes a frame apart as strictly as the strictest client: the form is fixed, and no line separator cuts it short. */
export function understand(text, { answers }) {
  assert.doesNotMatch(text, /[\n\r\u0085\u2028\u2029]/, 'a regular expression\'s dot would stop here');
  if (['0::', '1::', '2::', '8::'].includes(text)) return { text, kind: text };
  const ack = /^6:::(0|[1-9]\d*)\+(\[.*\])$/.exec(text);
  if (ack) {
    const args = JSON.parse(ack[2]);
    assert.equal(args.length, 1, text);
    const argument = answers === 'text' ? readText(args[0]) : args[0];
    if (answers === 'object') assertAnswer(argument);
    return { text, kind: 'ack', id: Number(ack[1]), argument };
  }
  const push = /^5:::(\{"name":.*\})$/.exec(text);
  if (push) {
    const { name, args, ...rest } = JSON.parse(push[1]);
    assert.deepEqual(rest, {}, text);
    assert.equal(args.length, 1, text);
    assert.match(text, /^5:::\{"name":"(message|pubsub|join|leave|presence|signal|missed)","args":\[\{/);
    return { text, kind: 'push', name, argument: args[0] };
  }
  const error = /^7:::(\d)\+(\d)$/.exec(text);
  assert.ok(error, `not a frame that a client takes: ${text}`);
  return { text, kind: 'error' };
}

function readText(argument) {
  assert.equal(typeof argument, 'string', 'the answer is the text of the body');
  const body = JSON.parse(argument);
  assertBody(body);
  return body;
}

function assertBody(body) {
  assert.ok(body !== null && typeof body === 'object', `a body is an object or an array, not ${JSON.stringify(body)}`);
}

/** The envelope that respoke.js, Android, iOS and Go unpack. */
function assertAnswer(argument) {
  assert.deepEqual(Object.keys(argument).sort(), ['body', 'headers', 'statusCode']);
  assertBody(argument.body);
  assert.ok(Number.isInteger(argument.statusCode));
  const { headers } = argument;
  assert.match(headers['Request-Id'], LOWER_UUID);
  assert.ok(Number.isInteger(headers['RateLimit-Limit']) && headers['RateLimit-Limit'] >= 1); // Android divides 1000 by it
  assert.ok(headers['RateLimit-Limit'] <= 1000);
  assert.ok(Number.isInteger(headers['RateLimit-Remaining']) && headers['RateLimit-Remaining'] >= 0);
  assert.equal(headers['RateLimit-Time-Units'], 'seconds');
  assert.ok(!('rateLimit' in argument.body), 'iOS would sleep on it');
}
