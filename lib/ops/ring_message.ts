/** Operations between rings: messages, and fds for another thread. */
import { loadShim } from "../../ffi/load.ts";
import { checkFd, checkInteger, checkOwned } from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { DONE, failure, type Result } from "../result.ts";
import { WAKE_TAG } from "../ring/Ring.ts";
import type { UringOp } from "../UringOp.ts";
import { offered } from "../ring/offered.ts";
import { MSG_RING, PASS_FD, type Row, WAKE } from "./table.ts";

/**
 * Sends a message to another ring of this process by io_uring_prep_msg_ring(3).
 * The target's context, in whatever thread, wakes up and calls
 * `onMessage(result, userData)`.
 *
 * C++: `MsgRingOp`
 *
 * @param ctx The context that sends.
 * @param targetRingFd The `ringFd` of the context that receives.
 * @param result Any int32.
 * @param userData An integer from 0 to 2^53 - 1; with `WAKE_TAG` the target
 * only wakes up.
 * @returns A success when the message is in the target's queue. `EBADF` if the
 * fd is not open, `EBADFD` if it is no ring or one that is not ready;
 * `EOVERFLOW` if the target has no memory for it.
 * @throws {RangeError} If an argument is out of range.
 * @throws {TypeError} If the context is closed.
 *
 * @example A number for another context
 * ```ts
 * import { asyncMsgRing, IoContext } from "@kio/kio";
 *
 * using sender = new IoContext();
 * using receiver = new IoContext();
 * receiver.onMessage = (result, userData) => {
 *   console.log(result, userData); // 7 42
 *   receiver.stop();
 * };
 * const running = receiver.run();
 * await asyncMsgRing(sender, receiver.ringFd, 7, 42).orThrow();
 * await running;
 * ```
 */
export function asyncMsgRing(
  ctx: IoContext,
  targetRingFd: number,
  result: number,
  userData: number,
): UringOp<void> {
  const ring = ringOf(ctx, MSG_RING);
  const target = checkFd(targetRingFd, MSG_RING);
  checkMessage(result, userData, MSG_RING);
  const { shim, handle } = ring;
  const entry = ring.take(MSG_RING);
  const status = shim.kio_msg_ring(
    handle,
    entry.id,
    target,
    result | 0,
    userData + 0,
  );
  return ring.enter(entry, target, null, status);
}

/**
 * Wakes a ring of this process by the message of `asyncMsgRing()`, with
 * io_uring_register(2). Any thread may call it, at once and without a context.
 * Before Linux 6.13 it makes a small ring for that, which takes some 50 µs.
 *
 * @param ringFd The `ringFd` of the context that receives.
 * @param result Any int32.
 * @param userData An integer from 0 to 2^53 - 1; with `WAKE_TAG`, if left out,
 * the target only wakes up.
 * @returns A success when the message is in the target's queue. Errors as for
 * `asyncMsgRing()`.
 * @throws {RangeError} If an argument is out of range.
 *
 * @example Without a context of the sender's
 * ```ts
 * import { IoContext, unwrap, wake } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * ctx.onMessage = (result) => {
 *   console.log(result); // 7
 *   ctx.stop();
 * };
 * const running = ctx.run();
 * unwrap(wake(ctx.ringFd, 7, 42));
 * await running;
 * ```
 */
export function wake(
  ringFd: number,
  result = 0,
  userData: number = WAKE_TAG,
): Result<void> {
  const target = checkFd(ringFd, WAKE);
  checkMessage(result, userData, WAKE);
  const status = loadShim().kio_ring_message(target, result | 0, userData + 0);
  return status < 0 ? failure(-status, `wake ring ${target}`) : DONE;
}

/**
 * Gives an fd to another context of this process, whose thread gets it by
 * `onFd`: connections from the thread that accepts to those that serve.
 *
 * An fd number is valid in every thread; this moves the ownership. After a
 * success the target context owns the fd, and closes it if it ends without
 * having given it to `onFd`. Its `onFd` owns it from then on.
 *
 * It works at once and from any thread. Before Linux 6.13 it takes some 50 µs
 * to wake a target that has no fd waiting.
 *
 * @param ringFd The `ringFd` of the context that gets the fd.
 * @param fd The fd; of a `Socket`, the result of `release()`.
 * @param tag An integer from 0 to 2^53 - 1 that comes with it.
 * @returns After an error the caller still owns the fd: `EBADFD` if no open
 * context has that ring, `EBADF` if `fd` is not open.
 * @throws {RangeError} If an argument is out of range.
 * @throws {TypeError} If `fd` is the ring of a context.
 *
 * @example From one context to another
 * ```ts
 * import { passFd, IoContext, Socket, unwrap } from "@kio/kio";
 *
 * using target = new IoContext();
 * const { promise: arrived, resolve } = Promise.withResolvers<Socket>();
 * target.onFd = (fd) => resolve(new Socket(fd));
 * const running = target.run();
 * const [left, right] = unwrap(Socket.pair());
 * unwrap(passFd(target.ringFd, left.release()));
 * await Promise.all([arrived.then((socket) => socket.close()), right.close()]);
 * target.stop();
 * await running;
 * ```
 */
export function passFd(ringFd: number, fd: number, tag = 0): Result<void> {
  const { verb } = PASS_FD;
  const target = checkFd(ringFd, PASS_FD);
  const given = checkOwned(checkInteger(fd, 2 ** 31 - 1, "fd", verb), verb);
  const number = checkInteger(tag, Number.MAX_SAFE_INTEGER, "tag", verb);
  const status = loadShim().kio_fd_send(target, given, number);
  if (status < 0) return failure(-status, `pass fd ${given}`);
  offered.delete(given);
  return DONE;
}

function checkMessage(
  result: number,
  userData: number,
  row: Row,
): void {
  checkInteger(userData, Number.MAX_SAFE_INTEGER, "userData", row.verb);
  if ((result | 0) === result) return;
  throw new RangeError(
    `Cannot ${row.verb}: result must be an int32, got ${result}`,
  );
}
