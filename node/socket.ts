/**
 * Sockets of Node over connections of kio. Node's own class has the order of
 * events, the timeout and the addresses; the bytes take another way.
 */
import { Buffer } from "node:buffer";
import net from "node:net";
import type { Transport } from "../helpers/transport.ts";
import { checkBoolean, checkOptions } from "../lib/check.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { type ConnectTarget, openTransport, parseConnect } from "./connect.ts";
import { errorWithCode } from "./errors.ts";
import { type Above, Handle } from "./handle.ts";
import { outside } from "./outside.ts";

/** Options of `toNodeSocket()` and `createNodeSocket()`. */
export interface NodeSocketOptions {
  /**
   * The socket goes on sending after the peer has ended its side. Otherwise it
   * ends its own side then. A server of node:http needs it.
   * @default {false}
   */
  allowHalfOpen?: boolean | undefined;
}

/**
 * Makes a `net.Socket` of a connection, for libraries that are made for Node.
 * The socket owns the connection from now on.
 *
 * It behaves as one of Node: `write()` returns false when the peer is slow, a
 * reader that is slow stops it, and `end()` ends one side. Errors have `code`
 * and `syscall`: `read ECONNRESET`. Data that was given to `write()` must be
 * neither changed nor transferred until its callback is called.
 *
 * The addresses, `setNoDelay()`, `setKeepAlive()` and `resetAndDestroy()` need a
 * {@linkcode SocketTransport} on TCP, `ref()` and `unref()` any one. Otherwise
 * there is no address, an option is not set, the process stays alive while the
 * transport keeps it alive, and `resetAndDestroy()` gives
 * `ERR_INVALID_HANDLE_TYPE`, as Node does for a unix socket.
 *
 * @param transport A connection: `new SocketTransport(ctx, stream)`, or any
 * other.
 * @param options `allowHalfOpen`.
 * @returns The socket, which is connected, and reads at once.
 * @throws {TypeError} If an argument has the wrong type.
 *
 * @example An echo through Node's streams
 * ```ts
 * import { IoContext, Socket, SocketTransport, unwrap } from "@kio/kio";
 * import { toNodeSocket } from "@kio/kio/node";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * const client = toNodeSocket(new SocketTransport(ctx, left));
 * const server = toNodeSocket(new SocketTransport(ctx, right));
 * server.pipe(server);
 * client.end("hello");
 * for await (const chunk of client) console.log(`${chunk}`);
 * ```
 */
export function toNodeSocket(
  transport: Transport,
  options: NodeSocketOptions = {},
): net.Socket {
  const verb = "make a socket of Node";
  const checked = checkedOptions(options, verb);
  for (const name of ["recv", "send", "shutdown", "close"] as const) {
    if (typeof transport?.[name] === "function") continue;
    throw new TypeError(
      `Cannot ${verb}: expected a Transport, which has ${name}(); new SocketTransport(ctx, stream) makes one of a stream`,
    );
  }
  const socket = new NodeSocket(checked);
  socket.open(transport);
  return socket;
}

/**
 * Makes a `net.Socket` that is not connected yet. Its `connect()` looks names up
 * and connects as `TcpStream.connect()` does, or to a unix socket.
 *
 * `connect()` takes a port and a host, a path, or an object with `port` and
 * `host` or `path`, `noDelay`, `keepAlive` and `keepAliveInitialDelay`; and a
 * listener for "connect". It may be called once. The socket has `TCP_NODELAY`
 * until `setNoDelay(false)`. It has the errors of Node: `connect ECONNREFUSED
 * 127.0.0.1:80`, `getaddrinfo ENOTFOUND`. If several addresses were tried it is
 * the error that `TcpStream.connect()` gives.
 *
 * @param ctx The context.
 * @param options `allowHalfOpen`.
 * @returns The socket. Its `connect()` throws a {TypeError} if it was called
 * before, or has neither port nor path, or an option that kio has not:
 * `localAddress`, `localPort`, `lookup` or a `family`; a {RangeError} if the
 * port is out of range.
 * @throws {TypeError} If an argument has the wrong type.
 *
 * @example A client of node:http
 * ```ts
 * import { IoContext } from "@kio/kio";
 * import { createNodeSocket } from "@kio/kio/node";
 * import http from "node:http";
 *
 * using ctx = new IoContext();
 * const agent = new http.Agent({ keepAlive: true });
 * agent.createConnection = ({ port, host }) =>
 *   createNodeSocket(ctx).connect(Number(port), host ?? "localhost");
 * // http.get("http://127.0.0.1:8080/", { agent }, (response) => …);
 * agent.destroy();
 * ```
 */
export function createNodeSocket(
  ctx: IoContext,
  options: NodeSocketOptions = {},
): net.Socket {
  const verb = "create a socket of Node";
  ringOf(ctx, { verb });
  return new NodeSocket(checkedOptions(options, verb), ctx);
}

function checkedOptions(
  options: NodeSocketOptions,
  verb: string,
): { allowHalfOpen: boolean } {
  checkOptions(options, verb);
  const { allowHalfOpen = false } = options;
  checkBoolean(allowHalfOpen, "allowHalfOpen", verb);
  return { allowHalfOpen };
}

