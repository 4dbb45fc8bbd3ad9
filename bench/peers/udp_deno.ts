/** Sends each datagram back, on Deno's own sockets. */

const socket = Deno.listenDatagram({
  hostname: "127.0.0.1",
  port: 0,
  transport: "udp",
});
console.log(`listening ${(socket.addr as Deno.NetAddr).port}`);
for await (const [bytes, address] of socket) void socket.send(bytes, address);
