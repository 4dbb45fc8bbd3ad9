/**
 * The server under load, written as its users would: an echo on one port, parts
 * of a file on another. SIGINT stops it.
 *
 * Who wants a part sends its offset and its length, four bytes each.
 */
import {
  acceptLoop,
  asyncOpen,
  asyncRecv,
  asyncRecvExact,
  asyncSendExact,
  asyncSendfile,
  asyncSleep,
  Connections,
  IoContext,
  O_RDONLY,
  type Socket,
  SocketAddress,
  type Task,
  TcpListener,
  unwrap,
} from "@kio/kio";
import { parseArgs } from "node:util";
import { reportOnSignal } from "./report.ts";

const BUFFER_SIZE = 4096;

const { values: options } = parseArgs({
  options: {
    host: { type: "string", default: "127.0.0.1" },
    file: { type: "string" },
    /** The time limit of an operation. */
    timeout: { type: "string", default: "600000" },
    /** Sleeps that go on beside, some of which are cancelled. */
    sleepers: { type: "string", default: "0" },
    /** The interval between two aborted connections, 0 for never. */
    "abort-interval": { type: "string", default: "0" },
  },
});
const timeoutMs = Number(options.timeout);
const abortIntervalMs = Number(options["abort-interval"]);

using ctx = new IoContext();
const file = await asyncOpen(ctx, options.file!, O_RDONLY).orThrow();
const stopping = new AbortController();
/** Ends connections that are open. */
const aborts = new Set<AbortController>();
let bytes = 0;

const echoes = new Connections(ctx, (socket) => served(socket, echo));
const parts = new Connections(ctx, (socket) => served(socket, sendParts));

Deno.addSignalListener("SIGINT", () => stopping.abort());
reportOnSignal(ctx, () => ({ connections: echoes.size + parts.size, bytes }));

const beside = [
  ...Array.from({ length: Number(options.sleepers) }, keepSleeping),
  abortNowAndThen(),
];
await Promise.all([acceptAll(echoes), acceptAll(parts)]);
await Promise.all([echoes.closed, parts.closed, ...beside]);
console.log(`sent ${bytes} bytes`);

async function acceptAll(connections: Connections): Task<void> {
  const address = SocketAddress.v4(0, options.host);
  await using listener = unwrap(TcpListener.bind(address));
  console.log(`listening on ${listener.localAddress}`);
  const { signal } = stopping;
  unwrap(await acceptLoop(ctx, listener, (fd) => connections.add(fd), signal));
}

/** Serves a connection until the server stops or the connection is aborted. */
async function served(
  socket: Socket,
  handler: (socket: Socket, signal: AbortSignal) => Task<void>,
): Task<void> {
  if (abortIntervalMs === 0) return await handler(socket, stopping.signal);
  const abort = new AbortController();
  aborts.add(abort);
  const signal = AbortSignal.any([abort.signal, stopping.signal]);
  await handler(socket, signal);
  aborts.delete(abort);
}

async function echo(socket: Socket, signal: AbortSignal): Task<void> {
  const buffer = new Uint8Array(BUFFER_SIZE);
  for (;;) {
    const received = await asyncRecv(ctx, socket, buffer)
      .withTimeout(timeoutMs)
      .withSignal(signal);
    if (!received.ok || received.value === 0) return;
    const data = buffer.subarray(0, received.value);
    const sent = await asyncSendExact(ctx, socket, data, { timeoutMs, signal });
    if (!sent.ok) return;
    bytes += sent.value;
  }
}

async function sendParts(socket: Socket, signal: AbortSignal): Task<void> {
  const bounds = { timeoutMs, signal };
  const request = new Uint8Array(8);
  const fields = new DataView(request.buffer);
  for (;;) {
    if (!(await asyncRecvExact(ctx, socket, request, bounds)).ok) return;
    const [offset, count] = [fields.getUint32(0), fields.getUint32(4)];
    const sent = await asyncSendfile(ctx, socket, file, offset, count, bounds);
    if (!sent.ok) return;
    bytes += sent.value;
  }
}

async function keepSleeping(): Task<void> {
  const { signal } = stopping;
  while (!signal.aborted) {
    const sleep = asyncSleep(ctx, 100 * Math.random()).withSignal(signal);
    if (Math.random() < 0.2) sleep.withTimeout(100 * Math.random());
    await sleep;
  }
}

async function abortNowAndThen(): Task<void> {
  const { signal } = stopping;
  while (abortIntervalMs > 0 && !signal.aborted) {
    await asyncSleep(ctx, abortIntervalMs).withSignal(signal);
    const [abort] = aborts.values().drop(
      Math.floor(aborts.size * Math.random()),
    );
    abort?.abort();
  }
}
