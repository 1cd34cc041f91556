// Our frames against the parser of the published socket.io-client, the one that respoke-admin and respoke.js speak with.
//
// RESPOKED_FRAMES_BIN names the built example `frames` of respoke-wire, which reads and writes frames as the server does.
// Packets are random but the same in every run.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { describe, it } from 'node:test';
import { createContext, runInContext } from 'node:vm';

const admin = createRequire(import.meta.url).resolve('respoke-admin');
const { parser } = createRequire(admin)('socket.io-client');

const RUNS = 400;
const SAILS = '__sails_io_sdk_version=0.10.0';

/** What the server makes of each line. */
function ours(lines) {
  const binary = process.env.RESPOKED_FRAMES_BIN;
  assert.ok(binary, 'RESPOKED_FRAMES_BIN must name the built example `frames`');
  const input = lines.map((line) => `${JSON.stringify(line)}\n`).join('');
  const { stdout, stderr, status, error } = spawnSync(resolve(binary), { input, encoding: 'utf8', maxBuffer: 2 ** 26 });
  assert.ifError(error);
  assert.equal(status, 0, stderr);
  const answers = stdout.split('\n').slice(0, -1).map((line) => JSON.parse(line));
  assert.equal(answers.length, lines.length);
  return answers;
}

/** A generator of its own for each test, so that a new test leaves the others as they were. */
function random(seed) {
  let state = seed;
  const below = (limit) => {
    // mulberry32
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
  const pick = (list) => list[below(list.length)];
  const times = (most, make) => Array.from({ length: below(most + 1) }, make);
  // Whatever has ever cut a packet, upset a length or ended a script.
  const thorns = [...'"\\/:+<>{}[]0129ax \n\r\t\0\u0085\u00a9\u2028\u2029\u2027\ufffdäя日', '😀', '</script>', '6:::1+[', '\\u2028'];
  const text = (most = 20) => times(most, () => pick(thorns)).join('');
  const value = (depth = 3) => pick([
    () => text(), () => below(1e9) / 8, () => -1 - below(5), () => true, () => false, () => null,
    ...(depth > 0 ? [() => times(3, () => value(depth - 1)), () => object(depth - 1)] : []),
  ])();
  const object = (depth = 3) => Object.fromEntries(times(3, () => [`k${text(5)}`, value(depth)]));
  const id = () => pick(['', 1, 2, below(100), below(2 ** 32), Number.MAX_SAFE_INTEGER]);
  const packet = () => pick([
    () => ({ type: 'disconnect' }),
    () => ({ type: 'connect', ...pick([{}, { endpoint: '/x?y' }, { qs: '?a=b' }]) }),
    () => ({ type: 'heartbeat' }),
    () => ({ type: 'message', id: id(), data: text() }),
    () => ({ type: 'json', id: id(), data: value() }),
    () => ({ type: 'ack', ackId: below(100), args: times(2, () => value()) }),
    () => ({ type: 'error', ...pick([{}, { reason: 'unauthorized' }, { reason: 'unauthorized', advice: 'reconnect' }]) }),
    () => ({ type: 'noop' }),
    ...Array(6).fill(() => ({
      type: 'event', id: id(), ack: pick([undefined, 'data']), endpoint: pick(['', '', '', '/room']), name: text(5), args: times(2, () => value()),
    })),
  ])();
  return { below, pick, times, text, value, object, id, packet };
}

/** Asserts that we read from a packet what the published parser reads. */
function assertReadAlike(text, read) {
  const published = parser.decodePacket(text);
  const used = ['connect', 'heartbeat'].includes(published.type)
    || (['disconnect', 'event'].includes(published.type) && published.endpoint === '');
  assert.equal(read.type, used ? published.type : 'other', text);
  assert.ok(published.type, text);
  if (read.type !== 'event') return;
  assert.equal(read.id, published.id === undefined ? null : BigInt(published.id).toString(), text);
  let event;
  try {
    event = JSON.parse(read.data) ?? {};
  } catch {
    event = {};
  }
  assert.deepEqual([event.name, event.args || []], [published.name, published.args], text);
}

describe('what the published client writes', () => {
  it('a packet is read alike', () => {
    const { packet } = random(1);
    const texts = Array.from({ length: RUNS }, () => parser.encodePacket(packet()));
    const read = ours(texts.map((text) => ({ packet: text })));
    texts.forEach((text, at) => assertReadAlike(text, read[at]));
    for (const type of ['disconnect', 'connect', 'heartbeat', 'event', 'other']) {
      assert.ok(read.some((packet) => packet.type === type), `no ${type} among the packets`);
    }
  });

  it('a damaged packet is refused or read alike', () => {
    const { below, pick, packet } = random(2);
    const texts = Array.from({ length: RUNS * 5 }, () => {
      const characters = [...parser.encodePacket(packet())];
      // The head is the part that we read ourselves.
      characters.splice(below(Math.min(characters.length, 8)), below(2), pick([...':+0159/x\n😀', '']));
      return characters.join('');
    });
    const read = ours(texts.map((text) => ({ packet: text })));
    const accepted = texts.filter((text, at) => {
      if (read[at].error) return false;
      assertReadAlike(text, read[at]);
      return true;
    });
    assert.ok(accepted.length > RUNS && accepted.length < texts.length - RUNS, `${accepted.length} accepted`);
  });

  it('a payload is split at the same places', () => {
    const { times, packet } = random(3);
    const payloads = Array.from({ length: RUNS }, () => [packet(), ...times(9, packet)].map(parser.encodePacket));
    const read = ours(payloads.map((packets) => ({ split: parser.encodePayload(packets) })));
    assert.deepEqual(read, payloads);
  });

  it('a form of the JSONP transport holds the payload', () => {
    const { text } = random(4);
    const payloads = Array.from({ length: RUNS }, () => text(100));
    const forms = payloads.map((payload) => new URLSearchParams({ d: JSON.stringify(payload) }).toString());
    assert.deepEqual(ours(forms.map((form) => ({ form }))), payloads);
  });

  it('a request keeps method, headers and data, as text and as an object', () => {
    const { pick, object, text, id } = random(5);
    const requests = Array.from({ length: RUNS }, () => ({
      method: pick(['get', 'post', 'put', 'delete', 'patch']),
      argument: {
        url: `/v1/groups/${encodeURIComponent(text())}?a=${encodeURIComponent(text())}`,
        headers: { 'App-Token': text(), 'App-Secret': pick([null, 5, 'x']) },
        data: pick([undefined, null, object()]),
      },
    }));
    const packets = requests.map(({ method, argument }) => parser.encodePacket({
      type: 'event', id: id(), ack: 'data', name: method, args: [pick([argument, JSON.stringify(argument)])],
    }));
    const events = ours(packets.map((packet) => ({ packet })));
    const read = ours(events.map(({ data }) => ({ request: data })));
    requests.forEach(({ method, argument: { url, headers, data } }, at) => {
      const { path, query, ...rest } = read[at];
      assert.equal(`${path}?${query}`, url);
      assert.deepEqual({ ...rest, data: JSON.parse(rest.data) }, {
        method: method.toUpperCase(),
        headers: Object.entries(headers).filter(([, value]) => typeof value === 'string'),
        data: data ?? null,
      });
    });
  });
});

describe('what the published client reads', () => {
  it('the server speaks of itself in packets it knows', () => {
    const [texts] = ours([{ constants: {} }]);
    const read = Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, parser.decodePacket(text)]));
    for (const type of ['connect', 'disconnect', 'heartbeat', 'noop']) assert.equal(read[type].type, type);
    const { type, reason, advice } = read.notHandshaken;
    assert.deepEqual([type, reason, advice], ['error', 'client not handshaken', 'reconnect']);
  });

  it('a push holds its one argument, however the sender laid it out', () => {
    const { pick, object } = random(6);
    const pushes = Array.from({ length: RUNS }, () => ({ name: pick(['message', 'pubsub', 'join']), value: object() }));
    const packets = ours(pushes.map(({ name, value }) => (
      { event: { name, argument: JSON.stringify(value, null, pick([undefined, 2, '\t'])) } }
    )));
    pushes.forEach(({ name, value }, at) => {
      assert.deepEqual(parser.decodePacket(packets[at]), { type: 'event', endpoint: '', name, args: [value] });
      assertOneLine(packets[at]);
    });
  });

  it('an ack holds the answer, as an object or as text', () => {
    const { below, pick, object } = random(7);
    const acks = Array.from({ length: RUNS }, () => {
      const body = pick([object(), [object()]]);
      const text = JSON.stringify(body, null, pick([undefined, 2]));
      return { id: String(below(2 ** 32)), handshake: pick([SAILS, '']), status: 200 + below(300), body, text };
    });
    const packets = ours(acks.map(({ id, handshake, status, text }) => ({ ack: { id, handshake, status, body: text } })));
    acks.forEach(({ id, handshake, status, body, text }, at) => {
      const headers = { 'Request-Id': '5bce', 'RateLimit-Limit': 10, 'RateLimit-Time-Units': 'seconds', 'RateLimit-Remaining': 18 };
      const args = handshake ? [{ body, headers, statusCode: status }] : [text];
      assert.deepEqual(parser.decodePacket(packets[at]), { type: 'ack', endpoint: '', ackId: id, args });
      assertOneLine(packets[at]);
    });
  });

  it('a payload is joined to the letter', () => {
    const { times, packet } = random(8);
    const payloads = [[], ...Array.from({ length: RUNS }, () => [packet(), ...times(9, packet)].map(parser.encodePacket))];
    const bodies = ours(payloads.map((packets) => ({ join: packets })));
    payloads.forEach((packets, at) => {
      assert.equal(bodies[at], parser.encodePayload(packets));
      if (packets.length > 0) assert.deepEqual(parser.decodePayload(bodies[at]), packets.map(parser.decodePacket));
    });
  });

  it('a script hands over the payload, or the reason of a refusal, and nothing else', () => {
    const { below, text } = random(9);
    const calls = Array.from({ length: RUNS }, () => ({ index: String(below(1000)), payload: text(100) }));
    const scripts = ours(calls.map((jsonp) => ({ jsonp })));
    calls.forEach(({ index, payload }, at) => {
      assert.equal(run(scripts[at], index), payload);
      assert.ok(!scripts[at].includes('</script'));
    });
    const [refusal] = ours([{ jsonpError: { index: '3', reason: 'handshake unauthorized' } }]);
    assert.equal(run(refusal, 3).message, 'handshake unauthorized');
    for (const index of ['', '+1', '1]', 'x']) {
      assert.deepEqual(ours([{ jsonp: { index, payload: '' } }]), [{ error: 'no index' }]);
    }
  });
});

/** The parsers of JavaScript and iOS cut at whatever their dot takes for the end of a line. */
function assertOneLine(packet) {
  assert.doesNotMatch(packet, /[\n\r\u0085\u2028\u2029]/);
}

/** What a script hands to the callback of this number, in a page that has no other. */
function run(script, index) {
  const heard = [];
  const io = { j: { [index]: (message) => heard.push(message) } };
  runInContext(script, createContext({ io }));
  assert.equal(heard.length, 1);
  return heard[0];
}
