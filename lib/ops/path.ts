/** Operations on paths: opening, looking, renaming, removing. */
import {
  checkFd,
  checkFlags,
  checkInteger,
  checkOptions,
  checkPath,
  type Fd,
} from "../check.ts";
import { O_CREAT } from "../constants.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  HOW_FLAGS_AT,
  HOW_MODE_AT,
  HOW_RESOLVE_AT,
  HOW_SIZE,
  O_CLOEXEC,
  O_TMPFILE_BIT,
  S_IFMT,
  STAT_BLOCKS_AT,
  STAT_DEVICE_AT,
  STAT_FILE_SIZE_AT,
  STAT_GID_AT,
  STAT_INODE_AT,
  STAT_LINKS_AT,
  STAT_MODE_AT,
  STAT_MODIFIED_AT,
  STAT_SIZE,
  STAT_UID_AT,
  STATX_BASIC_STATS,
} from "./layout.ts";
import { FSTAT, OPEN, OPEN_HOW, RENAME, UNLINK } from "./table.ts";

const BLOCK_SIZE = 512;
const MODE_PERMISSIONS = 0o7777;
const TYPES: ReadonlyMap<number, FileType> = new Map([
  [0o100000, "file"],
  [0o040000, "directory"],
  [0o120000, "symlink"],
  [0o140000, "socket"],
  [0o010000, "pipe"],
  [0o060000, "block"],
  [0o020000, "character"],
  [0, "anonymous"],
]);

/** Options of `asyncOpen()`. */
export interface OpenOptions {
  /** The permissions of a file that is created, less the umask: 0 to 0o7777.
   * @default {0o644} */
  mode?: number | undefined;
  /** The directory that a relative path starts from; the current one if left
   * out. It must stay open until completion. */
  dir?: Fd | undefined;
  /** Restricts how the path may be resolved: `RESOLVE_BENEATH` and others, with
   * `|`. The call is then openat2(2), which refuses flags that it does not know.
   * @default {0} */
  resolve?: number | undefined;
}

/**
 * Opens a file by openat(2). Other programs never inherit the fd (`O_CLOEXEC`).
 *
 * With `resolve` it calls openat2(2). `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS`
 * keeps it within the directory, whatever path and symbolic links say.
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`.
 * @param flags `O_RDONLY`, `O_RDWR | O_CREAT` …
 * @param options Permissions, directory and restrictions; a number is `mode`.
 * @returns The new fd, which the caller owns and must close. `ENOENT`,
 * `EACCES`, `EEXIST`, `EISDIR`, `EMFILE` … With `resolve` also `EXDEV` for a
 * path that leaves the directory, `ELOOP` for a link that is not allowed. An fd
 * that comes after the end of the context is closed.
 * @throws {RangeError} If a number is out of range.
 * @throws {TypeError} If `path` is no string or has a NUL, an option has the
 * wrong type, or the context is closed.
 *
 * @example Open below a directory
 * ```ts
 * import {
 *   asyncClose, asyncOpen, IoContext, O_DIRECTORY, O_RDONLY, RESOLVE_BENEATH,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const dir = await asyncOpen(ctx, "/etc", O_DIRECTORY | O_RDONLY).orThrow();
 * const resolve = RESOLVE_BENEATH;
 * const passwd = await asyncOpen(ctx, "passwd", O_RDONLY, { dir, resolve });
 * const outside = await asyncOpen(ctx, "../tmp", O_RDONLY, { dir, resolve });
 * console.log(passwd.ok, outside.ok ? "" : outside.error.code); // true EXDEV
 * if (passwd.ok) await asyncClose(ctx, passwd.value);
 * await asyncClose(ctx, dir);
 * ```
 */
