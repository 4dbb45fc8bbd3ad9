/**
 * The context: what a program sees of a ring. The ring itself, which submits,
 * waits and settles, is in `ring/`; the context checks arguments, owns the ring
 * and closes it. The rest of the library reaches the ring by `ringOf()`.
 */
import {
  allocate,
  type AllocateOptions,
  unregisterMemory,
} from "./allocate.ts";
import { type BufferLike, checkFunction, type Fd } from "./check.ts";
import { type Capabilities, probe } from "./capabilities.ts";
import {
  type IoContextOptions,
  requiredBy,
  ringOptionsOf,
} from "./context_options.ts";
import { RING } from "./internal.ts";
import type { Result } from "./result.ts";
import {
  registerFiles,
  reserveFiles,
  unregisterFiles,
  updateFiles,
} from "./registered_files.ts";
import { inspect } from "./ring/dump.ts";
import { type Feature, listLacks } from "./ring/features.ts";
import { Ring } from "./ring/Ring.ts";
import {
  type ContextStats,
  describe,
  type PendingOperation,
} from "./ring/stats.ts";

/** An asynchronous computation, such as an `async` function returns. */
export type Task<T> = Promise<T>;

/**
 * Owns an io_uring and drives it. Operations that are queued in one turn of the
 * event loop are submitted together, and completions are settled in batches.
 *
 * It lives in Deno's own event loop, beside timers, `fetch` and `Deno.serve`.
 * An idle context costs nothing; one with pending operations keeps the process
 * alive. Only the thread that made it can use it: a worker makes its own. It
 * needs Linux 6.1 or later.
 *
 * C++: `kio::IoContext`
 *
 * @example Read a file
 * ```ts
 * import { asyncOpen, asyncRead, IoContext, O_RDONLY } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/proc/version", O_RDONLY).orThrow();
 * const buffer = new Uint8Array(4096);
 * const count = await asyncRead(ctx, fd, buffer).orThrow();
 * console.log(new TextDecoder().decode(buffer.subarray(0, count)));
 * ```
 */
export class IoContext implements Disposable, AsyncDisposable {
  private readonly [RING]: Ring;
  #running: PromiseWithResolvers<void> | null = null;
  #capabilities: Capabilities | undefined;

  /**
   * Opens an io_uring by io_uring_setup(2).
   *
   * @param options `entries`, or all options.
   * @throws {RangeError} If an option is out of range, `allow` has what is no
   * operation, or `features`, `require` or `KIO_DISABLE` what is no feature.
   * @throws {TypeError} If an option has the wrong type.
   * @throws {Deno.errors.NotSupported} On another system than Linux, or where
   * the kernel lacks a feature of `require`.
   * @throws {Deno.errors.NotCapable} Without `--allow-ffi`.
   * @throws {Deno.errors.NotFound} If the library was not built; the message
   * says how.
   * @throws {Deno.errors.PermissionDenied} If io_uring is forbidden (EPERM), by
   * a container's seccomp filter or by `kernel.io_uring_disabled`.
   * @throws {Error} With `code` `ENOSYS` where there is no io_uring, `ENOMEM`
   * where locked memory is used up (`ulimit -l`), `EMFILE` where fds are
   * (`ulimit -n`).
   */
  constructor(options: number | IoContextOptions = {}) {
    const ringOptions = ringOptionsOf(options);
    const required = requiredBy(options);
    this[RING] = new Ring(ringOptions);
    if (required.length > 0) this.#require(required);
  }

