/**
 * A TCP server that sends back whatever it receives. Ctrl-C stops it.
 *
 *     deno task echo [--host 0.0.0.0] [--port 8080]
 */
import {
  asyncAccept,
  asyncRecv,
  asyncSendExact,
  IoContext,
  Socket,
  type SocketAddress,
  type Task,
  TcpListener,
} from "@kio/kio";
import { readArguments } from "./command_line.ts";
import { addressOf, listenOptions } from "./listen_options.ts";

const address = readArguments({
  command: "deno task echo",
  about: "Sends back whatever it receives over TCP, until Ctrl-C stops it.",
  options: listenOptions("0.0.0.0"),
}, addressOf);
const listener = listen(address);
using ctx = new IoContext();
const connections = new Map<Socket, Task<void>>();
let served = 0;
let bytes = 0;

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => void listener.close());
}
console.log(`listening on ${listener.localAddress}`);
await acceptAll();
await Promise.all(connections.keys().map((socket) => socket.close()));
await Promise.all(connections.values());
console.log(`served ${served} connections, ${bytes} bytes`);

/** Starts an `echo()` for each connection, until the listener is closed. */
async function acceptAll(): Task<void> {
  while (listener.fd !== -1) {
    const accepted = await asyncAccept(ctx, listener);
    // A client that has left, or no fds to spare: the next may do better.
    if (!accepted.ok) continue;
    const socket = new Socket(accepted.value);
    connections.set(socket, echo(socket));
    served++;
  }
}

/** Serves a connection until one side closes it. */
async function echo(socket: Socket): Task<void> {
  const buffer = new Uint8Array(16 * 1024);
  while (socket.fd !== -1) {
    const received = await asyncRecv(ctx, socket, buffer);
    // An error, such as a reset, ends this connection and no other.
    if (!received.ok || received.value === 0 || socket.fd === -1) break;
    const data = buffer.subarray(0, received.value);
    const sent = await asyncSendExact(ctx, socket, data);
    bytes += sent.ok ? sent.value : sent.error.bytesTransferred ?? 0;
    if (!sent.ok) break;
  }
  await socket.close();
  connections.delete(socket);
}

function listen(address: SocketAddress): Socket {
  const bound = TcpListener.bind(address);
  if (bound.ok) return bound.value;
  console.error(`Cannot listen on ${address}: ${bound.error.message}`);
  Deno.exit(1);
}