export function asyncOpen(
  ctx: IoContext,
  path: string,
  flags: number,
  options: number | OpenOptions = {},
): UringOp<number> {
  const ring = ringOf(ctx, OPEN);
  const given = typeof options === "number" ? { mode: options } : options;
  checkOptions(given, OPEN.verb);
  const { mode = 0o644, dir, resolve = 0 } = given;
  const name = checkPath(path, OPEN);
  const bits = checkFlags(flags, OPEN);
  const permissions = checkInteger(mode, 0o7777, "mode", OPEN.verb);
  const rules = checkInteger(resolve, 0xff, "resolve", OPEN.verb);
  const row = rules === 0 ? OPEN : OPEN_HOW;
  const sqe = new Sqe(row.opcode);
  sqe.fd = dir === undefined ? AT_FDCWD : checkFd(dir, OPEN);
  sqe.addr = name;
  if (row === OPEN) {
    sqe.len = permissions;
    sqe.opFlags = bits;
  } else {
    sqe.len = HOW_SIZE;
    sqe.addr2 = openHow(bits, permissions, rules);
  }
  return start(ring, row, sqe, { action: `${OPEN.verb} ${path}` });
}

/** Makes a struct open_how. */
function openHow(
  flags: number,
  mode: number,
  resolve: number,
): Uint8Array<ArrayBuffer> {
  const memory = new Uint8Array(HOW_SIZE);
  const view = new DataView(memory.buffer);
  view.setUint32(HOW_FLAGS_AT, (flags | O_CLOEXEC) >>> 0, true);
  // The kernel refuses permissions where nothing is created.
  const creates = (flags & (O_CREAT | O_TMPFILE_BIT)) !== 0;
  view.setUint32(HOW_MODE_AT, creates ? mode : 0, true);
  view.setUint32(HOW_RESOLVE_AT, resolve, true);
  return memory;
}

/** The kind of a file. `"anonymous"` has none: an eventfd, an epoll, a ring. */
export type FileType =
  | "file"
  | "directory"
  | "symlink"
  | "socket"
  | "pipe"
  | "block"
  | "character"
  | "anonymous";

/** The facts about a file that `asyncFstat()` gives. */
export interface FileStat {
  /** The kind of file. */
  type: FileType;
  /** Permissions, with the set-user-ID, set-group-ID and sticky bits. */
  mode: number;
  /** Bytes. */
  size: number;
  /** Bytes that are allocated: fewer than `size` if there are holes. */
  allocated: number;
  /** The last change of its content, in milliseconds since 1970. */
  modifiedMs: number;
  /** Its number in its file system. */
  inode: bigint;
  /** The file system: major and minor number as `major * 2^32 + minor`. */
  device: number;
  /** The number of its names. */
  links: number;
  /** The user that owns it. */
  uid: number;
  /** The group that owns it. */
  gid: number;
}

/**
 * Gives size, kind and more of an open file by statx(2), as fstat(2) does.
 * Within `link()` a failure does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param fd The file.
 * @returns The facts. `EBADF` …
 * @throws {RangeError} If `fd` is out of range.
 * @throws {TypeError} If `fd` is no fd, or the context is closed.
 *
 * @example The size of a file
 * ```ts
 * import { asyncClose, asyncFstat, asyncOpen, IoContext, O_RDONLY } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/etc/passwd", O_RDONLY).orThrow();
 * const { size, type } = await asyncFstat(ctx, fd).orThrow();
 * console.log(`a ${type} of ${size} bytes`);
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncFstat(ctx: IoContext, fd: Fd): UringOp<FileStat> {
  const ring = ringOf(ctx, FSTAT);
  const memory = new Uint8Array(STAT_SIZE);
  const sqe = new Sqe(FSTAT.opcode);
  sqe.fd = checkFd(fd, FSTAT);
  sqe.addr = NO_PATH;
  sqe.len = STATX_BASIC_STATS;
  sqe.addr2 = memory;
  sqe.opFlags = AT_EMPTY_PATH;
  const decode = () => decodeStat(new DataView(memory.buffer));
  return start(ring, FSTAT, sqe, { decode });
}

/** The empty string of C. */
const NO_PATH = new Uint8Array(1);

