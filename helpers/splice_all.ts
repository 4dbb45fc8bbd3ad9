import type { Shim } from "../ffi/load.ts";
import { checkFd, type Fd } from "../lib/check.ts";
import { POLLIN, POLLOUT, SO_TYPE, SOL_SOCKET } from "../lib/constants.ts";
import { EACCES, EINTR } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { SPLICE_ALL } from "../lib/ops/table.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import type { Transfer } from "../lib/ring/entry.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import { Sqe } from "../lib/ring/sqe.ts";
import { startTransfer } from "../lib/ring/start.ts";
import { POLL_ADD, Waiting } from "../lib/ring/steps.ts";
import type { UringOp } from "../lib/UringOp.ts";
import {
  destroy,
  type PipePool,
  pipePoolOf,
  type PooledPipe,
} from "./pipe_pool.ts";

/** Capacity of a pipe: it bounds the bytes that a slow receiver leaves here. */
const PIPE_SIZE = 1 << 19;

/**
 * Moves all bytes of a socket to another by splice(2), until the first ends. No
 * byte is copied through this process. Like an exact transfer it is one
 * operation. It ends neither socket: `relay()` does, and moves both ways.
 *
 * The ring waits for bytes by a poll, and for room in the same way. Up to 512 KiB
 * is on its way in a pipe. Without bytes there is no pipe.
 *
 * It sets `O_NONBLOCK` on both sockets, so that the splices, which the thread
 * makes, never wait. Operations of a context wait on them as before.
 *
 * @param ctx The context.
 * @param from A connected stream socket (TCP, unix); the only reader is this
 * operation.
 * @param to Another one.
 * @param options `timeoutMs` and `signal` for the whole.
 * @returns The number of bytes when `from` has ended. `ECONNRESET`, `EPIPE` …
 * if a peer is gone, `ENOTSOCK`, `ENOTCONN`, `ETIMEDOUT`, `ECANCELED`, `EMFILE`
 * … `error.bytesTransferred` tells how many bytes `to` has taken. Bytes that were
 * in the pipe then are lost.
 * @throws {RangeError} If a number is out of range.
 * @throws {TypeError} If an argument has the wrong type, the context is closed,
 * or it is called within `link()`.
 *
 * @example From one connection to another
 * ```ts
 * import {
 *   asyncRecv, asyncSend, asyncShutdown, asyncSpliceAll, IoContext, SHUT_WR,
 *   Socket, unwrap,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const [client, from] = unwrap(Socket.pair());
 * const [to, server] = unwrap(Socket.pair());
 * const moving = asyncSpliceAll(ctx, from, to);
 * await asyncSend(ctx, client, new TextEncoder().encode("hello")).orThrow();
 * await asyncShutdown(ctx, client, SHUT_WR).orThrow();
 * assertEquals(await moving.orThrow(), 5);
 * assertEquals(await asyncRecv(ctx, server, new Uint8Array(64)).orThrow(), 5);
 * await Promise.all([client, from, to, server].map((it) => it.close()));
 * ```
 */
export function asyncSpliceAll(
  ctx: IoContext,
  from: Fd,
  to: Fd,
  options: BoundOptions = {},
): UringOp<number> {
  return startSpliceAll(ringOf(ctx, SPLICE_ALL), from, to, options, () => {});
}

/** The same; `onProgress` is called after each move of bytes. */
export function startSpliceAll(
  ring: Ring,
  from: Fd,
  to: Fd,
  options: BoundOptions,
  onProgress: () => void,
): UringOp<number> {
  ring.checkOpen(SPLICE_ALL.verb);
  const fromFd = checkFd(from, SPLICE_ALL);
  const toFd = checkFd(to, SPLICE_ALL);
  const transfer = new SpliceAll(ring, fromFd, toFd, onProgress);
  return startTransfer(ring, SPLICE_ALL, fromFd, null, transfer, options, {
    otherFd: toFd,
  });
}

/** Moves bytes from socket to socket: each submission is a poll, and each move
 * a call of the shim. */
class SpliceAll extends Waiting implements Transfer {
  /** Bytes that have left the pipe. */
  moved = 0;
  readonly #ring: Ring;
  readonly #from: number;
  readonly #to: number;
  readonly #onProgress: () => void;
  readonly #pool: PipePool;
  /** There is one while it holds bytes, and within a move. */
  #pipe: PooledPipe | undefined;
  /** For kio_relay(): bytes in the pipe, and bytes of the last move. */
  readonly #counts = new Uint32Array(2);
  #hasEnded = false;
  #errno = 0;

  constructor(ring: Ring, from: number, to: number, onProgress: () => void) {
    super(from, 0, POLLIN);
    this.#ring = ring;
    this.#from = from;
    this.#to = to;
    this.#onProgress = onProgress;
    this.#pool = pipePoolOf(ring, PIPE_SIZE);
    // The ring does not make the splices, so it does not refuse them.
    if (ring.allowed?.[SPLICE_ALL.opcode] === 0) this.#errno = EACCES;
    for (const fd of [from, to]) {
      // A splice on anything else may wait, and so hold this thread.
      const type = ring.shim.kio_option_get(fd, SOL_SOCKET, SO_TYPE);
      if (type < 0) this.#errno = -type;
      else ring.shim.kio_nonblocking_set(fd, true);
    }
  }

  get isComplete(): boolean {
    return this.#hasEnded;
  }

  /** Queues the poll for what it waits for; after a failure nothing. */
  submit(shim: Shim, handle: Deno.PointerObject, id: number): number {
    if (this.#errno !== 0) return -this.#errno;
    const isFull = this.#pipe !== undefined;
    const poll = new Sqe(POLL_ADD);
    poll.fd = isFull ? this.#to : this.#from;
    poll.opFlags = isFull ? POLLOUT : POLLIN;
    return poll.submit(shim, handle, id);
  }

  override advance(result: number): boolean {
    if (this.isWaiting) {
      const isReady = super.advance(result, 0);
      if (!isReady || this.isWaiting) return isReady;
    } else if (result < 0) return result === -EINTR;
    const event = this.#move();
    if (event === 0) return false;
    if (this.#errno !== 0) return true;
    this.waitFor(event === POLLIN ? this.#from : this.#to, event);
    this.waitAgain(this.#counts[1]! > 0);
    return true;
  }

  take(): boolean {
    return true;
  }

  /** Moves the bytes that are there. Returns the event to wait for; 0 at the
   * end. After an error `#errno` has it. */
  #move(): number {
    if (this.#pipe === undefined) {
      const taken = this.#pool.take();
      if (!taken.ok) return this.#errno = taken.error.errno;
      this.#pipe = taken.value;
    }
    const { shim, handle } = this.#ring;
    const { readFd, writeFd, size } = this.#pipe;
    const counts = this.#counts;
    const event = shim.kio_relay(
      handle,
      this.#from,
      this.#to,
      readFd,
      writeFd,
      size,
      counts,
    );
    if (counts[1]! > 0) {
      this.moved += counts[1]!;
      this.#onProgress();
    }
    if (counts[0] === 0) {
      this.#pool.give(this.#pipe);
      this.#pipe = undefined;
    }
    if (event < 0) this.#errno = -event;
    this.#hasEnded = event === 0 && counts[0] === 0;
    return event;
  }

  end(): void {
    // The bytes that are left in it would go to the next transfer.
    if (this.#pipe !== undefined) destroy(this.#pipe);
    this.#pipe = undefined;
  }
}
