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
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { TEE } from "./table.ts";

/** Options of `asyncTee()`. */
export interface TeeOptions {
  /** `SPLICE_F_NONBLOCK`.
   * @default {0} */
  flags?: number | undefined;
}

/**
 * Duplicates bytes from one pipe into another by tee(2). They stay in the first,
 * and are not copied: both pipes refer to the same pages.
 *
 * A tee that waits holds a thread of the kernel: with the pipes of `asyncPipe()`
 * it gives `EAGAIN` instead, and `asyncPoll()` waits.
 *
 * @param ctx The context.
 * @param from The pipe that has the bytes.
 * @param to The pipe that gets them, too.
 * @param length Bytes, 1 to 2147479552.
 * @param options Flags.
 * @returns The number of bytes, often fewer than asked for; 0 if `from` is empty
 * and has no writer. While others read from `from`, 0 is no end: they may have
 * taken the bytes meanwhile. `EINVAL` if one is no pipe or both are the same, `EAGAIN` if
 * `from` is empty or `to` is full, `EPIPE` …
 * @throws {RangeError} If an argument is out of range.
 * @throws {TypeError} If an argument has the wrong type, or the context is
 * closed.
 *
 * @example One stream for two readers
 * ```ts
 * import {
 *   asyncClose, asyncPipe, asyncRead, asyncTee, asyncWrite, IoContext,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const [one, two] = await Promise.all([
 *   asyncPipe(ctx).orThrow(),
 *   asyncPipe(ctx).orThrow(),
 * ]);
 * await asyncWrite(ctx, one.writeFd, new TextEncoder().encode("both"));
 * await asyncTee(ctx, one.readFd, two.writeFd, 4).orThrow();
 * const buffer = new Uint8Array(4);
 * for (const { readFd, writeFd } of [one, two]) {
 *   await asyncRead(ctx, readFd, buffer).orThrow();
 *   console.log(new TextDecoder().decode(buffer)); // both
 *   await Promise.all([asyncClose(ctx, readFd), asyncClose(ctx, writeFd)]);
 * }
 * ```
 */
export function asyncTee(
  ctx: IoContext,
  from: Fd,
  to: Fd,
  length: number,
  options: TeeOptions = {},
): UringOp<number> {
  const ring = ringOf(ctx, TEE);
  checkOptions(options, TEE.verb);
  const { flags = 0 } = options;
  const sqe = new Sqe(TEE.opcode);
  const source = checkFd(from, TEE, ring);
  sqe.fd = checkFd(to, TEE, ring);
  sqe.len = checkInteger(length, TRANSFER_MAX, "length", TEE.verb, 1);
  sqe.opFlags = checkFlags(flags, TEE);
  sqe.source = source;
  return start(ring, TEE, sqe, { otherFd: source });
}
