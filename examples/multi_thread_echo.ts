/**
 * The echo server on all cores: every worker accepts by itself, from one
 * listener that they share or, with `--reuse-port`, each from its own, between
 * which the kernel spreads the connections. With `--incoming-cpu` it gives each
 * of them those that arrive on the CPU that its worker is pinned to. Ctrl-C
 * stops it, without a byte lost.
 *
 *     deno task threads [--host 0.0.0.0] [--port 8080] [--workers N]
 *         [--reuse-port | --incoming-cpu]
 */
import {
  type Result,
  Socket,
  type SocketAddress,
  TcpListener,
  unwrap,
  WorkerPool,
} from "@kio/kio";
import { COUNTERS, orExit, parse, serveUntilSignal } from "./pool_echo.ts";

const { address, workers, given } = parse(
  "threads",
  "Sends back whatever it receives over TCP, with workers that all accept.",
  {
    "reuse-port": { help: "a listener for each worker" },
    "incoming-cpu": { help: "the same, on the CPU where packets arrive" },
  },
);
const isLocal = given.has("incoming-cpu");
const isShared = !isLocal && !given.has("reuse-port");
const socket = orExit(
  isShared ? TcpListener.bind(address) : reserve(address),
  `listen on ${address}`,
);
const pool = await WorkerPool.start(
  import.meta.resolve("./multi_thread_echo_worker.ts"),
  {
    workers,
    cpuAffinity: isLocal,
    counters: COUNTERS,
    restart: true,
    data: isShared
      ? { listener: socket.fd }
      : { address: String(socket.localAddress) },
  },
);
await serveUntilSignal(pool, socket.localAddress, () => {
  // One that the workers share is for its owner to stop.
  if (isShared) socket.stopListening();
});
await socket.close();

/** Has the port, which may be any free one, without listening itself. Another
 * process that listens there is in the way. */
function reserve(address: SocketAddress): Result<Socket> {
  const opened = Socket.open(address.family);
  if (!opened.ok) return opened;
  const socket = opened.value;
  unwrap(socket.setReuseAddr());
  const bound = socket.bind(address);
  if (bound.ok) return opened;
  socket[Symbol.dispose]();
  return bound;
}
