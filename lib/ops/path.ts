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
import * as operations from "./table.ts";
import { RetainedGroup } from "../ring/retained.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";

/** sizeof(struct open_how) and its parts. */
const HOW_SIZE = 24;
const HOW_FLAGS_AT = 0;
const HOW_MODE_AT = 8;
const HOW_RESOLVE_AT = 16;

const O_TMPFILE_BIT = 0o20000000;
const O_CLOEXEC = 0o2000000;

/** sizeof(struct statx) and its parts. */
const STAT_SIZE = 256;
const STAT_LINKS_AT = 16;
const STAT_UID_AT = 20;
const STAT_GID_AT = 24;
const STAT_MODE_AT = 28;
const STAT_INODE_AT = 32;
const STAT_FILE_SIZE_AT = 40;
const STAT_BLOCKS_AT = 48;
const STAT_MODIFIED_AT = 112;
const STAT_DEVICE_AT = 136;
const BLOCK_SIZE = 512;

const MODE_TYPE = 0o170000;
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

/** What `asyncOpenat2()` is told besides flags. */
export interface OpenHow {
  /** Permissions of a file that is created, less the umask.
   * @default {0o644} */
  mode?: number | undefined;
  /** How the path may be resolved: `RESOLVE_BENEATH` and others, with `|`.
   * @default {0} */
  resolve?: number | undefined;
}

/**
 * Opens a file relative to a directory, and says how the path may be resolved:
 * with `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS` nothing outside of the
 * directory can be reached, whatever the path and the symbolic links say. The
 * fd is never inherited by other programs. See openat2(2).
 *
 * @param ctx The context.
 * @param directory The directory that a relative path starts from.
 * @param path The path.
 * @param flags `O_RDONLY`, `O_RDWR | O_CREAT` … Unlike open(2) it refuses what
 * it does not know, with `EINVAL`.
 * @param how Permissions and the way to resolve.
 * @returns The new fd; the caller has to close it. `EXDEV` for a path that
 * leaves the directory, `ELOOP` for a link that is not allowed, `ENOENT`,
 * `EACCES` …
 * @throws {TypeError} If `path` is no string or has a NUL, or the context is
 * closed; {RangeError} if a number is out of range.
 */
export function asyncOpenat2(
  ctx: IoContext,
  directory: Fd,
  path: string,
  flags: number,
  how: OpenHow = {},
): UringOp<number> {
  const operation = operations.OPENAT2;
  const ring = ringOf(ctx, operation);
  checkOptions(how, operation.verb);
  const { mode = 0o644, resolve = 0 } = how;
  const at = checkFd(directory, operation);
  const name = checkPath(path, operation);
  const bits = checkFlags(flags, operation);
  const permissions = checkInteger(mode, 0o7777, "mode", operation.verb);
  const rules = checkInteger(resolve, 0xff, "resolve", operation.verb);
  const memory = new Uint8Array(HOW_SIZE);
  const view = new DataView(memory.buffer);
  view.setUint32(HOW_FLAGS_AT, (bits | O_CLOEXEC) >>> 0, true);
  // The kernel refuses permissions where nothing is created.
  const creates = (bits & (O_CREAT | O_TMPFILE_BIT)) !== 0;
  view.setUint32(HOW_MODE_AT, creates ? permissions : 0, true);
  view.setUint32(HOW_RESOLVE_AT, rules, true);
  return start(
    ring,
    operation,
    at,
    new RetainedGroup(memory, [name]),
    (shim, handle, id) => shim.kio_openat2(handle, id, at, name, memory),
    { action: `${operation.verb} ${path}` },
  );
}

/** The kind of a file; `"anonymous"` is what has none: an eventfd, an epoll, a
 * ring. */
export type FileType =
  | "file"
  | "directory"
  | "symlink"
  | "socket"
  | "pipe"
  | "block"
  | "character"
  | "anonymous";

