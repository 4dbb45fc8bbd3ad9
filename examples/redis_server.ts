/**
 * Keeps keys and values in memory, for clients of Redis: RESP2, with pipelining
 * and an append-only file. Ctrl-C stops it after the answers that are under way,
 * once more at once.
 *
 *     deno task redis [--host 127.0.0.1] [--port 6379] [--appendonly FILE]
 *         [--appendfsync everysec] [--maxmemory MIB]
 *
 * An answer is sent when the log has the change, with `--appendfsync always` when
 * the disk has it; no client sees a value before. A change that cannot be written
 * is undone, and the answer is an error.
 */
import {
  acceptLoop,
  asyncSend,
  BufferedReader,
  Connections,
  IoContext,
  type IoError,
  MSG_DONTWAIT,
  type Socket,
  SocketTransport,
  type Task,
  TcpListener,
  type Transport,
} from "@kio/kio";
import { Buffer } from "node:buffer";
import { readArguments, wholeNumber } from "./command_line.ts";
import { addressOf } from "./listen_options.ts";
import { AppendLog, type Sync } from "./redis/append_log.ts";
import { execute, failed, OK } from "./redis/commands.ts";
import {
  ProtocolError,
  REQUEST_MAX,
  RequestFinder,
  textOf,
} from "./redis/request.ts";
import { encode, Store } from "./redis/store.ts";

const CLIENTS_MAX = 1000;
/** Longest time of a request to come in, from its first byte. */
const REQUEST_MS = 10_000;
/** Longest time of a client to receive some answers. */
const SEND_MS = 30_000;
/** Bytes of requests that are looked at together. All that a client may have
 * sent ahead would be too much, for each answer that is long. */
const REQUESTS_SIZE = 64 * 1024;
/** Answers that are sent together: the next ones wait. */
const ANSWERS_SIZE = 64 * 1024;
const SYNCS = ["always", "everysec", "no"] as const;
const encoder = new TextEncoder();

/** A client: requests, and the answers to all that have come. */
class Client {
  readonly #peer: Transport;
  readonly #reader: BufferedReader;
  readonly #finder = new RequestFinder();
  readonly #buffer = Buffer.alloc(ANSWERS_SIZE);
  #answers = "";
  #count = 0;
  /** No more requests are answered. */
  #isOver = false;
  /** The deadline of the request that comes in. */
  #endMs = Infinity;
  /** Waits for a request, of which nothing has come. */
  isIdle = false;

  constructor(peer: Transport) {
    this.#peer = peer;
    this.#reader = new BufferedReader(peer, { sizeMax: 2 * REQUEST_MAX });
  }

  close(): Promise<void> {
    return this.#peer.close();
  }