function decodeStat(view: DataView): FileStat {
  const mode = view.getUint16(STAT_MODE_AT, true);
  const number = (at: number) => Number(view.getBigUint64(at, true));
  const seconds = Number(view.getBigInt64(STAT_MODIFIED_AT, true));
  const nanoseconds = view.getUint32(STAT_MODIFIED_AT + 8, true);
  return {
    type: TYPES.get(mode & S_IFMT)!,
    mode: mode & MODE_PERMISSIONS,
    size: number(STAT_FILE_SIZE_AT),
    allocated: number(STAT_BLOCKS_AT) * BLOCK_SIZE,
    modifiedMs: seconds * 1e3 + Math.floor(nanoseconds / 1e6),
    inode: view.getBigUint64(STAT_INODE_AT, true),
    device: view.getUint32(STAT_DEVICE_AT, true) * 2 ** 32 +
      view.getUint32(STAT_DEVICE_AT + 4, true),
    links: view.getUint32(STAT_LINKS_AT, true),
    uid: view.getUint32(STAT_UID_AT, true),
    gid: view.getUint32(STAT_GID_AT, true),
  };
}

/**
 * Renames a file by renameat2(2), and replaces in one step the file that has
 * the new name. A program that opens that name finds the old file or the new
 * one, whole. Within `link()` a failure does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param from The path.
 * @param to The new path, in the same file system.
 * @param flags `RENAME_NOREPLACE`, `RENAME_EXCHANGE`.
 * @returns `ENOENT`, `EXDEV` for another file system, `EEXIST` with
 * `RENAME_NOREPLACE`, `EISDIR`, `ENOTEMPTY` …
 * @throws {RangeError} If `flags` is out of range.
 * @throws {TypeError} If a path is no string or has a NUL, or the context is
 * closed.
 *
 * @example A file that is there whole or not at all
 * ```ts
 * import {
 *   asyncClose, asyncOpen, asyncRename, asyncUnlink, asyncWriteExact, IoContext,
 *   O_CREAT, O_WRONLY,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const path = `/tmp/${crypto.randomUUID()}`;
 * const fd = await asyncOpen(ctx, `${path}.new`, O_WRONLY | O_CREAT).orThrow();
 * await asyncWriteExact(ctx, fd, new TextEncoder().encode("all of it")).orThrow();
 * await asyncClose(ctx, fd).orThrow();
 * await asyncRename(ctx, `${path}.new`, path).orThrow();
 * await asyncUnlink(ctx, path).orThrow();
 * ```
 */
export function asyncRename(
  ctx: IoContext,
  from: string,
  to: string,
  flags = 0,
): UringOp<void> {
  const ring = ringOf(ctx, RENAME);
  const sqe = new Sqe(RENAME.opcode);
  sqe.fd = AT_FDCWD;
  sqe.addr = checkPath(from, RENAME);
  sqe.len = AT_FDCWD >>> 0;
  sqe.addr2 = checkPath(to, RENAME);
  sqe.opFlags = checkFlags(flags, RENAME);
  return start(ring, RENAME, sqe, {
    action: `${RENAME.verb} ${from} to ${to}`,
  });
}

/**
 * Removes a name by unlinkat(2). The file goes with its last name and its last
 * fd. Within `link()` a failure does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param path The path.
 * @param flags `AT_REMOVEDIR` for an empty directory.
 * @returns `ENOENT`, `EISDIR` for a directory without the flag, `ENOTEMPTY`,
 * `EACCES` …
 * @throws As `asyncRename()`.
 *
 * @example A file that may not exist
 * ```ts
 * import { asyncUnlink, IoContext } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const removed = await asyncUnlink(ctx, "/tmp/no-such-file");
 * console.log(removed.ok ? "removed" : removed.error.code); // ENOENT
 * ```
 */
export function asyncUnlink(
  ctx: IoContext,
  path: string,
  flags = 0,
): UringOp<void> {
  const ring = ringOf(ctx, UNLINK);
  const sqe = new Sqe(UNLINK.opcode);
  sqe.fd = AT_FDCWD;
  sqe.addr = checkPath(path, UNLINK);
  sqe.opFlags = checkFlags(flags, UNLINK);
  return start(ring, UNLINK, sqe, { action: `${UNLINK.verb} ${path}` });
}
