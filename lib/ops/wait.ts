/** Waiting: for events of an fd, for time to pass. */
import { checkDelay, checkFd, checkInteger, type Fd } from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { POLL, SLEEP } from "./table.ts";

/**
 * Waits until an fd is ready. See poll(2).
 *
 * C++: `AsyncPoll`.
 *
 * @param ctx The context.
 * @param fd The fd.
 * @param events `POLLIN`, `POLLOUT` …, or several with `|`.
 * @returns The events that have come, or `POLLERR`, `POLLHUP` or `POLLRDHUP`,
 * which io_uring reports without being asked for: once the peer has shut down
 * its sending side, a poll of a full socket for `POLLOUT` is over at once.
 * @throws As `asyncClose()`; {RangeError} too if `events` is out of range.
 */
export function asyncPoll(
  ctx: IoContext,
  fd: Fd,
  events: number,
): UringOp<number> {
  const ring = ringOf(ctx, POLL);
  const sqe = new Sqe(POLL.opcode);
  sqe.fd = checkFd(fd, POLL);
  sqe.opFlags = checkInteger(events, 0xffff, "events", POLL.verb);
  return start(ring, POLL, sqe);
}

/**
 * Waits for a time to pass, on the clock that does not jump
 * (CLOCK_MONOTONIC).  It needs no memory of the
 * kernel: hundreds of thousands at a time are fine.
 *
 * C++: `AsyncSleep`.
 *
 * @param ctx The context.
 * @param delayMs Milliseconds, 0 or more and finite. Never early, late by up to
 * a millisecond and the load of the thread.
 * @returns `ECANCELED` if it was cancelled.
 * @throws {RangeError} If `delayMs` is negative, NaN or infinite; {TypeError}
 * if the context is closed.
 */
export function asyncSleep(ctx: IoContext, delayMs: number): UringOp<void> {
  const ring = ringOf(ctx, SLEEP);
  checkDelay(delayMs, "delayMs", SLEEP.verb);
  return ring.sleeping(ring.take(SLEEP), delayMs);
}
