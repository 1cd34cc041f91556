// Requests exactly as written: header names keep their case, values, paths and bodies are sent as given.

import { appendFileSync } from 'node:fs';
import http from 'node:http';
import { gunzipSync, inflateSync } from 'node:zlib';

const CONTINUE_MS = 350; // how long a .NET client waits for "100 Continue" before it sends the body anyway

/**
 * Sends one request and returns `{ status, headers, text, body }`.
 *
 * `headers` is an object, or a list of pairs where a name must appear twice. Only `Host` and, for a body, `Content-Length`
 * are added when missing; `chunked: true` leaves the length out.
 */
export async function call(server, { method = 'GET', path, headers = {}, body, chunked = false }) {
  const pairs = Array.isArray(headers) ? [...headers] : Object.entries(headers);
  const has = (name) => pairs.some(([key]) => key.toLowerCase() === name);
  const payload = body === undefined ? undefined : Buffer.from(body);
  if (!has('host')) pairs.unshift(['Host', `${server.host}:${server.port}`]);
  if (payload && chunked) pairs.push(['Transfer-Encoding', 'chunked']);
  else if (payload && !has('content-length')) pairs.push(['Content-Length', String(payload.length)]);

  const response = await new Promise((answered, failed) => {
    const request = http.request({ host: server.host, port: server.port, method, path, headers: pairs.flat() });
    request.on('response', answered).on('error', failed);
    if (has('expect')) {
      const send = () => request.writableEnded || request.end(payload);
      request.once('continue', send);
      setTimeout(send, CONTINUE_MS).unref();
    } else {
      request.end(payload);
    }
  });

  const chunks = [];
  for await (const chunk of response) chunks.push(chunk);
  const text = unpack(response.headers['content-encoding'], Buffer.concat(chunks)).toString('utf8');
  const answer = { status: response.statusCode, headers: response.headers, text, body: parse(text) };
  noteSecrets(answer.body);
  return answer;
}

/** Body and headers of a JSON request. */
export function json(value, headers = {}) {
  return { body: JSON.stringify(value), headers: { 'Content-Type': 'application/json', ...headers } };
}

function unpack(encoding, bytes) {
  if (encoding === 'gzip') return gunzipSync(bytes);
  if (encoding === 'deflate') return inflateSync(bytes);
  return bytes;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // not JSON: the assertions on the answer say so
  }
}

function noteSecrets(body) {
  const file = process.env.RESPOKED_CANARY_FILE;
  if (!file || body === null || typeof body !== 'object') return;
  for (const key of ['token', 'tokenId', 'secret']) {
    const secret = body[key];
    if (typeof secret === 'string' && secret !== '<redacted>') appendFileSync(file, `${secret}\n`);
  }
}
