/** Looking at files by statx(2). */
import {
  checkBoolean,
  checkDir,
  checkFd,
  checkOptions,
  checkPath,
  type Fd,
  type Path,
} from "../check.ts";
import { AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW } from "../constants.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { shownPath } from "../path_text.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { decodeStat, type FileStat, type FileStatNs } from "./file_stat.ts";
import { AT_NO_AUTOMOUNT, STAT_SIZE } from "./layout.ts";
import { STAT_FIELDS } from "./file_stat.ts";
import { FSTAT, LSTAT, type Row, STAT } from "./table.ts";
import type { DirOptions } from "./path.ts";

/** A string that ends at once. */
const NO_PATH = new Uint8Array(1);

/** Options of `asyncFstat()`. */
export interface FstatOptions {
  /** Gives the times in nanoseconds, too: a {@linkcode FileStatNs}.
   * @default {false} */
  nanoseconds?: boolean | undefined;
}

/** Options of `asyncStat()` and `asyncLstat()`. */
export interface StatOptions extends DirOptions, FstatOptions {}

/**
 * Looks at a file by statx(2), as stat(2) does. It follows symbolic links.
 *
 * A thread of the kernel does it, so many at once cost less than one after the
 * other. Within `link()` a failure does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`.
 * @param options The directory; `nanoseconds: true` for exact times.
 * @returns Facts about it. `ENOENT`, `EACCES`, `ENOTDIR`, `ELOOP`,
 * `ENAMETOOLONG` …
 * @throws {RangeError} If `dir` is out of range.
 * @throws {TypeError} If `path` is neither a string nor a Uint8Array or has a
 * NUL, an option has the wrong type, or the context is closed.
 *
 * @example The newest of some files
 * ```ts
 * import { asyncStat, IoContext } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const paths = ["/etc/passwd", "/etc/hostname", "/proc/version"];
 * const stats = await Promise.all(
 *   paths.map((path) => asyncStat(ctx, path).orThrow()),
 * );
 * const newest = Math.max(...stats.map(({ modifiedMs }) => modifiedMs));
 * console.log(paths[stats.findIndex((it) => it.modifiedMs === newest)]);
 * ```
 */
export function asyncStat(
  ctx: IoContext,
  path: Path,
  options: StatOptions & { nanoseconds: true },
): UringOp<FileStatNs>;
/**
 * Looks at a file by statx(2), with times in milliseconds.
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`.
 * @param options The directory.
 * @returns Facts about it.
 */
export function asyncStat(
  ctx: IoContext,
  path: Path,
  options?: StatOptions,
): UringOp<FileStat>;
export function asyncStat(
  ctx: IoContext,
  path: Path,
  options: StatOptions = {},
): UringOp<FileStat> {
  return statPath(ctx, path, options, STAT, AT_NO_AUTOMOUNT);
}

/**
 * Looks at a file by statx(2), as lstat(2) does: at a symbolic link itself.
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`.
 * @param options The directory; `nanoseconds: true` for exact times.
 * @returns Facts about it; the errors of `asyncStat()`.
 * @throws As `asyncStat()`.
 *
 * @example Is it a symbolic link?
 * ```ts
 * import { asyncLstat, IoContext } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const { type } = await asyncLstat(ctx, "/proc/self").orThrow();
 * console.log(type); // symlink
 * ```
 */
export function asyncLstat(
  ctx: IoContext,
  path: Path,
  options: StatOptions & { nanoseconds: true },
): UringOp<FileStatNs>;
/**
 * Looks at a file or a symbolic link by statx(2), with times in milliseconds.
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`.
 * @param options The directory.
 * @returns Facts about it.
 */
export function asyncLstat(
  ctx: IoContext,
  path: Path,
  options?: StatOptions,
): UringOp<FileStat>;
export function asyncLstat(
  ctx: IoContext,
  path: Path,
  options: StatOptions = {},
): UringOp<FileStat> {
  const flags = AT_NO_AUTOMOUNT | AT_SYMLINK_NOFOLLOW;
  return statPath(ctx, path, options, LSTAT, flags);
}

/**
 * Looks at an open file by statx(2), as fstat(2) does. Within `link()` a failure
 * does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param fd The file.
 * @param options `nanoseconds: true` for exact times.
 * @returns Facts about it. `EBADF` …
 * @throws {RangeError} If `fd` is out of range.
 * @throws {TypeError} If `fd` is no fd, an option has the wrong type, or the
 * context is closed.
 *
 * @example Was it changed meanwhile?
 * ```ts
 * import {
 *   asyncClose, asyncFstat, asyncOpen, asyncWrite, IoContext, O_RDWR, O_TMPFILE,
 * } from "@kio/kio";
 * import { assert } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR).orThrow();
 * const look = () => asyncFstat(ctx, fd, { nanoseconds: true }).orThrow();
 * const before = await look();
 * await asyncWrite(ctx, fd, new Uint8Array(1)).orThrow();
 * const after = await look();
 * assert(after.modifiedNs >= before.modifiedNs && after.size === 1);
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncFstat(
  ctx: IoContext,
  fd: Fd,
  options: FstatOptions & { nanoseconds: true },
): UringOp<FileStatNs>;
/**
 * Looks at an open file by statx(2), with times in milliseconds.
 *
 * @param ctx The context.
 * @param fd The file.
 * @param options None but `nanoseconds`.
 * @returns Facts about it.
 */
export function asyncFstat(
  ctx: IoContext,
  fd: Fd,
  options?: FstatOptions,
): UringOp<FileStat>;
export function asyncFstat(
  ctx: IoContext,
  fd: Fd,
  options: FstatOptions = {},
): UringOp<FileStat> {
  const ring = ringOf(ctx, FSTAT);
  const nanoseconds = checkNanoseconds(options, FSTAT);
  const sqe = sqeFor(FSTAT, checkFd(fd, FSTAT), NO_PATH, AT_EMPTY_PATH);
  const memory = sqe.addr2 as Uint8Array;
  return start(ring, FSTAT, sqe, {
    decode: () => decodeStat(memory, nanoseconds),
  });
}

function statPath(
  ctx: IoContext,
  path: Path,
  options: StatOptions,
  row: Row,
  flags: number,
): UringOp<FileStat> {
  const ring = ringOf(ctx, row);
  const nanoseconds = checkNanoseconds(options, row);
  const dir = checkDir(options.dir, row);
  const sqe = sqeFor(row, dir, checkPath(path, row), flags);
  const memory = sqe.addr2 as Uint8Array;
  return start(ring, row, sqe, {
    action: `${row.verb} ${shownPath(path)}`,
    decode: () => decodeStat(memory, nanoseconds),
  });
}

function checkNanoseconds(options: FstatOptions, { verb }: Row): boolean {
  checkOptions(options, verb);
  const { nanoseconds = false } = options;
  return checkBoolean(nanoseconds, "nanoseconds", verb);
}

function sqeFor(
  { opcode }: Row,
  fd: number,
  path: Uint8Array,
  flags: number,
): Sqe {
  const sqe = new Sqe(opcode);
  sqe.fd = fd;
  sqe.addr = path;
  sqe.len = STAT_FIELDS;
  sqe.addr2 = new Uint8Array(STAT_SIZE);
  sqe.opFlags = flags;
  return sqe;
}
