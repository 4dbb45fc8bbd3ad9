/** Extended attributes of files; see xattr(7). */
import type { Shim } from "../../ffi/load.ts";
import {
  type BufferLike,
  checkFd,
  checkFlags,
  checkOptions,
  checkPart,
  checkPath,
  checkText,
  type Fd,
  type Path,
} from "../check.ts";
import { ERANGE } from "../errno.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { shownPath } from "../path_text.ts";
import type { Steps } from "../ring/entry.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import { XATTR_SIZE_MAX } from "./layout.ts";
import { FGETXATTR, FSETXATTR, GETXATTR, type Row, SETXATTR } from "./table.ts";

/** Bytes of most attributes at most: a label, a checksum, an ACL. */
const SIZE = 512;

/**
 * Gets an extended attribute by getxattr(2), or of an fd by fgetxattr(2): all of
 * it, whatever its size. Within `link()` a failure does not end the chain: Linux
 * goes on.
 *
 * @param ctx The context.
 * @param target The file: its path, where symbolic links are followed, or an fd.
 * A relative path starts from the current directory, as the kernel takes no
 * other here.
 * @param name The name with its namespace: `"user.comment"`.
 * @returns Its bytes, often none; they are the caller's. `ENODATA` if there is no
 * such attribute, `EPERM`, `ENOENT`, `EBADF` … `EOPNOTSUPP` where the file system
 * has none or does not know the namespace. `ERANGE` for a name that is empty or
 * longer than 255 bytes.
 * @throws {RangeError} If the fd is out of range.
 * @throws {TypeError} If `target` is neither a path nor an fd, `name` is no
 * string or has a NUL, or the context is closed.
 *
 * @example A note of where it came from
 * ```ts
 * import { asyncGetxattr, IoContext } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const origin = await asyncGetxattr(ctx, "/etc/passwd", "user.xdg.origin.url");
 * if (origin.ok) console.log(new TextDecoder().decode(origin.value));
 * else console.log(origin.error.code); // ENODATA, or EOPNOTSUPP
 * ```
 */
export function asyncGetxattr(
  ctx: IoContext,
  target: Path | Fd,
  name: string,
): UringOp<Uint8Array<ArrayBuffer>> {
  const row = isPath(target) ? GETXATTR : FGETXATTR;
  const ring = ringOf(ctx, row);
  const sqe = sqeFor(row, target, name);
  const get = new GettingAll(sqe, ring.chaining ? XATTR_SIZE_MAX : SIZE);
  return start(ring, row, sqe, {
    action: actionFor(row, target, name),
    decode: (length) => get.value.slice(0, length),
    steps: ring.chaining ? undefined : get,
  });
}

/** Options of `asyncSetxattr()`. */
export interface SetxattrOptions {
  /** `XATTR_CREATE`: only a new one. `XATTR_REPLACE`: only one that is there.
   * @default {0} */
  flags?: number | undefined;
}

/**
 * Sets an extended attribute by setxattr(2), or of an fd by fsetxattr(2). Within
 * `link()` a failure does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param target The file, as for `asyncGetxattr()`; an fd may be open for
 * reading only.
 * @param name The name, as for `asyncGetxattr()`.
 * @param value Its bytes, up to 65536; it must be neither transferred nor changed
 * until completion. It may be empty.
 * @param options Flags.
 * @returns `EEXIST` and `ENODATA` with the flags, `ENOSPC` and `E2BIG` for a value
 * that is too long, `EROFS`; else the errors of `asyncGetxattr()`.
 * @throws {RangeError} If `flags` is out of range.
 * @throws {TypeError} If `value` is no buffer or is detached; else as
 * `asyncGetxattr()`.
 *
 * @example A checksum that stays with the file
 * ```ts
 * import {
 *   asyncClose, asyncGetxattr, asyncOpen, asyncSetxattr, IoContext, O_RDWR,
 *   O_TMPFILE,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR).orThrow();
 * const sum = new Uint8Array([1, 2, 3, 4]);
 * const set = await asyncSetxattr(ctx, fd, "user.checksum", sum);
 * if (set.ok) console.log(await asyncGetxattr(ctx, fd, "user.checksum"));
 * await asyncClose(ctx, fd);
 * ```
 */
export function asyncSetxattr(
  ctx: IoContext,
  target: Path | Fd,
  name: string,
  value: BufferLike,
  options: SetxattrOptions = {},
): UringOp<void> {
  const row = isPath(target) ? SETXATTR : FSETXATTR;
  const ring = ringOf(ctx, row);
  checkOptions(options, row.verb);
  const { flags = 0 } = options;
  const sqe = sqeFor(row, target, name);
  sqe.len = checkPart(value, row);
  // The kernel takes no address of nothing.
  sqe.addr2 = sqe.len === 0 ? null : value;
  sqe.opFlags = checkFlags(flags, row);
  return start(ring, row, sqe, { action: actionFor(row, target, name) });
}

function isPath(target: Path | Fd): target is Path {
  return typeof target === "string" || target instanceof Uint8Array;
}

function sqeFor(row: Row, target: Path | Fd, name: string): Sqe {
  checkText(name, "name", row.verb);
  const sqe = new Sqe(row.opcode);
  sqe.addr = new TextEncoder().encode(`${name}\0`);
  if (isPath(target)) sqe.addr3 = checkPath(target, row);
  else sqe.fd = checkFd(target, row);
  return sqe;
}

function actionFor(row: Row, target: Path | Fd, name: string): string {
  const of = isPath(target) ? shownPath(target) : `fd ${checkFd(target, row)}`;
  return `${row.verb} ${name} of ${of}`;
}

/** Gets a value in a small buffer, or else in one that any value fits. */
class GettingAll implements Steps {
  readonly isWaiting = false;
  readonly pauseMs = 0;
  readonly #sqe: Sqe;

  constructor(sqe: Sqe, size: number) {
    this.#sqe = sqe;
    this.#setSize(size);
  }

  get value(): Uint8Array<ArrayBuffer> {
    return this.#sqe.addr2 as Uint8Array<ArrayBuffer>;
  }

  #setSize(size: number): void {
    this.#sqe.addr2 = new Uint8Array(size);
    this.#sqe.len = size;
  }

  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number {
    this.#setSize(XATTR_SIZE_MAX);
    return this.#sqe.submit(shim, handle, id);
  }

  advance(result: number): boolean {
    return result === -ERANGE && this.#sqe.len < XATTR_SIZE_MAX;
  }
}
