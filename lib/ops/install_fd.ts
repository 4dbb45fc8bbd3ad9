import type { DirectFd } from "../DirectFd.ts";
import { checkFd } from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { INSTALL_FD } from "./table.ts";

/**
 * Makes an fd of a direct descriptor by io_uring_prep_fixed_fd_install(3). Both
 * are the same open file, like the fds of dup(2), and each has to be closed.
 * Other programs do not inherit the fd (`O_CLOEXEC`). It needs Linux 6.8.
 *
 * @param ctx The context that the descriptor belongs to.
 * @param direct The descriptor, which stays open.
 * @returns The fd, which the caller owns and must close; `new Socket(fd)` does
 * that for a socket. `EMFILE`. Before Linux 6.8 `EINVAL`, with that reason in the
 * exception of `orThrow()`.
 * @throws {TypeError} If `direct` is no `DirectFd`, is closed or belongs to
 * another context, or the context is closed.
 *
 * @example Look at a file that was opened without an fd
 * ```ts
 * import {
 *   asyncClose, asyncFstat, asyncInstallFd, asyncOpen, IoContext, O_RDONLY,
 *   unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * unwrap(ctx.reserveFiles(8));
 * const options = { direct: true } as const;
 * await using file = await asyncOpen(ctx, "/etc/passwd", O_RDONLY, options)
 *   .orThrow();
 * const fd = await asyncInstallFd(ctx, file); // since Linux 6.8
 * if (fd.ok) {
 *   console.log((await asyncFstat(ctx, fd.value).orThrow()).size);
 *   await asyncClose(ctx, fd.value);
 * }
 * ```
 */
export function asyncInstallFd(
  ctx: IoContext,
  direct: DirectFd,
): UringOp<number> {
  const ring = ringOf(ctx, INSTALL_FD);
  ring.checkOpen(INSTALL_FD.verb);
  const sqe = new Sqe(INSTALL_FD.opcode);
  sqe.fd = checkFd(direct, INSTALL_FD, ring);
  if (sqe.fd >= 0) {
    throw new TypeError(
      `Cannot ${INSTALL_FD.verb}: expected a DirectFd, got an fd; it can be used as it is`,
    );
  }
  const isThere = ctx.capabilities.operations[INSTALL_FD.name] !== "none";
  const reason = isThere ? "" : ": it needs Linux 6.8";
  const action = `${INSTALL_FD.verb} of ${direct}${reason}`;
  return start(ring, INSTALL_FD, sqe, { action });
}
