/**
 * Echo server on Deno's own sockets: one buffer a connection, read into again
 * and again. (`node:net` in Deno costs more CPU time a request.)
 */

const BUFFER_BYTES = 16384;

async function serve(connection: Deno.TcpConn): Promise<void> {
  using conn = connection;
  conn.setNoDelay(true);
  const buffer = new Uint8Array(BUFFER_BYTES);
  while (true) {
    const length = await conn.read(buffer);
    if (length === null) return;
    let sent = 0;
    while (sent < length) {
      sent += await conn.write(buffer.subarray(sent, length));
    }
  }
}

const listener = Deno.listen({
  hostname: "127.0.0.1",
  port: 0,
  tcpBacklog: 4096,
});
console.log(`listening ${listener.addr.port}`);
for await (const connection of listener) {
  // A client that resets its connection ends that connection only.
  serve(connection).catch(() => {});
}
