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

/** What `asyncSplice()` moves from where to where. */
export interface SpliceOptions {
  /** Where in the source, 0 to 2^53 - 1; its own position if left out, which is
   * all that a pipe or a socket has. */
  fromOffset?: number | undefined;
  /** Where in the destination, likewise. */
  toOffset?: number | undefined;
  /** `SPLICE_F_MOVE`, `SPLICE_F_MORE` …
   * @default {0} */
  flags?: number | undefined;
}

/**
 * Moves bytes between a pipe and something else without copying them through
 * this process. See splice(2); `asyncSendfile()` is made of it.
 *
 * A splice that has to wait holds a thread of the kernel: with a non-blocking
 * socket it gives `EAGAIN` instead, and `asyncPoll()` waits.
 *
 * @param ctx The context.
 * @param from Where from; it or `to` must be a pipe.
 * @param to Where to.
 * @param length Bytes, 1 to 2147479552.
 * @param options Offsets and flags.
 * @returns The number of bytes, often fewer than asked for; 0 at the end of
 * `from`. `EINVAL` if none is a pipe (`asyncPipe()` makes one), `ESPIPE` for an
 * offset where there are none, `EAGAIN`, `EPIPE` …
 * @throws {RangeError} If an argument is out of range; {TypeError} as
 * `asyncClose()`.
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
  const source = checkFd(from, SPLICE);
  sqe.extra = source;
  sqe.fd = checkFd(to, SPLICE);
  sqe.len = checkInteger(length, TRANSFER_MAX, "length", SPLICE.verb, 1);
  sqe.at = positionFor(fromOffset, "fromOffset");
  sqe.off = positionFor(toOffset, "toOffset");
  sqe.opFlags = checkFlags(flags, SPLICE);
  return start(ring, SPLICE, sqe, { otherFd: source });
}

function positionFor(offset: number | undefined, name: string): number {
  if (offset === undefined) return NO_POSITION;
  return checkInteger(offset, Number.MAX_SAFE_INTEGER, name, SPLICE.verb);
}
