// A call whose media may take no way but the relay: the credentials serve a browser and a real coturn.

import assert from 'node:assert/strict';
import { after, before, it } from 'node:test';

import { startCoturn } from '../coturn.mjs';
import { createRole, startWithApp } from '../harness.mjs';
import { call, json } from '../http.mjs';
import { openBench } from './bench.mjs';

let bench, coturn, server, app, role;
before(async () => {
  coturn = await startCoturn();
  const settings = { turn_secret: coturn.secret, turn_uris: coturn.uris.join(','), turn_ttl_secs: 600 };
  let adminToken;
  ({ server, adminToken, app } = await startWithApp({ settings }));
  role = await createRole(server, adminToken, app, { mediaRelay: true });
  bench = await openBench();
});
after(async () => {
  await bench?.close();
  await server?.stop();
  await coturn?.stop();
});

async function logIn(endpointId) {
  const { body } = await call(server, {
    method: 'POST', path: '/v1/tokens', ...json({ endpointId, roleId: role.id, ttl: 3600 }, { 'App-Secret': app.secret }),
  });
  const user = await bench.open();
  await user.connect({ baseURL: server.origin, token: body.tokenId });
  return user;
}

it('a call through the relay alone carries media both ways', async () => {
  const [alice, bob] = [await logIn('alice'), await logIn('bob')];
  const id = await alice.do('callThroughRelay', 'bob');
  await bob.hears('call', { id, from: 'alice', caller: false });
  await bob.do('answerThroughRelay', id);
  for (const user of [alice, bob]) {
    await user.until('received', undefined, ({ audio, video }) => audio > 0 && video > 0, 'media comes in');
    const routes = await user.do('routes');
    assert.ok(routes.length > 0 && routes.every((ends) => ends.includes('relay')), JSON.stringify(routes));
    user.assertNoErrors();
  }
});
