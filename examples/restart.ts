/**
 * A server that a newer version of it replaces while clients connect: none is
 * refused, and each gets its answers. Start it twice. The second process gets
 * the listener of the first by SCM_RIGHTS, and the first ends when its clients
 * have left. Ctrl-C stops it.
 *
 *     deno task restart [--host 127.0.0.1] [--port 8080] [--name kio-restart]
 */
import {
  acceptLoop,
  asyncAccept,
  asyncConnect,
  asyncRecv,
  asyncRecvmsg,
  asyncSendExact,
  asyncSendmsg,
  asyncSleep,
  BufferedReader,
  Connections,
  IoContext,
  parseScmRights,
  scmRights,
  scmRightsSpace,
  Socket,
  SocketAddress,
  SocketTransport,
  type Task,
  TcpListener,
  unwrap,
} from "@kio/kio";
import { millisecondsOf, readArguments } from "./command_line.ts";
import { addressOf, listenOptions } from "./listen_options.ts";

const HANDOVER_MS = 10_000;
const LINE_MAX = 4096;

/** The two sockets that go from process to process. */
interface Listeners {
  /** Takes clients. */
  readonly clients: TcpListener;
  /** Takes the successor. */
  readonly successors: TcpListener;
}

const { address, meeting, graceMs } = readArguments({
  command: "deno task restart",
  about: "Answers each line with its process number, until a successor starts.",
  options: {
    ...listenOptions("127.0.0.1"),
    name: {
      value: "NAME",
      default: "kio-restart",
      help: "where the versions meet, an abstract unix socket",
    },
    grace: {
      value: "SECONDS",
      default: "10",
      help: "time of open connections after the end",
    },
  },
}, ({ name, grace, ...listen }) => ({
  address: addressOf(listen),
  meeting: SocketAddress.unix(`\0${name}`),
  graceMs: millisecondsOf("--grace", grace),
}));

using ctx = new IoContext();
const uid = ownUid();
const predecessor = await connectToPredecessor();
const listeners = predecessor ? await receive(predecessor) : listen();
const stop = new AbortController();
const leave = new AbortController();
const connections = new Connections(ctx, serve);
/** A successor has the listeners, too. */
let isShared = false;
let served = 0;

const accepting = acceptLoop(
  ctx,
  listeners.clients,
  (fd) => connections.add(fd),
  stop.signal,
);
if (predecessor) {
  // The predecessor stops when it reads this.
  await asyncSendExact(ctx, predecessor, new Uint8Array(1));
  await predecessor.close();
}
// Until now a signal ended this process alone, and the predecessor went on.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, end);
}
console.log(`${Deno.pid} listens on ${listeners.clients.localAddress}`);
await Promise.all([handOver(), accepting]);
await Promise.all([listeners.clients.close(), listeners.successors.close()]);
const grace = asyncSleep(ctx, graceMs).withSignal(leave.signal);
void grace.then(() => leave.abort());
await connections.closed;
console.log(`${Deno.pid} served ${served} connections`);
Deno.exit();

/** Takes no more clients; the second time, leaves those that there are. */
function end(): void {
  if (stop.signal.aborted) leave.abort();
  // Clients that come later are kept from a queue that nobody serves.
  else if (!isShared) listeners.clients.stopListening();
  stop.abort();
}

/** Answers lines until the client leaves. */
async function serve(socket: Socket): Task<void> {
  served++;
  const client = new SocketTransport(ctx, socket);
  const lines = new BufferedReader(client)
    .lines({ max: LINE_MAX, signal: leave.signal });
  for await (const line of lines) {
    if (!line.ok) return;
    const answer = new TextEncoder().encode(`${Deno.pid} ${line.value}\n`);
    if (!(await client.send(answer, { signal: leave.signal })).ok) return;
  }
}

/** Waits for a successor that takes the listeners and says that it accepts. */
async function handOver(): Task<void> {
  while (!stop.signal.aborted) {
    const accepted = await asyncAccept(ctx, listeners.successors)
      .withSignal(stop.signal);
    if (!accepted.ok) continue;
    await using successor = new Socket(accepted.value);
    if (successor.peerCredentials?.uid !== uid) continue;
    isShared = true;
    const sent = await asyncSendmsg(ctx, successor, {
      buffers: [new Uint8Array(1)],
      control: scmRights([listeners.clients, listeners.successors]),
    });
    const ready = sent.ok
      ? await asyncRecv(ctx, successor, new Uint8Array(1))
        .withTimeout(HANDOVER_MS)
      : sent;
    if (ready.ok && ready.value === 1) stop.abort();
    // One that has failed changes nothing.
    else isShared = false;
  }
}

async function connectToPredecessor(): Promise<Socket | undefined> {
  const socket = unwrap(Socket.open("unix"));
  const connected = await asyncConnect(ctx, socket, meeting)
    .withTimeout(HANDOVER_MS);
  // Anybody may listen on an abstract socket, and connect to one.
  if (connected.ok && socket.peerCredentials?.uid === uid) return socket;
  await socket.close();
  return undefined;
}

async function receive(from: Socket): Promise<Listeners> {
  const message = await asyncRecvmsg(ctx, from, {
    buffers: [new Uint8Array(1)],
    control: scmRightsSpace(2),
  }).withTimeout(HANDOVER_MS);
  const [clients, successors] = message.ok
    ? parseScmRights(message.value.control)
    : [];
  if (clients === undefined || successors === undefined) {
    const reason = message.ok ? "it gives nothing" : message.error.message;
    console.error(`Cannot take over from the predecessor: ${reason}`);
    Deno.exit(1);
  }
  return {
    clients: unwrap(TcpListener.adopt(clients)),
    successors: unwrap(TcpListener.adopt(successors)),
  };
}

/** Listens as the first process. It is going to share its listeners, too. */
function listen(): Listeners {
  const [clients, successors] = [address, meeting].map((at) => {
    const bound = TcpListener.bind(at);
    if (bound.ok) return unwrap(TcpListener.adopt(bound.value.release()));
    console.error(`Cannot listen on ${at}: ${bound.error.message}`);
    Deno.exit(1);
  });
  return { clients: clients!, successors: successors! };
}

/** Gives the user of this process, without a permission. */
function ownUid(): number | undefined {
  const [left, right] = unwrap(Socket.pair());
  using _left = left, _right = right;
  return left.peerCredentials?.uid;
}
