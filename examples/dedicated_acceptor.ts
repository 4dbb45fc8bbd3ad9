/**
 * The echo server on all cores, with one thread that accepts and hands the
 * connections to the workers in turn: more control over who gets what than
 * `multi_thread_echo.ts`, for one more hop. Ctrl-C stops it, without a byte
 * lost.
 *
 *     deno task acceptor [--host 0.0.0.0] [--port 8080] [--workers N]
 */
import {
  acceptLoop,
  IoContext,
  Socket,
  TcpListener,
  WorkerPool,
} from "@kio/kio";
import { COUNTERS, orExit, parse, serveUntilSignal } from "./pool_echo.ts";

const { address, workers } = parse(
  "acceptor",
  "Sends back whatever it receives over TCP; one thread accepts for all workers.",
);
const listener = orExit(
  TcpListener.bind(address),
  `listen on ${address}`,
);
const pool = await WorkerPool.start(
  import.meta.resolve("./dedicated_acceptor_worker.ts"),
  { workers, counters: COUNTERS, restart: true },
);
using ctx = new IoContext();
const stopping = new AbortController();
const accepting = acceptLoop(ctx, listener, handOn, stopping.signal);
await serveUntilSignal(pool, listener.localAddress, async () => {
  stopping.abort();
  // All that were accepted are with the workers before these are stopped.
  await accepting;
  await listener.close();
});

function handOn(fd: number): void {
  const given = pool.passFd(fd);
  // No worker serves at the moment: the client is told so at once.
  if (!given.ok) new Socket(fd)[Symbol.dispose]();
}
