// How a socket is opened, kept and ended, whatever is said on it (docs/protocol.md 4.1 to 4.6).

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';

import { connectDevice, DIALECTS, handshake, logInAs, openDevice } from './devices.mjs';
import { noteSecret, startWithApp } from './harness.mjs';
import { call } from './http.mjs';
import { assertCredentialed, decodePayload, encodePayload, Poller } from './polling.mjs';
import { assertMembership, assertMessage, assertPresence, assertTaken } from './pushes.mjs';
import { openRawSocket } from './raw-socket.mjs';
import { within } from './waiting.mjs';

const socketIo = createRequire(import.meta.url)('socket.io-client'); // 0.9.17, as respoke-admin brings it
const SAILS = '__sails_io_sdk_version=0.10.0';
const HEARTBEAT_MS = 40_000; // every 25 s or so

let world, server, token, idle;
const devices = [];
before(async () => {
  world = await startWithApp();
  ({ server } = world);
  token = await logInAs(world, 'alice');
  idle = await connect(`idle-${randomUUID()}`);
});
after(async () => {
  devices.forEach((device) => device.socket.end());
  await world?.server.stop();
});

async function connect(endpointId, dialect = 'javascript') {
  const device = await connectDevice(world, dialect, endpointId);
  devices.push(device);
  return device;
}

describe('a handshake', () => {
  const good = () => `?${SAILS}&app-token=${token}&t=1795444757907`;

  it('is answered in one line that every client can cut apart, for GET and for POST', async () => {
    for (const method of ['GET', 'POST']) {
      const answer = await handshake(server, good(), { method });
      assert.equal(answer.status, 200, answer.text);
      assert.match(answer.headers['content-type'], /^text\/plain/);
      assert.equal(answer.headers['content-length'], String(answer.text.length)); // Asterisk reads once
      assert.match(answer.sid, /^[0-9A-Fa-f]{16,}$/);
      assert.equal(answer.heartbeatTimeout, '60');
      assert.equal(answer.closeTimeout, '60');
      assert.deepEqual(answer.transports.split(','), ['websocket', 'xhr-polling']); // jsonp is off by default
    }
  });

  it('gives another session id each time', async () => {
    const sids = new Set();
    for (let count = 0; count < 20; count += 1) sids.add((await handshake(server, good())).sid);
    assert.equal(sids.size, 20);
  });

  it('needs no slash before its query, and takes empty and repeated parameters', async () => {
    const bare = await call(server, { path: `/socket.io/1${good()}` });
    assert.match(bare.text, /^[0-9a-f]+:60:60:/i);
    noteSecret(bare.text.split(':')[0]);
    assert.ok((await handshake(server, `?&&${SAILS}&app-token=${token}&app-token=${token}&x=%zz`)).sid);
  });

  it('takes each of the three credentials', async () => {
    const { app, adminToken } = world;
    for (const query of [`?app-token=${token}`, `?app-secret=${app.secret}`, `?admin-token=${adminToken}`]) {
      assert.ok((await handshake(server, query)).sid, query.split('=')[0]);
    }
  });

  it('is refused in the words that clients know', async () => {
    const wrong = [
      '', '?', `?${SAILS}`, `?app-token=${randomUUID().toUpperCase()}`, '?app-token=null', '?app-secret=rspk_CANARY_wrong',
      '?admin-token=CANARY-wrong', `?app-secret=${token}`,
    ];
    for (const query of wrong) {
      const answer = await handshake(server, query, { headers: { Origin: 'https://app.example' } });
      assert.equal(answer.status, 403, `${query}: ${answer.text}`);
      assert.equal(answer.text, 'handshake unauthorized');
      assertCredentialed(answer, 'https://app.example');
    }
  });

  it('is readable for a page that asks with credentials', async () => {
    assertCredentialed(await handshake(server, good(), { headers: { Origin: 'https://app.example' } }), 'https://app.example');
  });

  it('is never answered with a script', async () => {
    const answers = [await call(server, { path: `/socket.io/1/${good()}&jsonp=0` })];
    const { sid } = await handshake(server, good());
    answers.push(await call(server, { path: `/socket.io/1/jsonp-polling/${sid}?i=0` }));
    for (const answer of answers) {
      assert.doesNotMatch(answer.text, /io\.j/);
      assert.doesNotMatch(answer.headers['content-type'] ?? '', /javascript/);
      noteSecret(answer.text.split(':')[0]);
    }
  });
});

