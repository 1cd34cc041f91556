// A socket ends when what it stands on ends, and only then; a client that does not read or keep to the protocol is cut off.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe, it } from 'node:test';

import { connectDevice, DIALECTS, handshake, logInAs, openDevice } from './devices.mjs';
import { createApp, createRole, logIn, startWithApp } from './harness.mjs';
import { call, json } from './http.mjs';
import { Poller } from './polling.mjs';
import { assertPresence } from './pushes.mjs';
import { openRawSocket } from './raw-socket.mjs';
import { within } from './waiting.mjs';

const SILENCE_SECS = 5;

let world, server, app, adminToken;
before(async () => {
  const settings = {
    outbox_frames_max: 50, write_timeout_secs: 60, heartbeat_interval_secs: 2, heartbeat_timeout_secs: SILENCE_SECS,
  };
  world = await startWithApp({ settings });
  ({ server, app, adminToken } = world);
});

const devices = [];
after(async () => {
  devices.forEach((device) => device.socket.end());
  await world?.server.stop();
});

const unlike = (name) => `${name}-${randomUUID()}`;
const kept = (device) => devices[devices.push(device) - 1];
const connect = async (endpointId, in_ = world, dialect = 'javascript') => kept(await connectDevice(in_, dialect, endpointId));

async function ask(method, path, headers, value) {
  const answer = await call(server, { method, path, ...(value ? json(value, headers) : { headers }) });
  assert.equal(answer.status, 200, answer.text);
  return answer.body;
}
const withSecret = () => ({ 'App-Secret': app.secret });
const asAdmin = () => ({ 'Admin-Token': adminToken });

/** An app of its own with a role, for what would end everything in it. */
async function another() {
  const other = await createApp(server, adminToken);
  return { ...world, app: other, role: await createRole(server, adminToken, other) };
}

async function connectBackend(credential, data = {}) {
  const backend = kept(await openDevice(server, 'admin', credential));
  await backend.connect({ endpointId: unlike('backend'), ...data });
  return backend;
}

/** The server says good-bye as to a client that must not come back on the same credential, and lets it in no more. */
async function assertEnded(device) {
  await device.closed();
  const kinds = device.frames.map((frame) => frame.kind);
  assert.deepEqual(kinds.slice(kinds.indexOf('0::')), ['0::', 'closed', 'closed'].slice(0, kinds.length - kinds.indexOf('0::')));
  assert.ok(kinds.includes('0::'), `0:: in ${kinds}`);
  assert.equal((await handshake(server, device.dialect.query(device.credential))).status, 403);
}

describe('a socket with an App-Token ends with', () => {
  const ends = {
    'its session': (device) => ask('DELETE', '/v1/session-tokens', device.credential),
    'all sessions of its endpoint': ({ endpointId }) =>
      ask('DELETE', `/v1/sessions?endpointId=${encodeURIComponent(endpointId)}`, withSecret()),
    'a ban of its endpoint': ({ endpointId }) =>
      ask('POST', `/v1/endpoints/${encodeURIComponent(endpointId)}/ban`, withSecret(), { reason: 'spam' }),
    'a revocation under OAuth': async ({ credential }) => {
      const answer = await call(server, {
        method: 'POST', path: '/oauth/revoke', body: `token=${credential['App-Token']}`,
        headers: { 'Content-Type': 'application/x-www-form-urlencoded', Authorization: basic() },
      });
      assert.equal(answer.status, 200, answer.text);
    },
  };
  const basic = () => `Basic ${Buffer.from(`${app.id}:${app.secret}`).toString('base64')}`;
  for (const [what, end] of Object.entries(ends)) {
    it(`${what}, and no other does`, async () => {
      const [device, bystander] = [await connect(unlike('eve')), await connect(unlike('bob'))];
      await end(device);
      await assertEnded(device);
      await bystander.fence();
    });
  }

  it('its role', async () => {
    const role = await createRole(server, adminToken, app);
    const [device, bystander] = [await connect(unlike('eve'), { ...world, role }), await connect(unlike('bob'))];
    await ask('DELETE', `/v1/roles/${role.id}`, withSecret());
    await assertEnded(device);
    await bystander.fence();
  });

  it('its app', async () => {
    const other = await another();
    const [device, bystander] = [await connect('eve', other), await connect(unlike('bob'))];
    await ask('DELETE', `/v1/apps/${other.app.id}`, asAdmin());
    await assertEnded(device);
    await bystander.fence();
  });

  it('its time, and so it does over polling', async () => {
    const mint = json({ endpointId: unlike('eve'), roleId: world.role.id, ttl: 60 }, withSecret());
    const { tokenId } = (await call(server, { method: 'POST', path: '/v1/tokens', ...mint })).body;
    const redeemed = await call(server, { method: 'POST', path: '/v1/session-tokens', ...json({ tokenId }) });
    const credential = { 'App-Token': redeemed.body.token };
    const device = kept(await openDevice(server, 'javascript', credential));
    await device.connect();
    const { sid } = await handshake(server, DIALECTS.javascript.query(credential));
    await device.frame((frame) => frame.kind === '0::', 'the end of its time', 75_000);
    await assertEnded(device);
    const poll = async () => (await call(server, { path: `/socket.io/1/xhr-polling/${sid}` })).text;
    let text = await poll();
    while (text === '1::' || text === '0::') text = await poll(); // as it ends at the same time
    assert.equal(text, '7:::1+0');
  });
});

