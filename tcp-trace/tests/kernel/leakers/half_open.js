// A line counter: `half_open.js leaky|healthy`.
//
// A client sends its lines, shuts down its side and gets their number, so the server must be able
// to write after the client's end: hence `allowHalfOpen`. The mistake: with that, 'end' no longer
// ends the other half by itself, and an answer that is written and not ended leaves the socket
// half open for ever.
'use strict';

const net = require('node:net');

const leaky = process.argv[2] === 'leaky';

const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  let lines = 0;
  socket.on('data', (data) => {
    lines += data.toString().split('\n').length - 1;
  });
  socket.on('end', () => {
    const answer = `${lines} lines\n`;
    if (leaky) socket.write(answer);
    else socket.end(answer);
  });
  socket.on('error', () => socket.destroy());
});

server.listen(0, '127.0.0.1', () => console.log(server.address().port));
