import type { Shim } from "../ffi/load.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import { checkFd, checkInteger, type Fd } from "../lib/check.ts";
import { POLLOUT, SO_TYPE, SOCK_STREAM, SOL_SOCKET } from "../lib/constants.ts";
import { EAGAIN, ECANCELED, EINTR } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import * as operations from "../lib/ops/table.ts";
import type { Result } from "../lib/result.ts";
import { SPAN, type Transfer } from "../lib/ring/entry.ts";
import { startTransfer } from "../lib/ring/start.ts";
import { Waiting } from "../lib/ring/steps.ts";
import type { UringOp } from "../lib/UringOp.ts";
import {
  destroy,
  type PipePool,
  pipePoolOf,
  type PooledPipe,
} from "./pipe_pool.ts";
import { type Taker, TURN_BYTES, type Turns, turnsOf } from "./turns.ts";

/** Splices in one chain: the pipe is filled and emptied 16 times. If the last
 * chain has left bytes in it, it is emptied, then filled and emptied 15 times. */
const STEPS_MAX = 32;

/** Capacity of a pipe. Larger ones are slower, as pages leave the cache. */
const PIPE_SIZE = 1 << 16;

/**
 * Sends a part of a file to a socket or a pipe by sendfile(2) or splice(2): no
 * byte is copied through this process. Like an exact transfer it is one
 * operation.
 *
 * This thread sends parts that are in the page cache, without waiting, about
 * 1 MiB a step: then the other operations of the context have their turn. Threads
 * of the kernel do all else: what is on the disk, a pipe, tmpfs, NFS and overlay
 * file systems, Linux before 6.5, and files that the process neither owns nor
 * may write to.
 *
 * The kernel sends the pages of the file themselves. Who writes to the file, or
 * truncates it, may also change bytes that were sent and not received yet.
 *
 * It sets `O_NONBLOCK` on a socket, so that a slow reader holds no thread of
 * the kernel. Operations of a context wait on the socket as before.
 *
 * C++: `AsyncSendfile`
 *
 * @param ctx The context.
 * @param to A connected stream socket (TCP, unix), or a pipe.
 * @param file The file; its position is neither used nor moved.
 * @param offset The place in the file, 0 to 2^53 - 1.
 * @param count Bytes, 0 to 2^53 - 1.
 * @param options `timeoutMs` and `signal` for the whole transfer.
 * @returns `count`. `ENODATA` if the file ends before, `EPIPE` or `ECONNRESET`
 * if the peer is gone, `EINVAL` for a file that cannot be spliced, `ETIMEDOUT`,
 * `ECANCELED`, `EMFILE` … `error.bytesTransferred` tells how many bytes the
 * socket has taken. The connection is of little use after that.
 * @throws {RangeError} If a number is out of range.
 * @throws {TypeError} If an argument has the wrong type or the context is
 * closed.
 *
 * @example Send a file
 * ```ts
 * import {
 *   asyncClose, asyncFstat, asyncOpen, asyncSendfile, IoContext, O_RDONLY, Socket,
 *   unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * const file = await asyncOpen(ctx, "/etc/passwd", O_RDONLY).orThrow();
 * const { size } = await asyncFstat(ctx, file).orThrow();
 * const sent = await asyncSendfile(ctx, left, file, 0, size, { timeoutMs: 5000 });
 * console.log(sent.ok ? `${sent.value} bytes` : sent.error.message);
 * await asyncClose(ctx, file);
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncSendfile(
  ctx: IoContext,
  to: Fd,
  file: Fd,
  offset: number,
  count: number,
  options: BoundOptions = {},
): UringOp<number> {
  const operation = operations.SENDFILE;
  const { verb } = operation;
  const ring = ringOf(ctx, operation);
  ring.checkOpen(verb);
  const toFd = checkFd(to, operation);
  const fileFd = checkFd(file, operation);
  const from = checkInteger(offset, Number.MAX_SAFE_INTEGER, "offset", verb);
  const max = Number.MAX_SAFE_INTEGER - from;
  const total = checkInteger(count, max, "count", verb);
  const { shim } = ring;
  const type = shim.kio_option_get(toFd, SOL_SOCKET, SO_TYPE);
  if (type >= 0) shim.kio_nonblocking_set(toFd, true);
  // A ring that may not splice refuses it by itself, not by this thread.
  const isAtOnce = type === SOCK_STREAM &&
    ring.allowed?.[operation.opcode] !== 0;
  const turns = isAtOnce ? turnsOf(ring) : null;
  const pool = pipePoolOf(ring, PIPE_SIZE);
  const transfer = new Sendfile(pool, fileFd, toFd, from, total, turns);
  return startTransfer(ring, operation, fileFd, null, transfer, options, {
    otherFd: toFd,
  });
}

/** Turns of a transfer: none, one that it waits for, one that it has. */
const Turn = { NONE: 0, AWAITED: 1, TAKEN: 2 } as const;

