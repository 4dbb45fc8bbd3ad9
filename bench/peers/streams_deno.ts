/** `streams_kio.ts` on Deno's own streams. */

const listener = Deno.listen({
  hostname: "127.0.0.1",
  port: 0,
  tcpBacklog: 4096,
});
console.log(`listening ${listener.addr.port}`);
for await (const connection of listener) {
  connection.setNoDelay();
  // A client that resets its connection ends that connection only.
  connection.readable.pipeTo(connection.writable).catch(() => {});
}
