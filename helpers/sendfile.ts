import type { Shim } from "../ffi/load.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import { checkFd, checkInteger, type Fd } from "../lib/check.ts";
import { POLLOUT } from "../lib/constants.ts";
import { EAGAIN, ECANCELED, EINTR } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import * as operations from "../lib/ops/table.ts";
import type { Result } from "../lib/result.ts";
import { SPAN } from "../lib/ring/entry.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import { startTransfer } from "../lib/ring/start.ts";
import { Waiting } from "../lib/ring/steps.ts";
import { type Taker, TURN_BYTES } from "../lib/ring/turns.ts";
import type { UringOp } from "../lib/UringOp.ts";
import {
  destroy,
  type PipePool,
  pipePoolOf,
  type PooledPipe,
} from "./pipe_pool.ts";

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
  const transfer = new Sendfile(ring, fileFd, toFd, from, total);
  return startTransfer(ring, operation, fileFd, null, transfer, options, {
    otherFd: toFd,
  });
}

/** Moves bytes from a file to a socket: by a call of the shim in each of its
 * turns, as long as they are in the page cache, else chain of splices by
 * chain. */
class Sendfile extends Waiting implements Taker {
  /** Bytes that the socket has taken. */
  moved = 0;
  readonly #ring: Ring;
  readonly #total: number;
  #pipe: PooledPipe | undefined;
  readonly #file: number;
  readonly #to: number;
  readonly #offset: number;
  /** Bytes that have left the file. */
  #read = 0;

  constructor(
    ring: Ring,
    file: number,
    to: number,
    offset: number,
    total: number,
  ) {
    super(to, 0, POLLOUT);
    this.#ring = ring;
    this.#file = file;
    this.#to = to;
    this.#offset = offset;
    this.#total = total;
  }

  get isComplete(): boolean {
    return this.moved === this.#total;
  }

  /** Queues a poll or a chain of splices. What this thread may send waits for
   * its turn instead, unless bytes in the pipe have to go before. */
  override prepare(
    shim: Shim,
    handle: Deno.PointerObject,
    id: number,
  ): number {
    const { turns, table, allowed } = this.#ring;
    // A ring that may not splice refuses it by itself, not by this thread.
    const isAtOnce = !this.isWaiting && !this.isComplete && this.#held === 0 &&
      allowed?.[operations.SENDFILE.opcode] !== 0;
    if (!isAtOnce) return super.prepare(shim, handle, id);
    turns.add(table.at(id % SPAN)!);
    return 0;
  }

  takeTurn(shim: Shim, handle: Deno.PointerObject, id: number): number {
    const count = Math.min(this.#total - this.#read, TURN_BYTES);
    const sent = shim.kio_sendfile(
      handle,
      this.#file,
      this.#offset + this.#read,
      count,
      this.#to,
    );
    if (sent < 0 && sent !== -EAGAIN) return sent;
    if (sent > 0) this.moved = this.#read += sent;
    // A TCP socket takes bytes long before a poll says so: after a call of which
    // it took all, only others have a turn.
    if (sent === count) {
      this.noteProgress();
      return this.prepare(shim, handle, id);
    }
    // After 0 the ring does it.
    if (sent !== 0) this.waitAgain(sent > 0);
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
      this.#held,
      this.#to,
      size,
      STEPS_MAX,
    );
  }

  get #pool(): PipePool {
    return pipePoolOf(this.#ring, PIPE_SIZE);
  }

  /** Bytes in the pipe. */
  get #held(): number {
    return this.#read - this.moved;
  }

  take(result: number, step: number): boolean {
    // The steps before have moved all they should: a short one ends the chain.
    let emptying = this.#held > 0;
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
    const pipe = this.#pipe;
    if (pipe === undefined) return;
    // A byte that is left in it would go to the next transfer.
    if (this.isComplete) this.#pool.give(pipe);
    else destroy(pipe);
  }
}
