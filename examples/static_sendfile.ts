/**
 * Serves the files of a folder over HTTP/1.1: small ones out of memory, large
 * ones by sendfile. Ctrl-C stops it after the answers that are under way, once
 * more at once.
 *
 *     deno task static --root DIR [--host 127.0.0.1] [--port 8080]
 *
 * GET and HEAD, index.html for folders, ranges, conditional requests, keep-alive
 * and pipelining. Nothing hidden and nothing behind a symbolic link is served.
 * A change of a file is seen after two seconds at the latest.
 */
import {
  asyncAccept,
  asyncOpen,
  asyncRecv,
  asyncSend,
  asyncSendfile,
  asyncShutdown,
  IoContext,
  MSG_WAITALL,
  O_DIRECTORY,
  O_RDONLY,
  SHUT_WR,
  Socket,
  type Task,
  TcpListener,
} from "@kio/kio";
import { Buffer } from "node:buffer";
import { readArguments } from "./command_line.ts";
import { addressOf, listenOptions } from "./listen_options.ts";
import { FileCache, type ServedFile } from "./static/file_cache.ts";
import {
  parseConditions,
  parseRange,
  parseRequest,
  type Refusal,
  refusal,
  type Request,
} from "./static/request.ts";
import {
  type AnyStatus,
  type HeadFields,
  headOf,
  joined,
  plainAnswer,
} from "./static/response.ts";

/** Headers that want another answer than that which is held ready. */
const CONDITIONS = [
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-unmodified-since",
  "range",
];
const CONNECTIONS_MAX = 1024;
const HEAD_MAX = 8 * 1024;
/** Longest silence of a connection between two requests. */
const IDLE_MS = 15_000;
/** Longest time of a request to come in, from its first byte. */
const REQUEST_MS = 10_000;
/** Longest time of a client to receive an answer, or one such part of a large
 * answer: 35 KiB/s. */
const SEND_MS = 30_000;
const PART_SIZE = 1024 * 1024;
/** Wait for the rest of a client's bytes after the last answer. */
const LINGER_MS = 2000;
const TICK_MS = 500;

/** A client. One timer looks after the deadlines of all, as each is for several
 * operations. `withTimeout()` is for one, and costs next to nothing;
 * `withSignal()` is for several, and takes a fraction of a microsecond of each. */
class Connection {
  readonly #socket: Socket;
  readonly #buffer = Buffer.alloc(HEAD_MAX);
  /** Received text without an answer yet. */
  #text = "";
  deadlineMs = nowMs + IDLE_MS;
  /** Waits for a request, of which nothing has come. */
  isIdle = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** Ends whatever it is doing. */
  close(): Promise<void> {
    return this.#socket.close();
  }

  /** Answers requests until one side has had enough. */
  async serve(): Task<void> {
    let goesOn = true;
    while (goesOn) {
      const request = await this.#receive();
      if (request === undefined) return;
      this.deadlineMs = nowMs + SEND_MS;
      goesOn = "status" in request
        ? await this.#answerPlainly(request, request.status)
        : await this.#answer(request);
    }
    await this.#linger();
  }

  /** The next request; undefined if there is none. */
  async #receive(): Task<Request | Refusal | undefined> {
    this.deadlineMs = nowMs + REQUEST_MS;
    let mayBeEmpty = true;
    for (;;) {
      // Some clients end the request before with one line end too many.
      if (mayBeEmpty && this.#text.startsWith("\r\n")) {
        this.#text = this.#text.slice(2);
        mayBeEmpty = false;
      }
      const end = this.#text.indexOf("\r\n\r\n");
      if (end >= 0 && end <= HEAD_MAX) {
        const head = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 4);
        return parseRequest(head);
      }
      if (this.#text.length > HEAD_MAX) return refusal(this.#text, 431);
      if (this.#text === "") {
        if (isStopping) return undefined;
        this.isIdle = true;
        this.deadlineMs = nowMs + IDLE_MS;
      }
      if (this.#socket.fd === -1) return undefined;
      const received = await asyncRecv(ctx, this.#socket, this.#buffer);
      if (!received.ok || received.value === 0) return undefined;
      if (this.isIdle) {
        this.isIdle = false;
        this.deadlineMs = nowMs + REQUEST_MS;
      }
      this.#text += this.#buffer.toString("latin1", 0, received.value);
    }
  }

  /** Answers a request; false if the connection is of no use after that. */
  #answer(request: Request): Task<boolean> {
    const found = files.known(request.path);
    // The most common requests take no detour.
    return found !== undefined && isPlain(request)
      ? this.#answerWhole(found)
      : this.#answerWith(request, found);
  }

