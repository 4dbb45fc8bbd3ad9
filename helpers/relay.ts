import { loadShim } from "../ffi/load.ts";
import { checkBounds, checkDelay } from "../lib/check.ts";
import { SHUT_WR, SO_ERROR, SO_LINGER, SOL_SOCKET } from "../lib/constants.ts";
import { ECANCELED, ETIMEDOUT } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncPollMultishot } from "../lib/ops/multishot.ts";
import { RELAY } from "../lib/ops/table.ts";
import {
  errorOf,
  type IoError,
  type Result,
  shortFailure,
  success,
} from "../lib/result.ts";
import { bound, type BoundOptions } from "../lib/ring/bounds.ts";
import type { UringOp } from "../lib/UringOp.ts";
import type { UringStream } from "../lib/UringStream.ts";
import { Socket } from "../net/Socket.ts";
import { startSpliceAll } from "./splice_all.ts";

/** The longest delay of a timer of the platform. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** struct linger: off, and on with 0 seconds. */
const LINGER_OFF = new Int32Array([0, 0]);
const LINGER_RESET = new Int32Array([1, 0]);

/** Options of `relay()`. */
export interface RelayOptions extends BoundOptions {
  /** Milliseconds without a byte in either direction, 0 or more and finite.
   * Then it ends with `ETIMEDOUT`. Without it there is no such limit. */
  idleTimeoutMs?: number | undefined;
}

/** The bytes that `relay()` has moved. */
export interface RelayedBytes {
  /** Bytes from the first socket to the second. */
  readonly leftToRight: number;
  /** Bytes from the second socket to the first. */
  readonly rightToLeft: number;
}

/**
 * Joins two connections: moves bytes both ways by splice(2), as
 * `asyncSpliceAll()` does, until both have ended. It owns the sockets from the
 * call on, and closes them.
 *
 * An end is passed on by shutdown(2), and the other direction goes on. A failure
 * ends both: the failure of a socket, a timeout, an aborted signal, a closed
 * context. It then resets both connections, so that no peer takes a cut for an
 * end. The kernel does the same if the thread or the process dies. A unix socket
 * has no reset: its peer sees an end.
 *
 * A reset is seen at once, also of a socket that has ended. As with any reset,
 * bytes that are on their way may be lost.
 *
 * @param ctx The context; it takes four operations.
 * @param left A connected stream socket (TCP, unix).
 * @param right Another one.
 * @param options `idleTimeoutMs`; `timeoutMs` and `signal` for the whole.
 * @returns The bytes of each direction, when both sockets are closed.
 * `ECONNRESET`, `EPIPE`, `ETIMEDOUT`, `ECANCELED`, `EMFILE` …:
 * `error.bytesTransferred` is the sum of both directions.
 * @throws {RangeError} If a number is out of range, a socket is closed, or the
 * context has no room for the operations. The sockets are the caller's then.
 * @throws {TypeError} If an argument has the wrong type, both sockets are the
 * same, the context is closed, or it is called within `link()`. The same.
 *
 * @example A client and a server that are joined
 * ```ts
 * import { asyncRecv, asyncSend, IoContext, relay, Socket, unwrap } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const [client, left] = unwrap(Socket.pair());
 * const [right, server] = unwrap(Socket.pair());
 * const relayed = relay(ctx, left, right, { idleTimeoutMs: 60_000 });
 * await asyncSend(ctx, client, new TextEncoder().encode("hello")).orThrow();
 * assertEquals(await asyncRecv(ctx, server, new Uint8Array(64)).orThrow(), 5);
 * await Promise.all([client.close(), server.close()]);
 * assertEquals(unwrap(await relayed), { leftToRight: 5, rightToLeft: 0 });
 * ```
 */
export function relay(
  ctx: IoContext,
  left: Socket,
  right: Socket,
  options: RelayOptions = {},
): Promise<Result<RelayedBytes>> {
  const { verb } = RELAY;
  checkBounds(options, verb);
  const { idleTimeoutMs } = options;
  if (idleTimeoutMs !== undefined) {
    checkDelay(idleTimeoutMs, "idleTimeoutMs", verb);
  }
  if (!(left instanceof Socket && right instanceof Socket) || left === right) {
    throw new TypeError(
      `Cannot ${verb}: it takes two sockets; pass a Socket each`,
    );
  }
  return new Relay(ctx, left, right, options).run();
}

/** Anything that can be given up. */
type Pending = Pick<UringOp<unknown>, "cancel">;

/** Two sockets while bytes are moved between them. */
class Relay {
  readonly #shim = loadShim();
  readonly #left: Socket;
  readonly #right: Socket;
  readonly #idleTimeoutMs: number;
  readonly #pending: Pending[] = [];
  readonly #leftToRight: UringOp<number>;
  readonly #rightToLeft: UringOp<number>;
  /** They tell of resets. */
  readonly #watches: readonly UringStream<number>[];
  /** The sockets that have given all of their bytes. */
  readonly #ended = new Set<Socket>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #movedAtMs = this.#shim.kio_now_ms();
  #isOver = false;
  /** The first failure: those after it are its consequences. */
  #error: IoError | undefined;

