// A door as docs/socket.md describes it, of one node and in memory, for a client under a fake clock.

const KEEP_MS = 15_000;
const RING_MAX = 256;
const RESULTS_MAX = 256;
const RECOVERED_MAX = 1000;
const SECOND = 1000;
const FRAME_MAX = 65_536;
const BAD_FRAME = { code: 4200, word: 'bad_frame', again: 'never' };

/** A text without half a character; in a `connect` a name that is none makes it no frame. */
const isName = (name) => typeof name === 'string' && !/\p{Cs}/u.test(name);
const invalid = (text) => ({ error: { code: 'invalid', text, retry: 'no', requestId: 'r-3' } });

export class Door {
  /** It takes no connections. */
  down = false;
  /** What was said, in order: `{group, data, by, key}`. */
  said_ = [];
  /** Every connect that came. */
  connects = [];
  /** Groups that nobody may join. */
  forbidden = new Set();
  /** Refuses every token, as if each were stale. */
  refuses = false;
  ping = 25;
  #names = 0;
  #tokens = new Map();
  #sessions = new Map();
  #resumes = new Map();
  #groups = new Map();
  #keys = new Map();

  mint(endpoint) {
    const tokenId = `token-${++this.#names}`;
    this.#tokens.set(tokenId, { endpoint });
    return tokenId;
  }

  group(name) {
    let group = this.#groups.get(name);
    if (!group) this.#groups.set(name, (group = { name, members: new Set(), epoch: `epoch-${++this.#names}`, kept: [], offset: 0, forgotten: 0 }));
    return group;
  }

  /** The process was started anew: of connections nothing is known, of sessions and histories all. */
  restart() {
    for (const session of this.#sessions.values()) {
      this.#leave(session);
      session.link?.cut();
      session.link = undefined;
      session.connection = undefined;
    }
    this.#resumes.clear();
  }

  /** The session is over. */
  revoke(endpoint, code = 4102, word = 'revoked') {
    for (const [appToken, session] of this.#sessions) {
      if (session.endpoint !== endpoint) continue;
      this.#sessions.delete(appToken);
      this.#resumes.delete(session.resume);
      if (session.link) this.bye(session.link, { code, word, again: 'token' });
      this.#leave(session);
    }
  }

  bye(link, bye) {
    link.say({ bye });
    link.close(bye.code, bye.word);
  }

  opened() {}

  closed(link, code) {
    const { session } = link;
    if (!session || session.link !== link) return;
    session.link = undefined;
    if (code === 1000) return this.#depart(session);
    session.lostAt = this.world.now;
    const { connection } = session;
    this.world.later(KEEP_MS, () => {
      if (!session.link && session.connection === connection && this.world.now - session.lostAt >= KEEP_MS) this.#depart(session);
    });
  }

