// A small client of respoked: enough of Socket.IO 0.9 to log in, exchange messages and join groups from a page.
// It is no library. Applications use the Respoke client libraries.

const REQUEST_TIMEOUT_MS = 10000;

/** One connected client. `onEvent(name, event)` hears pushes, `onEnd(why)` the end. */
export class TryClient {
  constructor({ base = location.origin, onEvent, onEnd }) {
    this.base = base;
    this.onEvent = onEvent;
    this.onEnd = onEnd;
    this.waiting = new Map();
    this.nextId = 1;
  }

  /** Trades a tokenId for a session, opens a socket with it and registers a connection. */
  async connect(tokenId) {
    const session = await this.http('/v1/session-tokens', { tokenId });
    this.appToken = session.token;
    const query = `__sails_io_sdk_version=0.10.0&app-token=${encodeURIComponent(this.appToken)}`;
    const answer = await fetch(`${this.base}/socket.io/1/?${query}`);
    const text = await answer.text();
    if (!answer.ok) throw new Error(text);
    const sid = text.split(':')[0];
    await this.open(`${this.base.replace(/^http/, 'ws')}/socket.io/1/websocket/${sid}`);
    this.connection = await this.request('post', '/v1/connections', {});
    return this.connection;
  }

  open(url) {
    return new Promise((resolve, reject) => {
      this.socket = new WebSocket(url);
      this.socket.onmessage = ({ data }) => this.receive(data, resolve);
      this.socket.onerror = () => reject(new Error('the socket could not be opened'));
      this.socket.onclose = ({ reason }) => {
        for (const { reject: fail } of this.waiting.values()) fail(new Error('the socket closed'));
        this.waiting.clear();
        this.onEnd?.(reason || 'closed');
      };
    });
  }

  receive(packet, opened) {
    const type = packet[0];
    if (type === '1') opened();
    else if (type === '2') this.socket.send('2::');
    else if (type === '5') {
      const { name, args } = JSON.parse(packet.slice('5:::'.length));
      this.onEvent?.(name, args[0]);
    } else if (type === '6') {
      const [, id, json] = /^6:::(\d+)\+(.*)$/s.exec(packet);
      const waiting = this.waiting.get(Number(id));
      this.waiting.delete(Number(id));
      const { body, statusCode } = JSON.parse(json)[0];
      if (statusCode < 400) waiting?.resolve(body);
      else waiting?.reject(new Error(body.error));
    }
  }

  /** Asks for an operation over the socket, as `/v1` has it over HTTP. */
  request(method, url, data) {
    return new Promise((resolve, reject) => {
      const id = this.nextId++;
      const late = setTimeout(() => reject(new Error('no answer came')), REQUEST_TIMEOUT_MS);
      const settle = (then) => (value) => {
        clearTimeout(late);
        then(value);
      };
      this.waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      const argument = JSON.stringify({ url, data, headers: { 'App-Token': this.appToken } });
      this.socket.send(`5:${id}+::${JSON.stringify({ name: method, args: [argument] })}`);
    });
  }

  async http(path, body) {
    const answer = await fetch(this.base + path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    const read = await answer.json();
    if (!answer.ok) throw new Error(read.error);
    return read;
  }

  close() {
    this.socket?.close();
  }
}

/** Brings one client's form to life. */
function start(panel) {
  const part = (name) => panel.querySelector(`[data-part="${name}"]`);
  const log = (kind, text) => {
    const line = document.createElement('li');
    line.className = kind;
    line.textContent = text;
    part('log').prepend(line);
  };
  const attempt = (action) => async (event) => {
    event.preventDefault();
    try {
      await action(new FormData(event.target));
    } catch (error) {
      log('error', error.message);
    }
  };
  const client = new TryClient({
    onEvent: (name, event) => {
      const said = event.body ?? event.message ?? event.type ?? '';
      const where = event.header.channel ? ` in ${event.header.channel}` : '';
      log('in', `${name} from ${event.endpointId ?? event.header.from}${where}: ${typeof said === 'string' ? said : JSON.stringify(said)}`);
    },
    onEnd: (why) => {
      panel.dataset.state = 'ended';
      log('note', `disconnected: ${why}`);
    },
  });
  part('login').addEventListener('submit', attempt(async (form) => {
    const { endpointId, id } = await client.connect(form.get('tokenId').trim());
    panel.dataset.state = 'connected';
    part('who').textContent = endpointId;
    log('note', `connected as ${endpointId}, connection ${id}`);
  }));
  part('message').addEventListener('submit', attempt(async (form) => {
    const [to, message] = [form.get('to'), form.get('message')];
    await client.request('post', '/v1/messages', { to, message });
    log('out', `to ${to}: ${message}`);
  }));
  part('group').addEventListener('submit', attempt(async (form) => {
    const group = form.get('group');
    await client.request('post', '/v1/groups', { groups: [group] });
    log('note', `joined ${group}`);
    const message = form.get('message');
    if (message) {
      await client.request('post', `/v1/groups/${encodeURIComponent(group)}/publish`, { message });
      log('out', `to group ${group}: ${message}`);
    }
  }));
}

for (const panel of document.querySelectorAll('[data-try-client]')) start(panel);
