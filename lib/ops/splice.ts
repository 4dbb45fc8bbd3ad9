import {
  checkFd,
  checkFlags,
  checkInteger,
  checkOptions,
  type Fd,
  TRANSFER_MAX,
} from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { NO_POSITION } from "../ring/steps.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { SPLICE } from "./table.ts";

/** Options of `asyncSplice()`. */
export interface SpliceOptions {
  /** The place in the source, 0 to 2^53 - 1; its own position if left out. A
   * pipe and a socket have no other. */
  fromOffset?: number | undefined;
  /** The place in the destination, in the same way. */
  toOffset?: number | undefined;
  /** `SPLICE_F_MOVE`, `SPLICE_F_MORE` …
   * @default {0} */
  flags?: number | undefined;
}

/**
 * Moves bytes between a pipe and another file by splice(2), without a copy
 * through this process. `asyncSendfile()` is made of splices.
 *
 * A splice that waits holds a thread of the kernel. With a non-blocking socket
 * it gives `EAGAIN` instead; `asyncPoll()` waits.
 *
 * @param ctx The context.
 * @param from The source; it or `to` must be a pipe.
 * @param to The destination.
 * @param length Bytes, 1 to 2147479552.
 * @param options Offsets and flags.
 * @returns The number of bytes, often fewer than asked for; 0 at the end of
 * `from`. `EINVAL` if neither is a pipe (`asyncPipe()` makes one), `ESPIPE` for
 * an offset in a file that has no positions, `EAGAIN`, `EPIPE` …
 * @throws {RangeError} If an argument is out of range.
 * @throws {TypeError} If an argument has the wrong type, or the context is
 * closed.
 *
 * @example From a file into a pipe
 * ```ts
 * import {
 *   asyncClose, asyncOpen, asyncPipe, asyncSplice, IoContext, O_RDONLY,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/etc/passwd", O_RDONLY).orThrow();
 * const { readFd, writeFd } = await asyncPipe(ctx).orThrow();
 * const length = await asyncSplice(ctx, fd, writeFd, 65536).orThrow();
 * console.log(`${length} bytes are in the pipe`);
 * await Promise.all([fd, readFd, writeFd].map((it) => asyncClose(ctx, it)));
 * ```
 */
export function asyncSplice(
  ctx: IoContext,
  from: Fd,
  to: Fd,
  length: number,
  options: SpliceOptions = {},
): UringOp<number> {
  const ring = ringOf(ctx, SPLICE);
  checkOptions(options, SPLICE.verb);
  const { fromOffset, toOffset, flags = 0 } = options;
  const sqe = new Sqe(SPLICE.opcode);
  const source = checkFd(from, SPLICE, ring);
  sqe.fd = checkFd(to, SPLICE, ring);
  sqe.len = checkInteger(length, TRANSFER_MAX, "length", SPLICE.verb, 1);
  sqe.at = positionFor(fromOffset, "fromOffset");
  sqe.off = positionFor(toOffset, "toOffset");
  sqe.opFlags = checkFlags(flags, SPLICE);
  sqe.source = source;
  return start(ring, SPLICE, sqe, { otherFd: source });
}

function positionFor(offset: number | undefined, name: string): number {
  if (offset === undefined) return NO_POSITION;
  return checkInteger(offset, Number.MAX_SAFE_INTEGER, name, SPLICE.verb);
}
