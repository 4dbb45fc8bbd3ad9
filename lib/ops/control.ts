import { checkArray, checkFd, checkInteger, type Fd } from "../check.ts";
import { SOL_SOCKET } from "../constants.ts";
import { controlMessage, controlMessages, controlSpace } from "./cmsg.ts";

const SCM_RIGHTS = 1;
/** sizeof(int). */
const FD_SIZE = 4;

/** SCM_MAX_FD: fds in one message at most. */
const FDS_MAX = 253;

/**
 * Makes the control data of SCM_RIGHTS (unix(7)), by which `asyncSendmsg()`
 * sends fds over a unix socket to another process. Within this process
 * `passFd()` is simpler.
 *
 * The message needs at least one byte of data. The receiver gets fds of its own
 * for the same files. The sender still owns its fds, and must keep them open
 * until the message is sent.
 *
 * @param fds 1 to 253 fds.
 * @returns The `control` of the message.
 * @throws {RangeError} If there are no or too many fds, or one is out of range.
 * @throws {TypeError} If one is no fd.
 *
 * @example From one end of a socket to the other
 * ```ts
 * import {
 *   asyncRecvmsg, asyncSendmsg, parseScmRights, scmRights, IoContext,
 *   scmRightsSpace, Socket, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * const buffers = [new Uint8Array(1)];
 * await asyncSendmsg(ctx, left, { buffers, control: scmRights([left]) });
 * const received = await asyncRecvmsg(ctx, right, {
 *   buffers,
 *   control: scmRightsSpace(1),
 * }).orThrow();
 * const copies = parseScmRights(received.control).map((fd) => new Socket(fd));
 * await Promise.all([left, right, ...copies].map((socket) => socket.close()));
 * ```
 */
export function scmRights(fds: readonly Fd[]): Uint8Array<ArrayBuffer> {
  const verb = "send fds";
  checkArray(fds, "fds", verb);
  checkInteger(fds.length, FDS_MAX, "their number", verb, 1);
  const numbers = Array.from(fds, (fd) => checkFd(fd, { verb }));
  const size = FD_SIZE * numbers.length;
  return controlMessage(SOL_SOCKET, SCM_RIGHTS, size, (data) => {
    numbers.forEach((fd, i) => data.setInt32(FD_SIZE * i, fd, true));
  });
}

/**
 * Makes room for the control data of SCM_RIGHTS (unix(7)), for
 * `asyncRecvmsg()`. The kernel closes the fds that do not fit, and sets
 * `MSG_CTRUNC` in `flags`.
 *
 * @param count The number of fds, 1 to 253. One more may fit, as the room is a
 * multiple of 8 bytes: close all that `parseScmRights()` gives.
 * @returns The `control` of the message.
 * @throws {RangeError} If `count` is out of range.
 */
export function scmRightsSpace(count: number): Uint8Array<ArrayBuffer> {
  checkInteger(count, FDS_MAX, "count", "receive fds", 1);
  return new Uint8Array(controlSpace(FD_SIZE * count));
}

/**
 * Finds the fds of SCM_RIGHTS (unix(7)) in the control data that
 * `asyncRecvmsg()` has received. The caller owns them and must close all. Other
 * programs do not inherit them (`O_CLOEXEC`).
 *
 * @param control The `control` of the received message.
 * @returns The fds, or an empty list. Control data of other kinds is left out.
 * @throws {TypeError} If `control` is no `Uint8Array`.
 */
export function parseScmRights(control: Uint8Array): number[] {
  if (!(control instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot receive fds: control must be a Uint8Array, got ${typeof control}`,
    );
  }
  return controlMessages(control)
    .filter(({ level, type }) => level === SOL_SOCKET && type === SCM_RIGHTS)
    .flatMap(({ data }) =>
      Array.from(
        { length: Math.floor(data.byteLength / FD_SIZE) },
        (_, i) => data.getInt32(FD_SIZE * i, true),
      )
    );
}
