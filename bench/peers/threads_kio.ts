/**
 * Echo server on a pool of kio: `echo_kio.ts` in each worker. All accept on one
 * listener or, with "incoming-cpu", each stays on a CPU and has a listener for
 * what arrives there.
 * Usage: threads_kio.ts WORKERS [incoming-cpu]
 */

import {
  Socket,
  SocketAddress,
  TcpListener,
  unwrap,
  WorkerPool,
} from "../../mod.ts";

const [workers, how] = Deno.args;
const isByCpu = how === "incoming-cpu";

using socket = isByCpu ? reserve() : unwrap(TcpListener.bind(anyPort()));
const pool = await WorkerPool.start(
  import.meta.resolve("./threads_kio_worker.ts"),
  {
    workers: Number(workers),
    entries: 1024,
    cpuAffinity: isByCpu,
    data: isByCpu
      ? { address: String(socket.localAddress) }
      : { listener: socket.fd },
  },
);
console.log(`listening ${socket.localAddress!.port}`);
await pool.closed;

function anyPort(): SocketAddress {
  return SocketAddress.v4(0, "127.0.0.1");
}

/** Has a port, without listening itself. */
function reserve(): Socket {
  const socket = unwrap(Socket.open("ipv4"));
  unwrap(socket.setReusePort());
  unwrap(socket.bind(anyPort()));
  return socket;
}
