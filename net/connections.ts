import { loadShim } from "../ffi/load.ts";
import { Bounds } from "../lib/ring/bounds.ts";
import {
  checkDelay,
  checkFunction,
  checkInteger,
  checkOptions,
} from "../lib/check.ts";
import { SHUT_WR } from "../lib/constants.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext, Task } from "../lib/IoContext.ts";
import { asyncRecv } from "../lib/io.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import { TcpStream } from "./TcpStream.ts";
import { logError, type OnError, tell } from "./on_error.ts";
import { pause } from "./pause.ts";

const SCRAP_SIZE = 16 * 1024;

/** Options of `Connections`. */
export interface ConnectionsOptions {
  /** Milliseconds that the peer may take to close its side after this side has
   * sent its end; then the socket is closed. 0 closes at once.
   * @default {1000} */
  lingerMs?: number | undefined;
  /**
   * Called with what the handler of a connection throws, and its stream, which
   * is closed afterwards. Other connections go on. An exception of this
   * function is logged by `console.error`.
   * @default {console.error}
   */
  onError?: ((error: unknown, stream: TcpStream) => void) | undefined;
}

/**
 * Runs a handler for each connection of a server, knows when all are done, and
 * closes them without losing what was sent. To close a socket with unread bytes
 * resets the connection, which can destroy what the peer has not read yet. So
 * the end is sent first, by shutdown(2), and the socket is closed when the peer
 * has closed its side too.
 *
 * @example Echo until a signal
 * ```ts
 * import {
 *   acceptLoop, asyncRecv, asyncSend, Connections, IoContext, SocketAddress,
 *   TcpListener, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const stop = AbortSignal.timeout(10);
 * const connections = new Connections(ctx, async (stream) => {
 *   const buffer = new Uint8Array(4096);
 *   for (;;) {
 *     const received = await asyncRecv(ctx, stream, buffer).withSignal(stop);
 *     if (!received.ok || received.value === 0) return;
 *     await asyncSend(ctx, stream, buffer.subarray(0, received.value));
 *   }
 * });
 * await using listener = unwrap(TcpListener.bind(SocketAddress.v4(0)));
 * await acceptLoop(ctx, listener, (fd) => connections.add(fd), stop);
 * await connections.closed;
 * ```
 */
export class Connections {
  readonly #ctx: IoContext;
  readonly #ring: Ring;
  readonly #handler: (stream: TcpStream) => Task<void>;
  readonly #lingerMs: number;
  readonly #onError: OnError<[TcpStream]>;
  readonly #tasks = new Set<Promise<void>>();
  /** Filled by all connections that wait for their end, and never read. */
  readonly #scrap = new Uint8Array(SCRAP_SIZE);

  /**
   * Makes an empty group.
   *
   * @param ctx The context.
   * @param handler Serves a connection. The stream is closed when the handler
   * is over, if not before. If it throws or its promise rejects, the error goes
   * to `onError` and ends this connection only. Operations throw when the
   * context is closed: such errors are ignored.
   * @param options The time to linger, and the handler of exceptions.
   * @throws {TypeError} If an argument has the wrong type.
   * @throws {RangeError} If `lingerMs` is out of range.
   */
  constructor(
    ctx: IoContext,
    handler: (stream: TcpStream) => Task<void>,
    options: ConnectionsOptions = {},
  ) {
    const verb = "serve connections";
    this.#ring = ringOf(ctx, { verb });
    checkFunction(handler, "handler", verb);
    checkOptions(options, verb);
    const { lingerMs = 1000, onError = logError } = options;
    checkDelay(lingerMs, "lingerMs", verb);
    checkFunction(onError, "onError", verb);
    this.#ctx = ctx;
    this.#handler = handler;
    this.#lingerMs = lingerMs;
    this.#onError = onError;
  }

  /** Connections now. */
  get size(): number {
    return this.#tasks.size;
  }

  /**
   * Serves a connection, for example one that `ctx.onFd` was called with.
   *
   * @param connection Its fd, or a stream. This object owns it from now on and
   * closes it. The handler of an fd gets a stream with this context.
   * @throws {RangeError} If the fd is out of range.
   */
  add(connection: number | TcpStream): void {
    const stream = connection instanceof TcpStream ? connection : new TcpStream(
      checkInteger(connection, 2 ** 31 - 1, "fd", "serve"),
      this.#ctx,
    );
    const task = this.#serve(stream);
    this.#tasks.add(task);
    void task.then(() => this.#tasks.delete(task));
  }

  /**
   * Resolves when all connections are closed, those included that come until
   * then. The group may be filled again, so each reading gives a promise of its
   * own.
   */
  get closed(): Promise<void> {
    return this.#whenClosed();
  }

  async #whenClosed(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
  }

  async #serve(stream: TcpStream): Promise<void> {
    try {
      await this.#handler(stream);
      await this.#linger(stream);
    } catch (error) {
      // Every operation throws once the context is closed.
      if (!this.#ring.closing) await tell(this.#onError, error, stream);
    }
    await stream.close();
  }

  /** Sends the end, and waits for the peer's. */
  async #linger(stream: TcpStream): Promise<void> {
    if (stream.fd === -1 || this.#lingerMs === 0) return;
    if (loadShim().kio_socket_shutdown(stream.fd, SHUT_WR) < 0) return;
    using bounds = new Bounds({ timeoutMs: this.#lingerMs }, "linger");
    // Not until there is nothing to receive: that may never be.
    while (
      bounds.remainingMs > 0 && stream.fd !== -1 && !this.#ring.closing
    ) {
      if (this.#ring.isFull) {
        await pause();
        continue;
      }
      const received = await bounds.of(
        asyncRecv(this.#ctx, stream, this.#scrap),
      );
      if (!received.ok || received.value === 0) return;
    }
  }
}
