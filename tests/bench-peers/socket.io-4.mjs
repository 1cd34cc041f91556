// Socket.IO as it is now: echo with ack, rooms, broadcast.

import http from 'node:http';
import { Server } from 'socket.io-4';
import { announce, publication } from './common.mjs';

const server = http.createServer();
const io = new Server(server, { transports: ['websocket'], serveClient: false });

io.on('connection', (socket) => {
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

announce('socket.io 4.8.4', server);