describe('a backend\'s socket ends with', () => {
  it('its App-Secret', async () => {
    const extra = await ask('POST', `/v1/apps/${app.id}/secrets`, asAdmin(), { name: 'second' });
    const [device, bystander] = [await connectBackend({ 'App-Secret': extra.secret }), await connectBackend(withSecret())];
    await ask('DELETE', `/v1/apps/${app.id}/secrets/${extra.id}`, asAdmin());
    await assertEnded(device);
    await bystander.fence();
  });

  it('its Admin-Token', async () => {
    const token = { 'Admin-Token': await logIn(server) };
    const device = await connectBackend(token, { appId: app.id });
    await ask('DELETE', '/v1/admin-sessions', token);
    await assertEnded(device);
  });

  it('a ban of the endpoint that it speaks as', async () => {
    const [device, bystander] = [await connectBackend(withSecret()), await connectBackend(withSecret())];
    await ask('POST', `/v1/endpoints/${device.endpointId}/ban`, withSecret(), { reason: 'x' });
    await device.closed();
    await bystander.fence();
  });
});

describe('a client is cut off that', () => {
  it('does not read, while others are served', async () => {
    const group = unlike('room');
    const other = await another();
    const limits = { app: null, endpoint: null, address: null, endpointMessages: null, endpointKilobytes: null };
    await ask('PUT', `/v1/apps/${other.app.id}`, asAdmin(), { limits });
    const [deaf, alice, bob] = [await connect('deaf', other), await connect('alice', other), await connect('bob', other)];
    for (const device of [deaf, alice, bob]) await device.ok('post', '/v1/groups/', { groups: [group] });
    deaf.socket.pause();
    const message = 'x'.repeat(18_000);
    let sent = 0;
    const left = () => bob.unread().some(([name, push]) => name === 'leave' && push.connectionId === deaf.id);
    while (!left()) {
      assert.ok(sent < 2000, 'it is still a member');
      // Within the deadline of every answer, a sixth of a write's: a publisher does not wait for a slow member.
      await alice.ok('post', `/v1/channels/${group}/publish`, { message });
      sent += 1;
    }
    await bob.fence();
    assert.equal(bob.unread().filter(([name]) => name === 'pubsub').length, sent, 'the others miss nothing');
  });

  it('is silent, while who echoes heartbeats and does nothing else stays', async () => {
    const [silent, listening, bob] = [await connect(unlike('eve')), await connect(unlike('alice')), await connect(unlike('bob'))];
    silent.beats = false;
    await bob.ok('post', '/v1/presence', { presence: { type: 'available' } });
    const since = Date.now();
    for (const device of [silent, listening]) await device.ok('post', '/v1/presence', { presence: { type: 'available' } });
    await bob.ok('post', '/v1/presenceobservers', { endpointList: [silent.endpointId, listening.endpointId] });
    await silent.closed();
    assert.ok(Date.now() - since > (SILENCE_SECS - 2) * 1000, 'not before its time');
    assertPresence(await bob.push('presence', ({ type }) => type === 'unavailable'), { from: silent, type: 'unavailable' });
    await listening.fence();
    assert.equal(listening.frames.filter((frame) => frame.kind === 'closed').length, 0);
  });

  it('does not poll any more', async () => {
    const bob = await connect(unlike('bob')); // first: there is not much time to observe the other
    const credential = { 'App-Token': await logInAs(world, unlike('eve')) };
    const { sid } = await handshake(server, DIALECTS.javascript.query(credential));
    const poller = new Poller(server, sid);
    await poller.poll();
    const request = (id, path, data) => `5:${id}+::${JSON.stringify({ name: 'post', args: [{ url: path, headers: credential, data }] })}`;
    await poller.send(request(1, '/v1/connections', {}), request(2, '/v1/presence', { presence: { type: 'available' } }));
    const { argument } = await poller.frame((frame) => frame.id === 1);
    await poller.frame((frame) => frame.id === 2);
    await bob.ok('post', '/v1/presenceobservers', { endpointList: [argument.body.endpointId] });
    const who = { endpointId: argument.body.endpointId, id: argument.body.id };
    assertPresence(await bob.push('presence'), { from: who, type: 'available' });
    assertPresence(await bob.push('presence'), { from: who, type: 'unavailable' });
    assert.equal((await call(server, { path: poller.path })).text, '7:::1+0');
  });

  const rude = {
    'sends text that is no UTF-8': (socket) => socket.frame(0x81, Buffer.from([0xff, 0xfe])),
    'uses bits of an extension': (socket) => socket.frame(0xc1, Buffer.from('2::')),
    'sends a frame of a megabyte': (socket) => socket.send('x'.repeat(1_048_576)),
  };
  for (const [what, act] of Object.entries(rude)) {
    for (const dialect of ['javascript', 'asterisk']) {
      it(`${what}, ${dialect === 'asterisk' ? 'unmasked' : 'masked'}`, async () => {
        const credential = dialect === 'asterisk' ? withSecret() : { 'App-Token': await logInAs(world, unlike('eve')) };
        const device = kept(await openDevice(server, dialect, credential));
        act(device.socket);
        await device.closed();
      });
    }
  }
});

