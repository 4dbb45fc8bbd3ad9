/** Operations on paths: opening, renaming, removing. */
import {
  checkDir,
  checkFlags,
  checkInteger,
  checkOptions,
  checkPath,
  type Fd,
  type Path,
} from "../check.ts";
import { O_CREAT } from "../constants.ts";
import type { DirectFd } from "../DirectFd.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { shownPath } from "../path_text.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { type DirectOptions, isDirectIn, startDirect } from "./direct.ts";
import {
  HOW_FLAGS_AT,
  HOW_MODE_AT,
  HOW_RESOLVE_AT,
  HOW_SIZE,
  O_CLOEXEC,
  O_TMPFILE_BIT,
} from "./layout.ts";
import { startPair } from "./pair.ts";
import {
  OPEN,
  OPEN_DIRECT,
  OPEN_HOW,
  RENAME,
  type Row,
  UNLINK,
} from "./table.ts";

/** Options of operations on paths. */
export interface DirOptions {
  /** The directory that a relative path starts from; the current one if left
   * out. It must stay open until completion. */
  dir?: Fd | undefined;
}

/** Options of `asyncOpen()`. */
export interface OpenOptions extends DirOptions {
  /** Permissions of a file that is created, less the umask: 0 to 0o7777.
   * @default {0o644} */
  mode?: number | undefined;
  /** Restricts how the path may be resolved: `RESOLVE_BENEATH` and others, with
   * `|`. The call is then openat2(2), which refuses flags that it does not know.
   * @default {0} */
  resolve?: number | undefined;
}

/** Opens a file as a direct descriptor. `ENFILE` without opening one, if all
 * places of `reserveFiles()` are taken. */
export function asyncOpen(
  ctx: IoContext,
  path: Path,
  flags: number,
  options: OpenOptions & DirectOptions,
): UringOp<DirectFd>;
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
 * @throws {TypeError} If `path` is neither a string nor a Uint8Array or has a
 * NUL, an option has the wrong type, or the context is closed.
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
  path: Path,
  flags: number,
  options?: number | OpenOptions,
): UringOp<number>;
export function asyncOpen(
  ctx: IoContext,
  path: Path,
  flags: number,
  options: number | OpenOptions & Partial<DirectOptions> = {},
): UringOp<number> | UringOp<DirectFd> {
  const ring = ringOf(ctx, OPEN);
  const given = typeof options === "number" ? { mode: options } : options;
  checkOptions(given, OPEN.verb);
  const { mode = 0o644, dir, resolve = 0 } = given;
  const name = checkPath(path, OPEN);
  const bits = checkFlags(flags, OPEN);
  const permissions = checkInteger(mode, 0o7777, "mode", OPEN.verb);
  const isDirect = isDirectIn(given, OPEN);
  const rules = checkInteger(resolve, 0xff, "resolve", OPEN.verb);
  const row = rules === 0 ? OPEN : OPEN_HOW;
  const sqe = new Sqe(row.opcode);
  sqe.fd = checkDir(dir, OPEN);
  sqe.addr = name;
  if (row === OPEN) {
    sqe.len = permissions;
    sqe.opFlags = bits;
  } else {
    sqe.len = HOW_SIZE;
    sqe.addr2 = openHow(
      // The kernel refuses it for a direct descriptor, which has no fd.
      isDirect ? bits : bits | O_CLOEXEC,
      permissions,
      rules,
    );
  }
  const action = `${OPEN.verb} ${shownPath(path)}`;
  return isDirect
    ? startDirect(ring, OPEN_DIRECT, sqe, action)
    : start<number>(ring, row, sqe, { action });
}

/** Makes a struct open_how. */
function openHow(
  flags: number,
  mode: number,
  resolve: number,
): Uint8Array<ArrayBuffer> {
  const memory = new Uint8Array(HOW_SIZE);
  const view = new DataView(memory.buffer);
  view.setUint32(HOW_FLAGS_AT, flags >>> 0, true);
  // The kernel refuses permissions where nothing is created.
  const creates = (flags & (O_CREAT | O_TMPFILE_BIT)) !== 0;
  view.setUint32(HOW_MODE_AT, creates ? mode : 0, true);
  view.setUint32(HOW_RESOLVE_AT, resolve, true);
  return memory;
}

/** Options of `asyncRename()`. */
export interface RenameOptions extends DirOptions {
  /** The directory that the new path starts from; `dir` if left out. */
  toDir?: Fd | undefined;
  /** `RENAME_NOREPLACE`, `RENAME_EXCHANGE`.
   * @default {0} */
  flags?: number | undefined;
}

/**
 * Renames a file by renameat2(2), and replaces in one step the file that has
 * the new name. A program that opens that name finds the old file or the new
 * one, whole. Within `link()` a failure does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param from The path.
 * @param to The new path, in the same file system.
 * @param options Directories and flags; a number is `flags`.
 * @returns `ENOENT`, `EXDEV` for another file system, `EEXIST` with
 * `RENAME_NOREPLACE`, `EISDIR`, `ENOTEMPTY` …
 * @throws {RangeError} If a number is out of range.
 * @throws {TypeError} If a path is neither a string nor a Uint8Array or has a
 * NUL, an option has the wrong type, or the context is closed.
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
  from: Path,
  to: Path,
  options: number | RenameOptions = {},
): UringOp<void> {
  const ring = ringOf(ctx, RENAME);
  return startPair(ring, RENAME, from, to, flagsIn(options, RENAME));
}

/** Options of `asyncUnlink()`. */
export interface UnlinkOptions extends DirOptions {
  /** `AT_REMOVEDIR` for an empty directory.
   * @default {0} */
  flags?: number | undefined;
}

/**
 * Removes a name by unlinkat(2). The file goes with its last name and its last
 * fd. Within `link()` a failure does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param path The path.
 * @param options Directory and flags; a number is `flags`.
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
  path: Path,
  options: number | UnlinkOptions = {},
): UringOp<void> {
  const ring = ringOf(ctx, UNLINK);
  const { dir, flags = 0 } = flagsIn(options, UNLINK);
  const sqe = new Sqe(UNLINK.opcode);
  sqe.fd = checkDir(dir, UNLINK);
  sqe.addr = checkPath(path, UNLINK);
  sqe.opFlags = checkFlags(flags, UNLINK);
  return start(ring, UNLINK, sqe, {
    action: `${UNLINK.verb} ${shownPath(path)}`,
  });
}

/** Options where a number is the flags. */
function flagsIn<T extends UnlinkOptions>(
  options: number | T,
  { verb }: Row,
): T | UnlinkOptions {
  if (typeof options === "number") return { flags: options };
  checkOptions(options, verb);
  return options;
}
