/** Accepts connections on Deno's own sockets and closes each at once. */

const listener = Deno.listen({
  hostname: "127.0.0.1",
  port: 0,
  tcpBacklog: 4096,
});
console.log(`listening ${listener.addr.port}`);
for await (const connection of listener) connection.close();