  async #answerWith(
    request: Request,
    known: ServedFile | undefined,
  ): Task<boolean> {
    const found = known ?? await files.lookUp(request.path);
    if (found === "folder") {
      const location = request.folder;
      // A folder by the name of index.html is nothing.
      return location === undefined
        ? this.#answerPlainly(request, 404)
        : this.#answerPlainly(request, 301, { location });
    }
    if (typeof found === "number") return this.#answerPlainly(request, found);
    if (!isPlain(request)) return this.#answerConditionally(request, found);
    return this.#answerWhole(found);
  }

  /** Sends the answer that the cache holds ready. */
  #answerWhole(file: ServedFile): Task<boolean> {
    return file.body !== undefined
      ? this.#send(file.answer)
      : this.#sendFile(file, file.answer, 0, file.stat.size);
  }

  async #answerConditionally(
    { isHead, keepAlive, headers }: Request,
    file: ServedFile,
  ): Task<boolean> {
    const { etag, lastModified, type, stat: { size } } = file;
    const fields = { etag, lastModified, close: !keepAlive };
    const condition = parseConditions(headers, file);
    if (condition === 412) {
      return this.#answerPlainly({ isHead, keepAlive }, 412, fields);
    }
    if (condition === 304) {
      return await this.#send(headOf(304, fields)) && keepAlive;
    }
    const ifRange = headers.get("if-range");
    // A date is too coarse to say that it is the same file: it gets all of it.
    const isRangeWanted = !isHead &&
      (ifRange === undefined || ifRange === etag);
    const header = isRangeWanted ? headers.get("range") : undefined;
    const range = parseRange(header, size);
    if (range === "none") {
      const contentRange = `bytes */${size}`;
      const head = headOf(416, { ...fields, contentRange, length: 0 });
      return await this.#send(head) && keepAlive;
    }
    const { offset, length } = range ?? { offset: 0, length: size };
    const head = headOf(range === undefined ? 200 : 206, {
      ...fields,
      type,
      length,
      contentRange: range === undefined
        ? undefined
        : `bytes ${offset}-${offset + length - 1}/${size}`,
    });
    const isSent = isHead
      ? this.#send(head)
      : file.body !== undefined
      ? this.#send(joined(head, file.body.subarray(offset, offset + length)))
      : this.#sendFile(file, head, offset, length);
    return await isSent && keepAlive;
  }

  /** Answers with a status and nothing else. */
  async #answerPlainly(
    { isHead, keepAlive }: Pick<Request, "isHead" | "keepAlive">,
    status: AnyStatus,
    fields: HeadFields = {},
  ): Task<boolean> {
    const answer = plainAnswer(status, !isHead, {
      ...fields,
      close: !keepAlive,
    });
    return await this.#send(answer) && keepAlive;
  }

  /** Sends all of it; false if that failed. */
  async #send(data: Uint8Array): Task<boolean> {
    if (this.#socket.fd === -1) return false;
    const sent = await asyncSend(ctx, this.#socket, data, MSG_WAITALL);
    return sent.ok && sent.value === data.length;
  }

  /** Sends a head, and a part of a file without copying it. */
  async #sendFile(
    file: ServedFile,
    head: Uint8Array,
    offset: number,
    length: number,
  ): Task<boolean> {
    if (!files.acquire(file)) return false;
    try {
      const end = offset + length;
      for (let at = offset; at < end; at += PART_SIZE) {
        if (this.#socket.fd === -1) return false;
        this.deadlineMs = nowMs + SEND_MS;
        const count = Math.min(PART_SIZE, end - at);
        const options = at === offset ? { head } : {};
        const to = this.#socket;
        const sent = await asyncSendfile(ctx, to, file.fd, at, count, options);
        // The client is gone, or the file has become shorter: it learns that
        // by the end of the connection.
        if (!sent.ok) return false;
      }
      return true;
    } finally {
      files.release(file);
    }
  }

  /** Lets the last answer arrive: closing a socket with bytes that were not
   * received resets the connection, and that may overtake it. */
  async #linger(): Task<void> {
    if (this.#socket.fd === -1) return;
    this.deadlineMs = nowMs + LINGER_MS;
    await asyncShutdown(ctx, this.#socket, SHUT_WR);
    while (this.#socket.fd !== -1) {
      const received = await asyncRecv(ctx, this.#socket, this.#buffer);
      if (!received.ok || received.value === 0) return;
    }
  }
}

/** True if the cache holds the answer ready. */
function isPlain({ isHead, keepAlive, headers }: Request): boolean {
  return !isHead && keepAlive &&
    // Most have a host only.
    (headers.size === 1 || !CONDITIONS.some((name) => headers.has(name)));
}

// ---- the server ---------------------------------------------------------------------

/** Starts to serve each connection, until the listener is closed. */
async function acceptAll(): Task<void> {
  while (listener.fd !== -1) {
    const accepted = await asyncAccept(ctx, listener);
    if (!accepted.ok) continue;
    const connection = new Connection(new Socket(accepted.value));
    connections.set(
      connection,
      connection.serve().finally(async () => {
        await connection.close();
        connections.delete(connection);
        onLeave();
      }),
    );
    // Further clients wait in the backlog.
    while (connections.size >= CONNECTIONS_MAX) {
      await new Promise<void>((resolve) => onLeave = resolve);
    }
  }
}

function tick(): void {
  nowMs = performance.now();
  files.tick(nowMs);
  for (const connection of connections.keys()) {
    if (connection.deadlineMs < nowMs) void connection.close();
  }
}

/** No new connections and no new requests on those there are; the second time
 * no connections at all. */
function stop(): void {
  for (const connection of connections.keys()) {
    if (isStopping || connection.isIdle) void connection.close();
  }
  isStopping = true;
  void listener.close();
  onLeave();
}

function fail(message: string): never {
  console.error(message);
  Deno.exit(1);
}

const { address, root } = readArguments({
  command: "deno task static",
  about: "Serves the files of a folder over HTTP.",
  options: {
    root: { value: "DIR", isRequired: true, help: "the folder" },
    ...listenOptions("127.0.0.1"),
  },
}, ({ root, ...at }) => ({ root, address: addressOf(at) }));
using ctx = new IoContext();
const folder = await asyncOpen(ctx, root, O_RDONLY | O_DIRECTORY);
if (!folder.ok) fail(`Cannot serve ${root}: ${folder.error.message}`);
const bound = TcpListener.bind(address, { reusePort: false });
if (!bound.ok) fail(`Cannot listen on ${address}: ${bound.error.message}`);
const listener = bound.value;
const files = new FileCache(ctx, folder.value);
const connections = new Map<Connection, Task<void>>();
let nowMs = performance.now();
let isStopping = false;
let onLeave = () => {};

const ticking = setInterval(tick, TICK_MS);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, stop);
}
console.log(`serving ${root} on http://${listener.localAddress}/`);
await acceptAll();
await Promise.all(connections.values());
clearInterval(ticking);