describe('a session that the server does not know', () => {
  const unknown = '0123456789abcdef0123456789abcdef';

  it('is told so on a websocket, which is then closed', async () => {
    const socket = await openRawSocket(server, { path: `/socket.io/1/websocket/${unknown}` });
    const closed = new Promise((resolve) => {
      socket.listen(({ kind }) => kind === 'close' && resolve());
    });
    await within(closed, 'the close frame');
    const texts = socket.arrived.filter(({ kind }) => kind === 'text').map(({ text }) => text);
    assert.deepEqual(texts, ['7:::1+0']);
  });

  it('is told so when it polls', async () => {
    assert.equal((await call(server, { path: `/socket.io/1/xhr-polling/${unknown}` })).text, '7:::1+0');
  });
});

describe('requests on a socket', () => {
  it('without an id get no answer, with a bare id a data ack', async () => {
    const device = await connect('alice');
    const body = device.event('post', '/v1/presence', { presence: { type: 'available' } }, { 'App-Token': token });
    device.socket.send(`5:::${body}`);
    device.socket.send(`5:4711::${body}`);
    assert.equal((await device.answer(4711)).status, 200);
    device.socket.send(`5:4294967295+::${body}`);
    assert.equal((await device.answer(4_294_967_295)).status, 200);
    await device.fence();
    assert.equal(device.frames.filter((frame) => frame.kind === 'ack').length, 4, 'connection, the two above, the fence');
  });

  it('are answered whatever they ask, with a status and an error', async () => {
    const device = await connect('alice');
    await device.refused(404, 'get', `/v1/no-such-resource/${randomUUID()}`);
    await device.refused(404, 'post', '/somewhere/else');
    await device.refused(405, 'put', '/v1/messages', {});
    const argument = (text) => JSON.stringify({ name: 'post', args: [text] });
    const odd = [
      argument('{"url":'), argument('text'), argument('[]'), argument(7), '{"name":"post","args":[]}', '{"name":"post"}',
    ];
    let id = 5000;
    for (const event of odd) {
      id += 1;
      device.socket.send(`5:${id}+::${event}`);
      const { status, body } = await device.answer(id);
      assert.equal(status, 400, `${event}: ${JSON.stringify(body)}`);
      assert.ok(body.error);
    }
  });

  it('may be written as text or as an object, with `params` for `data`, with an absolute URL, with a query', async () => {
    const device = await connect('alice');
    const bob = await connect(`bob-${randomUUID()}`);
    const headers = { 'App-Token': token };
    let id = 7000;
    const ask = async (request, asText) => {
      id += 1;
      device.socket.send(`5:${id}+::${JSON.stringify({ name: 'post', args: [asText ? JSON.stringify(request) : request] })}`);
      const { messageId } = assertTaken((await device.answer(id)).body);
      assertMessage(await bob.push('message'), { from: device, to: bob.endpointId, body: 'x', messageId });
    };
    const data = { to: bob.endpointId, message: 'x' };
    for (const asText of [true, false]) {
      await ask({ url: '/v1/messages', headers, data }, asText);
      await ask({ url: '/v1/messages/', headers, params: data }, asText);
      await ask({ url: `${server.origin}/v1/messages`, headers: { ...headers, 'App-Secret': null }, data }, asText);
      await ask({ url: `/v1/messages?to=${bob.endpointId}&message=query`, data: { message: 'x' } }, asText); // data wins
    }
  });

  it('need a connection for what a connection does, and only for that', async () => {
    const device = await openDevice(server, 'javascript', { 'App-Token': token });
    devices.push(device);
    const refused = await device.request('post', '/v1/groups/', { groups: ['room'] });
    assert.ok(refused.status >= 400 && refused.body.error);
    await device.ok('get', '/v1/session-tokens');
    await device.connect();
    await device.ok('post', '/v1/groups/', { groups: [`room-${randomUUID()}`] });
  });

  it('show their own credential, and a wrong one is refused', async () => {
    const device = await connect('alice');
    await device.refused(401, 'get', '/v1/session-tokens', undefined, { 'App-Token': randomUUID().toUpperCase() });
    await device.ok('get', '/v1/session-tokens', undefined, {});
    await device.ok('get', '/v1/session-tokens', undefined, { 'App-Token': null, 'App-Secret': null });
  });

  it('carry 20000 bytes of data and not one more', async () => {
    const device = await connect('alice');
    const bob = await connect(`bob-${randomUUID()}`);
    const sized = (size) => {
      const empty = JSON.stringify({ to: bob.endpointId, message: '' }).length;
      return { to: bob.endpointId, message: 'é'.repeat((size - empty) / 2 - 1) + ((size - empty) % 2 ? 'abc' : 'ab') };
    };
    assert.equal(Buffer.byteLength(JSON.stringify(sized(20_000))), 20_000);
    await device.ok('post', '/v1/messages', sized(20_000));
    assert.equal((await bob.push('message')).body, sized(20_000).message);
    await device.refused(413, 'post', '/v1/messages', sized(20_001));
    await bob.assertQuiet();
  });

  it('may name what would end a line, and the answer still stands on one', async () => {
    const device = await connect('alice');
    const name = 'room\u2028with\u2029line\nends';
    const { id } = await device.ok('post', '/v1/channels/', { name });
    assert.equal(id, name);
  });
});