  constructor(
    ctx: IoContext,
    left: Socket,
    right: Socket,
    options: RelayOptions,
  ) {
    const ring = ringOf(ctx, RELAY);
    this.#left = left;
    this.#right = right;
    this.#idleTimeoutMs = options.idleTimeoutMs ?? Infinity;
    const noteMove = () => void (this.#movedAtMs = this.#shim.kio_now_ms());
    const started = <T extends Pending>(pending: T): T => {
      this.#pending.push(pending);
      return pending;
    };
    try {
      this.#leftToRight = started(
        startSpliceAll(ring, left, right, {}, noteMove),
      );
      this.#rightToLeft = started(
        startSpliceAll(ring, right, left, {}, noteMove),
      );
      this.#watches = [left, right].map((socket) =>
        started(asyncPollMultishot(ctx, socket, 0))
      );
    } catch (thrown) {
      this.#cancel();
      throw thrown;
    }
    bound(this.#leftToRight, options);
    bound(this.#rightToLeft, options);
  }

  async run(): Promise<Result<RelayedBytes>> {
    // From now on a close without an end is a reset, whoever makes it.
    this.#setLinger(LINGER_RESET);
    this.#watchIdleness();
    const watches = [this.#left, this.#right].map((socket, i) =>
      this.#watch(this.#watches[i]!, socket)
    );
    const [leftToRight, rightToLeft] = await Promise.all([
      this.#pass(this.#leftToRight, this.#left, this.#right),
      this.#pass(this.#rightToLeft, this.#right, this.#left),
    ]);
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#cancel();
    await Promise.all(watches);
    const error = this.#error;
    if (error === undefined) this.#setLinger(LINGER_OFF);
    await Promise.all(
      [this.#left, this.#right].map((socket) =>
        error === undefined ? socket.close() : socket.reset()
      ),
    );
    return error === undefined
      ? success({ leftToRight, rightToLeft })
      : shortFailure(RELAY, error.errno, leftToRight + rightToLeft);
  }

  /** Passes the end of one direction on. Returns its bytes. */
  async #pass(
    direction: UringOp<number>,
    from: Socket,
    to: Socket,
  ): Promise<number> {
    const moved = await direction;
    if (!moved.ok) {
      this.#fail(moved.error);
      return moved.error.bytesTransferred ?? 0;
    }
    this.#ended.add(from);
    // Closed here, which is no end of the peer.
    if (from.fd === -1) this.#fail(errorOf(ECANCELED));
    else this.#failIfReset(from);
    // The other direction may have met a reset, and this one an end after it.
    if (this.#error === undefined) {
      this.#shim.kio_socket_shutdown(to.fd, SHUT_WR);
    }
    return moved.value;
  }

  /** Fails when a socket that has ended is reset: no direction waits for it. One
   * that has not ended may have bytes from before; its direction moves them, and
   * then meets the reset. */
  async #watch(events: UringStream<number>, socket: Socket): Promise<void> {
    for await (const event of events) {
      if (!event.ok) this.#fail(event.error);
      else if (this.#ended.has(socket)) this.#failIfReset(socket);
    }
  }

  #failIfReset({ fd }: Socket): void {
    const errno = this.#shim.kio_option_get(fd, SOL_SOCKET, SO_ERROR);
    if (errno > 0) this.#fail(errorOf(errno));
  }

  /** Fails when no byte was moved for a time. It looks when that may be. A timer
   * of the context would need room in its table again and again. */
  #watchIdleness(): void {
    if (this.#idleTimeoutMs === Infinity || this.#isOver) return;
    const idleMs = this.#shim.kio_now_ms() - this.#movedAtMs;
    const leftMs = this.#idleTimeoutMs - idleMs;
    if (leftMs <= 0) this.#fail(errorOf(ETIMEDOUT));
    else {
      const delayMs = Math.min(Math.ceil(leftMs), TIMER_MS_MAX);
      this.#timer = setTimeout(() => this.#watchIdleness(), delayMs);
    }
  }

  #fail(error: IoError): void {
    if (this.#isOver || this.#error !== undefined) return;
    this.#error = error;
    this.#cancel();
  }

  #cancel(): void {
    for (const pending of this.#pending) pending.cancel();
  }

  #setLinger(linger: Int32Array<ArrayBuffer>): void {
    for (const { fd } of [this.#left, this.#right]) {
      this.#shim.kio_option_set_bytes(
        fd,
        SOL_SOCKET,
        SO_LINGER,
        linger,
        linger.byteLength,
      );
    }
  }
}
