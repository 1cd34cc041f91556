// A WebSocket client down to the bytes: frames masked or not, nothing answered or repaired behind the test's back.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';

import { within } from './waiting.mjs';

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'; // RFC 6455, section 1.3
const OPCODES = { text: 1, binary: 2, close: 8, ping: 9, pong: 10 };
const LAST = 0x80; // the bit of a frame that ends its message
const NAMES = Object.fromEntries(Object.entries(OPCODES).map(([name, code]) => [code, name]));

/** Asks for a WebSocket at `path` and returns the open one; `upgrade` holds the answer's status line and header pairs. */
export async function openRawSocket(server, { path, headers = [], masked = true }) {
  const stream = net.connect({ host: server.host, port: server.port, noDelay: true });
  stream.on('error', () => {}); // a reset is the end of the stream, which the test sees as such
  await once(stream, 'connect');
  const key = randomBytes(16).toString('base64');
  const pairs = [
    ['Host', `${server.host}:${server.port}`], ['Upgrade', 'websocket'], ['Connection', 'Upgrade'],
    ['Sec-WebSocket-Key', key], ['Sec-WebSocket-Version', '13'], ...headers,
  ];
  stream.write(`GET ${path} HTTP/1.1\r\n${pairs.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`);

  const socket = new RawSocket(stream, masked);
  const upgrade = await within(socket.upgraded, `the answer to the upgrade of ${path.split('?')[0]}`);
  assert.equal(upgrade.status, 'HTTP/1.1 101 Switching Protocols');
  const accept = createHash('sha1').update(key + GUID).digest('base64');
  assert.equal(header(upgrade, 'sec-websocket-accept'), accept);
  return socket;
}

/** The value of one header of an upgrade's answer, undefined when it is absent. */
export function header(upgrade, name) {
  return upgrade.headers.find(([key]) => key.toLowerCase() === name)?.[1];
}

class RawSocket {
  /** What arrived, in order: `{ kind: 'text' | 'binary' | 'ping' | 'pong' | 'close' | 'end', text?, code? }`. */
  arrived = [];
  #stream;
  #masked;
  #bytes = Buffer.alloc(0);
  #upgraded;
  #listener = () => {};

  constructor(stream, masked) {
    this.#stream = stream;
    this.#masked = masked;
    this.upgraded = new Promise((resolve) => {
      this.#upgraded = (upgrade) => {
        this.upgrade = upgrade;
        this.#upgraded = undefined;
        resolve(upgrade);
      };
    });
    stream.on('data', (bytes) => this.#take(bytes));
    stream.on('close', () => this.#note({ kind: 'end' }));
  }

  /** Calls `listener` with each arrival, those that are already there included. */
  listen(listener) {
    this.#listener = listener;
    this.arrived.forEach((arrival) => listener(arrival));
  }

  send(text) {
    this.#write(LAST | OPCODES.text, Buffer.from(text));
  }

  /** Sends one frame with this first byte, whatever it makes of the protocol. */
  frame(first, payload) {
    this.#write(first, payload);
  }

  /** Says good-bye with the WebSocket's own close frame. */
  close(code = 1000) {
    this.#write(LAST | OPCODES.close, Buffer.from([code >> 8, code & 0xff]));
  }

  /** Reads nothing more, which fills the buffers between here and the server. */
  pause() {
    this.#stream.pause();
  }

  /** Vanishes: the connection is reset without a word. */
  vanish() {
    this.#stream.resetAndDestroy();
  }

  /** Ends the TCP connection in good order, without a close frame. */
  end() {
    this.#stream.destroy();
  }

  #write(first, payload) {
    const mask = this.#masked ? 0x80 : 0;
    let head;
    if (payload.length < 126) {
      head = Buffer.from([first, mask | payload.length]);
    } else if (payload.length < 65_536) {
      head = Buffer.from([first, mask | 126, 0, 0]);
      head.writeUInt16BE(payload.length, 2);
    } else {
      head = Buffer.from([first, mask | 127, 0, 0, 0, 0, 0, 0, 0, 0]);
      head.writeBigUInt64BE(BigInt(payload.length), 2);
    }
    if (!this.#masked) {
      this.#stream.write(Buffer.concat([head, payload]));
      return;
    }
    const key = randomBytes(4);
    this.#stream.write(Buffer.concat([head, key, payload.map((byte, at) => byte ^ key[at % 4])]));
  }

  #take(bytes) {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    if (this.#upgraded) {
      const end = this.#bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      const [status, ...lines] = this.#bytes.toString('latin1', 0, end).split('\r\n');
      this.#bytes = this.#bytes.subarray(end + 4);
      this.#upgraded({ status, headers: lines.map((line) => line.split(/: ?(.*)/s).slice(0, 2)) });
    }
    for (let frame = this.#frame(); frame; frame = this.#frame()) this.#note(frame);
  }

  /** Cuts the first whole frame off the bytes. A server's frame must be unmasked, whole and without extension bits. */
  #frame() {
    const bytes = this.#bytes;
    if (bytes.length < 2) return undefined;
    assert.equal(bytes[0] & 0xf0, LAST, 'a frame is not a fragment and uses no extension');
    assert.equal(bytes[1] & 0x80, 0, 'a server does not mask');
    const short = bytes[1] & 0x7f;
    const start = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < start) return undefined;
    const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
    if (bytes.length < start + length) return undefined;
    const payload = bytes.subarray(start, start + length);
    this.#bytes = bytes.subarray(start + length);

    const kind = NAMES[bytes[0] & 0x0f];
    if (kind === 'text') return { kind, text: payload.toString('utf8') };
    if (kind === 'close') return { kind, code: length < 2 ? undefined : payload.readUInt16BE(0) };
    return { kind: kind ?? 'unknown' };
  }

  #note(arrival) {
    this.arrived.push(arrival);
    this.#listener(arrival);
  }
}
