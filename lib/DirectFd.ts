import type { Result } from "./result.ts";

/**
 * As the fd of a submission: place 0 of the ring's files. The next place is one
 * less. All other fds, and `AT_FDCWD`, are above.
 */
export const DIRECT_FIRST: number = -(2 ** 30);

/** Names an fd of a submission for people; empty if it has none. */
export function shownFd(fd: number): string {
  if (fd <= DIRECT_FIRST) return `direct ${DIRECT_FIRST - fd}`;
  return fd < 0 ? "" : `fd ${fd}`;
}

/** Closes a direct descriptor. */
type Close = (direct: DirectFd) => Promise<Result<void>>;

let make: (ring: object, place: number, close: Close) => DirectFd;
let use: (direct: DirectFd, ring: object | undefined, verb: string) => number;
let end: (direct: DirectFd) => void;

/**
 * A direct descriptor: an open file that only the ring of one context knows, by
 * its place in the table of `reserveFiles()`. `asyncOpen()`, `asyncAccept()` and
 * `asyncAcceptMultishot()` make one with `{ direct: true }`.
 *
 * Operations of that context take it in place of an fd. No number of it exists
 * that could be closed twice or be taken for another file: once it is closed,
 * each use throws. It ends with its context at the latest.
 *
 * The kernel refuses it, and so does the library, as a directory of a path, and
 * for `asyncFstat()`, attributes, `asyncSendfile()`, `passFd()` and the options
 * of sockets. So do streams of leases (`asyncRecvMultishot()` and its like).
 * `asyncInstallFd()` makes an fd of it for those.
 *
 * @example Read a file that has no fd
 * ```ts
 * import { asyncOpen, asyncRead, IoContext, O_RDONLY, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * unwrap(ctx.reserveFiles(64));
 * const options = { direct: true } as const;
 * await using file = await asyncOpen(ctx, "/proc/version", O_RDONLY, options)
 *   .orThrow();
 * const length = await asyncRead(ctx, file, new Uint8Array(64)).orThrow();
 * console.log(`${file}: ${length} bytes`); // direct 0: 64 bytes
 * ```
 */
export class DirectFd implements AsyncDisposable {
  readonly #ring: object;
  readonly #place: number;
  readonly #close: Close;
  #isOpen = true;
  #closing: Promise<Result<void>> | undefined;

  static {
    make = (ring, place, close) => new DirectFd(ring, place, close);
    use = (direct, ring, verb) => direct.#use(ring, verb);
    end = (direct) => void (direct.#isOpen = false);
  }

  private constructor(ring: object, place: number, close: Close) {
    this.#ring = ring;
    this.#place = place;
    this.#close = close;
  }

  /** False from the start of its close on. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /**
   * Cancels the operations on it, waits for them, and closes it by
   * io_uring_register_files_update(3). The second time it only waits; after the
   * end of its context it does nothing. `asyncClose()` does not let this thread
   * wait for a disk.
   *
   * @returns `EIO` and others, if the kernel could not close it.
   */
  close(): Promise<Result<void>> {
    return this.#closing ??= this.#close(this);
  }

  /** Closes it as `close()` does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Names it by its place: `direct 3`. */
  toString(): string {
    return `direct ${this.#place}`;
  }

  /** Writes the text that `console.log(direct)` prints. */
  [Symbol.for("Deno.customInspect")](): string {
    return `DirectFd { ${this}${this.#isOpen ? "" : ", closed"} }`;
  }

  #use(ring: object | undefined, verb: string): number {
    if (ring === this.#ring && this.#isOpen) {
      return DIRECT_FIRST - this.#place;
    }
    const reason = ring === undefined
      ? "is a direct descriptor, which only operations of the ring take; asyncInstallFd() makes an fd of it"
      : this.#isOpen
      ? "belongs to another IoContext; use it with that one"
      : "is closed; open another one";
    throw new TypeError(`Cannot ${verb}: ${this} ${reason}`);
  }
}

/** Makes the descriptor of a place of a ring. */
export function makeDirect(
  ring: object,
  place: number,
  close: Close,
): DirectFd {
  return make(ring, place, close);
}

/**
 * Gives the fd of a submission for a direct descriptor.
 *
 * @throws {TypeError} If it is closed, belongs to another ring, or the caller
 * takes none (`ring` is undefined).
 */
export function useDirect(
  direct: DirectFd,
  ring: object | undefined,
  verb: string,
): number {
  return use(direct, ring, verb);
}

/** Notes that a descriptor is closed: nothing starts on it from now on. */
export function endDirect(direct: DirectFd): void {
  end(direct);
}
