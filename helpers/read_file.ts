import {
  checkBounds,
  checkBytes,
  checkDir,
  checkFlags,
  checkInteger,
  CURRENT_POSITION,
  type Path,
} from "../lib/check.ts";
import { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } from "../lib/constants.ts";
import { ECANCELED, EFBIG, ETIMEDOUT } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncOpen, type DirOptions } from "../lib/ops/path.ts";
import { readNow } from "../lib/ops/read_now.ts";
import { asyncRead } from "../lib/ops/read_write.ts";
import { OPEN } from "../lib/ops/table.ts";
import { shownPath } from "../lib/path_text.ts";
import { failure, type Result, success } from "../lib/result.ts";
import { type BoundOptions, Bounds } from "../lib/ring/bounds.ts";

const VERB = "read";

const SIZE_MAX = 2 ** 31 - 1;

/** Flags that make no other call of it. */
const FLAGS = O_NOFOLLOW | O_NONBLOCK;

/** Memory for a file that does not say how long it is, doubled by need. */
const SIZE_FIRST = 2 ** 14;

/** Keeps a byte order mark, as Deno does. */
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Options of `readFile()` and `readTextFile()`. */
export interface ReadFileOptions extends DirOptions, BoundOptions {
  /** Bytes at most, 0 to 2^31 - 1: a longer file is `EFBIG`.
   * @default {2147483647} */
  sizeMax?: number | undefined;
  /** Memory for the content, and for one byte more: 65,537 bytes for files of up
   * to 64 KiB. A longer file gets memory of its own. It is the call's until the
   * result is there, which is a part of it: two calls at a time need two. */
  buffer?: Uint8Array<ArrayBuffer> | undefined;
  /** More flags of the open: `O_NOFOLLOW`, for the error `ELOOP` if the path
   * leads to a symbolic link, and `O_NONBLOCK`, to wait for no writer of a FIFO.
   * @default {0} */
  flags?: number | undefined;
}

/**
 * Reads a whole file: openat(2), read(2) up to the end, close(2).
 *
 * A file of up to 64 KiB that is in the kernel's caches is read at once, by
 * openat2(2), fstat(2) and preadv2(2) of this thread, which wait for nothing. It
 * is no operation: it is neither in `stats()` nor in a chain. Any other file takes
 * two operations, or one if only its content is missing. It reads what there is
 * at the end, also if the file grows or shrinks meanwhile, or has no size: in
 * /proc, or a pipe.
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`.
 * @param options The directory, more flags of the open, memory for the content,
 * the limit of the size, `timeoutMs` and `signal`.
 * @returns The bytes, which are the caller's; the memory behind them may be
 * larger. `ENOENT`, `EACCES`, `EISDIR`, `EFBIG`, `EIO`, `ETIMEDOUT`, `ECANCELED` …
 * @throws {RangeError} (as a rejection) If `dir`, `flags`, `sizeMax` or
 * `timeoutMs` is out of range, or `buffer` is empty.
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
 *
 * @example One after the other, in the same memory
 * ```ts
 * import { IoContext, readFile, unwrap, walk } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const buffer = new Uint8Array(2 ** 16 + 1);
 * let lines = 0;
 * for await (const { path, isFile } of walk(ctx, "docs").orThrow()) {
 *   if (!isFile) continue;
 *   const data = unwrap(await readFile(ctx, path, { buffer }));
 *   for (const byte of data) if (byte === 10) lines++;
 * }
 * console.log(lines);
 * ```
 */
export async function readFile(
  ctx: IoContext,
  path: Path,
  options: ReadFileOptions = {},
): Promise<Result<Uint8Array<ArrayBuffer>>> {
  const ring = ringOf(ctx, OPEN);
  checkBounds(options, VERB);
  const { dir, sizeMax = SIZE_MAX, buffer, timeoutMs, signal } = options;
  checkInteger(sizeMax, SIZE_MAX, "sizeMax", VERB);
  const base = checkDir(dir, OPEN);
  const flags = checkOwnFlags(options.flags ?? 0);
  if (buffer !== undefined) checkBytes(buffer, "buffer", VERB);
  const isBounded = timeoutMs !== undefined || signal !== undefined;
  let isNow = ring.driver.mayCall();
  // The bytes of a path may change meanwhile, and time may be over.
  if (!isNow && !isBounded && typeof path === "string") {
    const turn = ring.driver.turn();
    await turn;
    isNow = turn !== undefined;
    if (isNow && ring.closing) {
      return failure(ECANCELED, `${VERB} ${shownPath(path)}`);
    }
  }
  // Most calls have no limits: of thousands of small files these would cost as
  // much as the rest.
  const bounds = isBounded ? new Bounds(options, VERB) : undefined;
  const { shim } = ring;
  let fd = -1;
  try {
    if (isNow && !signal?.aborted) {
      const found = readNow(ring, base, path, flags, buffer, sizeMax);
      if (typeof found === "object") return success(found);
      fd = found;
    }
    if (fd < 0) {
      const opening = asyncOpen(ctx, path, O_RDONLY | flags, { dir });
      const opened = await (bounds?.of(opening) ?? opening);
      if (!opened.ok) return opened;
      fd = opened.value;
    }
    const size = shim.kio_file_own(fd);
    // One byte more: a read that is short of it has found the end.
    let memory = buffer !== undefined && buffer.length > size
      ? buffer
      : new Uint8Array(size > 0 && size <= sizeMax ? size + 1 : SIZE_FIRST);
    let errno = size > sizeMax ? EFBIG : 0;
    for (let length = 0; errno === 0;) {
      // Closed since the step before: it is no misuse.
      if (ring.closing) {
        errno = ECANCELED;
        break;
      }
      const rest = length === 0 ? memory : memory.subarray(length);
      const reading = asyncRead(ctx, fd, rest, CURRENT_POSITION);
      const read = await (bounds?.of(reading) ?? reading);
      if (!read.ok) {
        errno = read.error.errno;
        break;
      }
      length += read.value;
      const isAtEnd = read.value === 0 ||
        length === size && length < memory.length;
      if (length > sizeMax) errno = EFBIG;
      else if (isAtEnd) return success(memory.subarray(0, length));
      // A read that never waits succeeds with no time left, too.
      else if (bounds?.remainingMs === 0) errno = ETIMEDOUT;
      else if (length === memory.length) memory = grown(memory, sizeMax + 1);
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

function checkOwnFlags(flags: number): number {
  if ((checkFlags(flags, OPEN) & ~FLAGS) === 0) return flags;
  throw new RangeError(
    `Cannot ${VERB}: flags may be O_NOFOLLOW and O_NONBLOCK, got ${flags}`,
  );
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
