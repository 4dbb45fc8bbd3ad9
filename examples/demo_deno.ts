/**
 * The echo server of the demo on Deno's own sockets, with what
 * `echo_server.ts` has: a buffer a connection, a count, and an end by Ctrl-C.
 *
 *     deno run --allow-net=127.0.0.1 examples/demo_deno.ts
 */
import { readArguments } from "./command_line.ts";

readArguments({
  command: "deno run --allow-net=127.0.0.1 examples/demo_deno.ts",
  about: "Sends back whatever it receives, over Deno's own sockets.",
  options: {},
}, () => {});
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
const connections = new Map<Deno.TcpConn, Promise<void>>();
let served = 0;
let bytes = 0;

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => listener.close());
}
// The input ends with the demo, however that ends.
void Deno.stdin.read(new Uint8Array(1)).then((it) => {
  if (it === null) Deno.exit(1);
});
console.log(`listening on 127.0.0.1:${listener.addr.port}`);
for await (const connection of listener) {
  connections.set(connection, echo(connection));
  served++;
}
await Promise.all(connections.values());
console.log(`served ${served} connections, ${bytes} bytes`);
Deno.exit();

/** Serves a connection until its client closes it. */
async function echo(connection: Deno.TcpConn): Promise<void> {
  connection.setNoDelay(true);
  const buffer = new Uint8Array(16 * 1024);
  try {
    for (;;) {
      const length = await connection.read(buffer);
      if (length === null) break;
      for (let at = 0; at < length;) {
        at += await connection.write(buffer.subarray(at, length));
      }
      bytes += length;
    }
  } catch {
    // A reset ends this connection and no other.
  }
  connection.close();
  connections.delete(connection);
}
