import { loadShim } from "../ffi/load.ts";
import { checkInteger, CURRENT_POSITION, type Path } from "../lib/check.ts";
import { O_RDONLY } from "../lib/constants.ts";
import { EFBIG, ETIMEDOUT } from "../lib/errno.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncOpen, type DirOptions } from "../lib/ops/path.ts";
import { asyncRead } from "../lib/ops/read_write.ts";
import { shownPath } from "../lib/path_text.ts";
import { failure, type Result, success } from "../lib/result.ts";
import { type BoundOptions, Bounds } from "../lib/ring/bounds.ts";

const VERB = "read";

/** Memory for a file that does not say how long it is, doubled by need. */
const SIZE_FIRST = 2 ** 14;

/** Keeps a byte order mark, as Deno does. */
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Options of `readFile()` and `readTextFile()`. */
export interface ReadFileOptions extends DirOptions, BoundOptions {
  /** Bytes at most, 0 to 2^31 - 1: a longer file is `EFBIG`.
   * @default {2147483647} */
  sizeMax?: number | undefined;
}

/**
 * Reads a whole file: openat(2), read(2) up to the end, close(2).
 *
 * A file whose size is known takes one read, and two calls of the kernel's ring
 * in all. It reads what there is at the end, also if the file grows or shrinks
 * meanwhile, or has no size: in /proc, or a pipe.
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`.
 * @param options The directory, the limit of the size, `timeoutMs` and `signal`.
 * @returns The bytes, which are the caller's; the memory behind them may be
 * larger. `ENOENT`, `EACCES`, `EISDIR`, `EFBIG`, `EIO`, `ETIMEDOUT`, `ECANCELED` …
 * @throws {RangeError} (as a rejection) If `dir`, `sizeMax` or `timeoutMs` is out
 * of range.
 * @throws {TypeError} (as a rejection) If `path` is neither a string nor a
 * Uint8Array or has a NUL, an option has the wrong type, or the context is
 * closed.
 *
 * @example Many at once
 * ```ts
 * import { IoContext, readFile, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const paths = ["/etc/passwd", "/etc/hostname", "/proc/version"];
 * const files = await Promise.all(paths.map((path) => readFile(ctx, path)));
 * console.log(files.map((file) => unwrap(file).length));
 * ```
 */
export async function readFile(
  ctx: IoContext,
  path: Path,
  options: ReadFileOptions = {},
): Promise<Result<Uint8Array<ArrayBuffer>>> {
  using bounds = new Bounds(options, VERB);
  const { dir, sizeMax = 2 ** 31 - 1 } = options;
  checkInteger(sizeMax, 2 ** 31 - 1, "sizeMax", VERB);
  const opened = await bounds.of(asyncOpen(ctx, path, O_RDONLY, { dir }));
  if (!opened.ok) return opened;
  const fd = opened.value;
  loadShim().kio_fd_own(fd);
  try {
    const read = await readToEnd(ctx, fd, sizeMax, bounds);
    if (typeof read !== "number") return success(read);
    return failure(read, `${VERB} ${shownPath(path)}`);
  } finally {
    loadShim().kio_fd_close(fd);
  }
}

/**
 * Reads a whole file as `readFile()` does, and decodes it as UTF-8. What is not
 * UTF-8 becomes U+FFFD; a byte order mark stays.
 *
 * @param ctx The context.
 * @param path As for `readFile()`.
 * @param options As for `readFile()`.
 * @returns The text; the errors of `readFile()`.
 * @throws As `readFile()`.
 *
 * @example The name of the machine
 * ```ts
 * import { IoContext, readTextFile, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * console.log(unwrap(await readTextFile(ctx, "/etc/hostname")).trim());
 * ```
 */
export async function readTextFile(
  ctx: IoContext,
  path: Path,
  options: ReadFileOptions = {},
): Promise<Result<string>> {
  const read = await readFile(ctx, path, options);
  return read.ok ? success(utf8.decode(read.value)) : read;
}

/** Reads up to the end. Returns an errno for a failure. */
async function readToEnd(
  ctx: IoContext,
  fd: number,
  sizeMax: number,
  bounds: Bounds,
): Promise<Uint8Array<ArrayBuffer> | number> {
  const size = loadShim().kio_file_size(fd);
  if (size > sizeMax) return EFBIG;
  // One byte more: a read that is short of it has found the end.
  let buffer = new Uint8Array(size > 0 ? size + 1 : SIZE_FIRST);
  let length = 0;
  for (;;) {
    const rest = length === 0 ? buffer : buffer.subarray(length);
    const read = await bounds.of(asyncRead(ctx, fd, rest, CURRENT_POSITION));
    if (!read.ok) return read.error.errno;
    length += read.value;
    const isAtEnd = read.value === 0 ||
      length === size && length < buffer.length;
    if (length > sizeMax) return EFBIG;
    if (isAtEnd) return buffer.subarray(0, length);
    // A read that never waits succeeds with no time left, too.
    if (bounds.remainingMs === 0) return ETIMEDOUT;
    if (length === buffer.length) {
      const larger = new Uint8Array(Math.min(2 * length, sizeMax + 1));
      larger.set(buffer);
      buffer = larger;
    }
  }
}
