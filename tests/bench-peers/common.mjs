// What all peers do alike.

import { randomUUID } from 'node:crypto';

// A publication as respoked sends it, so that all of them write about as many bytes.
export function publication(from, channel, message) {
    const header = { type: 'pubsub', from: 'publisher', timestamp: Date.now(), fromConnection: from, requestId: randomUUID(), channel };
    return { header, message };
}

// Listens on any free port and says where, as respoked does.
export function announce(name, server) {
    server.listen(0, '127.0.0.1', 4096, () => {
        console.log(`${name} listening on http://127.0.0.1:${server.address().port}`);
    });
}