  #depart(session) {
    this.#resumes.delete(session.resume);
    this.#resumes.delete(session.former);
    this.#leave(session);
    session.connection = undefined;
  }

  #leave(session) {
    for (const group of this.#groups.values()) {
      if (group.members.delete(session)) this.#tell(group, session, { ev: 'leave', g: group.name, from: session.endpoint, connection: session.connection, at: this.world.now });
    }
  }

  said(link, text) {
    if (Buffer.byteLength(text) > FRAME_MAX) return this.bye(link, BAD_FRAME);
    for (const line of text.split('\n')) {
      if (!link.alive) return;
      this.#object(link, JSON.parse(line));
    }
  }

  #object(link, object) {
    const { session } = link;
    if (object.got !== undefined && session) {
      session.ring = session.ring.filter(({ number }) => number > object.got);
      this.#resumes.delete(session.former);
    }
    if (object.connect) return this.#connect(link, object.id, object.connect);
    if (!session) return this.bye(link, BAD_FRAME);
    if (object.bye) {
      session.link = undefined;
      this.#depart(session);
      return link.close(1000, '');
    }
    if (object.auth) return this.#auth(link, object.id, object.auth);
    if (!object.op) return;
    if (this.deaf?.(object)) return; // carried out by nobody, and answered by nobody
    const before = session.results.get(object.id);
    if (before) return this.#answer(session, before);
    const [[name, fields]] = Object.entries(object.op);
    const done = this.#op(session, name, fields);
    const answer = { id: object.id, ...(this.unsure?.(name) ? { error: { code: 'unavailable', text: 'nobody knows', retry: 'unknown' } } : done) };
    if (name !== 'ping') {
      session.results.set(object.id, answer);
      if (session.results.size > RESULTS_MAX) session.results.delete(session.results.keys().next().value);
    }
    if (!this.mute?.(object)) this.#answer(session, answer);
  }

  #answer(session, answer) {
    session.link?.say(answer);
  }

  #refuse(link, id, error, bye) {
    link.say({ id, error }, { bye });
    link.close(bye.code, bye.word);
  }

  #redeem({ tokenId, once }) {
    const token = this.#tokens.get(tokenId);
    if (!token || this.refuses) return undefined;
    if (token.session) return once !== undefined && token.once === once ? token.session : undefined;
    const session = { appToken: `app-token-${++this.#names}`, endpoint: token.endpoint, events: 0, ring: [], results: new Map() };
    this.#sessions.set(session.appToken, session);
    Object.assign(token, { session, once });
    return session;
  }

  #connect(link, id, connect) {
    this.connects.push({ at: this.world.now, ...connect });
    const names = [...(connect.state?.groups ?? []).map(({ g }) => g), ...(connect.state?.observe ?? [])];
    if (!names.every(isName)) return this.bye(link, BAD_FRAME);
    if (this.refusal) return this.#refuse(link, id, ...this.refusal);
    const kept = connect.resume && this.#resumes.get(connect.resume);
    const session = kept || (connect.appToken ? this.#sessions.get(connect.appToken) : connect.tokenId ? this.#redeem(connect) : undefined);
    if (!session) {
      const error = { code: connect.tokenId ? 'token_refused' : 'unauthenticated', text: 'the credential is refused', retry: 'no', requestId: 'r-1' };
      return this.#refuse(link, id, error, { code: 4100, word: 'refused', again: 'token' });
    }
    if (this.welcomes === false) return;
    if (session.link && session.link !== link) this.bye(session.link, { code: 4015, word: 'replaced', again: 'resume', after: [1, 5] });
    session.link = link;
    link.session = session;
    const first = session.ring[0]?.number ?? session.events + 1;
    const resumed = Boolean(kept) && session.connection !== undefined && first <= connect.got + 1;
    this.#resumes.delete(session.former);
    if (!resumed) this.#resumes.delete(session.resume); // it is of a connection that is no more
    session.former = session.resume;
    session.resume = `resume-${++this.#names}`;
    this.#resumes.set(session.resume, session);
    const welcome = { endpoint: session.endpoint, app: 'app', appToken: session.appToken, resumed, resume: session.resume, keep: KEEP_MS / SECOND, ping: this.ping, window: 64 };
    if (resumed) {
      link.say({ id, ok: { ...welcome, connection: session.connection } });
      for (const { number, event } of session.ring) if (number > connect.got) link.say(event);
      return;
    }
    this.#leave(session);
    Object.assign(session, { connection: `connection-${++this.#names}`, events: 0, ring: [], results: new Map() });
    const groups = (connect.state?.groups ?? []).map((wanted) => this.#enter(session, wanted));
    const replays = groups.flatMap(({ replay = [] }) => replay);
    const observe = (connect.state?.observe ?? []).map((endpointId) => this.#observe(session, endpointId));
    const presence = connect.state?.presence && this.#presence(session, connect.state.presence);
    link.say({ id, ok: { ...welcome, connection: session.connection, presence: presence?.error && presence, groups: groups.map(({ replay: _, ...entry }) => entry), observe } });
    for (const event of replays) this.#push(session, event);
  }

  #enter(session, { g, epoch, offset }) {
    if (!isName(g)) return { g, error: { code: 'malformed', text: 'the body is not a well-formed JSON object', retry: 'no' } };
    if (this.forbidden.has(g)) {
      return { g, error: { code: 'forbidden', text: `the role does not permit subscribe in ${g}`, retry: 'no', requestId: 'r-2' } };
    }
    const group = this.group(g);
    const entry = { g, epoch: group.epoch, offset: group.offset };
    this.#join(session, group);
    if (epoch === undefined) return entry;
    if (epoch !== group.epoch) return { ...entry, recovered: false, why: 'epoch' };
    if (offset < group.forgotten) return { ...entry, recovered: false, why: 'expired' };
    const replay = group.kept.filter((event) => event.offset > offset);
    if (replay.length > RECOVERED_MAX) return { ...entry, recovered: false, why: 'too_many' };
    return { ...entry, recovered: true, replay };
  }

  #join(session, group) {
    if (group.members.has(session)) return;
    this.#tell(group, session, { ev: 'join', g: group.name, from: session.endpoint, connection: session.connection, at: this.world.now });
    group.members.add(session);
  }

  #observe(session, endpointId) {
    const states = [...this.#sessions.values()].filter((other) => other.endpoint === endpointId && other.connection && other.presence);
    session.observes = new Set([...(session.observes ?? []), endpointId]);
    return { endpointId, connectionStates: Object.fromEntries(states.map((other) => [other.connection, other.presence])) };
  }

  /** To all members but the one that does it. */
  #tell(group, but, event) {
    for (const member of group.members) if (member !== but) this.#push(member, event);
  }

  #push(session, event) {
    session.ring.push({ number: ++session.events, event });
    while (session.ring.length > (this.ringMax ?? RING_MAX)) session.ring.shift();
    session.link?.say(event);
  }

  /** An event of the door's own making, to one endpoint. */
  push(endpoint, event) {
    for (const session of this.#sessions.values()) if (session.endpoint === endpoint && session.connection) this.#push(session, event);
  }

  #auth(link, id, { tokenId, once }) {
    const fresh = this.#redeem({ tokenId, once });
    if (!fresh) return link.say({ id, error: { code: 'token_refused', text: 'refused', retry: 'no' } });
    this.auths = (this.auths ?? 0) + 1;
    link.say({ id, ok: { expiresIn: 86400 } });
  }

  #op(session, name, fields) {
    const refused = this.refused?.(name, fields);
    if (refused) return { error: refused };
    switch (name) {
      case 'ping':
        return { ok: {} };
      case 'join': {
        const [entry] = fields.groups.map((g) => this.#enter(session, { g }));
        return entry.error ? { error: entry.error } : { ok: { groups: [entry] } };
      }
      case 'members':
        return this.answer(fields);
      case 'leave':
        for (const g of fields.groups) {
          const group = this.group(g);
          if (group.members.delete(session)) this.#tell(group, session, { ev: 'leave', g, from: session.endpoint, connection: session.connection, at: this.world.now });
        }
        return { ok: { message: 'Success' } };
      case 'publish':
        return this.#publish(session, fields);
      case 'send': {
        const m = `m-${++this.#names}`;
        this.push(fields.to, { ev: 'message', to: fields.to, m, from: session.endpoint, connection: session.connection, at: this.world.now, data: fields.message });
        return { ok: { message: 'success', messageId: m } };
      }
      case 'presence':
        return this.#presence(session, fields.presence);
      case 'observe':
        return { ok: fields.endpointList.map((endpoint) => this.#observe(session, endpoint)) };
      default:
        return { error: { code: 'no_such_route', text: 'Not Found', retry: 'no' } };
    }
  }

  #presence(session, presence) {
    if (typeof presence?.type !== 'string' || JSON.stringify(presence).length > 20_000) return invalid('presence needs a type');
    session.presence = presence;
    for (const other of this.#sessions.values()) {
      if (other.observes?.has(session.endpoint) && other.connection && other !== session) {
        this.#push(other, { ev: 'presence', from: session.endpoint, connection: session.connection, at: this.world.now, data: presence });
      }
    }
    return { ok: { message: 'Success' } };
  }

  #publish(session, { group: g, message, persist, key }) {
    const known = key !== undefined && this.#keys.get(`${session.endpoint} ${key}`);
    if (known) return known;
    const group = this.group(g);
    const m = `m-${++this.#names}`;
    const event = { ev: 'message', g, m, from: session.endpoint, connection: session.connection, at: this.world.now, data: message };
    const ok = { message: 'success', messageId: m };
    if (persist) {
      Object.assign(event, { epoch: group.epoch, offset: ++group.offset });
      Object.assign(ok, { epoch: group.epoch, offset: group.offset });
      group.kept.push(event);
    }
    this.said_.push({ group: g, data: message, by: session.endpoint, key, persist: Boolean(persist), at: this.world.now });
    this.#tell(group, session, event);
    const answer = { ok };
    if (key !== undefined) this.#keys.set(`${session.endpoint} ${key}`, answer);
    return answer;
  }

  /** The history begins anew. */
  purge(name) {
    Object.assign(this.group(name), { epoch: `epoch-${++this.#names}`, kept: [], offset: 0, forgotten: 0 });
  }

  /** Nothing is left of what was kept up to here. */
  forget(name) {
    const group = this.group(name);
    group.kept = [];
    group.forgotten = group.offset;
  }
}
