// What pages do beyond links and forms: copy buttons, the setup link, and on the Try it page minting for the two clients.

/** Copies text, also where the page has no access to the clipboard because it came without TLS. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}

document.addEventListener('click', async (event) => {
  const button = event.target.closest('button');
  if (button?.dataset.copy !== undefined) {
    await copy(button.dataset.copy);
    const before = button.textContent;
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = before; }, 1500);
  }
  if (button?.dataset.token !== undefined) await redeem(button);
});

async function post(path, headers, body) {
  const answer = await fetch(path, { method: 'POST', headers, body });
  const read = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(read.error ?? `The server answered ${answer.status}.`);
  return read;
}

/** Trades a tokenId as a client would, and says what came of it. */
async function redeem(button) {
  const said = button.closest('[data-redeem]').querySelector('[data-answer]');
  button.disabled = true;
  try {
    const json = { 'Content-Type': 'application/json' };
    const { token } = await post('/v1/session-tokens', json, JSON.stringify({ tokenId: button.dataset.token }));
    const answer = await fetch('/v1/session-tokens', { headers: { 'App-Token': token } });
    const session = await answer.json();
    said.textContent = `Redeemed: ${session.endpointId} is in session. A second try would be refused.`;
  } catch (error) {
    said.textContent = `Refused: ${error.message}`;
  }
}

/** Mints a token for one of the two clients and lets it connect. */
async function mint(event) {
  event.preventDefault();
  const form = event.target;
  const problem = form.querySelector('[data-problem]');
  problem.textContent = '';
  try {
    const { tokenId } = await post(form.action, {}, new URLSearchParams(new FormData(form)));
    const login = form.closest('[data-client]').querySelector('[data-part="login"]');
    login.elements.tokenId.value = tokenId;
    login.requestSubmit();
    login.elements.tokenId.value = '';
  } catch (error) {
    problem.textContent = error.message;
  }
}

for (const form of document.querySelectorAll('[data-mint]')) form.addEventListener('submit', mint);
for (const button of document.querySelectorAll('[data-token]')) button.hidden = false;

// A list that is replaced under somebody's hands would close what they have opened.
const follow = document.querySelector('[data-follow]');
if (follow) follow.hidden = false;
document.addEventListener('htmx:beforeRequest', (event) => {
  const live = event.target.closest('#live');
  if (!live) return;
  const busy = live.querySelector('details[open]') || live.contains(document.activeElement);
  if (busy || !follow?.querySelector('input').checked) event.preventDefault();
});

// A refusal is a page of its own. It is shown where an outcome or a page would be; it takes no place of a list that
// follows what happens, which asks again, nor of a part of a form, above which it is told instead.
document.addEventListener('htmx:beforeSwap', (event) => {
  const { target, xhr } = event.detail;
  if (xhr.status < 400 || ['main', 'outcome'].includes(target.id)) return;
  const problems = document.querySelector('#problems');
  if (problems && target.id !== 'live') {
    Object.assign(event.detail, { target: problems, selectOverride: '#outcome', swapOverride: 'innerHTML' });
  } else {
    event.detail.shouldSwap = false;
  }
});

// The setup link's token stands behind the #; it is taken out of the address before it is used.
const setup = document.querySelector('[data-setup]');
if (setup && location.hash.length > 1) {
  setup.elements.token.value = location.hash.slice(1);
  history.replaceState(null, '', location.pathname);
  setup.requestSubmit();
}

const FRAMES_SHOWN_MAX = 200;

// One endpoint's frames as they go, newest first.
for (const card of document.querySelectorAll('[data-tail]')) {
  card.hidden = false;
  const button = card.querySelector('[data-tail-start]');
  const list = card.querySelector('[data-tail-frames]');
  let source;
  const add = (text) => {
    const line = document.createElement('li');
    line.textContent = text;
    list.prepend(line);
    if (list.children.length > FRAMES_SHOWN_MAX) list.lastChild.remove();
  };
  const stop = (why) => {
    source.close();
    source = undefined;
    button.textContent = 'Look on';
    add(why);
  };
  button.addEventListener('click', () => {
    if (source) return stop('stopped');
    const payloads = card.querySelector('[data-tail-payloads]')?.checked ? '?payloads=true' : '';
    source = new EventSource(card.dataset.tail + payloads);
    source.onopen = () => { button.textContent = 'Stop'; add('looking on'); };
    source.onerror = () => stop('it has ended');
    source.addEventListener('frame', ({ data }) => {
      const frame = JSON.parse(data);
      const arrow = frame.direction === 'in' ? '→' : '←';
      const lost = frame.lost ? ` (${frame.lost} before it were lost)` : '';
      const said = frame.payload ? `: ${frame.payload}` : '';
      const status = frame.status ? ` ${frame.status}` : '';
      const from = frame.from ? ` from ${frame.from}` : '';
      add(`${frame.at.slice(11, 23)} ${arrow} ${frame.kind} ${frame.name}${status}${from}, ${frame.bytes} bytes${lost}${said}`);
    });
  });
}