describe('xhr-polling', () => {
  const group = () => `room-${randomUUID()}`;
  const event = (id, method, url, data) =>
    `5:${id}+::${JSON.stringify({ name: method, args: [JSON.stringify({ url, data, headers: { 'App-Token': token } })] })}`;
  const answer = (poller, id) => poller.frame((frame) => frame.kind === 'ack' && frame.id === id);

  /** A polling session of alice's with a connection, whose id is `poller.id`. */
  async function open() {
    const { sid, status, text } = await handshake(server, DIALECTS.javascript.query({ 'App-Token': token }));
    assert.ok(sid, `the handshake was answered ${status}: ${text}`);
    const poller = new Poller(server, sid);
    assert.deepEqual(await poller.poll(), ['1::']);
    await poller.send(event(1, 'post', '/v1/connections', {}));
    const { body } = (await answer(poller, 1)).argument;
    return Object.assign(poller, { sid, id: body.id, endpointId: body.endpointId });
  }

  it('lengths count UTF-16 code units', () => {
    const packets = ['5:::é', '5:::𝄞'];
    assert.equal(encodePayload(packets), '\ufffd5\ufffd5:::é\ufffd6\ufffd5:::𝄞');
    assert.deepEqual(decodePayload(encodePayload(packets)), packets);
  });

  it('answers all that the original client queues behind one POST, however many that are', async () => {
    // It merges a list of transports into its own; this replaces that.
    socketIo.transports.splice(0, Infinity, 'xhr-polling');
    const options = { 'force new connection': true, reconnect: false };
    // It may use up the requests of its endpoint, which is nobody else's here.
    const busy = await logInAs(world, `busy-${randomUUID()}`);
    const socket = socketIo.connect(`${server.origin}?${SAILS}&app-token=${busy}`, options);
    const ends = [];
    for (const end of ['error', 'connect_failed', 'disconnect']) socket.on(end, () => ends.push(end));
    await within(new Promise((resolve) => socket.on('connect', resolve)), 'the connection');
    const request = JSON.stringify({ url: '/v1/session-tokens', headers: { 'App-Token': busy } });
    const asked = Array.from({ length: 150 }, () => new Promise((resolve) => socket.emit('get', request, resolve)));
    const answers = await within(Promise.all(asked), 'the answers');
    assert.equal(socket.socket.transport.name, 'xhr-polling');
    assert.ok(answers.every(({ statusCode }) => statusCode === 200 || statusCode === 429));
    assert.equal(answers[0].statusCode, 200);
    assert.deepEqual(ends, []);
    socket.disconnect();
  });

  it('carries requests one by one and several in a body, and pushes', async () => {
    const poller = await open();
    const bob = await connect(`bob-${randomUUID()}`);
    const room = group();
    await bob.ok('post', '/v1/groups/', { groups: [room] });
    const payload = 'é𝄞\u2028 � and more';
    await poller.send(
      event(2, 'post', '/v1/groups/', { groups: [room] }),
      event(3, 'post', `/v1/channels/${room}/publish`, { message: payload }),
      event(4, 'post', '/v1/messages', { to: bob.endpointId, message: payload }),
    );
    for (const id of [2, 3, 4]) assert.equal((await answer(poller, id)).argument.statusCode, 200);
    assertMembership(await bob.push('join'), 'join', { group: room, who: poller });
    assert.equal((await bob.push('pubsub')).message, payload);
    assertMessage(await bob.push('message'), { from: poller, to: bob.endpointId, body: payload });

    // More than one push that waits comes in one body.
    for (const message of ['first', payload, 'third']) {
      await bob.ok('post', '/v1/messages', { to: 'alice', message, toConnection: poller.id });
    }
    const arrived = () => poller.frames.filter((frame) => frame.name === 'message').map((frame) => frame.argument.body);
    while (arrived().length < 3) await poller.poll();
    assert.deepEqual(arrived(), ['first', payload, 'third']);
  });

  it('ends an idle poll with 8:: and goes on', async () => {
    const poller = await open();
    const since = Date.now();
    assert.deepEqual(await within(poller.poll(), 'the end of an idle poll', 30_000), ['8::']);
    assert.ok(Date.now() - since > 10_000, 'an idle poll waits');
    await poller.send(event(2, 'get', '/v1/session-tokens'));
    await answer(poller, 2);
  });

  const unloads = {
    'with the iOS client\'s URL': (sid) => `/socket.io/1/xhr-polling/${sid}?disconnect`,
    'with the browser\'s URL': (sid) => `/socket.io/1//${sid}/?disconnect=1`,
  };
  for (const [how, url] of Object.entries(unloads)) {
    it(`is ended ${how}`, async () => {
      const poller = await open();
      const bob = await connect(`bob-${randomUUID()}`);
      const room = group();
      await bob.ok('post', '/v1/groups/', { groups: [room] });
      await poller.send(event(2, 'post', '/v1/groups/', { groups: [room] }));
      await answer(poller, 2);
      await bob.push('join');
      assert.equal((await call(server, { path: url(poller.sid) })).status, 200);
      assertMembership(await bob.push('leave'), 'leave', { group: room, who: poller });
      assert.equal((await call(server, { path: poller.path })).text, '7:::1+0');
    });
  }

  it('is ended by the packet 0::', async () => {
    const poller = await open();
    const bob = await connect(`bob-${randomUUID()}`);
    await poller.send(event(2, 'post', '/v1/presence', { presence: { type: 'available' } }));
    await answer(poller, 2);
    await bob.ok('post', '/v1/presenceobservers', { endpointList: ['alice'] });
    const mine = ({ header, type }) => header.fromConnection === poller.id && type === 'unavailable';
    await poller.send('0::');
    assertPresence(await bob.push('presence', mine), { from: poller, type: 'unavailable' });
  });
});

