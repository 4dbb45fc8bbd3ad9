import type { Shim } from "../../ffi/load.ts";
import {
  checkBoolean,
  checkDir,
  checkInteger,
  checkOptions,
  checkPath,
  type Path,
} from "../check.ts";
import { EEXIST, ENOENT } from "../errno.ts";
import { ringOf } from "../internal.ts";
import type { IoContext } from "../IoContext.ts";
import { shownPath } from "../path_text.ts";
import type { Steps } from "../ring/entry.ts";
import { Sqe } from "../ring/sqe.ts";
import { start } from "../ring/start.ts";
import type { UringOp } from "../UringOp.ts";
import {
  S_IFDIR,
  S_IFMT,
  STAT_MODE_AT,
  STAT_SIZE,
  STATX_BASIC_STATS,
} from "./layout.ts";
import type { DirOptions } from "./path.ts";
import { MKDIR, STAT } from "./table.ts";

/** Options of `asyncMkdir()`. */
export interface MkdirOptions extends DirOptions {
  /** Permissions, less the umask: 0 to 0o7777.
   * @default {0o777} */
  mode?: number | undefined;
  /** Makes parents that are missing, with 0o777 less the umask. It is a success
   * if the directory is there already.
   * @default {false} */
  recursive?: boolean | undefined;
}

/**
 * Makes a directory by mkdirat(2).
 *
 * With `recursive` it is one operation, whatever there is to make. A timeout, a
 * signal or a cancel ends the whole, and leaves the parents that it has made.
 * Others may make the same directories at the same time. Each of its steps
 * starts from the current directory of that moment: give it a `dir` if
 * `Deno.chdir()` may come between. Within `link()` a
 * failure does not end the chain: Linux goes on.
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`.
 * @param options Permissions, directory, `recursive`.
 * @returns `EEXIST` if there is something of that name, with `recursive` only if
 * it is no directory; `ENOENT` for a parent that is missing, `ENOTDIR` for one
 * that is no directory, `EACCES`, `ENOSPC`, `EROFS` …
 * @throws {RangeError} If a number is out of range.
 * @throws {TypeError} If `path` is neither a string nor a Uint8Array or has a
 * NUL, an option has the wrong type, or the context is closed.
 * @throws {TypeError} If `recursive` is set within `link()`.
 *
 * @example Room for the output
 * ```ts
 * import { asyncMkdir, asyncUnlink, AT_REMOVEDIR, IoContext } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const root = `/tmp/kio-${crypto.randomUUID()}`;
 * await asyncMkdir(ctx, `${root}/2026/11`, { recursive: true }).orThrow();
 * for (const path of [`${root}/2026/11`, `${root}/2026`, root]) {
 *   await asyncUnlink(ctx, path, AT_REMOVEDIR).orThrow();
 * }
 * ```
 */
export function asyncMkdir(
  ctx: IoContext,
  path: Path,
  options: MkdirOptions = {},
): UringOp<void> {
  const ring = ringOf(ctx, MKDIR);
  checkOptions(options, MKDIR.verb);
  const { dir, mode = 0o777, recursive = false } = options;
  const name = checkPath(path, MKDIR);
  const permissions = checkInteger(mode, 0o7777, "mode", MKDIR.verb);
  checkBoolean(recursive, "recursive", MKDIR.verb);
  if (recursive && ring.chaining) {
    throw new TypeError(
      `Cannot ${MKDIR.verb} with its parents in link(): a chain ends where one is missing; make them before`,
    );
  }
  const sqe = sqeFor(checkDir(dir, MKDIR), name, permissions);
  const action = `${MKDIR.verb} ${shownPath(path)}`;
  const steps = recursive ? new MakingParents(sqe) : undefined;
  return start(ring, MKDIR, sqe, { action, steps });
}

function sqeFor(dir: number, path: Uint8Array, mode: number): Sqe {
  const sqe = new Sqe(MKDIR.opcode);
  sqe.fd = dir;
  sqe.addr = path;
  sqe.len = mode;
  return sqe;
}

const SLASH = 47;
const PARENT_MODE = 0o777;

/**
 * Makes a directory, or else its parents first, from the innermost out to one
 * that is there and back. The kernel's last answer is that of the operation:
 * where something else has the name, that is another EEXIST.
 */
class MakingParents implements Steps {
  readonly isWaiting = false;
  readonly pauseMs = 0;
  readonly #whole: Sqe;
  readonly #path: Uint8Array;
  /** Lengths of the paths of the parents and of the whole. */
  readonly #lengths: readonly number[];
  #at: number;
  /** Parents that may be missing until it gives up: others may remove them as
   * often as they are made. */
  #missingMax: number;
  /** A look at what has the name; also what the kernel may touch until then. */
  #sqe: Sqe;
  #hasLooked = false;

  /** Its first try is `whole`. */
  constructor(whole: Sqe) {
    this.#whole = whole;
    this.#sqe = whole;
    this.#path = whole.addr as Uint8Array;
    this.#lengths = lengthsIn(this.#path);
    this.#at = this.#lengths.length - 1;
    this.#missingMax = 2 * this.#lengths.length;
  }

  prepare(shim: Shim, handle: Deno.PointerObject, id: number): number {
    return this.#sqe.submit(shim, handle, id);
  }

  advance(result: number): boolean {
    if (this.#sqe.opcode === STAT.opcode) {
      if (result === 0 && isDirectory(this.#sqe.addr2 as Uint8Array)) {
        return false;
      }
      this.#sqe = this.#whole;
      return true;
    }
    const isLast = this.#at === this.#lengths.length - 1;
    if (result === -ENOENT) {
      if (this.#at === 0 || this.#missingMax-- === 0) return false;
      this.#make(this.#at - 1);
      return true;
    }
    if (isLast) {
      if (result !== -EEXIST || this.#hasLooked) return false;
      this.#hasLooked = true;
      this.#sqe = lookAt(this.#whole);
      return true;
    }
    if (result !== 0 && result !== -EEXIST) return false;
    this.#make(this.#at + 1);
    return true;
  }

  /** Makes a parent next, or the whole. */
  #make(at: number): void {
    this.#at = at;
    const isLast = at === this.#lengths.length - 1;
    if (isLast) {
      this.#sqe = this.#whole;
      return;
    }
    const length = this.#lengths[at]!;
    const path = new Uint8Array(length + 1);
    path.set(this.#path.subarray(0, length));
    this.#sqe = sqeFor(this.#whole.fd, path, PARENT_MODE);
  }
}

/** Lengths of the parts of a path that end with a name. */
function lengthsIn(path: Uint8Array): number[] {
  const lengths: number[] = [];
  // The last byte is the NUL.
  for (let at = 1; at < path.length; at++) {
    const isEnd = path[at] === SLASH || at === path.length - 1;
    if (isEnd && path[at - 1] !== SLASH) lengths.push(at);
  }
  return lengths.length === 0 ? [path.length - 1] : lengths;
}

function lookAt({ fd, addr }: Sqe): Sqe {
  const sqe = new Sqe(STAT.opcode);
  sqe.fd = fd;
  sqe.addr = addr;
  sqe.len = STATX_BASIC_STATS;
  sqe.addr2 = new Uint8Array(STAT_SIZE);
  return sqe;
}

function isDirectory({ buffer }: Uint8Array): boolean {
  const mode = new DataView(buffer).getUint16(STAT_MODE_AT, true);
  return (mode & S_IFMT) === S_IFDIR;
}
