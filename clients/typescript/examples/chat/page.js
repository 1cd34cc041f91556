// A room where users chat and see each other. All that users write is put into the page as text.

import { Respoke, tokenFrom } from '/respoked.js';

const find = (selector) => document.querySelector(selector);
const item = (text) => Object.assign(document.createElement('li'), { textContent: text });

find('#sign-in').addEventListener('submit', async (event) => {
  event.preventDefault();
  const name = new FormData(event.target).get('name');
  const answer = await fetch('/sign-in', { method: 'POST', body: JSON.stringify({ name }) });
  if (!answer.ok) return alert((await answer.json()).error);
  event.target.hidden = true;
  find('main').hidden = false;
  const client = new Respoke({ url: (await answer.json()).server, getToken: tokenFrom('/respoke-token') });
  client.on('state', ({ state, reason }) => (find('#state').textContent = `${name}: ${state} ${reason?.text ?? ''}`));
  watch(client);
  talk(client, name);
});

/** Who is here, and what each says of itself. */
function watch(client) {
  const room = client.group('chat');
  const here = new Map();
  const show = () => find('#here').replaceChildren(...[...here].map(([name, { says }]) => item(says ? `${name} (${says})` : name)));
  const look = async () => {
    const names = new Set((await room.members()).map(({ endpoint }) => endpoint));
    for (const [name, { off }] of here) if (!names.has(name)) off(here.delete(name));
    for (const name of names) {
      if (here.has(name)) continue;
      const entry = { says: '' };
      here.set(name, entry);
      entry.off = client.endpoint(name).observe(({ connections }) => show((entry.says = Object.values(connections)[0]?.type)));
    }
    show();
  };
  for (const name of ['join', 'leave', 'gap']) room.on(name, look);
  room.on('state', ({ state }) => state === 'joined' && look());
  const say = () => client.presence(find('#away').checked ? 'away' : 'available');
  find('#away').addEventListener('change', say);
  void say();
}

/** What was said before, then what is said now: it waits until the former is shown, and nothing is shown twice. */
async function talk(client, me) {
  const room = client.group('chat', { history: true });
  const show = (text) => find('#messages').appendChild(item(text));
  find('#say').addEventListener('submit', async (event) => {
    event.preventDefault();
    const text = new FormData(event.target).get('text');
    event.target.reset();
    const line = show(`${me}: ${text}`);
    try {
      await room.publish({ text }, { persist: true });
    } catch (error) {
      line.textContent += error.outcome === 'unknown' ? ' (nobody knows whether this was said)' : ` (not said: ${error.message})`;
    }
  });
  const coming = room.messages();
  await room.join();
  const before = await room.history();
  for (const { from, data } of before) show(`${from}: ${data.text}`);
  const shown = new Set(before.map(({ id }) => id));
  for await (const each of coming) {
    if (each.type === 'gap') show(each.kind === 'live' ? 'Something may be missing here.' : 'Messages are missing here.');
    else if (!shown.has(each.id)) show(`${each.from}: ${each.data.text}`);
  }
}
