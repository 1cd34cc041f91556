// Runs in the page beside respoke.js: does what an application would do with it, and keeps what it reports.
'use strict';
/* global respoke */

/** Everything the client has reported, in order. */
const seen = [];
/** The calls and direct connections of this page by their ids. */
const calls = {};
const directs = {};
let client;

const note = (what, detail = {}) => seen.push({ what, ...detail });

/** The application: one client, every event of it noted. */
const app = {
  connect(options) {
    client ??= app.create();
    return client.connect(options).then(app.whoAmI);
  },

  create() {
    const made = respoke.createClient();
    for (const event of ['connect', 'disconnect', 'reconnect']) made.listen(event, () => note(event));
    made.listen('message', ({ message, group }) => note('message', {
      from: message.endpointId, fromConnection: message.connectionId, toOriginal: message.originalRecipient ?? null,
      message: message.message, group: group?.id ?? null,
    }));
    made.listen('call', ({ call, endpoint }) => {
      calls[call.id] = call;
      note('call', { id: call.id, from: endpoint.id, caller: call.caller });
      for (const event of ['answer', 'connect', 'error']) call.listen(event, () => note(`call-${event}`, { id: call.id }));
      call.listen('hangup', ({ reason }) => note('call-hangup', { id: call.id, reason }));
    });
    made.listen('direct-connection', ({ directConnection, endpoint }) => {
      const { id } = directConnection.call;
      directs[id] = directConnection;
      note('direct', { id, from: endpoint.id, caller: directConnection.call.caller });
      directConnection.listen('open', () => note('direct-open', { id }));
      directConnection.listen('close', () => note('direct-close', { id }));
      directConnection.listen('message', ({ message }) => note('direct-message', { id, message: message.message }));
    });
    return made;
  },

  whoAmI: () => ({
    endpointId: client.endpointId, connectionId: client.connectionId,
    transport: client.signalingChannel.socket.socket.transport.name,
  }),

  disconnect: () => client.disconnect(),
  setPresence: (presence) => client.setPresence({ presence }),
  send: ({ to, ...message }) => client.sendMessage({ endpointId: to, ...message }),

  observe(id) {
    client.getEndpoint({ id, onPresence: ({ presence }) => note('presence', { of: id, presence }) });
  },

  join(id) {
    const told = (what) => ({ connection }) => note(what, { group: id, who: connection.endpointId, connection: connection.id });
    return client.join({ id, onJoin: told('group-join'), onLeave: told('group-leave') }).then(() => undefined);
  },
  leave: (id) => client.getGroup({ id }).leave(),
  publish: ({ group, ...message }) => client.getGroup({ id: group }).sendMessage(message),
  members: (id) => client.getGroup({ id }).getMembers()
    .then((connections) => connections.map(({ id: connectionId, endpointId }) => ({ endpointId, connectionId }))),
  isJoined: (id) => client.getGroup({ id })?.isJoined() ?? false,

  call: (to) => client.startVideoCall({ endpointId: to }).id,
  answer: (id) => calls[id].answer(),
  callThroughRelay: (to) => client.startVideoCall({ endpointId: to, forceTurn: true }).id,
  answerThroughRelay: (id) => calls[id].answer({ forceTurn: true }),
  reject: (id) => calls[id].reject(),
  hangUp: (id) => calls[id].hangup(),

  startDirect: (to) => void client.getEndpoint({ id: to, skipPresence: true }).startDirectConnection(),
  acceptDirect: (id) => directs[id].accept(),
  sendDirect: ({ id, message }) => directs[id].sendMessage({ message }),
  closeDirect: (id) => directs[id].close(),

  /** Bytes of audio and video that have come in over all peer connections. */
  async received() {
    const bytes = { audio: 0, video: 0 };
    for (const peer of window.peers) {
      for (const report of (await peer.getStats()).values()) {
        if (report.type === 'inbound-rtp') bytes[report.kind] += report.bytesReceived;
      }
    }
    return bytes;
  },

  /** The kinds of both ends of every way in use. */
  async routes() {
    const routes = [];
    for (const peer of window.peers) {
      const reports = await peer.getStats();
      for (const { type, selectedCandidatePairId } of reports.values()) {
        if (type !== 'transport' || !selectedCandidatePairId) continue;
        const { localCandidateId, remoteCandidateId } = reports.get(selectedCandidatePairId);
        routes.push([localCandidateId, remoteCandidateId].map((id) => reports.get(id).candidateType));
      }
    }
    return routes;
  },
};
