/**
 * Sockets of Node over connections of kio. Node's own class has the order of
 * events, the timeout and the addresses; here is what it does by its handle's
 * own memory: the bytes.
 */
import { Buffer } from "node:buffer";
import net from "node:net";
import type { Transport } from "../helpers/transport.ts";
import { checkBoolean, checkOptions } from "../lib/check.ts";
import { type Above, Handle } from "./handle.ts";

/** Options of `toNodeSocket()`. */
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
 * and `syscall`: `read ECONNRESET`. The addresses, `setNoDelay()`,
 * `setKeepAlive()` and `resetAndDestroy()` need a {@linkcode SocketTransport} on
 * IP. Data that was given to `write()` must be neither changed nor transferred
 * until its callback is called.
 *
 * @param transport A connection: `new SocketTransport(ctx, stream)`, or any
 * other.
 * @param options `allowHalfOpen`.
 * @returns The socket, which is connected, and reads at once.
 * @throws {TypeError} If an argument has the wrong type.
 *
 * @example A server of node:http
 * ```ts
 * import {
 *   IoContext, Socket, SocketTransport, unwrap,
 * } from "@kio/kio";
 * import { toNodeSocket } from "@kio/kio/node";
 *
 * using ctx = new IoContext();
 * const [a, b] = unwrap(Socket.pair());
 * const client = toNodeSocket(new SocketTransport(ctx, a));
 * const server = toNodeSocket(new SocketTransport(ctx, b));
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
  checkOptions(options, verb);
  const { allowHalfOpen = false } = options;
  checkBoolean(allowHalfOpen, "allowHalfOpen", verb);
  for (const name of ["recv", "send", "shutdown", "close"] as const) {
    if (typeof transport?.[name] === "function") continue;
    throw new TypeError(
      `Cannot ${verb}: expected a Transport, which has ${name}(); new SocketTransport(ctx, stream) makes one of a stream`,
    );
  }
  const socket = new NodeSocket({ allowHalfOpen });
  socket.open(transport);
  return socket;
}

type Callback = (error?: Error | null) => void;

/** A chunk, as Node gives it to a stream. */
interface Chunk {
  readonly chunk: Uint8Array | string;
  readonly encoding: BufferEncoding;
}

/** Members of `net.Socket` that its types do not have. */
interface Inner {
  _handle: Handle | null;
  _unrefTimer(): void;
}

/** A `net.Socket` whose handle is a {@linkcode Handle}. */
class NodeSocket extends net.Socket {
  /** Gives the socket its connection, and starts to read. */
  open(transport: Transport): void {
    this.#inner._handle = new Handle(transport, this.#above());
    this.read(0);
  }

  get #inner(): Inner {
    return this as unknown as Inner;
  }

  #above(): Above {
    return {
      take: (bytes) => {
        this.#inner._unrefTimer();
        return outside(() => this.push(bytes)) ?? false;
      },
      takeEnd: () => {
        outside(() => {
          this.push(null);
          // A stream that nobody reads gets its "end", too.
          this.read(0);
        });
      },
      sent: () => this.#inner._unrefTimer(),
      fail: (error) => this.destroy(error as Error),
    };
  }

  override _write(
    chunk: Uint8Array | string,
    encoding: BufferEncoding,
    callback: Callback,
  ): void {
    this._writev([{ chunk, encoding }], callback);
  }

  override _writev(chunks: readonly Chunk[], callback: Callback): void {
    const buffers = chunks.map(({ chunk, encoding }) =>
      typeof chunk === "string" ? Buffer.from(chunk, encoding) : chunk
    );
    this.#act(callback, (handle) => handle.send(buffers));
  }

  override _final(callback: Callback): void {
    this.#act(callback, (handle) => handle.sendEnd());
  }

  /** Has the handle do something, and calls back with its error. */
  #act(
    callback: Callback,
    action: (handle: Handle) => Promise<void>,
  ): void {
    const handle = this.#inner._handle!;
    this.#inner._unrefTimer();
    action(handle).then(
      () => outside(callback),
      (error) => outside(() => callback(error)),
    );
  }

  override resetAndDestroy(): this {
    const handle = this.#inner._handle;
    if (handle?.ipSocket === undefined) return super.resetAndDestroy();
    handle.resets = true;
    return this.destroy();
  }
}

/** Calls code of the user. An exception is not caught by a promise of kio. */
function outside<T>(callback: () => T): T | undefined {
  try {
    return callback();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
    return undefined;
  }
}
