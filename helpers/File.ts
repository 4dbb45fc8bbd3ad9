import { loadShim } from "../ffi/load.ts";
import {
  checkInteger,
  checkOwned,
  CURRENT_POSITION,
  type Offset,
  type Path,
} from "../lib/check.ts";
import { O_RDONLY } from "../lib/constants.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncFdatasync, asyncFsync, asyncFtruncate } from "../lib/ops/file.ts";
import { asyncOpen, type OpenOptions } from "../lib/ops/path.ts";
import { asyncRead, asyncWrite } from "../lib/ops/read_write.ts";
import { asyncFstat } from "../lib/ops/stat.ts";
import { FILE } from "../lib/ops/table.ts";
import { asyncSleep } from "../lib/ops/wait.ts";
import { type Result, success } from "../lib/result.ts";
import { type BoundOptions, Bounds } from "../lib/ring/bounds.ts";
import { offered } from "../lib/ring/offered.ts";
import { closeIdle } from "../lib/ring/close_idle.ts";
import { Blocks, type BlocksOptions, checkBlocks } from "./blocks.ts";
import { fileInfo } from "./file_info.ts";
import { FileSync, openFd } from "./FileSync.ts";
import { readableOf, writableOf } from "./file_streams.ts";

/** Milliseconds between two tries of a lock, doubling. */
const LOCK_PAUSE_MS_MAX = 32;

/** Options of `File.open()`. */
export interface FileOpenOptions extends OpenOptions, BoundOptions {}

/**
 * Owns the fd of a file and closes it, once. Operations take a `File` wherever
 * they take an fd, and give results.
 *
 * Its own methods have the shape of `Deno.FsFile`: they throw for an error of
 * the system, with the class of `Deno.errors` that fits. Those whose names end
 * in `Sync` block the thread, and with it all operations.
 *
 * The name is that of a class of the Web, as `Deno.FsFile` has a name of its own
 * there. `import { File as KioFile } from "@kio/kio"` keeps both.
 *
 * @example Two lines
 * ```ts
 * import { File, IoContext, O_RDWR, O_TMPFILE, unwrap } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * await using file = unwrap(await File.open(ctx, "/tmp", O_TMPFILE | O_RDWR));
 * await file.write(new TextEncoder().encode("first\nsecond\n"));
 * await file.seek(0, Deno.SeekMode.Start);
 * const text = await new Response(file.readable).text();
 * assertEquals(text, "first\nsecond\n");
 * ```
 */
export class File extends FileSync implements Disposable, AsyncDisposable {
  readonly #ctx: IoContext;
  #fd: number;
  /** The close that has begun: its end. */
  #closing: Promise<void> | undefined;
  #readable: ReadableStream<Uint8Array<ArrayBuffer>> | undefined;
  #writable: WritableStream<Uint8Array<ArrayBufferLike>> | undefined;

  /**
   * Takes ownership of an fd. This object closes it from now on, at the latest
   * when the thread ends.
   *
   * @param ctx The context of its operations.
   * @param fd The fd of a file.
   * @throws {RangeError} If `fd` is no integer from 0 to 2^31 - 1.
   * @throws {TypeError} If `ctx` is no context, or `fd` is the ring of one.
   */
  constructor(ctx: IoContext, fd: number) {
    const { verb } = FILE;
    ringOf(ctx, FILE);
    super();
    this.#ctx = ctx;
    this.#fd = checkOwned(checkInteger(fd, 2 ** 31 - 1, "fd", verb), verb);
    offered.delete(fd);
    loadShim().kio_fd_own(fd);
  }

  /**
   * Opens a file by openat(2), as `asyncOpen()` does.
   *
   * @param ctx The context of its operations.
   * @param path The path, absolute or relative to `dir`.
   * @param flags `O_RDONLY`, `O_RDWR | O_CREAT` …
   * @param options As for `asyncOpen()`; `timeoutMs` and `signal`.
   * @returns The file, which the caller has to close; the errors of
   * `asyncOpen()`.
   * @throws {RangeError} (as a rejection) As `asyncOpen()`, or if `timeoutMs` is
   * out of range.
   * @throws {TypeError} (as a rejection) As `asyncOpen()`.
   */
  static async open(
    ctx: IoContext,
    path: Path,
    flags: number = O_RDONLY,
    options: FileOpenOptions = {},
  ): Promise<Result<File>> {
    using bounds = new Bounds(options, "open");
    const opened = await bounds.of(asyncOpen(ctx, path, flags, options));
    return opened.ok ? success(new File(ctx, opened.value)) : opened;
  }

  /** The fd; -1 when the file is closed or released. */
  override get fd(): number {
    return this.#fd;
  }

  /**
   * Gives up the fd without closing it.
   *
   * @returns The fd, which the caller has to close; -1 if there is none.
   */
  release(): number {
    const fd = this.#take();
    if (fd >= 0) loadShim().kio_fd_disown(fd);
    return fd;
  }

