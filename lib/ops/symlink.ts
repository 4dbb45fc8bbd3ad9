/** More names for a file, and names that lead to others. */
import { loadShim } from "../../ffi/load.ts";
import {
  checkDir,
  checkOptions,
  checkPath,
  type Fd,
  type Path,
} from "../check.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { decodePath, shownPath } from "../path_text.ts";
import { success } from "../result.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { PATH_MAX } from "./layout.ts";
import { startPair } from "./pair.ts";
import type { DirOptions } from "./path.ts";
import { HARD_LINK, READLINK, SYMLINK } from "./table.ts";

/** Options of `asyncLink()`. */
export interface LinkOptions extends DirOptions {
  /** The directory that the new path starts from; `dir` if left out. */
  toDir?: Fd | undefined;
  /** `AT_SYMLINK_FOLLOW`: a symbolic link stands for what it leads to.
   * `AT_EMPTY_PATH`: with an empty path, the file that `dir` is an fd of, which
   * Linux before 6.10 grants only with CAP_DAC_READ_SEARCH.
   * @default {0} */
  flags?: number | undefined;
}

/**
 * Gives a file one more name, a hard link, by linkat(2). It never replaces what
 * has the name. Within `link()` a failure does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param from The path of the file.
 * @param to The new path, in the same file system.
 * @param options Directories and flags.
 * @returns `EEXIST` if there is something of that name, `ENOENT`, `EXDEV` for
 * another file system, `EPERM` for a directory, `EMLINK` …
 * @throws As `asyncRename()`.
 *
 * @example A file that appears whole, or not at all
 * ```ts
 * import {
 *   asyncClose, asyncLink, asyncOpen, asyncUnlink, asyncWriteExact,
 *   AT_SYMLINK_FOLLOW, IoContext, O_TMPFILE, O_WRONLY,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_WRONLY).orThrow();
 * await asyncWriteExact(ctx, fd, new TextEncoder().encode("whole")).orThrow();
 * const path = `/tmp/kio-${crypto.randomUUID()}`;
 * const flags = AT_SYMLINK_FOLLOW;
 * await asyncLink(ctx, `/proc/self/fd/${fd}`, path, { flags }).orThrow();
 * await asyncClose(ctx, fd);
 * await asyncUnlink(ctx, path).orThrow();
 * ```
 */
export function asyncLink(
  ctx: IoContext,
  from: Path,
  to: Path,
  options: LinkOptions = {},
): UringOp<void> {
  const ring = ringOf(ctx, HARD_LINK);
  checkOptions(options, HARD_LINK.verb);
  return startPair(ring, HARD_LINK, from, to, options);
}

/**
 * Makes a symbolic link by symlinkat(2). Within `link()` a failure does not end
 * the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param target The path that it leads to. It need not exist. A relative one
 * starts from the directory of the link.
 * @param path The path of the link itself.
 * @param options The directory that `path` starts from.
 * @returns `EEXIST` if there is something of that name, `ENOENT`, `EACCES`,
 * `EPERM` where the file system has no links …
 * @throws As `asyncRename()`.
 *
 * @example Where the new version is
 * ```ts
 * import {
 *   asyncReadlink, asyncSymlink, asyncUnlink, IoContext,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const path = `/tmp/kio-${crypto.randomUUID()}`;
 * await asyncSymlink(ctx, "releases/42", path).orThrow();
 * console.log(await asyncReadlink(ctx, path).orThrow()); // releases/42
 * await asyncUnlink(ctx, path).orThrow();
 * ```
 */
export function asyncSymlink(
  ctx: IoContext,
  target: Path,
  path: Path,
  options: DirOptions = {},
): UringOp<void> {
  const ring = ringOf(ctx, SYMLINK);
  checkOptions(options, SYMLINK.verb);
  const sqe = new Sqe(SYMLINK.opcode);
  sqe.fd = checkDir(options.dir, SYMLINK);
  sqe.addr = checkPath(target, SYMLINK, "target");
  sqe.addr2 = checkPath(path, SYMLINK);
  return start(ring, SYMLINK, sqe, {
    action: `${SYMLINK.verb} ${shownPath(path)} to ${shownPath(target)}`,
  });
}

/**
 * Reads where a symbolic link leads, by readlinkat(2).
 *
 * io_uring has no such operation, so the calling thread makes the system call at
 * once: `IoContext.capabilities` says `"syscall"`. It takes some microseconds
 * where the directory is in the cache, and the time of the disk where it is not.
 *
 * @param ctx The context.
 * @param path The path of the link.
 * @param options The directory that `path` starts from.
 * @returns The path that it leads to, which need not exist: a string, or its
 * bytes if they are no UTF-8. A relative one starts from the directory of the
 * link. `EINVAL` if it is no symbolic link, `ENOENT`, `EACCES` …
 * @throws As `asyncRename()`; {TypeError} too within `link()`.
 *
 * @example The program that runs
 * ```ts
 * import { asyncReadlink, IoContext } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * console.log(await asyncReadlink(ctx, "/proc/self/exe").orThrow());
 * ```
 */
export function asyncReadlink(
  ctx: IoContext,
  path: Path,
  options: DirOptions = {},
): UringOp<Path> {
  const ring = ringOf(ctx, READLINK);
  checkOptions(options, READLINK.verb);
  const dir = checkDir(options.dir, READLINK);
  const name = checkPath(path, READLINK);
  if (ring.chaining) {
    throw new TypeError(
      `Cannot ${READLINK.verb} in link(): it is read at once, before the chain; read it before`,
    );
  }
  const action = `${READLINK.verb} ${shownPath(path)}`;
  const entry = ring.take(READLINK);
  const target = new Uint8Array(PATH_MAX);
  const length = loadShim().kio_readlink(dir, name, target, PATH_MAX);
  if (length < 0) return ring.enter(entry, -1, null, length, { action });
  const { op, settle } = ring.external<Path>(entry, () => {}, action);
  // Not within the call, as no other operation does.
  queueMicrotask(() => settle(success(decodePath(target.subarray(0, length)))));
  return op;
}
