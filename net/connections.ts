import { loadShim } from "../ffi/load.ts";
import { Bounds } from "../lib/ring/bounds.ts";
import {
  checkDelay,
  checkFunction,
  checkInteger,
  checkOptions,
} from "../lib/check.ts";
import { SHUT_WR } from "../lib/constants.ts";
import { type IoContext, ringOf, type Task } from "../lib/IoContext.ts";
import { asyncRecv } from "../lib/io.ts";
import { ACCEPT } from "../lib/ops/table.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import { Socket } from "./net.ts";
import { logError, type OnError, tell } from "./on_error.ts";
import { pause } from "./pause.ts";

const SCRAP_SIZE = 16 * 1024;

/** How connections are closed. */
export interface ConnectionsOptions {
  /** How long the peer may take to close its side, after this side has, before
   * the socket is closed; 0 closes at once.
   * @default {1000} */
  lingerMs?: number | undefined;
  /**
   * Gets what the handler of a connection has thrown, and its socket, which is
   * closed afterwards. What this throws is logged by `console.error`; no other
   * connection notices.
   * @default {console.error}
   */
  onError?: ((error: unknown, socket: Socket) => void) | undefined;
}

/**
 * The connections of a server: runs a handler for each, knows when all are
 * done, and closes them without losing what was sent. Closing a socket with
 * bytes that nobody has read is a reset, which can destroy what the peer has
 * not read yet: so the end is sent first, and the socket closed when the peer
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
 * const connections = new Connections(ctx, async (socket) => {
 *   const buffer = new Uint8Array(4096);
 *   for (;;) {
 *     const received = await asyncRecv(ctx, socket, buffer).withSignal(stop);
 *     if (!received.ok || received.value === 0) return;
 *     await asyncSend(ctx, socket, buffer.subarray(0, received.value));
 *   }
 * });
 * await using listener = unwrap(TcpListener.bind(SocketAddress.v4(0)));
 * await acceptLoop(ctx, listener, (fd) => connections.add(fd), stop);
 * await connections.finished();
 * ```
 */
export class Connections {
  readonly #ctx: IoContext;
  readonly #ring: Ring;
  readonly #handler: (socket: Socket) => Task<void>;
  readonly #lingerMs: number;
  readonly #onError: OnError<[Socket]>;
  readonly #tasks = new Set<Promise<void>>();
  /** Filled by all connections that wait for their end; nobody reads it. */
  readonly #scrap = new Uint8Array(SCRAP_SIZE);

  /**
   * Makes an empty group.
   *
   * @param ctx The context.
   * @param handler Serves a connection. When it is over the socket is closed,
   * unless it has done so itself. An exception, or a promise that rejects, goes
   * to `onError` and ends this connection only. After the context was closed,
   * which makes operations throw, it is nobody's concern.
   * @param options How connections are closed, and who hears of exceptions.
   * @throws {TypeError} If an argument has the wrong type; {RangeError} if
   * `lingerMs` is out of range.
   */
  constructor(
    ctx: IoContext,
    handler: (socket: Socket) => Task<void>,
    options: ConnectionsOptions = {},
  ) {
    const verb = "serve connections";
    this.#ring = ringOf(ctx, { ...ACCEPT, verb });
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

  /** How many connections there are at present. */
  get size(): number {
    return this.#tasks.size;
  }

  /**
   * Serves a connection, one that `ctx.onFd` got for example.
   *
   * @param fd Its fd: from now on it is closed here.
   * @throws {RangeError} If `fd` is out of range.
   */
  add(fd: number): void {
    const socket = new Socket(checkInteger(fd, 2 ** 31 - 1, "fd", "serve"));
    const task = this.#serve(socket);
    this.#tasks.add(task);
    void task.then(() => this.#tasks.delete(task));
  }

  /** Waits until there is no connection any more. */
  async finished(): Promise<void> {
    while (this.#tasks.size > 0) await Promise.all(this.#tasks);
  }

  async #serve(socket: Socket): Promise<void> {
    try {
      await this.#handler(socket);
      await this.#linger(socket);
    } catch (error) {
      // Every operation throws once the context is closed.
      if (!this.#ring.closing) await tell(this.#onError, error, socket);
    }
    await socket.close();
  }

  /** Says the end, and waits for the peer's. */
  async #linger(socket: Socket): Promise<void> {
    if (socket.fd === -1 || this.#lingerMs === 0) return;
    if (loadShim().kio_socket_shutdown(socket.fd, SHUT_WR) < 0) return;
    using bounds = new Bounds({ timeout: this.#lingerMs }, "linger");
    // Not until there is nothing to receive: that may never be.
    while (
      bounds.remainingMs > 0 && socket.fd !== -1 && !this.#ring.closing
    ) {
      if (this.#ring.isFull) {
        await pause();
        continue;
      }
      const received = await bounds.of(
        asyncRecv(this.#ctx, socket, this.#scrap),
      );
      if (!received.ok || received.value === 0) return;
    }
  }
}
