// What a push must look like, field by field (protocol dossier 5.1 and 5.2).

import assert from 'node:assert/strict';

import { LOWER_UUID, UPPER_UUID_V4 } from './answers.mjs';

const HEADER_KEYS = [
  'type', 'timestamp', 'from', 'fromConnection', 'requestId', 'channel', 'to', 'toConnection', 'fromType', 'toType', 'toOriginal',
  'messageId', // ours: the name of a message for good
];

/**
 * Checks one push: `header` are fields its header must have, `rest` is everything beside the header. A field of `header`
 * that is undefined must be absent. Returns the push.
 */
export function assertPush(push, header, rest) {
  const { header: actual, ...others } = push;
  assert.deepEqual(others, rest);
  for (const [key, value] of Object.entries(header)) assert.deepEqual(actual[key], value, `header.${key}`);
  for (const key of Object.keys(actual)) assert.ok(HEADER_KEYS.includes(key), `header.${key} is no field of a push`);
  assert.ok(Number.isInteger(actual.timestamp), 'header.timestamp is a number');
  assert.ok(Math.abs(Date.now() - actual.timestamp) < 60_000, 'header.timestamp is in milliseconds');
  assert.match(actual.requestId, LOWER_UUID);
  return push;
}

/** The answer to a message or a publication; its `messageId` is that of every copy. Returns it. */
export function assertTaken(body) {
  const { messageId, ...rest } = body;
  assert.deepEqual(rest, { message: 'success' });
  assert.match(messageId, UPPER_UUID_V4);
  return body;
}

/** A message to an endpoint: the payload stands in `body`. */
export function assertMessage(push, { from, to, body, toOriginal, messageId = push.header.messageId }) {
  const header = { type: 'message', from: from.endpointId, fromConnection: from.id, to, toOriginal, messageId };
  return assertPush(push, header, { body });
}

/** A message to a group: the payload stands in `message`. */
export function assertPubsub(push, { from, group, message, messageId = push.header.messageId }) {
  const header = { type: 'pubsub', channel: group, from: from.endpointId, fromConnection: from.id, messageId };
  return assertPush(push, header, { message });
}

/** `type` is join or leave. */
export function assertMembership(push, type, { group, who }) {
  return assertPush(push, { type, channel: group }, { endpointId: who.endpointId, connectionId: who.id });
}

export function assertPresence(push, { from, type, ...more }) {
  const header = { type: 'presence', channel: `presence:${from.endpointId}`, from: from.endpointId, fromConnection: from.id };
  return assertPush(push, header, { type, ...more });
}

/** A signal's body is an object, although it was sent as text. */
export function assertSignal(push, { from, to, body, ...more }) {
  const header = {
    type: 'signal', from: from.endpointId, fromType: 'web', fromConnection: from.id, to, toType: 'web', ...more,
  };
  return assertPush(push, header, { body });
}