describe('a session that is revoked', () => {
  it('ends its sockets with 0:: and a close, and others see the departure', async () => {
    const name = `eve-${randomUUID()}`;
    const eve = await connect(name);
    const bob = await connect(`bob-${randomUUID()}`);
    await eve.ok('post', '/v1/presence', { presence: { type: 'available' } });
    await bob.ok('post', '/v1/presenceobservers', { endpointList: [name] });
    await bob.push('presence');
    const revoked = await call(server, {
      method: 'DELETE', path: `/v1/sessions?endpointId=${name}`, headers: { 'App-Secret': world.app.secret },
    });
    assert.equal(revoked.status, 200, revoked.text);
    await eve.closed();
    assert.ok(eve.frames.some((frame) => frame.kind === '0::'), 'the packet 0:: comes before the close');
    assertPresence(await bob.push('presence'), { from: eve, type: 'unavailable' });
    const again = await handshake(server, DIALECTS.javascript.query(eve.credential));
    assert.equal(again.status, 403);
  });
});

describe('a websocket', () => {
  it('is opened without extensions and as the strictest client demands', async () => {
    const device = await connect('alice');
    const { headers } = device.socket.upgrade;
    const values = (name) => headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value);
    assert.deepEqual(values('connection'), ['Upgrade']);
    assert.deepEqual(values('upgrade').map((value) => value.toLowerCase()), ['websocket']);
    assert.deepEqual(values('sec-websocket-extensions'), []);
  });

  it('is not offered compression by whoever asks for it', async () => {
    const { sid } = await handshake(server, `?${SAILS}&app-token=${token}`);
    const headers = [['Sec-WebSocket-Extensions', 'permessage-deflate; client_max_window_bits']];
    const socket = await openRawSocket(server, { path: `/socket.io/1/websocket/${sid}`, headers });
    assert.ok(!socket.upgrade.headers.some(([name]) => name.toLowerCase() === 'sec-websocket-extensions'));
    socket.end();
  });

  it('hears a heartbeat, and a client\'s own are not answered', async () => {
    const beats = () => idle.frames.filter(({ kind }) => kind === '2::').length;
    const before = beats();
    for (const beat of ['2::', '2:::', '1::', '2::', '2::']) idle.socket.send(beat);
    await idle.fence();
    assert.ok(beats() - before <= 1, 'a client\'s heartbeat is not answered'); // one may have been due
    await idle.frame((frame) => frame.kind === '2::', 'a heartbeat', HEARTBEAT_MS);
    idle.socket.send('2::');
    await idle.fence();
  });
});
