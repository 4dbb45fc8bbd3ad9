/** Sends each datagram back, on Node's dgram. */

import { createSocket } from "node:dgram";

const socket = createSocket("udp4");
socket.on("message", (bytes, { port, address }) => {
  socket.send(bytes, port, address);
});
socket.bind(0, "127.0.0.1", () => {
  console.log(`listening ${socket.address().port}`);
});
