// Socket.IO 0.9, which the original service spoke through: echo with ack, rooms, broadcast.

import { EventEmitter } from 'node:events';
import http from 'node:http';
import { createRequire } from 'node:module';
import { announce, publication } from './common.mjs';

// It looks for this where Node 0.10 had it.
process.EventEmitter = EventEmitter;
const socketIo = createRequire(import.meta.url)('socket.io-0.9');

const server = http.createServer();
const io = socketIo.listen(server, { 'log level': 0, transports: ['websocket'], 'browser client': false });

io.sockets.on('connection', (socket) => {
    socket.on('join', (room, ack) => {
        socket.join(room);
        ack('joined');
    });
    socket.on('echo', (argument, ack) => ack(argument));
    socket.on('publish', (room, message, ack) => {
        socket.broadcast.to(room).emit('pubsub', publication(socket.id, room, message));
        ack('published');
    });
});

announce('socket.io 0.9.17', server);
