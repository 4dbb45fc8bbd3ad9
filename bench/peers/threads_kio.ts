/**
 * Echo server on a pool of kio: `echo_kio.ts` in each worker, all of which
 * accept on one listener.
 * Usage: threads_kio.ts WORKERS
 */

import { SocketAddress, TcpListener, unwrap, WorkerPool } from "../../mod.ts";

using listener = unwrap(TcpListener.bind(SocketAddress.v4(0, "127.0.0.1")));
const pool = await WorkerPool.start(
  import.meta.resolve("./threads_kio_worker.ts"),
  {
    workers: Number(Deno.args[0]),
    entries: 1024,
    data: { listener: listener.fd },
  },
);
console.log(`listening ${listener.localAddress!.port}`);
await pool.closed;
