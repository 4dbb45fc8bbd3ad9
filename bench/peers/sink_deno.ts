/** `sink_liburing.c` on Deno's own sockets. */

const BUFFER_BYTES = 65536;

async function serve(connection: Deno.TcpConn): Promise<void> {
  using conn = connection;
  const buffer = new Uint8Array(BUFFER_BYTES);
  let total = 0;
  for (let count; (count = await conn.read(buffer)) !== null;) total += count;
  await conn.write(new Uint8Array(new BigUint64Array([BigInt(total)]).buffer));
}

const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(`listening ${listener.addr.port}`);
for await (const connection of listener) void serve(connection);
