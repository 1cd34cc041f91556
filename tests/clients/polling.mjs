// The fall-back transport down to the bytes: one GET waits for packets, POSTs carry them (protocol dossier 4.5).

import assert from 'node:assert/strict';

import { understand } from './devices.mjs';
import { call } from './http.mjs';

const MARK = '\ufffd';
const ORIGIN = 'https://app.example';
const FORM = { answers: 'object' };

/** Packets as one body: a lone one bare, several each with its length in UTF-16 code units. */
export function encodePayload(packets) {
  if (packets.length === 1) return packets[0];
  return packets.map((packet) => `${MARK}${packet.length}${MARK}${packet}`).join('');
}

/** The packets of one body, cut as the browser's parser cuts them. */
export function decodePayload(text) {
  if (!text.startsWith(MARK)) return [text];
  const packets = [];
  let at = 0;
  while (at < text.length) {
    const end = text.indexOf(MARK, at + 1);
    assert.ok(text[at] === MARK && end > at, `a length between marks at ${at} of ${JSON.stringify(text)}`);
    const length = text.slice(at + 1, end);
    assert.match(length, /^[1-9]\d*$/);
    packets.push(text.slice(end + 1, end + 1 + Number(length)));
    assert.equal(packets.at(-1).length, Number(length), 'the last packet is whole');
    at = end + 1 + Number(length);
  }
  assert.ok(packets.length > 1, 'a lone packet is bare');
  return packets;
}

/** A session that polls. */
export class Poller {
  frames = [];

  constructor(server, sid) {
    Object.assign(this, { server, path: `/socket.io/1/xhr-polling/${sid}` });
  }

  /** One GET; returns the texts of its packets. */
  async poll() {
    const answer = await call(this.server, { path: `${this.path}?t=${Date.now()}`, headers: { Origin: ORIGIN } });
    assert.equal(answer.status, 200, answer.text);
    assert.match(answer.headers['content-type'], /^text\/plain; charset=utf-8$/i);
    assertCredentialed(answer, ORIGIN);
    const texts = decodePayload(answer.text);
    this.frames.push(...texts.map((text) => understand(text, FORM)));
    return texts;
  }

  /** Polls until a frame passes `test`; `8::` only means that nothing has come yet. */
  async frame(test) {
    for (;;) {
      const found = this.frames.find(test);
      if (found) return found;
      await this.poll();
    }
  }

  /** One POST with all `packets`. */
  async send(...packets) {
    const headers = { 'Content-Type': 'text/plain;charset=UTF-8', Origin: ORIGIN };
    const answer = await call(this.server, { method: 'POST', path: this.path, headers, body: encodePayload(packets) });
    assert.equal(answer.status, 200, answer.text);
    assert.equal(answer.text, '1');
    assertCredentialed(answer, ORIGIN);
  }
}

/** A page at `origin` may read the answer to a request that it sent with credentials. */
export function assertCredentialed(answer, origin) {
  assert.equal(answer.headers['access-control-allow-origin'], origin);
  assert.equal(answer.headers['access-control-allow-credentials'], 'true');
}
