/**
 * Forwards TCP connections to another address, without a copy of a byte through
 * this process. Ctrl-C stops it after the connections that are open, once more
 * at once.
 *
 *     deno task proxy --to HOST:PORT [--host 127.0.0.1] [--port 8080]
 */
import {
  asyncAccept,
  IoContext,
  relay,
  Socket,
  type SocketAddress,
  type Task,
  TcpListener,
  TcpStream,
} from "@kio/kio";
import { millisecondsOf, readArguments, wholeNumber } from "./command_line.ts";
import { addressOf, listenOptions } from "./listen_options.ts";

const CONNECT_MS = 10_000;

const options = readArguments({
  command: "deno task proxy",
  about: "Forwards TCP connections to another address.",
  options: {
    to: {
      value: "TARGET",
      isRequired: true,
      help: "HOST:PORT; the host is a name or an address",
    },
    ...listenOptions("127.0.0.1"),
    max: { value: "NUMBER", default: "1000", help: "connections at a time" },
    idle: {
      value: "SECONDS",
      default: "300",
      help: "longest silence of a connection",
    },
    grace: {
      value: "SECONDS",
      default: "10",
      help: "time of open connections after Ctrl-C",
    },
  },
}, ({ to, max, idle, grace, ...listen }) => ({
  address: addressOf(listen),
  target: targetOf(to),
  connectionsMax: wholeNumber("--max", max, 1, 100_000),
  idleTimeoutMs: millisecondsOf("--idle", idle),
  graceMs: millisecondsOf("--grace", grace),
}));

const { address, target, connectionsMax, idleTimeoutMs } = options;
const listener = listen(address);
using ctx = new IoContext();
const abort = new AbortController();
const { signal } = abort;
const connections = new Set<Task<void>>();
let room = Promise.withResolvers<void>();
let isStopping = false;
let served = 0;
let bytes = 0;

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, stop);
}
console.log(`listening on ${listener.localAddress}`);
await acceptAll();
await Promise.all(connections);
console.log(`served ${served} connections, ${bytes} bytes`);
Deno.exit();

/** Takes no more connections; the second time, and when the time of grace is
 * over, ends those that are open. */
function stop(): void {
  if (isStopping) return abort.abort();
  isStopping = true;
  void listener.close();
  setTimeout(() => abort.abort(), options.graceMs);
}

/** Starts a `forward()` for each connection, until the listener is closed. At
 * the limit clients wait in the backlog. */
async function acceptAll(): Task<void> {
  while (!isStopping) {
    if (connections.size >= connectionsMax) {
      room = Promise.withResolvers();
      await room.promise;
      continue;
    }
    const accepted = await asyncAccept(ctx, listener);
    // A client that has left, or no fds to spare: the next may do better.
    if (!accepted.ok) continue;
    const forwarding = forward(new Socket(accepted.value));
    connections.add(forwarding);
    void forwarding.then(() => {
      connections.delete(forwarding);
      room.resolve();
    });
    served++;
  }
}

/** Serves a connection until both sides have ended it, or one has failed. */
async function forward(client: Socket): Task<void> {
  client.setNodelay(true);
  const server = await TcpStream.connect(ctx, target.host, target.port, {
    timeoutMs: CONNECT_MS,
    signal,
  });
  if (!server.ok) {
    console.error(`Cannot forward: ${server.error.message}`);
    // The client cannot take it for an answer.
    return await client.reset();
  }
  const relayed = await relay(ctx, client, server.value, {
    idleTimeoutMs,
    signal,
  });
  bytes += relayed.ok
    ? relayed.value.leftToRight + relayed.value.rightToLeft
    : relayed.error.bytesTransferred ?? 0;
}

function targetOf(to: string): { host: string; port: number } {
  const [, host = "", port = ""] = /^\[?(.+?)\]?:(\d+)$/.exec(to) ?? [];
  if (host === "") throw new TypeError(`--to must be HOST:PORT, got "${to}"`);
  return { host, port: wholeNumber("--to", port, 1, 65535) };
}

function listen(address: SocketAddress): Socket {
  const bound = TcpListener.bind(address);
  if (bound.ok) return bound.value;
  console.error(`Cannot listen on ${address}: ${bound.error.message}`);
  Deno.exit(1);
}
