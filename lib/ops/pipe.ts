import { loadShim } from "../../ffi/load.ts";
import { checkInteger, checkOptions } from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { success } from "../result.ts";
import type { UringOp } from "../UringOp.ts";
import { PIPE } from "./table.ts";

/** What a pipe holds by default; see pipe(7). */
const SIZE = 65536;
const SIZE_MAX = 2 ** 31 - 1;

/** What `asyncPipe()` can be told. */
export interface PipeOptions {
  /**
   * Bytes that the pipe is to hold, 1 to 2^31 - 1. The kernel rounds up to
   * pages and powers of two. It keeps its own size where it does not grant so
   * much; see /proc/sys/fs/pipe-max-size.
   * @default {65536}
   */
  size?: number | undefined;
}

/** A pipe that `asyncPipe()` has made. */
export interface PipeFds {
  /** The end that is read from. */
  readonly readFd: number;
  /** The end that is written to. */
  readonly writeFd: number;
  /** Bytes that the pipe holds. */
  readonly size: number;
}

/**
 * Makes a pipe. See pipe2(2).
 *
 * The system call never waits, and is made at the call. The fds are never
 * inherited by other programs (`O_CLOEXEC`), and do not block (`O_NONBLOCK`):
 * `asyncRead()` and `asyncWrite()` wait either way. A splice gives `EAGAIN`
 * instead of holding a thread of the kernel, and `asyncPoll()` waits.
 *
 * @param ctx The context.
 * @param options The size.
 * @returns Both fds, and the bytes that the pipe holds. The caller has to close
 * both. A cancel, a timeout or the end of the context that comes first closes
 * them. `EMFILE`, `ENFILE`.
 * @throws {RangeError} If `size` is out of range; {TypeError} if an argument has
 * the wrong type, the context is closed, or it is called within `link()`.
 *
 * @example All that comes from one socket goes to another, without a copy
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
  // Not within the call, as no other operation does.
  queueMicrotask(() => settle(success({ readFd, writeFd, size: granted })));
  return op;
}