  /**
   * Reads at the file's position by read(2), and moves it.
   *
   * @param buffer The buffer; it must not be transferred until completion.
   * @returns The number of bytes, often fewer than asked for; null at the end.
   * 0 if the buffer is empty.
   * @throws {Error} (as a rejection) An error of `asyncRead()`.
   * @throws {TypeError} If the file or the context is closed, or `buffer` is no
   * buffer.
   */
  read(buffer: Uint8Array): Promise<number | null> {
    return this.readAt(buffer, CURRENT_POSITION);
  }

  /**
   * Reads at a place in the file by pread(2).
   *
   * @param buffer As for `read()`.
   * @param offset The place, as for `asyncRead()`.
   * @returns As `read()`.
   * @throws As `read()`; {RangeError} too if `offset` is out of range.
   */
  readAt(buffer: Uint8Array, offset: Offset): Promise<number | null> {
    const file = openFd(this, "read");
    if (buffer.length === 0) return Promise.resolve(0);
    return asyncRead(this.#ctx, file, buffer, offset).orThrow()
      .then((count) => count === 0 ? null : count);
  }

  /**
   * Writes at the file's position by write(2), and moves it.
   *
   * @param data The data; it must be neither transferred nor changed until
   * completion.
   * @returns The number of bytes, which may be fewer than given;
   * `asyncWriteExact()` writes all.
   * @throws {Error} (as a rejection) An error of `asyncWrite()`.
   * @throws {TypeError} As `read()`.
   */
  write(data: Uint8Array): Promise<number> {
    return this.writeAt(data, CURRENT_POSITION);
  }

  /**
   * Writes at a place in the file by pwrite(2).
   *
   * @param data As for `write()`.
   * @param offset The place, as for `asyncWrite()`.
   * @returns As `write()`.
   * @throws As `write()`; {RangeError} too if `offset` is out of range.
   */
  writeAt(data: Uint8Array, offset: Offset): Promise<number> {
    const file = openFd(this, "write");
    if (data.length === 0) return Promise.resolve(0);
    return asyncWrite(this.#ctx, file, data, offset).orThrow();
  }

  /**
   * Moves the file's position by lseek(2).
   *
   * @param offset Bytes, from the start, the position or the end.
   * @param whence `Deno.SeekMode`.
   * @returns The new position.
   * @throws {Error} (as a rejection) `EINVAL` for a place before the start,
   * `ESPIPE` for a pipe.
   * @throws {TypeError} (as a rejection) If the file is closed.
   * @throws {RangeError} (as a rejection) If a number is out of range.
   */
  // deno-lint-ignore require-await
  async seek(offset: number | bigint, whence: Deno.SeekMode): Promise<number> {
    return this.seekSync(offset, whence);
  }

  /**
   * Looks at the file by statx(2), as fstat(2) does. `asyncFstat()` tells more.
   *
   * @returns Facts about it, in Deno's shape.
   * @throws {Error} (as a rejection) An error of `asyncFstat()`.
   * @throws {TypeError} If the file or the context is closed.
   */
  stat(): Promise<Deno.FileInfo> {
    openFd(this, "stat");
    return asyncFstat(this.#ctx, this).orThrow().then(fileInfo);
  }

  /**
   * Cuts the file off, or extends it with zeros, by ftruncate(2).
   *
   * @param length The new length in bytes; 0 if left out.
   * @throws {Error} (as a rejection) An error of `asyncFtruncate()`.
   * @throws {TypeError} If the file or the context is closed.
   * @throws {RangeError} If `length` is out of range.
   */
  truncate(length = 0): Promise<void> {
    openFd(this, "truncate");
    return asyncFtruncate(this.#ctx, this, length).orThrow();
  }

  /**
   * Makes data and metadata durable by fsync(2).
   *
   * @throws {Error} (as a rejection) An error of `asyncFsync()`: do not repeat
   * it, as the data may be lost all the same.
   * @throws {TypeError} If the file or the context is closed.
   */
  sync(): Promise<void> {
    openFd(this, "sync");
    return asyncFsync(this.#ctx, this).orThrow();
  }

  /**
   * Makes the data durable by fdatasync(2), and only the metadata that reading
   * it back needs.
   *
   * @throws As `sync()`.
   */
  syncData(): Promise<void> {
    openFd(this, "sync");
    return asyncFdatasync(this.#ctx, this).orThrow();
  }

  /**
   * Sets the times of the last access and change by futimens(3).
   *
   * @param accessed A date, or seconds since 1970.
   * @param modified A date, or seconds since 1970.
   * @throws {Error} (as a rejection) `EPERM`, `EROFS` …
   * @throws {TypeError} (as a rejection) If the file is closed.
   * @throws {RangeError} (as a rejection) If a time is out of range.
   */
  // deno-lint-ignore require-await
  async utime(accessed: number | Date, modified: number | Date): Promise<void> {
    this.utimeSync(accessed, modified);
  }

  /**
   * Waits for an advisory lock by flock(2). It belongs to the open file, and
   * ends with it.
   *
   * No thread waits for it. kio asks again and again, in pauses from 1 ms
   * doubling to 32 ms. So locks are given in no order.
   *
   * @param exclusive False for a lock that others may share.
   * @param options `timeoutMs` and `signal`.
   * @throws {Error} (as a rejection) `ETIMEDOUT`, `ECANCELED`, `EBADF` …
   * @throws {TypeError} (as a rejection) If the file or the context is closed,
   * also meanwhile, or an argument has the wrong type.
   * @throws {RangeError} (as a rejection) If `timeoutMs` is out of range.
   */
  async lock(exclusive = true, options: BoundOptions = {}): Promise<void> {
    using bounds = new Bounds(options, "lock a file");
    let pauseMs = 0;
    do {
      await bounds.of(asyncSleep(this.#ctx, pauseMs)).orThrow();
      pauseMs = Math.min(Math.max(2 * pauseMs, 1), LOCK_PAUSE_MS_MAX);
    } while (!this.tryLockSync(exclusive));
  }

  /**
   * Takes an advisory lock by flock(2), if it is free.
   *
   * @param exclusive False for a lock that others may share.
   * @returns True if the file has the lock.
   * @throws {Error} (as a rejection) An error of flock(2).
   * @throws {TypeError} (as a rejection) If the file is closed.
   */
  // deno-lint-ignore require-await
  async tryLock(exclusive = true): Promise<boolean> {
    return this.tryLockSync(exclusive);
  }

  /**
   * Gives the advisory lock back by flock(2).
   *
   * @throws As `tryLock()`.
   */
  // deno-lint-ignore require-await
  async unlock(): Promise<void> {
    this.unlockSync();
  }

  /**
   * Reads the file from its position to its end, with several reads in flight.
   * The position is behind the block that was given last.
   *
   * A block is lent until the next one is asked for: its memory is used again.
   * All blocks but the last have the full size. A pipe, a terminal or a file of
   * /proc has one read in flight, and blocks as they come.
   *
   * @param options The size of a block, and the reads in flight.
   * @returns The blocks. Iteration rejects with an error of `asyncRead()`, and
   * has ended by then. Leaving the loop ends the reads.
   * @throws {RangeError} If an option is out of range.
   * @throws {TypeError} If the file is closed, or an option has the wrong type.
   *
   * @example Bytes of a file
   * ```ts
   * import { File, IoContext, unwrap } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * await using file = unwrap(await File.open(ctx, "/etc/passwd"));
   * let total = 0;
   * for await (const block of file.blocks()) total += block.length;
   * console.log(`${total} bytes`);
   * ```
   */
  blocks(
    options: BlocksOptions = {},
  ): AsyncIterable<Uint8Array<ArrayBuffer>> {
    const sizes = checkBlocks(options);
    openFd(this, "read blocks");
    return {
      [Symbol.asyncIterator]: () => {
        openFd(this, "read blocks");
        return new Blocks(this.#ctx, this, sizes, "lent");
      },
    };
  }

  /**
   * The file from its position to its end, as a byte stream, with several reads
   * in flight. At its end, or when it is cancelled, it closes the file. For
   * `O_DIRECT` use `blocks()`: the memory of a chunk is not aligned.
   *
   * @throws {TypeError} If the file is closed.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    openFd(this, "read");
    return this.#readable ??= readableOf(this.#ctx, this, () => this.close());
  }

  /**
   * Writes each chunk whole at the file's position. When it is closed or
   * aborted, it closes the file; it does not sync it.
   *
   * @throws {TypeError} If the file is closed.
   */
  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    openFd(this, "write");
    return this.#writable ??= writableOf(this.#ctx, this, () => this.close());
  }

  /**
   * Closes the file. It cancels what is pending on it in the contexts of this
   * thread, and waits until the kernel has let go. Only then it closes the fd,
   * as its number may be in use again at once. The second time it only waits.
   *
   * @returns When the fd is closed. `sync()` tells of data that could not be
   * written; an error of close(2) is not reported.
   */
  close(): Promise<void> {
    const fd = this.#take();
    if (fd >= 0) this.#closing = closeIdle(fd);
    return this.#closing ?? Promise.resolve();
  }

  /** Begins what `close()` does, and does not wait. The fd is closed at once if
   * nothing is pending on it. */
  [Symbol.dispose](): void {
    void this.close();
  }

  /** Closes the file as `close()` does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Gives the fd to the caller, who closes it; until then the thread's end
   * does. */
  #take(): number {
    const fd = this.#fd;
    this.#fd = -1;
    return fd;
  }
}
