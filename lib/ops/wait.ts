/** Operations that wait: for events of an fd, for a time to pass. */
import { checkDelay, checkFd, checkInteger, type Fd } from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { POLL, SLEEP } from "./table.ts";

/**
 * Waits until an fd is ready, by poll(2).
 *
 * C++: `AsyncPoll`
 *
 * @param ctx The context.
 * @param fd The fd.
 * @param events `POLLIN`, `POLLOUT` …, or several with `|`.
 * @returns The events that have come. The kernel adds `POLLERR`, `POLLHUP` and
 * `POLLRDHUP` to any poll. So a poll of a full socket for `POLLOUT` ends at
 * once when the peer has shut down its sending side.
 * @throws {RangeError} If `fd` or `events` is out of range.
 * @throws {TypeError} If `fd` is no fd, or the context is closed.
 *
 * @example Something to read, within a second
 * ```ts
 * import { asyncPoll, asyncSend, IoContext, POLLIN, Socket, unwrap } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * const ready = asyncPoll(ctx, right, POLLIN).withTimeout(1000);
 * await asyncSend(ctx, left, new Uint8Array(1)).orThrow();
 * assertEquals(await ready.orThrow(), POLLIN);
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncPoll(
  ctx: IoContext,
  fd: Fd,
  events: number,
): UringOp<number> {
  const ring = ringOf(ctx, POLL);
  const sqe = new Sqe(POLL.opcode);
  sqe.fd = checkFd(fd, POLL, ring);
  sqe.opFlags = checkInteger(events, 0xffff, "events", POLL.verb);
  return start(ring, POLL, sqe);
}

/**
 * Waits until a time has passed by the clock of clock_gettime(2) that never
 * jumps (CLOCK_MONOTONIC). It needs no memory of the kernel: hundreds of
 * thousands at a time are fine.
 *
 * C++: `AsyncSleep`
 *
 * @param ctx The context.
 * @param delayMs Milliseconds, 0 or more and finite.
 * @returns A success, never early. It is late by up to a millisecond, and by
 * the load of the thread. `ECANCELED` if it was cancelled.
 * @throws {RangeError} If `delayMs` is negative, NaN or infinite.
 * @throws {TypeError} If the context is closed.
 *
 * @example A tenth of a second, or until the signal
 * ```ts
 * import { asyncSleep, IoContext } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const controller = new AbortController();
 * await asyncSleep(ctx, 100).withSignal(controller.signal);
 * ```
 */
export function asyncSleep(ctx: IoContext, delayMs: number): UringOp<void> {
  const ring = ringOf(ctx, SLEEP);
  checkDelay(delayMs, "delayMs", SLEEP.verb);
  return ring.sleeping(ring.take(SLEEP), delayMs);
}
