// React 19 with StrictMode, which mounts everything twice, and rendering on a server.

import assert from 'node:assert/strict';
import { it } from 'node:test';

import { createElement as h, StrictMode } from 'react';
import { renderToString } from 'react-dom/server';
import { act, create } from 'react-test-renderer';

import { RespokeProvider, useConnection, useGroup, useMessages, usePresence } from '../dist/react.js';
import { outcome, scene } from './scene.mjs';

globalThis.IS_REACT_ACT_ENVIRONMENT = true;
process.env.NODE_ENV = 'development';

function Room({ name, shown }) {
  const { state, resumed } = useConnection();
  const { group, state: standing, error, publish } = useGroup(name, { history: true });
  const messages = useMessages(group, { max: 3 });
  const bob = usePresence('bob');
  Object.assign(shown, { state, resumed, standing, error, publish, messages, bob });
  return h('p', null, `${state} ${standing} ${messages.map((each) => (each.type === 'gap' ? '…' : each.data)).join(',')}`);
}

const page = (client, shown, name = 'room') => h(StrictMode, null, h(RespokeProvider, { client }, h(Room, { name, shown })));

/** Runs the world inside `act`, so that React has done all that came of it. */
const run = (world, ms) => act(() => world.run(ms));

it('connects once under StrictMode, joins once, and shows what comes', async () => {
  const { world, door, client, connected } = scene();
  const bob = await connected('bob');
  await world.run(100);
  const before = world.dials.length;
  const alice = client('alice');
  const shown = {};
  const asked = [];
  door.refused = (name) => void asked.push(name);
  let root;
  await act(() => (root = create(page(alice, shown))));
  await run(world, 1_000);
  assert.equal(world.dials.length - before, 1);
  assert.equal(root.toJSON().children[0], 'connected joined ');
  assert.deepEqual(asked, [], 'the group came with the connect');

  const said = [];
  for (const data of ['a', 'b', 'c', 'd']) said.push(outcome(bob.group('room').publish(data, { persist: true })));
  said.push(outcome(bob.presence('away')));
  await run(world, 100);
  assert.ok(said.every(({ value, error }) => !error && (value || value === undefined)));
  assert.deepEqual(shown.messages.map(({ data }) => data), ['b', 'c', 'd']);
  assert.deepEqual(Object.values(shown.bob), [{ type: 'away' }]);

  const mine = outcome(shown.publish('mine'));
  await run(world, 100);
  assert.ok(mine.value.id);

  // Another group: the former is left, and none of its messages are shown.
  await act(() => root.update(page(alice, shown, 'other')));
  await run(world, 1_000);
  assert.deepEqual(shown.messages, []);
  assert.ok(asked.includes('join') && asked.includes('leave'));
  await act(() => root.unmount());
  await run(world, 2_000);
  assert.equal(alice.state.state, 'closed');
  assert.equal(world.dials.length - before, 1);
});

it('shows the same to a component that is mounted later', async () => {
  const { world, client, connected } = scene();
  const bob = await connected('bob');
  const said = outcome(bob.presence('away'));
  await world.run(100);
  assert.equal(said.error, undefined);
  const alice = client('alice');
  const shown = [{}, {}];
  const rooms = (count) => h(StrictMode, null, h(RespokeProvider, { client: alice }, shown.slice(0, count).map((each, key) => h(Room, { key, name: 'room', shown: each }))));
  let root;
  await act(() => (root = create(rooms(1))));
  await run(world, 1_000);
  await act(() => root.update(rooms(2)));
  await run(world, 1_000);
  for (const { standing, bob } of shown) assert.deepEqual([standing, Object.values(bob)], ['joined', [{ type: 'away' }]]);
  await act(() => root.unmount());
});

it('shows no more messages than it was asked for', async () => {
  const { world, client, connected } = scene();
  const bob = await connected('bob');
  const alice = client('alice');
  const shown = {};
  const One = () => (Object.assign(shown, { messages: useMessages(useGroup('room').group, { max: 1 }) }), null);
  let root;
  await act(() => (root = create(h(RespokeProvider, { client: alice }, h(One)))));
  await run(world, 1_000);
  const said = ['a', 'b', 'c'].map((data) => outcome(bob.group('room').publish(data)));
  await run(world, 100);
  assert.ok(said.every(({ value }) => value));
  assert.deepEqual(shown.messages.map(({ data }) => data), ['c']);
  await act(() => root.unmount());
});

it('shows a refusal', async () => {
  const { world, door, client } = scene();
  door.forbidden.add('room');
  const shown = {};
  await act(() => create(page(client('alice'), shown)));
  await run(world, 1_000);
  assert.deepEqual([shown.standing, shown.error.code], ['refused', 'forbidden']);
});

it('renders on a server without connecting, and the page takes over what was rendered', async () => {
  const { world, client } = scene();
  const alice = client('alice');
  assert.equal(renderToString(page(alice, {})), '<p>idle joining </p>');
  await world.run(1_000);
  assert.equal(world.dials.length, 0);
});

it('says what is missing around a hook', () => {
  assert.throws(() => renderToString(h(Room, { name: 'room', shown: {} })), /RespokeProvider/);
});