describe('a client may', () => {
  it('send a message in fragments, and pings in between', async () => {
    const device = await connect(unlike('alice'));
    const text = `5:77+::${device.event('get', '/v1/session-tokens', undefined, device.credential)}`;
    const [head, tail] = [Buffer.from(text.slice(0, 20)), Buffer.from(text.slice(20))];
    device.socket.frame(0x01, head); // a text that goes on
    device.socket.frame(0x89, Buffer.from('are you there?'));
    device.socket.frame(0x80, tail); // its end
    await device.frame((frame) => frame.kind === 'pong', 'the pong');
    assert.equal((await device.answer(77)).status, 200);
  });

  it('send packets that are of no use to anybody', async () => {
    const device = await connect(unlike('alice'));
    for (const text of ['1::', '2::', '3:::text', '4:::{"json":true}', '5:::', '5:1+:/elsewhere:{"name":"get","args":[]}', '6:::', '8::']) {
      device.socket.send(text);
      await device.fence();
    }
  });

  const strays = ['', ' ', ':', '9:::', '5', '2', '2probe', 'hello', '\ufeff', '\ufffd3\ufffd2::', '5:-1+::{}', '5:99999999999999999999+::{}'];
  for (const text of strays) {
    it(`send ${JSON.stringify(text)}, which is no packet and is passed over`, async () => {
      const device = await connect(unlike('alice'));
      device.socket.send(text);
      await device.fence();
    });
  }

  it('send a binary frame, which is passed over', async () => {
    const device = await connect(unlike('alice'));
    device.socket.frame(0x82, Buffer.from('2::'));
    await device.fence();
  });

  it('open its session anew, and what was the session\'s goes on there', async () => {
    const [device, bob] = [await connect(unlike('alice')), await connect(unlike('bob'))];
    const again = await openRawSocket(server, { path: `/socket.io/1/websocket/${device.sid}` });
    await device.closed();
    await bob.ok('post', '/v1/messages', { to: device.endpointId, message: 'still there?' });
    const heard = new Promise((resolve) => {
      again.listen(({ text }) => text?.startsWith('5:::') && resolve(JSON.parse(text.slice(4))));
    });
    const { name, args } = await within(heard, 'the message');
    assert.deepEqual([name, args[0].body], ['message', 'still there?']);
    assert.equal(again.arrived[0].text, '1::');
    again.end();
  });
});
