import { loadShim } from "../ffi/load.ts";
import {
  checkBoolean,
  checkInteger,
  checkOptions,
  isDetached,
  TRANSFER_MAX,
} from "../lib/check.ts";
import { EAGAIN } from "../lib/errno.ts";
import { decodeStat, STAT_FIELDS } from "../lib/ops/file_stat.ts";
import { STAT_SIZE } from "../lib/ops/layout.ts";
import { errorOf, exceptionOf } from "../lib/result.ts";
import { fileInfo, nanoseconds } from "./file_info.ts";

const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_UN = 8;

/**
 * The synchronous members of a `File`, each a system call. They block the thread
 * and with it all of its operations, as those of a `Deno.FsFile` do. They throw
 * for an error of the system, with the class of `Deno.errors` that fits, and a
 * `TypeError` if the file is closed.
 */
export abstract class FileSync {
  /** The mode of the terminal before `setRaw(true)`. */
  #savedMode: Uint8Array<ArrayBuffer> | undefined;

  /** The fd; -1 when the file is closed or released. */
  abstract get fd(): number;

  /**
   * Reads at the file's position by read(2), and moves it.
   *
   * @param buffer The buffer.
   * @returns The number of bytes, often fewer than asked for; null at the end.
   * 0 if the buffer is empty.
   * @throws {Error} `EISDIR`, `EBADF` if the file is not open for reading …
   * @throws {TypeError} If the file is closed, or `buffer` is no Uint8Array.
   */
  readSync(buffer: Uint8Array): number | null {
    const verb = "read";
    const fd = openFd(this, verb);
    const length = checkBytes(buffer, verb);
    if (length === 0) return 0;
    const count = loadShim().kio_blocking_read(fd, buffer, length);
    return done(fd, count, verb) || null;
  }

  /**
   * Writes at the file's position by write(2), and moves it.
   *
   * @param data The data.
   * @returns The number of bytes, which may be fewer than given.
   * @throws {Error} `ENOSPC`, `EBADF` if the file is not open for writing …
   * @throws {TypeError} As `readSync()`.
   */
  writeSync(data: Uint8Array): number {
    const verb = "write";
    const fd = openFd(this, verb);
    const length = checkBytes(data, verb);
    if (length === 0) return 0;
    return done(fd, loadShim().kio_blocking_write(fd, data, length), verb);
  }

  /**
   * Moves the file's position by lseek(2).
   *
   * @param offset Bytes, from the start, the position or the end.
   * @param whence `Deno.SeekMode`.
   * @returns The new position.
   * @throws {Error} `EINVAL` for a place before the start, `ESPIPE` for a pipe.
   * @throws {TypeError} If the file is closed.
   * @throws {RangeError} If a number is out of range.
   */
  seekSync(offset: number | bigint, whence: Deno.SeekMode): number {
    const verb = "seek";
    const fd = openFd(this, verb);
    const isPlace = typeof offset === "bigint"
      ? BigInt.asIntN(64, offset) === offset
      : Number.isSafeInteger(offset);
    if (!isPlace) {
      throw new RangeError(
        `Cannot seek: offset must be an integer of 53 bits, or a bigint of 64, got ${
          String(offset)
        }`,
      );
    }
    checkInteger(whence, 2, "whence", verb);
    const at = loadShim().kio_file_seek(fd, BigInt(offset), whence);
    return done(fd, at, verb);
  }

  /**
   * Looks at the file by statx(2), as fstat(2) does.
   *
   * @returns Facts about it, in Deno's shape.
   * @throws {Error} An error of statx(2).
   * @throws {TypeError} If the file is closed.
   */
  statSync(): Deno.FileInfo {
    const verb = "stat";
    const fd = openFd(this, verb);
    const memory = new Uint8Array(STAT_SIZE);
    done(fd, loadShim().kio_blocking_stat(fd, STAT_FIELDS, memory), verb);
    return fileInfo(decodeStat(memory, false));
  }

  /**
   * Cuts the file off, or extends it with zeros, by ftruncate(2).
   *
   * @param length The new length in bytes, 0 to 2^53 - 1; 0 if left out.
   * @throws {Error} `EINVAL` if the file is not open for writing, `EFBIG` …
   * @throws {TypeError} If the file is closed.
   * @throws {RangeError} If `length` is out of range.
   */
  truncateSync(length = 0): void {
    const verb = "truncate";
    const fd = openFd(this, verb);
    checkInteger(length, Number.MAX_SAFE_INTEGER, "length", verb);
    done(fd, loadShim().kio_blocking_truncate(fd, BigInt(length)), verb);
  }

  /**
   * Makes data and metadata durable by fsync(2).
   *
   * @throws {Error} `EIO` …: do not repeat it, as the data may be lost all the
   * same.
   * @throws {TypeError} If the file is closed.
   */
  syncSync(): void {
    const fd = openFd(this, "sync");
    done(fd, loadShim().kio_blocking_sync(fd, false), "sync");
  }

