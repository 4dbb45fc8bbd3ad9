/** Messages from ring to ring, and fds from thread to thread. */
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
 * Sends a message to another ring of this process: its context, in whatever
 * thread, wakes up and calls `onMessage(result, userData)`. Stands for
 * `MsgRingOp` and io_uring_prep_msg_ring(3).
 *
 * @param ctx The context that sends.
 * @param targetRingFd `ringFd` of the context that receives.
 * @param result Any int32.
 * @param userData An integer from 0 to 2^53 - 1; with `WAKE_TAG` the target
 * only wakes up.
 * @returns When the message is in the target's queue. `EBADF` if the fd is not
 * open, `EBADFD` if it is no ring (or one that is not ready), `EOVERFLOW` if
 * the target has no memory left for it.
 * @throws {RangeError} If an argument is out of range; {TypeError} if the
 * context is closed.
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
 * Wakes a ring of this process by a message, like `asyncMsgRing()` but at once
 * and without a context: any thread may call it. On Linux before 6.13 a small
 * ring is made for it, which takes some 50 µs.
 *
 * @param ringFd `ringFd` of the context to be woken.
 * @param result Any int32.
 * @param userData An integer from 0 to 2^53 - 1; with `WAKE_TAG`, if left out,
 * the target only wakes up.
 * @returns As `asyncMsgRing()`; the message is in the target's queue.
 * @throws {RangeError} If an argument is out of range.
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
 * Gives an fd to another context of this process, whose thread then gets it by
 * `onFd`: connections from one thread that accepts to those that serve. An fd
 * number is valid in every thread, so what this is for is that somebody owns
 * it: the caller until this returns a success, then the target context, which
 * closes what it has not given to its `onFd` when it ends, and then `onFd`. It
 * works at once and from any thread; on Linux before 6.13 waking a target that
 * has none waiting takes some 50 µs.
 *
 * @param ringFd `ringFd` of the context that is to have the fd.
 * @param fd The fd; of a `Socket`, what `release()` returns.
 * @param tag An integer from 0 to 2^53 - 1 that comes with it.
 * @returns After an error the fd is still the caller's: `EBADFD` if no open
 * context has that ring, `EBADF` if `fd` is not open.
 * @throws {RangeError} If an argument is out of range; {TypeError} if `fd` is
 * the ring of a context.
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
