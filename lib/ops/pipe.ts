import { loadShim } from "../../ffi/load.ts";
import { checkInteger, checkOptions } from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { success } from "../result.ts";
import type { UringOp } from "../UringOp.ts";
import { PIPE } from "./table.ts";

/** The capacity of a pipe by default, see pipe(7). */
const SIZE = 65536;
const SIZE_MAX = 2 ** 31 - 1;

/** Options of `asyncPipe()`. */
export interface PipeOptions {
  /**
   * The capacity in bytes, 1 to 2^31 - 1. The kernel rounds it up to pages and
   * powers of two. Above /proc/sys/fs/pipe-max-size the pipe keeps its default.
   * @default {65536}
   */
  size?: number | undefined;
}

/** A pipe that `asyncPipe()` has made. */
export interface PipeFds {
  /** The fd to read from. */
  readonly readFd: number;
  /** The fd to write to. */
  readonly writeFd: number;
  /** The capacity in bytes. */
  readonly size: number;
}

/**
 * Makes a pipe by pipe2(2). The calling thread does it at once, as that never
 * waits.
 *
 * Other programs never inherit the fds (`O_CLOEXEC`). They do not block
 * (`O_NONBLOCK`): `asyncRead()` and `asyncWrite()` wait all the same. A splice
 * gives `EAGAIN` instead of holding a thread of the kernel; `asyncPoll()`
 * waits.
 *
 * @param ctx The context.
 * @param options The capacity.
 * @returns Both fds and the capacity. The caller owns both fds and must close
 * them. A cancel, a timeout or the end of the context that comes first closes
 * them. `EMFILE`, `ENFILE`.
 * @throws {RangeError} If `size` is out of range.
 * @throws {TypeError} If an argument has the wrong type, the context is closed,
 * or it is called within `link()`.
 *
 * @example From one socket to another, without a copy
 * ```ts
 * import {
 *   asyncClose, asyncPipe, asyncPoll, asyncShutdown, asyncSplice, IoContext,
 *   POLLIN, POLLOUT, SHUT_WR, type Socket,
 * } from "@kio/kio";
 *
 * export async function relay(ctx: IoContext, from: Socket, to: Socket) {
 *   const { readFd, writeFd, size } = await asyncPipe(ctx).orThrow();
 *   try {
 *     for (;;) {
 *       await asyncPoll(ctx, from, POLLIN).orThrow();
 *       let left = await asyncSplice(ctx, from, writeFd, size).orThrow();
 *       if (left === 0) break;
 *       while (left > 0) {
 *         await asyncPoll(ctx, to, POLLOUT).orThrow();
 *         left -= await asyncSplice(ctx, readFd, to, left).orThrow();
 *       }
 *     }
 *     await asyncShutdown(ctx, to, SHUT_WR).orThrow();
 *   } finally {
 *     await Promise.all([asyncClose(ctx, readFd), asyncClose(ctx, writeFd)]);
 *   }
 * }
 * ```
 */
export function asyncPipe(
  ctx: IoContext,
  options: PipeOptions = {},
): UringOp<PipeFds> {
  const ring = ringOf(ctx, PIPE);
  checkOptions(options, PIPE.verb);
  const { size = SIZE } = options;
  checkInteger(size, SIZE_MAX, "size", PIPE.verb, 1);
  if (ring.chaining) {
    throw new TypeError(
      `Cannot ${PIPE.verb} in link(): it is made at once, before the chain; make it before`,
    );
  }
  const entry = ring.take(PIPE);
  const fds = new Int32Array(2);
  const granted = loadShim().kio_pipe(fds, size);
  if (granted < 0) return ring.enter(entry, -1, null, granted);
  const [readFd = -1, writeFd = -1] = fds;
  const { op, settle } = ring.external<PipeFds>(entry, () => {
    ring.shim.kio_fd_close(readFd);
    ring.shim.kio_fd_close(writeFd);
  });
  // No operation settles within its own call.
  queueMicrotask(() => settle(success({ readFd, writeFd, size: granted })));
  return op;
}
