// Whole conversations on a socket as each client holds them: Android, iOS, Asterisk, Go, Node. What goes out is what the
// client sends, frame by frame; what comes back is what it can read (protocol dossier 2.5, 3.5 to 3.7, 4.7 to 4.10, 6).

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';

import { assertSessionAnswer, assertTokenAnswer, UPPER_UUID_V4 } from './answers.mjs';
import { connectDevice, DIALECTS, handshake, logInAs, openDevice } from './devices.mjs';
import { createApp, startWithApp } from './harness.mjs';
import { call } from './http.mjs';
import { assertMembership, assertMessage, assertPresence, assertPubsub, assertPush, assertSignal, assertTaken } from './pushes.mjs';
import { header, openRawSocket } from './raw-socket.mjs';

let world, server, app;
before(async () => {
  world = await startWithApp();
  ({ server, app } = world);
});

const devices = [];
after(async () => {
  devices.forEach((device) => device.socket.end());
  await world?.server.stop();
});

const kept = (device) => devices[devices.push(device) - 1];
const open = async (name, credential) => kept(await openDevice(server, name, credential));
const connect = async (name, endpointId, data) => kept(await connectDevice(world, name, endpointId, data));
const unlike = (name) => `${name}-${randomUUID()}`;

/** A browser at the other end. */
const browser = (name) => connect('javascript', unlike(name), { capabilities: { iceFinalCandidates: true } });

describe('Android', () => {
  it('logs in with forms in development mode and holds its first conversation', async () => {
    const open_ = await createApp(server, world.adminToken, { developmentMode: true });
    const form = { 'Content-Type': 'application/x-www-form-urlencoded', Accept: 'application/xml' };
    const send = (path, body) => call(server, { method: 'POST', path, headers: form, body });
    const since = Date.now();
    const minted = await send('/v1/tokens', `appId=${open_.id}&endpointId=anna&ttl=21600`);
    const { tokenId } = assertTokenAnswer(minted, { app: open_, endpointId: 'anna', ttl: 21600, since, forDevelopment: true });
    const appToken = assertSessionAnswer(await send('/v1/session-tokens', `tokenId=${tokenId}`));

    const shaken = await handshake(server, `?${'__sails_io_sdk_version=0.10.0'}&app-token=${appToken}`, { method: 'POST' });
    const socket = await openRawSocket(server, {
      path: `/socket.io/1/websocket/${shaken.sid}?__sails_io_sdk_version=0.10.0&app-token=${appToken}`,
    });
    socket.end(); // the library opens again with the same token after a drop

    const anna = await open('android', { 'App-Token': appToken });
    anna.socket.send('2:::'); // its own heartbeat, every half timeout
    // Ids begin at 0, and the argument is an object.
    const headers = { 'App-Token': appToken };
    anna.socket.send(`5:0+::${JSON.stringify({ name: 'post', args: [{ headers, url: '/v1/connections' }] })}`);
    const { status, body } = await anna.answer(0);
    assert.equal(status, 200);
    assert.match(body.id, UPPER_UUID_V4);
    assert.equal(body.endpointId, 'anna');
    anna.socket.send('2:::');
    anna.socket.send(`5:1+::${JSON.stringify({ name: 'post', args: [{ headers, url: '/v1/presence', data: { presence: { type: 'available' } } }] })}`);
    assert.equal((await anna.answer(1)).status, 200);
    await anna.frame((frame) => frame.kind === 'ack' && frame.id === 1);
    assert.deepEqual(anna.frames.map((frame) => frame.kind), ['1::', 'ack', 'ack']);
  });

  it('logs in though it names a push token that nobody knows', async () => {
    const anna = await connect('android', unlike('anna'), { pushTokenId: randomUUID() });
    assert.match(anna.id, UPPER_UUID_V4);
  });

  it('registers, changes and deletes its push token', async () => {
    const anna = await connect('android', unlike('anna'));
    const path = `/v1/connections/${anna.id}/push-token`;
    const { id } = await anna.ok('post', path, { token: 'CANARY-google-token-0123456789', service: 'google' });
    assert.ok(typeof id === 'string' && id !== '');
    const changed = await anna.ok('put', `${path}/${id}`, { token: 'CANARY-google-token-9876543210', service: 'google' });
    assert.ok(typeof changed.id === 'string');
    await anna.ok('delete', `${path}/${id}`);
  });

  it('messages, joins by raw path, lists members, publishes, observes', async () => {
    const [anna, bob] = [await connect('android', unlike('anna smith')), await browser('bob')];
    const group = unlike('a room with spaces'); // its paths are not encoded
    await anna.ok('post', '/v1/messages', { to: bob.endpointId, message: 'hi', push: false, ccSelf: false });
    assertMessage(await bob.push('message'), { from: anna, to: bob.endpointId, body: 'hi' });
    await bob.ok('post', '/v1/messages', { to: anna.endpointId, message: 'hello', ccSelf: true });
    assertMessage(await anna.push('message'), { from: bob, to: anna.endpointId, body: 'hello' });

    await anna.ok('post', '/v1/groups/', { groups: [group] });
    await anna.ok('post', `/v1/groups/${group}/`);
    await bob.ok('post', '/v1/groups/', { groups: [group] });
    assertMembership(await anna.push('join'), 'join', { group, who: bob });
    const members = await anna.ok('get', `/v1/channels/${group}/subscribers/`);
    assert.deepEqual(new Set(members.map((each) => each.connectionId)), new Set([anna.id, bob.id]));
    await anna.ok('post', `/v1/channels/${group}/publish/`, {
      endpointId: anna.endpointId, message: 'all of you', push: false, persist: false,
    });
    assertPubsub(await bob.push('pubsub'), { from: anna, group, message: 'all of you' });
    await anna.ok('delete', '/v1/groups', { groups: [group] });
    assertMembership(await bob.push('leave'), 'leave', { group, who: anna });

    await bob.ok('post', '/v1/presence', { presence: { type: 'dnd' } });
    const states = await anna.ok('post', '/v1/presenceobservers', { endpointList: [bob.endpointId] });
    assert.deepEqual(states, [{ endpointId: bob.endpointId, connectionStates: { [bob.id]: { type: 'dnd' } } }]);
    assertPresence(await anna.push('presence'), { from: bob, type: 'dnd' });
    await anna.assertQuiet();
  });

  it('asks for relay credentials and makes a call', async () => {
    const [anna, bob] = [await connect('android', unlike('anna')), await browser('bob')];
    const turn = await anna.ok('get', '/v1/turn');
    assert.ok(Array.isArray(turn.uris) && turn.uris.length > 0);
    const offer = {
      signalType: 'offer', target: 'call', to: bob.endpointId, sessionId: randomUUID(), signalId: randomUUID(), version: '1.0',
      sessionDescription: { type: 'offer', sdp: 'v=0\r\n' },
    };
    await anna.ok('post', '/v1/signaling', { signal: JSON.stringify(offer), to: bob.endpointId, toType: 'web' });
    assertSignal(await bob.push('signal'), { from: anna, to: bob.endpointId, body: offer });
  });
});

