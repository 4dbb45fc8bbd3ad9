import { loadShim } from "../ffi/load.ts";
import {
  checkBounds,
  checkInteger,
  CURRENT_POSITION,
  type Path,
} from "../lib/check.ts";
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
  checkBounds(options, VERB);
  const { dir, sizeMax = 2 ** 31 - 1, timeoutMs, signal } = options;
  checkInteger(sizeMax, 2 ** 31 - 1, "sizeMax", VERB);
  // Most calls have no limits: of thousands of small files these would cost as
  // much as the rest.
  const isBounded = timeoutMs !== undefined || signal !== undefined;
  const bounds = isBounded ? new Bounds(options, VERB) : undefined;
  const shim = loadShim();
  let fd = -1;
  try {
    const opening = asyncOpen(ctx, path, O_RDONLY, { dir });
    const opened = await (bounds?.of(opening) ?? opening);
    if (!opened.ok) return opened;
    fd = opened.value;
    const size = shim.kio_file_own(fd);
    // One byte more: a read that is short of it has found the end.
    let buffer = new Uint8Array(
      size > 0 && size <= sizeMax ? size + 1 : SIZE_FIRST,
    );
    let errno = size > sizeMax ? EFBIG : 0;
    for (let length = 0; errno === 0;) {
      const rest = length === 0 ? buffer : buffer.subarray(length);
      const reading = asyncRead(ctx, fd, rest, CURRENT_POSITION);
      const read = await (bounds?.of(reading) ?? reading);
      if (!read.ok) {
        errno = read.error.errno;
        break;
      }
      length += read.value;
      const isAtEnd = read.value === 0 ||
        length === size && length < buffer.length;
      if (length > sizeMax) errno = EFBIG;
      else if (isAtEnd) return success(buffer.subarray(0, length));
      // A read that never waits succeeds with no time left, too.
      else if (bounds?.remainingMs === 0) errno = ETIMEDOUT;
      else if (length === buffer.length) buffer = grown(buffer, sizeMax + 1);
    }
    return failure(errno, `${VERB} ${shownPath(path)}`);
  } finally {
    if (fd >= 0) shim.kio_fd_close(fd);
    bounds?.[Symbol.dispose]();
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

/** Copies what is read into more memory, twice as much if the limit allows it. */
function grown(
  buffer: Uint8Array<ArrayBuffer>,
  max: number,
): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.min(2 * buffer.length, max));
  larger.set(buffer);
  return larger;
}