  /** Answers requests until one side has had enough. */
  async serve(): Task<void> {
    while (!this.#isOver) {
      this.isIdle = this.#reader.buffered === 0;
      if (this.isIdle && isStopping) return;
      const peeked = await this.#reader.peek(
        this.#finder.needed,
        this.isIdle ? undefined : { timeoutMs: this.#timeLeft() },
      );
      this.isIdle = false;
      if (!peeked.ok) return;
      const most = Math.max(this.#finder.needed, REQUESTS_SIZE);
      this.#answer(peeked.value.subarray(0, most));
      if (this.#count === 0) continue;
      // One that reads has seen the changes of others.
      if (log?.isPending) {
        const error = await log.settled();
        if (error !== undefined) this.#answers = this.#refusals(error);
      }
      const data = this.#taken();
      const sent = await this.#peer.send(data, { timeoutMs: SEND_MS });
      if (!sent.ok) return;
    }
  }

  #timeLeft(): number {
    const nowMs = performance.now();
    if (this.#endMs === Infinity) this.#endMs = nowMs + REQUEST_MS;
    return Math.max(0, this.#endMs - nowMs);
  }

  /** Answers the requests that are there, as many as are sent together. */
  #answer(bytes: Uint8Array): void {
    const finder = this.#finder;
    let text: string | undefined;
    let at = 0;
    try {
      while (!this.#isOver && this.#answers.length < ANSWERS_SIZE) {
        const end = finder.find(bytes, at);
        if (end === 0) break;
        text ??= textOf(bytes);
        const args = finder.take(text, at);
        // A line of words is no request for the log.
        const isRequest = log !== undefined && text[at] === "*";
        const request = isRequest ? text.slice(at, end) : undefined;
        at = end;
        if (args.length === 0) continue;
        this.#isOver = isQuit(args[0]!);
        this.#add(this.#isOver ? OK : execute(args, store, request));
        log?.endCommand();
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#add(failed(`Protocol error: ${error.message}`));
      this.#isOver = true;
    }
    if (at === 0) return;
    this.#reader.takeExactly(at);
    this.#endMs = Infinity;
  }

  #add(answer: string): void {
    this.#answers += answer;
    this.#count++;
  }

  /** Takes the answers, as bytes that are lent until the next call. */
  #taken(): Uint8Array {
    const answers = this.#answers;
    this.#answers = "";
    this.#count = 0;
    const buffer = answers.length <= ANSWERS_SIZE
      ? this.#buffer
      : Buffer.allocUnsafeSlow(answers.length);
    encode(answers, buffer);
    return buffer.subarray(0, answers.length);
  }

  /** Nothing that these answers tell of has happened. */
  #refusals({ code }: IoError): string {
    const text = `Errors writing to the AOF file: ${code}`;
    return failed(text, "MISCONF").repeat(this.#count);
  }
}

function isQuit(name: string): boolean {
  return name.length === 4 && name.toUpperCase() === "QUIT";
}

// ---- the server ---------------------------------------------------------------------

async function serve(socket: Socket): Task<void> {
  if (clients.size >= CLIENTS_MAX) {
    const answer = encoder.encode(failed("max number of clients reached"));
    await asyncSend(ctx, socket, answer, MSG_DONTWAIT);
    return;
  }
  socket.setKeepAlive(true);
  const client = new Client(new SocketTransport(ctx, socket));
  clients.add(client);
  try {
    await client.serve();
  } finally {
    clients.delete(client);
  }
}

/** No new connections and no new requests on those there are; the second time
 * no connections at all. */
function stop(): void {
  for (const client of clients) {
    if (isStopping || client.isIdle) void client.close();
  }
  isStopping = true;
  stopping.abort();
}

function fail(message: string): never {
  console.error(message);
  Deno.exit(1);
}

/** The disk may have what clients were not told, or the reverse: only a new
 * start finds out. */
function failOnLog({ message }: IoError): never {
  fail(`The content of the append-only file is unknown: ${message}`);
}

async function openLog(path: string): Task<AppendLog> {
  try {
    const replay = (args: string[]) => void execute(args, store);
    return await AppendLog.open(ctx, path, appendfsync, replay, failOnLog);
  } catch (error) {
    fail(`Cannot load ${path}: ${(error as Error).message}`);
  }
}

const { address, appendonly, appendfsync, bytesMax } = readArguments({
  command: "deno task redis",
  about: "Keeps keys and values in memory, for clients of Redis.",
  options: {
    host: {
      value: "ADDRESS",
      default: "127.0.0.1",
      help: "IPv4 or IPv6 address",
    },
    port: { value: "PORT", default: "6379", help: "0 for any that is free" },
    appendonly: { value: "FILE", help: "the log, which is read at the start" },
    appendfsync: {
      value: "WHEN",
      default: "everysec",
      help: "sync the log: always (before each answer), everysec, no",
    },
    maxmemory: { value: "MIB", default: "512", help: "for keys and values" },
  },
}, ({ appendonly, appendfsync, maxmemory, ...at }) => {
  const sync = SYNCS.find((it) => it === appendfsync);
  if (sync === undefined) {
    throw new TypeError(`--appendfsync must be one of ${SYNCS.join(", ")}`);
  }
  return {
    address: addressOf(at),
    appendonly,
    appendfsync: sync as Sync,
    bytesMax: wholeNumber("--maxmemory", maxmemory, 1, 65536) * 2 ** 20,
  };
});
using ctx = new IoContext();
const store = new Store(Infinity);
const log = appendonly === undefined ? undefined : await openLog(appendonly);
store.bytesMax = bytesMax;
if (log !== undefined) store.onChange = (...change) => log.add(...change);
const bound = TcpListener.bind(address, { reusePort: false });
if (!bound.ok) fail(`Cannot listen on ${address}: ${bound.error.message}`);
const listener = bound.value;
const clients = new Set<Client>();
const connections = new Connections(ctx, serve);
const stopping = new AbortController();
let isStopping = false;

const sweeping = setInterval(() => store.sweep(), 100);
const syncing = setInterval(() => {
  if (appendfsync === "everysec") void log?.sync();
}, 1000);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, stop);
}
console.log(`serving on ${listener.localAddress}`);
await acceptLoop(ctx, listener, (fd) => connections.add(fd), stopping.signal);
await connections.closed;
clearInterval(sweeping);
clearInterval(syncing);
await log?.close();