type Callback = (error?: Error | null) => void;

/** A chunk, as Node gives it to a stream. */
interface Chunk {
  readonly chunk: Uint8Array | string;
  readonly encoding: BufferEncoding;
}

/** Members of `net.Socket` that its types lack, or have as `readonly`. */
interface Inner {
  connecting: boolean;
  _handle: Handle | null;
  _unrefTimer(): void;
}

/** A `net.Socket` whose handle is a {@linkcode Handle}. */
export class NodeSocket extends net.Socket {
  readonly #ctx: IoContext | undefined;
  #abort: AbortController | undefined;
  /** Resolves when a `connect()` has ended. */
  #attempt: Promise<void> | undefined;

  constructor(options: { allowHalfOpen: boolean }, ctx?: IoContext) {
    super(options);
    this.#ctx = ctx;
  }

  #inner(): Inner {
    return this as unknown as Inner;
  }

  /** Gives the socket its connection, and starts to read. */
  open(transport: Transport): void {
    this.#inner()._handle = new Handle(transport, this.#above());
    if (!this.isPaused()) this.read(0);
  }

  #above(): Above {
    return {
      take: (bytes) => {
        this.#inner()._unrefTimer();
        return outside(() => this.push(bytes)) ?? false;
      },
      takeEnd: () => {
        outside(() => {
          this.push(null);
          // A stream that nobody reads gets its "end", too.
          this.read(0);
        });
      },
      sent: () => this.#inner()._unrefTimer(),
      fail: (error) => this.destroy(error as Error),
    };
  }

  override connect(...args: unknown[]): this {
    const ctx = this.#ctx;
    const isUsed = this.#attempt !== undefined || !this.pending;
    if (ctx === undefined || isUsed || this.destroyed) {
      throw new TypeError(
        "Cannot connect: the socket is connected, connecting or closed; use createNodeSocket()",
      );
    }
    const { target, options, listener } = parseConnect(args);
    if (listener !== undefined) this.once("connect", listener);
    this.#inner().connecting = true;
    if (options.noDelay !== undefined) this.setNoDelay(options.noDelay);
    if (options.keepAlive !== undefined) {
      this.setKeepAlive(options.keepAlive, options.keepAliveInitialDelay);
    }
    this.#abort = new AbortController();
    this.#attempt = this.#connect(ctx, target, this.#abort.signal);
    return this;
  }

  async #connect(
    ctx: IoContext,
    target: ConnectTarget,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const transport = await openTransport(ctx, target, signal);
      if (this.destroyed) return await transport.close();
      this.#inner().connecting = false;
      this.open(transport);
    } catch (error) {
      this.destroy(error as Error);
      return;
    }
    outside(() => {
      this.emit("connect");
      this.emit("ready");
    });
  }

  override _write(
    chunk: Uint8Array | string,
    encoding: BufferEncoding,
    callback: Callback,
  ): void {
    this._writev([{ chunk, encoding }], callback);
  }

  override _writev(chunks: readonly Chunk[], callback: Callback): void {
    const buffers = chunks.map(bytesOf);
    this.#act(callback, (handle) => handle.send(buffers));
  }

  override _final(callback: Callback): void {
    this.#act(callback, (handle) => handle.sendEnd());
  }

  /** Has the handle do something, once there is one, and calls back. */
  #act(callback: Callback, action: (handle: Handle) => Promise<void>): void {
    if (this.connecting) {
      const onClose = () =>
        callback(
          errorWithCode(
            "ERR_SOCKET_CLOSED_BEFORE_CONNECTION",
            "Socket closed before the connection was established",
          ),
        );
      this.once("close", onClose);
      this.once("connect", () => {
        this.off("close", onClose);
        this.#act(callback, action);
      });
      return;
    }
    const handle = this.#inner()._handle;
    if (handle === null) {
      callback(errorWithCode("ERR_SOCKET_CLOSED", "Socket is closed"));
      return;
    }
    this.#inner()._unrefTimer();
    action(handle).then(
      () => outside(callback),
      (error) => outside(() => callback(error)),
    );
  }

  /** Node would not pass on what it takes for the state already. */
  override setNoDelay(on = true): this {
    const handle = this.#inner()._handle;
    if (handle === null) return super.setNoDelay(on);
    handle.setNoDelay(on);
    return this;
  }

  override resetAndDestroy(): this {
    const handle = this.#inner()._handle;
    if (handle?.ipSocket === undefined) return super.resetAndDestroy();
    handle.resets = true;
    return this.destroy();
  }

  override _destroy(error: Error | null, callback: Callback): void {
    const destroy = () => super._destroy(error, callback);
    if (!this.connecting) return destroy();
    this.#abort!.abort();
    void this.#attempt!.then(destroy);
  }
}

/** Encodes text. Deno makes UTF-8 in a fraction of the time of Latin-1, and ASCII
 * is the same in both. */
function bytesOf({ chunk, encoding }: Chunk): Uint8Array {
  if (typeof chunk !== "string") return chunk;
  if (encoding === "latin1") {
    const bytes = Buffer.from(chunk);
    if (bytes.length === chunk.length) return bytes;
  }
  return Buffer.from(chunk, encoding);
}