/** Moves bytes from a file to a socket: by calls of the shim after a poll, as
 * long as they are in the page cache, else chain of splices by chain. */
class Sendfile extends Waiting implements Transfer, Taker {
  /** Bytes that the socket has taken. */
  moved = 0;
  slot = -1;
  /** Calls of the shim may send, without the ring, each in its turn; null if
   * only the ring may. */
  readonly #turns: Turns | null;
  #turn: typeof Turn[keyof typeof Turn] = Turn.NONE;
  readonly #total: number;
  readonly #pool: PipePool;
  #pipe: PooledPipe | undefined;
  readonly #file: number;
  readonly #to: number;
  readonly #offset: number;
  /** Bytes that have left the file. */
  #read = 0;

  constructor(
    pool: PipePool,
    file: number,
    to: number,
    offset: number,
    total: number,
    turns: Turns | null,
  ) {
    super(to, 0, POLLOUT);
    this.#pool = pool;
    this.#file = file;
    this.#to = to;
    this.#offset = offset;
    this.#total = total;
    this.#turns = turns;
  }

  get isComplete(): boolean {
    return this.moved === this.#total;
  }

  /** Bytes that the next call is to send. */
  get expected(): number {
    return Math.min(this.#total - this.#read, TURN_BYTES);
  }

  override get pauseMs(): number {
    return this.#turn === Turn.AWAITED ? Infinity : super.pauseMs;
  }

  override advance(result: number, step: number): boolean {
    const goesOn = super.advance(result, step);
    const isAtOnce = this.#turns !== null && !this.isWaiting &&
      this.#held() === 0 && !this.isComplete;
    if (goesOn && isAtOnce && this.#turn === Turn.NONE) {
      this.#turn = this.#turns!.take(this) ? Turn.TAKEN : Turn.AWAITED;
    }
    return goesOn;
  }

  /** Sends in its turn what is in the page cache. It begins with a poll: until
   * then it can be cancelled. After a wait for its turn it polls again. */
  override prepare(
    shim: Shim,
    handle: Deno.PointerObject,
    id: number,
  ): number {
    if (this.slot < 0 || this.#turn === Turn.AWAITED) {
      if (this.#turns !== null && !this.isComplete) this.waitAgain(true);
      if (this.#turn === Turn.AWAITED) this.#turn = Turn.TAKEN;
      this.slot = id % SPAN;
    } else if (this.#turn === Turn.TAKEN && !this.isWaiting) {
      this.#turn = Turn.NONE;
      const offset = this.#offset + this.#read;
      const count = this.expected;
      const sent = shim.kio_sendfile(
        handle,
        this.#file,
        offset,
        count,
        this.#to,
      );
      if (sent < 0 && sent !== -EAGAIN) return sent;
      if (sent > 0) this.moved = this.#read += sent;
      // After 0 the ring does it. A TCP socket takes bytes long before a poll
      // says so: after a call of which it took all, only others have a turn.
      if (sent !== 0 && !this.isComplete) {
        if (sent === count) this.waitForStep();
        else this.waitAgain(sent > 0);
      }
    }
    return super.prepare(shim, handle, id);
  }

  submit(shim: Shim, handle: Deno.PointerObject, id: number): number {
    // Nothing to queue: it is complete.
    if (this.isComplete) return -ECANCELED;
    if (this.#pipe === undefined) {
      const taken: Result<PooledPipe> = this.#pool.take();
      if (!taken.ok) return -taken.error.errno;
      this.#pipe = taken.value;
    }
    const { readFd, writeFd, size } = this.#pipe;
    return shim.kio_pump(
      handle,
      id,
      this.#file,
      this.#offset + this.#read,
      this.#total - this.#read,
      readFd,
      writeFd,
      this.#held(),
      this.#to,
      size,
      STEPS_MAX,
    );
  }

  /** Bytes in the pipe. */
  #held(): number {
    return this.#read - this.moved;
  }

  take(result: number, step: number): boolean {
    // The steps before have moved all they should: a short one ends the chain.
    let emptying = this.#held() > 0;
    for (let i = 0; i < step; i++, emptying = !emptying) {
      if (emptying) this.moved = this.#read;
      else this.#read += Math.min(this.#total - this.#read, this.#pipe!.size);
    }
    if (result > 0) {
      if (emptying) this.moved += result;
      else this.#read += result;
      return this.moved < this.#total;
    }
    return emptying && result === -EAGAIN || result === -EINTR;
  }

  end(): void {
    this.#turns?.leave(this);
    const pipe = this.#pipe;
    if (pipe === undefined) return;
    // A byte that is left in it would go to the next transfer.
    if (this.isComplete) this.#pool.give(pipe);
    else destroy(pipe);
  }
}
