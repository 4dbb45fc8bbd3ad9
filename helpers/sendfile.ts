import { type BoundOptions, Bounds } from "../lib/bounds.ts";
import { checkFd, checkInteger, type Fd } from "../lib/check.ts";
import { POLLOUT, SPLICE_F_MORE, SPLICE_F_NONBLOCK } from "../lib/constants.ts";
import {
  EAGAIN,
  EBADF,
  ECANCELED,
  EINTR,
  ENODATA,
  EPIPE,
} from "../lib/errno.ts";
import { type IoContext, ringOf } from "../lib/IoContext.ts";
import { asyncPoll, asyncSplice, link } from "../lib/io.ts";
import * as operations from "../lib/operations.ts";
import { type Result, shortFailure, success } from "../lib/result.ts";
import type { Ring } from "../lib/ring.ts";
import type { UringOp } from "../lib/UringOp.ts";
import { destroy, pipePoolOf, type PooledPipe } from "./pipe_pool.ts";

/** Times that a pipe is filled and emptied by one chain of operations. */
const ROUNDS_MAX = 4;

const SOL_SOCKET = 1;
const SO_TYPE = 3;

/**
 * Sends a part of a file to a socket or a pipe without copying it through this
 * process: by splice(2), through a pipe of the context. Stands for
 * `AsyncSendfile`.
 *
 * A socket is made non-blocking by it, so that a slow reader holds no thread of
 * the kernel; operations of a context wait on it as before.
 *
 * @param ctx The context.
 * @param to A connected stream socket (TCP, unix), or a pipe.
 * @param file The file; its position is neither used nor moved.
 * @param offset Where in the file, 0 to 2^53 - 1.
 * @param count Bytes, 0 to 2^53 - 1.
 * @param options `timeout` and `signal` for the whole transfer.
 * @returns `count`. `ENODATA` if the file ends before, `EPIPE` or `ECONNRESET`
 * if the peer is gone, `ETIMEDOUT`, `ECANCELED`, `EBADF` if the socket is closed
 * meanwhile, `EINVAL` for what cannot be spliced, `EMFILE` …:
 * `error.bytesTransferred` tells how many bytes the peer may have got. The
 * connection is of little use after that.
 * @throws {RangeError} If a number is out of range; {TypeError} if an argument
 * has the wrong type or the context is closed.
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
 * const sent = await asyncSendfile(ctx, left, file, 0, size, { timeout: 5000 });
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
): Promise<Result<number>> {
  const operation = operations.SENDFILE;
  const { verb } = operation;
  const ring = ringOf(ctx, operation);
  ring.checkOpen(verb);
  const toFd = checkFd(to, operation);
  checkFd(file, operation);
  const from = checkInteger(offset, Number.MAX_SAFE_INTEGER, "offset", verb);
  const max = Number.MAX_SAFE_INTEGER - from;
  const total = checkInteger(count, max, "count", verb);
  const bounds = new Bounds(options, verb);
  if (ring.shim.kio_option_get(toFd, SOL_SOCKET, SO_TYPE) >= 0) {
    ring.shim.kio_nonblocking_set(toFd, true);
  }
  return new Sendfile(ctx, ring, to, file, bounds).run(from, total);
}

/** One transfer. */
class Sendfile {
  readonly #ctx: IoContext;
  readonly #ring: Ring;
  readonly #to: Fd;
  readonly #toFd: number;
  readonly #file: Fd;
  readonly #bounds: Bounds;
  /** Bytes that have left the file, and that have left the pipe. */
  #read = 0;
  #sent = 0;

  constructor(ctx: IoContext, ring: Ring, to: Fd, file: Fd, bounds: Bounds) {
    this.#ctx = ctx;
    this.#ring = ring;
    this.#to = to;
    this.#toFd = fdOf(to);
    this.#file = file;
    this.#bounds = bounds;
  }