  /** Closes the context, and throws, where the kernel lacks a feature. */
  #require(required: readonly Feature[]): void {
    const { features } = this.capabilities;
    const missing = required.find((it) => features[it].support !== "native");
    if (missing === undefined) return;
    this[RING].closeNow();
    const { support, reason } = features[missing];
    throw new Deno.errors.NotSupported(
      `Cannot open an IoContext: it requires ${missing}, which is ${support} here: ${reason}; leave it out of the option require, or run another kernel`,
    );
  }

  /**
   * Tells which operations and features this kernel has, without a context.
   * `deno run -A jsr:@kio/kio/doctor` prints it.
   *
   * @returns The operations and features.
   * @throws As the constructor does, if there is no io_uring or no library.
   *
   * @example Choose another way
   * ```ts
   * import { IoContext } from "@kio/kio";
   *
   * const { operations, features, flags } = IoContext.probe();
   * if (operations.asyncFtruncate !== "ring") console.log("before Linux 6.9");
   * if (!flags.DEFER_TASKRUN) console.log("before Linux 6.1");
   * const { support, reason } = features.recvMultishot;
   * if (support !== "native") console.log(`single receives: ${reason}`);
   * ```
   */
  static probe(): Capabilities {
    return probe(null);
  }

  /**
   * The operations and features that the kernel has for this context. A feature
   * that was not used yet is tried for the answer: half a millisecond for all,
   * once a process.
   *
   * @throws {TypeError} If the context is closed.
   */
  get capabilities(): Capabilities {
    this[RING].checkOpen("get the capabilities");
    return this.#capabilities ??= probe(this[RING]);
  }

  /** The number of pending operations: queued, in the kernel or asleep. */
  get pending(): number {
    return this[RING].pending;
  }

  /** Gives the figures of the context since it was opened. They are always
   * counted, at next to no cost. */
  stats(): ContextStats {
    return this[RING].stats();
  }

  /** Lists the pending operations, the oldest first: the program waits for
   * these. `Deno.inspect(ctx)` shows them as well. */
  inspect(): PendingOperation[] {
    return inspect(this[RING]);
  }

  /** Writes the text that `console.log(ctx)` prints. */
  [Symbol.for("Deno.customInspect")](): string {
    const lines = this.inspect().map((op) => `\n  ${describe(op)}`);
    const lacks = listLacks(this[RING].features);
    const without = lacks === "" ? "" : `, without ${lacks}`;
    return `IoContext { ${lines.length} pending${without} }${lines.join("")}`;
  }

  /**
   * The fd of the ring, for `asyncMsgRing()` in other threads of this process.
   * The context owns it.
   *
   * @throws {TypeError} If the context is closed.
   */
  get ringFd(): number {
    this[RING].checkOpen("get the ring fd");
    return this[RING].shim.kio_ring_fd(this[RING].handle);
  }

  /**
   * Called for each message that `asyncMsgRing()` has sent to this context,
   * except `WAKE_TAG`. It does not keep the process alive; `run()` does. An
   * exception is reported like one of an event listener.
   */
  get onMessage(): ((result: number, userData: number) => void) | null {
    return this[RING].onMessage;
  }
  set onMessage(
    handler: ((result: number, userData: number) => void) | null,
  ) {
    this[RING].checkOpen("set onMessage");
    if (handler !== null) checkFunction(handler, "it", "set onMessage");
    this[RING].onMessage = handler;
    this[RING].schedule();
  }

  /**
   * Called for each fd that `passFd()` has given to this context, with its
   * tag. The handler owns the fd and must close it; the end of the thread does
   * at the latest. Without a handler fds wait. Those that still wait are closed
   * with the context, or when its thread ends in whatever way. It does not keep
   * the process alive; `run()` does. An exception is reported like one of an
   * event listener.
   */
  get onFd(): ((fd: number, tag: number) => void) | null {
    return this[RING].onFd;
  }
  set onFd(handler: ((fd: number, tag: number) => void) | null) {
    this[RING].checkOpen("set onFd");
    if (handler !== null) checkFunction(handler, "it", "set onFd");
    this[RING].onFd = handler;
    // Fds that have come before; not within this assignment.
    queueMicrotask(() => this[RING].takeFds());
    this[RING].schedule();
  }

  /**
   * Waits until `stop()` is called, and keeps the process alive until then. The
   * thread is not blocked. Operations need neither this nor `runUntilDone()`.
   *
   * C++: `Run(tick)`
   *
   * @param tick Called after each batch of completions, before the code that
   * waits for them goes on. If it throws, `run()` rejects with that.
   * @throws {TypeError} If the context is closed or running already.
   */
  run(tick?: () => void): Promise<void> {
    this[RING].checkOpen("run");
    if (tick !== undefined) checkFunction(tick, "tick", "run");
    if (this.#running !== null) {
      throw new TypeError(
        "Cannot run: the IoContext is running already; wait for that run() or call stop()",
      );
    }
    const running = Promise.withResolvers<void>();
    this.#running = running;
    this[RING].keepAlive = true;
    if (tick !== undefined) {
      this[RING].onBatch = () => {
        try {
          tick();
        } catch (error) {
          running.reject(error);
          this.stop();
        }
      };
    }
    this[RING].schedule();
    return running.promise;
  }

  /**
   * Ends `run()`; does nothing if it is not running. Pending operations go on.
   * Another thread sends a message whose handler calls it.
   *
   * C++: `Stop()`
   */
  stop(): void {
    this.#running?.resolve();
    this.#running = null;
    this[RING].onBatch = null;
    this[RING].keepAlive = false;
    // Lets the process exit if nothing is pending.
    if (!this[RING].closed) this[RING].schedule();
  }

  /**
   * Waits for a task. The thread is not blocked, so the task may wait for
   * anything else as well. Operations that it leaves pending go on.
   *
   * C++: `RunUntilDone(task)`
   *
   * @typeParam T The value of the task.
   * @param task A promise, or a function that starts one.
   * @returns The value of the task.
   * @throws {TypeError} If the context is closed.
   * @throws The exception of the task.
   */
  async runUntilDone<T>(task: Task<T> | (() => Task<T>)): Promise<T> {
    this[RING].checkOpen("run");
    return await (typeof task === "function" ? task() : task);
  }

  /**
   * Cancels every operation that is pending now, and waits until the kernel
   * has completed each of them. An operation that was done already gives its
   * result. Operations that are queued meanwhile go on.
   *
   * C++: `CancelAllPending()`
   */
  cancelAllPending(): Promise<void> {
    return this[RING].cancelAll();
  }

  /**
   * Registers files by io_uring_register_files(3). `asyncReadFixed()` and
   * `asyncWriteFixed()` name them by index, which saves the kernel a look-up an
   * operation. The kernel keeps the files open until they are unregistered,
   * also if the fds are closed.
   *
   * C++: `RegisterFiles`
   *
   * @param fds 1 to 65536 fds; -1 leaves a place empty for `updateFiles()`.
   * @returns `EBUSY` if there are registered files already, `EBADF` for an fd
   * that is not open, `EMFILE` beyond `ulimit -n`.
   * @throws {RangeError} If the list is empty or too long or an fd is out of
   * range.
   * @throws {TypeError} If the context is closed.
   */
  registerFiles(fds: readonly Fd[]): Result<void> {
    return registerFiles(this[RING], fds);
  }

  /**
   * Replaces registered files by io_uring_register_files_update(3); -1 empties
   * a place. The kernel takes them one by one and stops at the first that it
   * refuses. Those before it are replaced, and its own place is empty.
   *
   * @param offset Index of the first to be replaced.
   * @param fds Fds for that place and those behind it.
   * @returns `ENXIO` if no files are registered, `EBUSY` if the places are those
   * of `reserveFiles()`, `EINVAL` beyond the end of the table, `EBADF` for an fd
   * that is not open: `error.filesUpdated` tells how many were replaced before
   * it.
   * @throws {RangeError} If an argument is out of range.
   * @throws {TypeError} If the context is closed.
   */
  updateFiles(offset: number, fds: readonly Fd[]): Result<void> {
    return updateFiles(this[RING], offset, fds);
  }

  /**
   * Unregisters all files by io_uring_unregister_files(3). No operation may use
   * them: before Linux 6.13 the kernel would keep the thread until it ends. To
   * let go of one file while others are in use, replace it by -1 with
   * `updateFiles()`.
   *
   * @returns `EBUSY` if `asyncReadFixed()` or `asyncWriteFixed()` are pending, or
   * direct descriptors are open; `ENXIO` if no files are registered.
   * @throws {TypeError} If the context is closed.
   */
  unregisterFiles(): Result<void> {
    return unregisterFiles(this[RING]);
  }

  /**
   * Reserves places for direct descriptors by
   * io_uring_register_files_sparse(3). Operations with `{ direct: true }` take
   * them. A context has one table of files: either these places, or the files of
   * `registerFiles()`.
   *
   * @param count The number of direct descriptors at a time, 1 to 2^20. Each
   * place takes some bytes of the kernel.
   * @returns `EBUSY` if the context has a table already, `EMFILE` beyond
   * `ulimit -n`. `unregisterFiles()` gives the table back, when all descriptors
   * are closed.
   * @throws {RangeError} If `count` is out of range.
   * @throws {TypeError} If the context is closed.
   */
  reserveFiles(count: number): Result<void> {
    return reserveFiles(this[RING], count);
  }

  /**
   * Allocates memory for buffers by mmap(2): zeroed and page-aligned (fit for
   * `O_DIRECT`). It is never moved and cannot be transferred, so it is the
   * safest memory for operations. A view of a part (`subarray`) costs a
   * fraction of a new array: allocate much at once and cut it up. The memory is
   * freed when nothing refers to it any more, also after the context is closed.
   *
   * With `registered` the kernel keeps it pinned for this context, which counts
   * against `ulimit -l`. Reads, writes and `asyncSendZc()` of this context then
   * save the walk over its pages. Other operations use it like any memory. It is
   * unregistered with the context, by `unregisterMemory()`, or when it is freed.
   *
   * @param size Bytes, 1 to 2^32; 2^30 at most if registered.
   * @param options `registered`; false if left out.
   * @returns The memory.
   * @throws {RangeError} If `size` is out of range, or 1024 pieces are
   * registered.
   * @throws {Error} With `code` `ENOMEM` if there is no memory, or no more may be
   * locked; the message has the limit.
   * @throws {TypeError} If an argument has the wrong type or the context is
   * closed.
   * @throws {Deno.errors.NotCapable} If `--allow-ffi` has a list of paths.
   */
  allocate(
    size: number,
    options: AllocateOptions = {},
  ): Uint8Array<ArrayBuffer> {
    return allocate(this[RING], size, options);
  }

  /**
   * Unregisters memory by io_uring_register_buffers_update_tag(3), so that less
   * is locked. It waits for the operations that use the memory. New ones may
   * use it meanwhile and after that, as any memory. Does nothing the second
   * time.
   *
   * @param memory Memory of `allocate()` with `registered`, or a view of it.
   * @throws {TypeError} If it is no buffer, or the context is closed.
   */
  unregisterMemory(memory: BufferLike): Promise<void> {
    return unregisterMemory(this[RING], memory);
  }

  /**
   * Closes the context at once. It cancels pending operations, blocks until the
   * kernel has let go of every buffer, and destroys the ring. The operations
   * complete with `ECANCELED`, or with their result if they were done. The ring
   * closes a new fd that comes now. `run()` ends. Does nothing the second time.
   *
   * @throws {Error} With the option `trace`, if operations were pending.
   */
  [Symbol.dispose](): void {
    const leaked = this.#leaked();
    this[RING].closeNow();
    this.stop();
    if (leaked !== undefined) throw leaked;
  }

  /** Closes the context as `[Symbol.dispose]()` does, while the event loop goes
   * on. */
  async [Symbol.asyncDispose](): Promise<void> {
    const leaked = this.#leaked();
    await this[RING].close();
    this.stop();
    if (leaked !== undefined) throw leaked;
  }

  /** Makes the exception of a context that is closed with pending
   * operations. */
  #leaked(): Error | undefined {
    if (!this[RING].tracing || this[RING].closing || this.pending === 0) return;
    const lines = this.inspect().map((op) => `\n${describe(op)}`);
    return new Error(
      `${lines.length} operations were pending when their IoContext was closed:${
        lines.join("")
      }`,
    );
  }
}