/** What is known of a file. */
export interface FileStat {
  /** What it is. */
  type: FileType;
  /** Permissions, with the set-user-ID, set-group-ID and sticky bits. */
  mode: number;
  /** Bytes. */
  size: number;
  /** Bytes that are allocated: fewer than `size` if there are holes. */
  allocated: number;
  /** When its content was changed last, in milliseconds since 1970. */
  modifiedMs: number;
  /** Its number in its file system. */
  inode: bigint;
  /** The file system: major and minor number as `major * 2^32 + minor`. */
  device: number;
  /** How many names it has. */
  links: number;
  /** The user that owns it. */
  uid: number;
  /** The group that owns it. */
  gid: number;
}

/**
 * Tells size, kind and more of an open file. See fstat(2) and statx(2). Within
 * `link()` a failure of it does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param fd The file.
 * @returns What is known of it. `EBADF` …
 * @throws {RangeError} If `fd` is out of range; {TypeError} if it is no fd or
 * the context is closed.
 */
export function asyncFstat(ctx: IoContext, fd: Fd): UringOp<FileStat> {
  const operation = operations.FSTAT;
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  const memory = new Uint8Array(STAT_SIZE);
  return start(
    ring,
    operation,
    file,
    memory,
    (shim, handle, id) => shim.kio_fstat(handle, id, file, memory),
    { decode: () => decodeStat(new DataView(memory.buffer)) },
  );
}

function decodeStat(view: DataView): FileStat {
  const mode = view.getUint16(STAT_MODE_AT, true);
  const number = (at: number) => Number(view.getBigUint64(at, true));
  const seconds = Number(view.getBigInt64(STAT_MODIFIED_AT, true));
  const nanoseconds = view.getUint32(STAT_MODIFIED_AT + 8, true);
  return {
    type: TYPES.get(mode & MODE_TYPE)!,
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
 * Gives a file another name, and replaces what has that name in one step:
 * whoever opens it finds the old file or the new one, whole. See renameat2(2).
 * Within `link()` a failure of it does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param from The path.
 * @param to The new path, in the same file system.
 * @param flags `RENAME_NOREPLACE`, `RENAME_EXCHANGE`.
 * @returns `ENOENT`, `EXDEV` for another file system, `EEXIST` with
 * `RENAME_NOREPLACE`, `EISDIR`, `ENOTEMPTY` …
 * @throws {TypeError} If a path is no string or has a NUL, or the context is
 * closed; {RangeError} if `flags` is out of range.
 */
export function asyncRename(
  ctx: IoContext,
  from: string,
  to: string,
  flags = 0,
): UringOp<void> {
  const operation = operations.RENAME;
  const ring = ringOf(ctx, operation);
  const source = checkPath(from, operation);
  const target = checkPath(to, operation);
  const bits = checkFlags(flags, operation);
  return start(
    ring,
    operation,
    -1,
    new RetainedGroup(source, [target]),
    (shim, handle, id) => shim.kio_rename(handle, id, source, target, bits),
    { action: `${operation.verb} ${from} to ${to}` },
  );
}

/**
 * Removes a name; the file goes with its last name and fd. See unlinkat(2).
 * Within `link()` a failure of it does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param path The path.
 * @param flags `AT_REMOVEDIR` for an empty directory.
 * @returns `ENOENT`, `EISDIR` for a directory without the flag, `ENOTEMPTY`,
 * `EACCES` …
 * @throws As `asyncRename()`.
 */
export function asyncUnlink(
  ctx: IoContext,
  path: string,
  flags = 0,
): UringOp<void> {
  const operation = operations.UNLINK;
  const ring = ringOf(ctx, operation);
  const name = checkPath(path, operation);
  const bits = checkFlags(flags, operation);
  return start(
    ring,
    operation,
    -1,
    name,
    (shim, handle, id) => shim.kio_unlink(handle, id, name, bits),
    { action: `${operation.verb} ${path}` },
  );
}
