import type { Shim } from "../ffi/load.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import {
  checkBytes,
  checkFd,
  checkInteger,
  checkOptions,
  type Fd,
} from "../lib/check.ts";
import { MSG_MORE, POLLOUT } from "../lib/constants.ts";
import { EAGAIN, ECANCELED, EINTR } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import * as operations from "../lib/ops/table.ts";
import type { Result } from "../lib/result.ts";
import { SPAN } from "../lib/ring/entry.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import { startTransfer } from "../lib/ring/start.ts";
import { Sqe } from "../lib/ring/sqe.ts";
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

/** Options of `asyncSendfile()`. */
export interface SendfileOptions extends BoundOptions {
  /** Bytes that go before those of the file by send(2), such as the head of an
   * answer; at least one. They wait for the first bytes of the file, to share
   * their packet. For sockets only. They must be neither transferred nor changed
   * until completion. */
  head?: Uint8Array | undefined;
}

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
 * Until it is complete, send nothing else to the socket, and keep the file open:
 * the order of other operations among its parts is open.
 *
 * It sets `O_NONBLOCK` on a socket, so that a slow reader holds no thread of
 * the kernel. Operations of a context wait on the socket as before.
 *
 * C++: `AsyncSendfile`
 *
 * @param ctx The context.
 * @param to A connected stream socket (TCP, unix), or a pipe.
 * @param file The file, no direct descriptor; its position is neither used nor
 * moved.
 * @param offset The place in the file, 0 to 2^53 - 1.
 * @param count Bytes, 0 to 2^53 - 1 - `offset`.
 * @param options `head` goes before the file; `timeoutMs` and `signal` are for
 * the whole transfer.
 * @returns The number of bytes sent: the length of the head and `count`.
 * `ENODATA` if the file ends before, `EPIPE` or `ECONNRESET` if the peer is gone,
 * `EINVAL` for a file that cannot be spliced, `ENOTSOCK` for a head to a pipe,
 * `ETIMEDOUT`, `ECANCELED`, `EMFILE` … `error.bytesTransferred` tells how many
 * bytes the socket has taken. The connection is of little use after that.
 * @throws {RangeError} If a number is out of range.
 * @throws {TypeError} If an argument has the wrong type or the context is
 * closed.
 *
 * @example Send a head and a file
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
 * const head = new TextEncoder().encode(`${size} bytes follow\n`);
 * const options = { head, timeoutMs: 5000 };
 * const sent = await asyncSendfile(ctx, left, file, 0, size, options);
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
  options: SendfileOptions = {},
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
  checkOptions(options, verb);
  const { head } = options;
  if (head !== undefined) checkBytes(head, "head", verb);
  const memory = head ?? null;
  const transfer = new Sendfile(ring, fileFd, toFd, from, total, memory);
  return startTransfer(ring, operation, fileFd, memory, transfer, options, {
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
  readonly #head: Uint8Array | null;
  readonly #headLength: number;
  /** Bytes of head and file. */
  readonly #total: number;
  /** The ring has the head, or a part of it. */
  #isSending = false;
  #pipe: PooledPipe | undefined;
  readonly #file: number;
  readonly #to: number;
  /** The place in the file, less the length of the head. */
  readonly #offset: number;
  /** Bytes that have left head and file. */
  #read = 0;

  constructor(
    ring: Ring,
    file: number,
    to: number,
    offset: number,
    count: number,
    head: Uint8Array | null,
  ) {
    super(to, 0, POLLOUT);
    this.#ring = ring;
    this.#file = file;
    this.#to = to;
    this.#head = head;
    this.#headLength = head === null ? 0 : head.length;
    this.#offset = offset - this.#headLength;
    this.#total = count + this.#headLength;
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
    const { turns, table } = this.#ring;
    const isAtOnce = !this.isWaiting && !this.isComplete &&
      this.#held() === 0 &&
      this.#total > this.#headLength && this.#isAllowed();
    if (!isAtOnce) return super.prepare(shim, handle, id);
    turns.add(table.at(id % SPAN)!);
    return 0;
  }

  takeTurn(shim: Shim, handle: Deno.PointerObject, id: number): number {
    const head = this.#headLeft();
    const headLength = head === null ? 0 : head.length;
    const at = this.#read + headLength;
    const count = Math.min(this.#total - at, TURN_BYTES);
    const sent = shim.kio_sendfile(
      handle,
      this.#file,
      this.#offset + at,
      count,
      this.#to,
      head,
      headLength,
    );
    if (sent < 0 && sent !== -EAGAIN) return sent;
    if (sent > 0) this.moved = this.#read += sent;
    // A TCP socket takes bytes long before a poll says so: after a call of which
    // it took all, only others have a turn.
    if (sent === headLength + count) {
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
    const head = this.#headLeft();
    if (head !== null) {
      this.#isSending = true;
      const sqe = new Sqe(operations.SEND.opcode);
      sqe.fd = this.#to;
      sqe.addr = head;
      sqe.len = head.length;
      sqe.opFlags = this.#total > this.#headLength ? MSG_MORE : 0;
      return sqe.submit(shim, handle, id);
    }
    if (this.#pipe === undefined) {
      const taken: Result<PooledPipe> = this.#pool().take();
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

  /** A ring that may not do it refuses it by itself, not by this thread. */
  #isAllowed(): boolean {
    const { allowed } = this.#ring;
    return allowed?.[operations.SENDFILE.opcode] !== 0 &&
      (this.#head === null || allowed?.[operations.SEND.opcode] !== 0);
  }

  /** Bytes of the head that the socket has not taken; null if it has all. */
  #headLeft(): Uint8Array | null {
    if (this.#read === 0) return this.#head;
    return this.#read < this.#headLength
      ? this.#head!.subarray(this.#read)
      : null;
  }

  #pool(): PipePool {
    return pipePoolOf(this.#ring, PIPE_SIZE);
  }

  /** Bytes in the pipe. */
  #held(): number {
    return this.#read - this.moved;
  }

  take(result: number, step: number): boolean {
    if (this.#isSending) {
      this.#isSending = false;
      if (result > 0) this.moved = this.#read += result;
      return result > 0 && !this.isComplete || result === -EAGAIN ||
        result === -EINTR;
    }
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
    const pipe = this.#pipe;
    if (pipe === undefined) return;
    // A byte that is left in it would go to the next transfer.
    if (this.isComplete) this.#pool().give(pipe);
    else destroy(pipe);
  }
}