  /**
   * Makes the data durable by fdatasync(2), and only the metadata that reading
   * it back needs.
   *
   * @throws As `syncSync()`.
   */
  syncDataSync(): void {
    const fd = openFd(this, "sync");
    done(fd, loadShim().kio_blocking_sync(fd, true), "sync");
  }

  /**
   * Sets the times of the last access and change by futimens(3).
   *
   * @param accessed A date, or seconds since 1970.
   * @param modified A date, or seconds since 1970.
   * @throws {Error} `EPERM`, `EROFS` …
   * @throws {TypeError} If the file is closed.
   * @throws {RangeError} If a time is out of range.
   */
  utimeSync(accessed: number | Date, modified: number | Date): void {
    const verb = "set its times";
    const fd = openFd(this, verb);
    const times = [nanoseconds(accessed), nanoseconds(modified)] as const;
    done(fd, loadShim().kio_file_times(fd, ...times), verb);
  }

  /**
   * Waits for an advisory lock by flock(2). It belongs to the open file, and
   * ends with it. If this thread has to give the lock back, it waits for ever.
   *
   * @param exclusive False for a lock that others may share.
   * @throws {Error} An error of flock(2).
   * @throws {TypeError} If the file is closed, or `exclusive` is no boolean.
   */
  lockSync(exclusive = true): void {
    const fd = openFd(this, LOCK_VERB);
    const status = loadShim().kio_blocking_lock(fd, lockKind(exclusive));
    done(fd, status, LOCK_VERB);
  }

  /**
   * Takes an advisory lock by flock(2), if it is free.
   *
   * @param exclusive False for a lock that others may share.
   * @returns True if the file has the lock.
   * @throws As `lockSync()`.
   */
  tryLockSync(exclusive = true): boolean {
    const fd = openFd(this, LOCK_VERB);
    const status = loadShim().kio_file_lock(fd, lockKind(exclusive));
    if (status === -EAGAIN) return false;
    done(fd, status, LOCK_VERB);
    return true;
  }

  /**
   * Gives the advisory lock back by flock(2).
   *
   * @throws {Error} An error of flock(2).
   * @throws {TypeError} If the file is closed.
   */
  unlockSync(): void {
    const fd = openFd(this, "unlock a file");
    done(fd, loadShim().kio_file_lock(fd, LOCK_UN), "unlock a file");
  }

  /**
   * Tells whether the file is a terminal.
   *
   * @throws {TypeError} If the file is closed.
   */
  isTerminal(): boolean {
    return loadShim().kio_fd_is_terminal(openFd(this, "look at a file"));
  }

  /**
   * Turns the raw mode of a terminal on or off, by tcsetattr(3). In raw mode a
   * read gets each key at once, and the terminal echoes none. Turn it off before
   * the program ends: the mode belongs to the terminal.
   *
   * @param mode True for the raw mode; false brings back the mode from before.
   * @param options `cbreak` leaves Ctrl+C and others as signals.
   * @throws {Error} `ENOTTY` if the file is no terminal.
   * @throws {TypeError} If the file is closed, or an argument has the wrong type.
   */
  setRaw(mode: boolean, options: Deno.SetRawOptions = { cbreak: false }): void {
    const verb = "set the mode of a terminal";
    const fd = openFd(this, verb);
    checkBoolean(mode, "mode", verb);
    checkOptions(options, verb);
    const { cbreak = false } = options;
    checkBoolean(cbreak, "cbreak", verb);
    const { kio_terminal_raw, kio_terminal_restore, kio_terminal_size } =
      loadShim();
    const saved = this.#savedMode;
    if (mode) {
      const before = new Uint8Array(kio_terminal_size());
      done(fd, kio_terminal_raw(fd, cbreak, before), verb);
      this.#savedMode ??= before;
    } else if (saved !== undefined) {
      done(fd, kio_terminal_restore(fd, saved), verb);
      this.#savedMode = undefined;
    }
  }
}

const LOCK_VERB = "lock a file";

function lockKind(exclusive: boolean): number {
  return checkBoolean(exclusive, "exclusive", LOCK_VERB) ? LOCK_EX : LOCK_SH;
}

/** Gives the fd of a file; throws if it is closed or released. */
export function openFd({ fd }: { readonly fd: number }, verb: string): number {
  if (fd >= 0) return fd;
  throw new TypeError(`Cannot ${verb}: the file is closed or released`);
}

/** Gives the result of a system call, and throws for an error. */
function done(fd: number, result: number, verb: string): number {
  if (result >= 0) return result;
  throw exceptionOf(errorOf(-result), `${verb} (fd ${fd})`);
}

/** Checks a buffer, and gives the bytes that one call moves of it. */
function checkBytes(buffer: Uint8Array, verb: string): number {
  if (!(buffer instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot ${verb}: expected a Uint8Array, got ${typeof buffer}`,
    );
  }
  if (isDetached(buffer)) {
    throw new TypeError(
      `Cannot ${verb}: the buffer is detached; it was transferred elsewhere`,
    );
  }
  return Math.min(buffer.length, TRANSFER_MAX);
}
