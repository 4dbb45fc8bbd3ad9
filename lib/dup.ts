import { loadShim } from "../ffi/load.ts";
import { checkFd, type Fd } from "./check.ts";
import { failure, type Result, success } from "./result.ts";

/**
 * Duplicates an fd by fcntl(2) with F_DUPFD_CLOEXEC: both are the same open file,
 * with one position. Give the duplicate to an owner, and the original stays open:
 * `new File(ctx, unwrap(dup(0)))` is standard input.
 *
 * Do not give the fds 0 to 2 themselves to an owner. When it closes one of them,
 * the next file that is opened gets the number, and all that Deno writes there.
 *
 * @param fd The fd.
 * @returns The new fd, above 2, which the caller owns and has to close. Programs
 * that this one starts do not inherit it. `EBADF`, `EMFILE`.
 * @throws {RangeError} If `fd` is out of range.
 * @throws {TypeError} If `fd` is no fd, or a direct descriptor.
 *
 * @example Standard input as a file
 * ```ts
 * import { dup, File, IoContext, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * await using input = new File(ctx, unwrap(dup(0)));
 * const decoded = input.readable.pipeThrough(new TextDecoderStream());
 * console.log(input.isTerminal(), decoded.locked);
 * ```
 */
export function dup(fd: Fd): Result<number> {
  const verb = "duplicate an fd";
  const original = checkFd(fd, { verb });
  const copy = loadShim().kio_fd_dup(original);
  return copy < 0 ? failure(-copy, `${verb} (fd ${original})`) : success(copy);
}
