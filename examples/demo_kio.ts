/**
 * The echo server of the demo on kio: the kernel picks a buffer of a pool for
 * what has come, and the same buffer is sent back, without a promise.
 *
 *     deno run --allow-ffi examples/demo_kio.ts
 */
import {
  acceptLoop,
  asyncRead,
  asyncRecvMultishot,
  BufferPool,
  IoContext,
  Socket,
  SocketAddress,
  type Task,
  TcpListener,
  unwrap,
} from "@kio/kio";
import { readArguments } from "./command_line.ts";

readArguments({
  command: "deno run --allow-ffi examples/demo_kio.ts",
  about: "Sends back whatever it receives, from a pool of buffers.",
  options: {},
}, () => {});
using ctx = new IoContext();
using pool = new BufferPool(ctx, { count: 1024, size: 16 * 1024 });
await using listener = unwrap(
  TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")),
);
const stop = new AbortController();
// The input ends with the demo, however that ends.
void asyncRead(ctx, 0, new Uint8Array(1)).then((it) => {
  if (it.ok && it.value === 0) Deno.exit(1);
});
const connections = new Set<Task<void>>();
let served = 0;
let bytes = 0;

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => stop.abort());
}
console.log(`listening on ${listener.localAddress}`);
await acceptLoop(ctx, listener, (fd) => {
  const connection = echo(new Socket(fd));
  connections.add(connection);
  void connection.then(() => connections.delete(connection));
  served++;
}, stop.signal);
await Promise.all(connections);
console.log(`served ${served} connections, ${bytes} bytes`);

/** Serves a connection until its client closes it. */
async function echo(connection: Socket): Task<void> {
  connection.setNodelay(true);
  const stream = asyncRecvMultishot(ctx, connection, pool, {
    onChunk(chunk) {
      bytes += chunk.length;
      chunk.sendTo(connection);
    },
  });
  await stream.closed;
  await connection.close();
}