  async run(offset: number, total: number): Promise<Result<number>> {
    using _ = this.#bounds;
    if (total === 0) return success(0);
    const pool = pipePoolOf(this.#ring);
    const taken = pool.take(total);
    if (!taken.ok) return shortFailure(taken.error.errno, 0);
    const pipe = taken.value;
    let isClean = false;
    try {
      const errno = await this.#move(pipe, offset, total);
      // A byte that is left in it would go to the next client.
      isClean = errno === 0 && this.#read === this.#sent;
      return errno === 0 ? success(total) : shortFailure(errno, this.#sent);
    } finally {
      if (isClean) pool.give(pipe);
      else destroy(pipe);
    }
  }

  /** Moves everything; gives an errno, 0 if it worked. */
  async #move(
    pipe: PooledPipe,
    offset: number,
    total: number,
  ): Promise<number> {
    let errno = 0;
    while (errno === 0 && this.#sent < total) {
      if (this.#ring.closing) return ECANCELED;
      // A number that was given up may mean another file by now.
      if (fdOf(this.#to) !== this.#toFd) return EBADF;
      errno = this.#read > this.#sent
        ? await this.#empty(pipe, total)
        : await this.#pump(pipe, offset, total);
    }
    return errno;
  }

  /**
   * Fills and empties the pipe, several times for one call of the kernel. The
   * first operation that does not move all it should ends the chain, and says
   * why: the others are cancelled then.
   */
  async #pump(
    pipe: PooledPipe,
    offset: number,
    total: number,
  ): Promise<number> {
    const ops: UringOp<number>[] = [];
    const lengths: number[] = [];
    link(this.#ctx, () => {
      for (let at = this.#read; at < total; at += pipe.size) {
        const length = Math.min(pipe.size, total - at);
        lengths.push(length);
        ops.push(
          this.#fill(pipe, length, offset + at),
          this.#drain(pipe, length, at + length < total),
        );
        if (lengths.length === ROUNDS_MAX) break;
      }
    });
    this.#bounds.ofAll(ops);
    let cause: number | undefined;
    for (const [i, result] of (await Promise.all(ops)).entries()) {
      const isFill = i % 2 === 0;
      if (result.ok) {
        if (isFill) this.#read += result.value;
        else this.#sent += result.value;
        if (result.value === lengths[i >> 1]) continue;
        // Short: the loop goes on from there, unless the file has ended.
        cause ??= isFill && result.value === 0 ? ENODATA : 0;
      } else {
        const { errno } = result.error;
        const isBusy = errno === EINTR || (errno === EAGAIN && !isFill);
        cause ??= isBusy ? 0 : errno;
      }
    }
    return cause ?? 0;
  }

  /** Empties the pipe as far as the other end takes it. */
  async #empty(pipe: PooledPipe, total: number): Promise<number> {
    const length = this.#read - this.#sent;
    const drained = this.#drain(pipe, length, this.#read < total);
    const result = await this.#bounds.of(drained);
    if (result.ok) {
      this.#sent += result.value;
      return result.value === 0 ? EPIPE : 0;
    }
    if (result.error.errno === EINTR) return 0;
    if (result.error.errno !== EAGAIN) return result.error.errno;
    const ready = asyncPoll(this.#ctx, this.#to, POLLOUT);
    const polled = await this.#bounds.of(ready);
    return polled.ok ? 0 : polled.error.errno;
  }

  #fill(pipe: PooledPipe, length: number, at: number): UringOp<number> {
    return asyncSplice(this.#ctx, this.#file, pipe.writeFd, length, {
      fromOffset: at,
      flags: SPLICE_F_NONBLOCK,
    });
  }

  #drain(pipe: PooledPipe, length: number, more: boolean): UringOp<number> {
    return asyncSplice(this.#ctx, pipe.readFd, this.#to, length, {
      flags: SPLICE_F_NONBLOCK | (more ? SPLICE_F_MORE : 0),
    });
  }
}

function fdOf(fd: Fd): number {
  return typeof fd === "number" ? fd : fd.fd;
}