describe('iOS', () => {
  it('opens a websocket by its session id alone and connects without data', async () => {
    const credential = { 'App-Token': await logInAs(world, 'ida') };
    const { sid } = await handshake(server, DIALECTS.ios.query(credential));
    const socket = await openRawSocket(server, { path: `/socket.io/1/websocket/${sid}` });
    const texts = [];
    const answered = new Promise((resolve) => {
      socket.listen(({ text }) => texts.push(text) === 2 && resolve());
    });
    socket.send(`5:1+::${JSON.stringify({ name: 'post', args: [{ headers: credential, url: '/v1/connections' }] })}`);
    await answered;
    assert.equal(texts[0], '1::');
    assert.match(texts[1], /^6:::1\+\[\{"body":\{.*"endpointId":"ida".*\]$/);
    socket.end();
  });

  it('replaces its connection when it posts another on the same socket', async () => {
    const ida = await connect('ios', unlike('ida'));
    const [before, bob] = [{ ...ida }, await browser('bob')];
    const group = unlike('room');
    await bob.ok('post', '/v1/groups/', { groups: [group] });
    await ida.ok('post', `/v1/groups/${group}`);
    await bob.push('join');
    await ida.connect();
    assert.notEqual(ida.id, before.id);
    assertMembership(await bob.push('leave'), 'leave', { group, who: before });
  });

  it('registers a push token, and PUT moves it to whoever is logged in now', async () => {
    const [ida, ivo] = [await connect('ios', unlike('ida')), await connect('ios', unlike('ivo'))];
    const token = { token: 'CANARY-apple-token-0123456789', service: 'apple' };
    const { id } = await ida.ok('post', `/v1/connections/${ida.id}/push-token`, token);
    const moved = await ivo.ok('put', `/v1/connections/${ivo.id}/push-token/${id}`, token);
    assert.ok(typeof moved.id === 'string' && moved.id !== '');
  });

  it('joins, reads members as an array, publishes under /groups and reads history in bulk', async () => {
    const [ida, bob] = [await connect('ios', unlike('ida')), await browser('bob')];
    const group = unlike('room');
    await bob.ok('post', '/v1/groups/', { groups: [group] });
    await ida.ok('post', `/v1/groups/${group}`);
    assertMembership(await bob.push('join'), 'join', { group, who: ida });
    const members = await ida.ok('get', `/v1/groups/${group}`);
    assert.ok(Array.isArray(members));
    assert.deepEqual(new Set(members.map((each) => each.endpointId)), new Set([ida.endpointId, bob.endpointId]));

    const publish = (message) => ida.ok('post', `/v1/groups/${group}/publish`, {
      endpointId: ida.endpointId, message, push: false, persist: true,
    });
    await publish('first');
    await publish('second');
    const events = [await bob.push('pubsub'), await bob.push('pubsub')];
    events.forEach((event, at) => assertPubsub(event, { from: ida, group, message: ['first', 'second'][at] }));

    const history = await ida.ok('get', `/v1/groups/${group}/history?limit=50`);
    assert.deepEqual(history, [events[1], events[0]], 'the very events, newest first');
    const earlier = await ida.ok('get', `/v1/groups/${group}/history?limit=50&before=${events[1].header.timestamp}.000`);
    assert.ok(!earlier.some((each) => each.message === 'second'), '`before` is exclusive');
    const found = await ida.ok('post', '/v1/group-history-search', { groupIds: [group], limit: '1' });
    assert.deepEqual(found, { [group]: [events[1]] });
    const older = await ida.ok('get', `/v1/group-histories?groupIds=${group}&groupIds=none&limit=1`);
    assert.deepEqual(older[group], [events[1]]);
  });

  it('lists its conversations with what is unread, and marks them read', async () => {
    const [ida, bob] = [await connect('ios', unlike('ida')), await browser('bob')];
    const group = unlike('room');
    for (const device of [ida, bob]) await device.ok('post', '/v1/groups/', { groups: [group] });
    await bob.ok('post', `/v1/groups/${group}/publish`, { message: 'unread', persist: true });
    const event = await ida.push('pubsub');
    const path = `/v1/endpoints/${ida.endpointId}/conversations`;
    const [conversation, ...others] = await ida.ok('get', path);
    assert.deepEqual(others, []);
    assert.deepEqual(Object.keys(conversation).sort(), ['groupId', 'latestMsg', 'sourceId', 'timestamp', 'unreadCount']);
    assert.equal(conversation.groupId, group);
    assert.equal(conversation.unreadCount, 1);
    assert.equal(conversation.latestMsg.message, 'unread');
    assert.deepEqual(conversation.latestMsg.header, event.header);
    await ida.ok('post', path, { groups: [{ groupId: group, timestamp: event.header.timestamp + 0.5 }] });
    assert.equal((await ida.ok('get', path))[0].unreadCount, 0);
  });
});

describe('Asterisk', () => {
  const secret = () => ({ 'App-Secret': app.secret });
  const connectPbx = async (name) => {
    const pbx = await open('asterisk', secret());
    // The endpoint is in the path, and only there.
    await pbx.connect({ clientType: 'asterisk' }, `/v1/endpoints/${encodeURIComponent(name)}/connections`);
    return pbx;
  };

  it('speaks unmasked, with text answers, as its WebSocket client demands', async () => {
    const name = unlike('pbx');
    const pbx = await open('asterisk', secret());
    const { upgrade } = pbx.socket;
    assert.equal(header(upgrade, 'connection'), 'Upgrade');
    assert.equal(header(upgrade, 'sec-websocket-extensions'), undefined);
    assert.ok(['socket.io', undefined].includes(header(upgrade, 'sec-websocket-protocol')));

    const id = pbx.send('post', `/v1/endpoints/${name}/connections`, { clientType: 'asterisk' });
    const { body } = await pbx.answer(id);
    assert.match(body.id, UPPER_UUID_V4);
    assert.equal(body.endpointId, name);
    assert.equal(body.clientType, 'ASTERISK');
    assert.equal(body.type, 'websocket');
    assert.equal(body.appId, app.id);
    const frame = pbx.frames.find((each) => each.id === id);
    assert.match(frame.text, /^6:::1\+\["\{\\".*\}"\]$/, 'the JSON text of the body, as a string');
  });

  it('reads a refusal as the text of an object', async () => {
    const pbx = await connectPbx(unlike('pbx'));
    const { body } = await pbx.request('get', '/v1/no-such-resource');
    assert.ok(body.error);
  });

  it('speaks for an endpoint and names its kind, and is called by a browser', async () => {
    const [pbx, bob] = [await connectPbx(unlike('pbx')), await browser('bob')];
    const sessionId = randomUUID();
    const bye = { signalType: 'bye', sessionId, target: 'call', reason: 'busy' };
    await pbx.ok('post', '/v1/signaling', {
      signal: JSON.stringify(bye), from: '+15555550100', fromType: 'did', to: bob.endpointId, toType: 'web', toConnection: bob.id,
    });
    const push = await bob.push('signal');
    assertPush(push, { type: 'signal', from: '+15555550100', fromType: 'did', to: bob.endpointId, toType: 'web' }, { body: bye });

    const hangUp = { signalType: 'bye', sessionId, target: 'call' };
    await bob.ok('post', '/v1/signaling', {
      signal: JSON.stringify(hangUp), to: pbx.endpointId, toType: 'web', toConnection: pbx.id, ccSelf: true,
    });
    assertSignal(await pbx.push('signal'), { from: bob, to: pbx.endpointId, body: hangUp });
  });

  it('is offered a call with its SDP as JSON, candidates merged, once they are complete', async () => {
    const [pbx, bob] = [await connectPbx(unlike('pbx')), await browser('bob')];
    const [sessionId, fingerprint] = [randomUUID(), Array(32).fill('AB').join(':')];
    const sdp = [
      'v=0', 'o=- 1 2 IN IP4 127.0.0.1', 's=-', 't=0 0', 'm=audio 9 UDP/TLS/RTP/SAVPF 111 0', 'c=IN IP4 0.0.0.0',
      'a=ice-ufrag:abcd', 'a=ice-pwd:CANARYicepassword0123456', `a=fingerprint:sha-256 ${fingerprint}`, 'a=setup:actpass',
      'a=mid:0', 'a=sendrecv', 'a=rtcp-mux', 'a=rtpmap:111 opus/48000/2', 'a=fmtp:111 minptime=10;useinbandfec=1',
      'a=rtpmap:0 PCMU/8000', '',
    ].join('\r\n');
    const send = (body) => bob.ok('post', '/v1/signaling', { signal: JSON.stringify(body), to: pbx.endpointId, toType: 'web' });
    const candidate = {
      sdpMLineIndex: 0, sdpMid: '0', candidate: 'candidate:1 1 udp 2122260223 192.0.2.7 50000 typ host generation 0',
    };
    await send({ signalType: 'offer', sessionId, target: 'call', version: '1.0', sessionDescription: { type: 'offer', sdp } });
    await pbx.assertQuiet(); // held until the candidates are complete
    await send({ signalType: 'iceCandidates', sessionId, target: 'call', iceCandidates: [candidate], finalCandidates: [candidate] });

    const { body } = await pbx.push('signal');
    assert.equal(body.signalType, 'offer');
    assert.equal(body.sessionId, sessionId);
    const [media] = body.parsedSDP.media;
    assert.equal(media.type, 'audio');
    assert.equal(media.protocol, 'UDP/TLS/RTP/SAVPF');
    assert.equal(media.iceUfrag ?? body.parsedSDP.iceUfrag, 'abcd');
    assert.deepEqual(media.fingerprint ?? body.parsedSDP.fingerprint, { type: 'sha-256', hash: fingerprint });
    assert.equal(media.setup, 'actpass');
    assert.deepEqual(media.rtp.map(({ payload, codec, rate }) => ({ payload, codec, rate })), [
      { payload: 111, codec: 'opus', rate: 48000 }, { payload: 0, codec: 'PCMU', rate: 8000 },
    ]);
    const [{ foundation, component, transport, priority, ip, port, type }, ...more] = media.candidates;
    assert.deepEqual({ foundation: String(foundation), component, transport, priority, ip, port, type }, {
      foundation: '1', component: 1, transport: 'udp', priority: 2122260223, ip: '192.0.2.7', port: 50000, type: 'host',
    });
    assert.deepEqual(more, []);
    await pbx.assertQuiet();
  });

  it('offers with parsed SDP alone, and the browser reads text', async () => {
    const [pbx, bob] = [await connectPbx(unlike('pbx')), await browser('bob')];
    const hash = Array(32).fill('CD').join(':');
    const parsedSDP = {
      version: 0, name: 'asterisk',
      origin: { username: '-', sessionId: 1, sessionVersion: 1, netType: 'IN', ipVer: 4, address: '192.0.2.1' },
      timing: { start: 0, stop: 0 },
      media: [{
        type: 'audio', port: 4000, protocol: 'UDP/TLS/RTP/SAVPF', payloads: '0', rtp: [{ payload: 0, codec: 'PCMU', rate: 8000 }],
        fmtp: [], connection: { version: 4, ip: '192.0.2.1' }, setup: 'actpass', fingerprint: { type: 'sha-256', hash },
        iceUfrag: 'efgh', icePwd: 'CANARYicepassword6543210',
        candidates: [{ foundation: 'H1', component: 1, transport: 'UDP', priority: 2130706431, ip: '192.0.2.1', port: 4000, type: 'host' }],
      }],
    };
    const offer = { signalType: 'offer', sessionId: randomUUID(), parsedSDP, callerId: { name: 'Anna', number: '100' } };
    await pbx.ok('post', '/v1/signaling', {
      signal: JSON.stringify(offer), from: 'anna', fromType: 'sip', to: bob.endpointId, toType: 'web',
    });
    const { header: { fromType }, body } = await bob.push('signal');
    assert.equal(fromType, 'sip');
    assert.equal(body.sessionDescription.type, 'offer');
    const lines = body.sessionDescription.sdp.split('\r\n');
    for (const line of [
      'v=0', 'm=audio 4000 UDP/TLS/RTP/SAVPF 0', 'a=rtpmap:0 PCMU/8000', 'a=ice-ufrag:efgh', `a=fingerprint:sha-256 ${hash}`,
      'a=setup:actpass', 'a=candidate:H1 1 UDP 2130706431 192.0.2.1 4000 typ host',
    ]) assert.ok(lines.includes(line), `${line} in ${lines.join(' | ')}`);
    assert.deepEqual(body.callerId, { name: 'Anna', number: '100' });
  });

  it('sends a status that a browser never sees, and an error that becomes a bye', async () => {
    const [pbx, bob] = [await connectPbx(unlike('pbx')), await browser('bob')];
    const sessionId = randomUUID();
    const to = { from: 'anna', fromType: 'web', to: bob.endpointId, toType: 'web' };
    const send = (body) => pbx.ok('post', '/v1/signaling', { signal: JSON.stringify(body), ...to });
    await send({ signalType: 'status', sessionId, status: 'ringing' });
    await send({ signalType: 'error', sessionId, detail: 'no such number' });
    const { body } = await bob.push('signal');
    assert.equal(body.signalType, 'bye');
    assert.equal(body.reason, 'no such number');
    await bob.assertQuiet();
  });

  it('asks for relay credentials over HTTP, for an endpoint', async () => {
    const answer = await call(server, { path: '/v1/turn?endpointId=pbx', headers: { 'App-Secret': app.secret } });
    assert.equal(answer.status, 200, answer.text);
    assert.ok(Array.isArray(answer.body.uris) && answer.body.uris.length > 0);
  });
});

describe('Go', () => {
  it('posts its connection without an id, then joins, messages and publishes', async () => {
    const name = unlike('gopher');
    const bob = await browser('bob');
    const group = unlike('room');
    await bob.ok('post', '/v1/groups/', { groups: [group] });

    const gopher = await open('go', { 'App-Token': await logInAs(world, name) });
    const inner = DIALECTS.go.inner(gopher.credential);
    const first = gopher.event('post', '/v1/connections', { endpointId: name, presence: { type: '' } }, inner, 'text');
    gopher.socket.send(`5:::${first}`);
    gopher.socket.send('2::');
    // Its library does not know its connection's id: it learns nothing from a post without an answer.
    await gopher.ok('post', `/v1/channels/${group}/subscribers`, { endpointId: name, presence: { type: '' } });
    const { endpointId, connectionId: id } = await bob.push('join');
    assert.equal(endpointId, name);
    const who = { endpointId, id };
    await gopher.ok('post', '/v1/messages', { to: bob.endpointId, message: { text: 'hi' } });
    assertMessage(await bob.push('message'), { from: who, to: bob.endpointId, body: { text: 'hi' } });
    await gopher.ok('post', `/v1/channels/${group}/publish`, { message: 'all' });
    assertPubsub(await bob.push('pubsub'), { from: who, group, message: 'all' });
    await bob.ok('post', `/v1/channels/${group}/publish`, { to: group, message: 'you too' });
    assertPubsub(await gopher.push('pubsub'), { from: bob, group, message: 'you too' });
    assert.deepEqual(gopher.frames.map((frame) => frame.kind).filter((kind) => kind !== '2::'), ['1::', 'ack', 'ack', 'ack', 'push']);
  });
});

describe('Node', () => {
  it('connects with its App-Token by an absolute URL and reads text answers', async () => {
    const joe = await connect('admin', unlike('joe'));
    const [frame] = joe.frames.filter((each) => each.kind === 'ack');
    assert.match(frame.text, /^6:::1\+\["\{\\"/);
    const bob = await browser('bob');
    await joe.ok('post', '/v1/messages', { to: bob.endpointId, message: 'hi', type: 'message', ccSelf: true });
    assertMessage(await bob.push('message'), { from: joe, to: bob.endpointId, body: 'hi' });
  });

  it('speaks with the App-Secret as any endpoint, null headers and all', async () => {
    const admin = await open('admin', { 'App-Secret': app.secret });
    await admin.refused(400, 'post', '/v1/connections', {}); // who is it?
    await admin.connect({ endpointId: unlike('brewster'), clientType: 'node' });
    const bob = await browser('bob');
    const group = unlike('room');
    await bob.ok('post', '/v1/groups/', { groups: [group] });
    // No member itself, and no connection of the speaker is needed.
    await admin.ok('post', `/v1/channels/${group}/publish`, { endpointId: 'BATMAN', message: 'Hi little guy' });
    assertPush(await bob.push('pubsub'), { type: 'pubsub', channel: group, from: 'BATMAN' }, { message: 'Hi little guy' });
    await admin.ok('post', '/v1/messages', { endpointId: 'BATMAN', to: bob.endpointId, message: 'psst', type: 'message' });
    assertPush(await bob.push('message'), { type: 'message', from: 'BATMAN', to: bob.endpointId }, { body: 'psst' });

    // Joining in another's name: the joined connection hears of it.
    await admin.ok('post', `/v1/channels/${group}/subscribers`, { endpointId: admin.endpointId });
    assertMembership(await bob.push('join'), 'join', { group, who: admin });
    await admin.ok('delete', `/v1/channels/${group}/subscribers`, { endpointId: admin.endpointId });
    assertMembership(await bob.push('leave'), 'leave', { group, who: admin });

    await admin.ok('post', '/v1/presence-observers', { endpointList: [bob.endpointId] });
    await bob.ok('post', '/v1/presence', { presence: { type: 'At lunch' } });
    assertPresence(await admin.push('presence'), { from: bob, type: 'At lunch' });
    await admin.ok('post', '/v1/presence', { endpointId: admin.endpointId, presence: { show: true, status: 'x', type: 'available' } });
  });

  it('connects with the Admin-Token when it names the app or has but one', async () => {
    const admin = await open('admin', { 'Admin-Token': world.adminToken });
    await admin.connect({ endpointId: unlike('root'), appId: app.id });
    assert.match(admin.id, UPPER_UUID_V4);
  });

  it('sends a message over plain HTTP with the App-Secret', async () => {
    const bob = await browser('bob');
    const answer = await call(server, {
      method: 'POST', path: '/v1/messages', headers: { 'App-Secret': app.secret, 'Content-Type': 'application/json' },
      body: JSON.stringify({ endpointId: 'BATMAN', to: bob.endpointId, message: 'by post' }),
    });
    assert.equal(answer.status, 200, answer.text);
    assertTaken(answer.body);
    assertPush(await bob.push('message'), { type: 'message', from: 'BATMAN', to: bob.endpointId }, { body: 'by post' });
  });
});
