// A page as an application has it, under a strict content-security policy.

import { Respoke, tokenFrom } from '/respoked.js';

const { server } = await (await fetch('/where')).json();
const client = new Respoke({ url: server, getToken: tokenFrom('/respoke-token') });
const room = client.group('room', { history: true });
const states = [];

client.on('state', (state) => {
  states.push(state);
  document.querySelector('#state').textContent = state.state;
});

function show(text) {
  const line = document.createElement('li');
  line.textContent = text;
  document.querySelector('#log').append(line);
}

room.on('join', ({ endpoint }) => show(`${endpoint} came`));
room.on('leave', ({ endpoint }) => show(`${endpoint} went`));
room.on('message', ({ from, data }) => show(`${from}: ${data}`));
room.on('gap', ({ kind }) => show(`gap: ${kind}`));

window.app = { client, room, states };
