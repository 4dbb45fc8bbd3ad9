import {
  checkBoolean,
  checkBounds,
  checkDir,
  checkPath,
  type Path,
} from "../lib/check.ts";
import { EAGAIN } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import type { FileStat } from "../lib/ops/file_stat.ts";
import {
  type Batch,
  type DirEntry,
  type Folder,
  FOLDER_STAT,
  readFolder,
} from "../lib/ops/folder.ts";
import type { DirOptions } from "../lib/ops/path.ts";
import { READ_DIR } from "../lib/ops/table.ts";
import { shownPath } from "../lib/path_text.ts";
import { DONE, failure, type Result, success } from "../lib/result.ts";
import { bound, type BoundOptions } from "../lib/ring/bounds.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import type { UringStream } from "../lib/UringStream.ts";
import { ResultStream } from "./result_stream.ts";

/** Options of `readDir()`. */
export interface ReadDirOptions extends DirOptions, BoundOptions {
  /** Looks at each entry by statx(2), as lstat(2) does.
   * @default {false} */
  stat?: boolean | undefined;
}

/**
 * Reads a directory by getdents64(2): all entries but `.` and `..`. They come
 * mostly in the order of their inodes, as the disk has them.
 *
 * io_uring has no such operation, and the call may wait for a disk or a server.
 * So a thread of the library makes it, with many entries a hand-over; all
 * contexts share 16 of these threads at most. The stream reads ahead, some
 * thousand entries, and goes on when they were taken. It opens the directory,
 * and closes it at its end. A loop that leaves by `break` ends it; so does the
 * end of the context.
 *
 * Entries that come or go meanwhile may be among the results or not; all others
 * are, once.
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`, which may be closed after
 * the call. Without `dir` it starts from the current directory when a thread
 * opens it.
 * @param options `stat` to look at each entry; the directory; `timeoutMs` and
 * `signal` for the whole stream.
 * @returns The entries. An error is the last result: `ENOENT` for a directory
 * that is not there or that was removed meanwhile, `ENOTDIR`, `EACCES`, `ELOOP`,
 * `ENAMETOOLONG`, `EMFILE`; `EAGAIN` if the system has no thread to spare;
 * `ECANCELED`, `ETIMEDOUT`. The error of a look is in `entry.stat`.
 * @throws {RangeError} If a number is out of range.
 * @throws {TypeError} If `path` is neither a string nor a Uint8Array or has a
 * NUL, an option has the wrong type, or the context is closed.
 *
 * @example The largest file
 * ```ts
 * import { IoContext, readDir } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * let largest = "", size = -1;
 * for await (const entry of readDir(ctx, "/etc", { stat: true }).orThrow()) {
 *   // It may have gone since the directory was read.
 *   if (!entry.isFile || !entry.stat.ok || entry.stat.value.size < size) continue;
 *   size = entry.stat.value.size;
 *   largest = entry.name;
 * }
 * console.log(largest, size);
 * ```
 *
 * @example Open what is there, whatever its name
 * ```ts
 * import { asyncClose, asyncOpen, IoContext, O_DIRECTORY, readDir } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const dir = await asyncOpen(ctx, "/etc", O_DIRECTORY).orThrow();
 * for await (const { name, bytes, isFile } of readDir(ctx, ".", { dir }).orThrow()) {
 *   if (!isFile) continue;
 *   const opened = await asyncOpen(ctx, bytes ?? name, 0, { dir });
 *   if (opened.ok) await asyncClose(ctx, opened.value);
 * }
 * await asyncClose(ctx, dir);
 * ```
 */
export function readDir(
  ctx: IoContext,
  path: Path,
  options: ReadDirOptions & { stat: true },
): UringStream<DirEntry & { stat: Result<FileStat> }>;
/**
 * Reads a directory by getdents64(2).
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`.
 * @param options The directory; `timeoutMs` and `signal`.
 * @returns The entries.
 */
export function readDir(
  ctx: IoContext,
  path: Path,
  options?: ReadDirOptions,
): UringStream<DirEntry>;
export function readDir(
  ctx: IoContext,
  path: Path,
  options: ReadDirOptions = {},
): UringStream<DirEntry> {
  const ring = ringOf(ctx, READ_DIR);
  const { verb } = READ_DIR;
  checkBounds(options, verb);
  const base = checkDir(options.dir, READ_DIR);
  const name = checkPath(path, READ_DIR);
  const hasStats = checkBoolean(options.stat ?? false, "stat", verb);
  const action = `${verb} ${shownPath(path)}`;
  const stream = new Entries(ring, action);
  stream.begin(base, name, hasStats ? FOLDER_STAT : 0);
  bound(stream, options);
  return stream;
}

/** The entries of one directory. */
class Entries extends ResultStream<DirEntry> {
  readonly #ring: Ring;
  readonly #action: string;
  #folder: Folder | null = null;

  constructor(ring: Ring, action: string) {
    super(ring, READ_DIR, action);
    this.#ring = ring;
    this.#action = action;
  }

  begin(base: number, path: Uint8Array<ArrayBuffer>, flags: number): void {
    const take = (batch: Batch) => this.#take(batch);
    this.#folder = readFolder(this.#ring, base, path, flags, take);
    if (this.#folder === null) this.finish(failure(EAGAIN, this.#action));
  }

  #take(batch: Batch): void {
    const { count, status } = batch;
    this.push(count, (index) => success(batch.entryAt(index)));
    if (status > 0) return this.goOn();
    this.finish(status === 0 ? DONE : failure(-status, this.#action));
  }

  protected goOn(): void {
    if (this.isFull || this.#folder!.more()) return;
    this.stop();
    this.finish(failure(EAGAIN, this.#action));
  }

  protected stop(): void {
    this.#folder?.end();
  }
}
