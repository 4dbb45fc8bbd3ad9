import { mapMemory } from "../ffi/memory.ts";
import {
  checkArray,
  checkFd,
  checkFunction,
  checkInteger,
  checkOptions,
  type Fd,
} from "./check.ts";
import { EBUSY, ENOMEM } from "./errno.ts";
import { type Capabilities, probe } from "./capabilities.ts";
import { READ_FIXED, WRITE_FIXED } from "./ops/table.ts";
import type { Operation } from "./ring/operation.ts";
import {
  DONE,
  errorOf,
  exceptionOf,
  failure,
  type Result,
  updateFailure,
} from "./result.ts";
import { Ring } from "./ring/Ring.ts";
import {
  type ContextStats,
  describe,
  type PendingOperation,
} from "./ring/stats.ts";
import { workerThreads } from "./threads/worker_threads.ts";

/** An asynchronous computation: what an `async` function returns. */
export type Task<T> = Promise<T>;

/** How an `IoContext` is made. */
export interface IoContextOptions {
  /**
   * Places of the submission queue: a power of two from 1 to 32768. More than
   * that many operations may be in flight, as the queue is submitted when it
   * is full; what it bounds is a batch, and a chain of `link()`. The memory is
   * locked: without privileges a large number can meet `ulimit -l`.
   * @default {256}
   */
  entries?: number | undefined;
  /**
   * Operations in flight at most, 1 to 2^24: one more is a `RangeError`.
   * @default {1048576}
   */
  operationsMax?: number | undefined;
  /**
   * Threads that the kernel may start for operations that block, at most, 1 to
   * 65535. They are shared by the contexts of a thread.
   * @default {64}
   */
  kernelWorkersMax?: number | undefined;
  /**
   * Remembers where each operation was started, for `inspect()`, and makes
   * closing the context throw if operations are pending, with these places:
   * to find what hangs or was forgotten. Costs some microseconds an operation.
   * @default {false}
   */
  trace?: boolean | undefined;
}

const ENTRIES_MAX = 32768;
const FIXED_FILES_MAX = 65536;
const MEMORY_MAX = 2 ** 32;

/** The machine behind a context; also tells whether it is one. */
export let ringOf: (ctx: IoContext, operation: Operation) => Ring;

/**
 * Owns an io_uring and drives it: operations that are queued in one turn of
 * the event loop are submitted together, and what completes is settled in
 * batches. It lives in Deno's own event loop, beside timers, `fetch` and
 * `Deno.serve`: an idle context costs nothing, and one with pending operations
 * keeps the process alive. To be used by the thread that made it; a worker
 * makes its own. Stands for `kio::IoContext`; needs Linux 6.1 or later.
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
  readonly #ring: Ring;
  #running: PromiseWithResolvers<void> | null = null;
  #capabilities: Capabilities | undefined;

  /**
   * Opens an io_uring.
   *
   * @param options `entries`, or all options.
   * @throws {RangeError} If an option is out of range.
   * @throws {Deno.errors.NotSupported} On another system than Linux.
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
    if (typeof options !== "number") checkOptions(options, "open an IoContext");
    const {
      entries = 256,
      operationsMax = 2 ** 20,
      kernelWorkersMax = 64,
      trace = false,
    } = typeof options === "number" ? { entries: options } : options;
    const verb = "open an IoContext";
    checkEntries(entries, verb);
    checkInteger(operationsMax, 2 ** 24, "operationsMax", verb, 1);
    checkInteger(kernelWorkersMax, 65535, "kernelWorkersMax", verb, 1);
    this.#ring = new Ring({ entries, operationsMax, kernelWorkersMax, trace });
  }

  static {
    ringOf = (ctx, operation) => {
      if (typeof ctx === "object" && ctx !== null && #ring in ctx) {
        return ctx.#ring;
      }
      throw new TypeError(
        `Cannot ${operation.verb}: the first argument must be an IoContext`,
      );
    };
  }

  /**
   * Tells which operations and features this kernel has, without a context.
   * `deno run -A jsr:@kio/kio/doctor` prints it.
   *
   * @returns What was found now.
   * @throws As the constructor does, if there is no io_uring or no library.
   *
   * @example Choose another way
   * ```ts
   * import { IoContext } from "@kio/kio";
   *
   * const { operations, features } = IoContext.probe();
   * if (operations.asyncFtruncate !== "ring") console.log("before Linux 6.9");
   * if (!features.DEFER_TASKRUN) console.log("before Linux 6.1");
   * ```
   */
  static probe(): Capabilities {
    return probe(null);
  }

  /**
   * Which operations and features the kernel has for this context.
   *
   * @throws {TypeError} If the context is closed.
   */
  get capabilities(): Capabilities {
    this.#ring.checkOpen("get the capabilities");
    return this.#capabilities ??= probe(this.#ring.handle);
  }

  /** How many operations are queued or in the kernel's hands or asleep: 0 means
   * that nothing is left to wait for. */
  get pending(): number {
    return this.#ring.pending;
  }

  /** What the context has done since it was opened. Always on: it costs next to
   * nothing. */
  stats(): ContextStats {
    return this.#ring.stats();
  }

  /** What is pending, the oldest first: to find out what a program waits for.
   * `Deno.inspect(ctx)` shows it as well. */
  inspect(): PendingOperation[] {
    return this.#ring.inspect();
  }

  /** What `console.log(ctx)` prints. */
  [Symbol.for("Deno.customInspect")](): string {
    const lines = this.inspect().map((op) => `\n  ${describe(op)}`);
    return `IoContext { ${lines.length} pending }${lines.join("")}`;
  }

  /**
   * The fd of the ring, for `asyncMsgRing()` in other threads of this process.
   * It belongs to the context.
   *
   * @throws {TypeError} If the context is closed.
   */
  get ringFd(): number {
    this.#ring.checkOpen("get the ring fd");
    return this.#ring.shim.kio_ring_fd(this.#ring.handle);
  }

  /**
   * Called with what `asyncMsgRing()` has sent to this context, but for
   * `WAKE_TAG`. It does not keep the process alive; `run()` does. An exception
   * is reported like one of an event listener.
   */
  get onMessage(): ((result: number, userData: number) => void) | null {
    return this.#ring.onMessage;
  }
  set onMessage(
    handler: ((result: number, userData: number) => void) | null,
  ) {
    this.#ring.checkOpen("set onMessage");
    if (handler !== null) checkFunction(handler, "it", "set onMessage");
    this.#ring.onMessage = handler;
    this.#ring.schedule();
  }

  /**
   * Called with each fd that `handOver()` has given to this context, and the
   * tag that came with it. The fd is the handler's to close. The handler takes
   * it by `new Socket()`, `Connections.add()`, `handOver()` or `asyncClose()`.
   * An fd is closed at the latest with its thread.
   *
   * Until there is a handler they wait. What still waits when the context is
   * closed, or its thread ends in whatever way, is closed. It does not keep the
   * process alive; `run()` does.
   *
   * An exception is reported like one of an event listener, which ends the
   * program or its worker. The fd is closed then if the handler has not taken
   * it. `Connections` has an `onError` for what fails for one connection only.
   */
  get onFd(): ((fd: number, tag: number) => void) | null {
    return this.#ring.onFd;
  }
  set onFd(handler: ((fd: number, tag: number) => void) | null) {
    this.#ring.checkOpen("set onFd");
    if (handler !== null) checkFunction(handler, "it", "set onFd");
    this.#ring.onFd = handler;
    // What has come before, but not within this assignment.
    queueMicrotask(() => this.#ring.takeFds());
    this.#ring.schedule();
  }

  /**
   * Waits until `stop()` is called, and keeps the process alive so long. The
   * operations of the context need neither this nor `runUntilDone()`. Stands
   * for `Run(tick)`; the thread is not blocked.
   *
   * @param tick Called after each batch of completions, before the code that
   * waits for them goes on. If it throws, `run()` ends with that.
   * @throws {TypeError} If the context is closed or running already.
   */
  run(tick?: () => void): Promise<void> {
    this.#ring.checkOpen("run");
    if (tick !== undefined) checkFunction(tick, "tick", "run");
    if (this.#running !== null) {
      throw new TypeError(
        "Cannot run: the IoContext is running already; wait for that run() or call stop()",
      );
    }
    const running = Promise.withResolvers<void>();
    this.#running = running;
    this.#ring.keepAlive = true;
    if (tick !== undefined) {
      this.#ring.onBatch = () => {
        try {
          tick();
        } catch (error) {
          running.reject(error);
          this.stop();
        }
      };
    }
    this.#ring.schedule();
    return running.promise;
  }

  /**
   * Ends `run()`; does nothing if it is not running. Pending operations go on.
   * Stands for `Stop()`; another thread sends a message that calls it.
   */
  stop(): void {
    this.#running?.resolve();
    this.#running = null;
    this.#ring.onBatch = null;
    this.#ring.keepAlive = false;
    // Lets the process exit if nothing is pending.
    if (!this.#ring.closed) this.#ring.schedule();
  }

  /**
   * Waits for a task. Operations left pending by it go on. Stands for
   * `RunUntilDone(task)`; the thread is not blocked, so the task may wait for
   * anything else as well.
   *
   * @typeParam T What the task gives.
   * @param task A promise, or a function that starts one.
   * @returns What the task returned.
   * @throws What the task threw; {TypeError} if the context is closed.
   */
  async runUntilDone<T>(task: Task<T> | (() => Task<T>)): Promise<T> {
    this.#ring.checkOpen("run");
    return await (typeof task === "function" ? task() : task);
  }

  /**
   * Cancels every operation that is pending now, and waits until the kernel
   * has given each of them back. What made it after all gives its result.
   * Operations that are queued meanwhile are not affected. Stands for
   * `CancelAllPending()`.
   */
  cancelAllPending(): Promise<void> {
    return this.#ring.cancelAll();
  }

  /**
   * Registers files, so that `asyncReadFixed()` and `asyncWriteFixed()` name
   * them by index, which saves the kernel a look-up an operation. The kernel
   * keeps them open until they are unregistered, whatever happens to the fds.
   * Stands for `RegisterFiles`; see io_uring_register_files(3).
   *
   * @param fds One to 65536 fds; -1 leaves a place empty for `updateFiles()`.
   * @returns `EBUSY` if there are registered files already, `EBADF` for an fd
   * that is not open, `EMFILE` beyond `ulimit -n`.
   * @throws {RangeError} If the list is empty or too long or an fd is out of
   * range, {TypeError} if the context is closed.
   */
  registerFiles(fds: readonly Fd[]): Result<void> {
    const table = this.#fileTable(fds, "register files");
    const { shim, handle } = this.#ring;
    const status = shim.kio_files_register(handle, table, table.length);
    return doneOf(status, "register files");
  }

  /**
   * Replaces registered files; -1 empties a place. See
   * io_uring_register_files_update(3). The kernel takes them one by one and
   * stops at the first that it refuses: those before it are replaced, and its
   * own place is empty.
   *
   * @param offset Index of the first to be replaced.
   * @param fds What comes there and in the places behind.
   * @returns `ENXIO` if no files are registered, `EINVAL` beyond the end of the
   * table, `EBADF` for an fd that is not open: `error.filesUpdated` tells how
   * many were replaced before it.
   * @throws {RangeError} If an argument is out of range, {TypeError} if the
   * context is closed.
   */
  updateFiles(offset: number, fds: readonly Fd[]): Result<void> {
    const table = this.#fileTable(fds, "update files");
    const first = checkInteger(
      offset,
      FIXED_FILES_MAX - 1,
      "offset",
      "update files",
    );
    const { shim, handle } = this.#ring;
    let done = 0;
    while (done < table.length) {
      const rest = table.subarray(done);
      const status = shim.kio_files_update(
        handle,
        first + done,
        rest,
        rest.length,
      );
      // After a part the kernel tells only how many: asked again, it says why.
      if (status < 0) return updateFailure(-status, done);
      done += status;
    }
    return DONE;
  }

  /**
   * Lets go of the registered files, when no operation uses them any more:
   * before Linux 6.13 the kernel would keep the thread until then. To let go of
   * one while others are in use, replace it by -1 with `updateFiles()`.
   *
   * @returns `EBUSY` if `asyncReadFixed()` or `asyncWriteFixed()` are pending,
   * `ENXIO` if no files are registered.
   * @throws {TypeError} If the context is closed.
   */
  unregisterFiles(): Result<void> {
    const verb = "unregister files";
    this.#ring.checkOpen(verb);
    const isBusy = this.#ring.hasPending(READ_FIXED, WRITE_FIXED);
    if (isBusy) return failure(EBUSY, verb);
    const { shim, handle } = this.#ring;
    return doneOf(shim.kio_files_unregister(handle), verb);
  }

  #fileTable(fds: readonly Fd[], verb: string): Int32Array<ArrayBuffer> {
    this.#ring.checkOpen(verb);
    checkArray(fds, "fds", verb);
    if (fds.length < 1 || fds.length > FIXED_FILES_MAX) {
      throw new RangeError(
        `Cannot ${verb}: expected 1 to ${FIXED_FILES_MAX} fds, got ${fds.length}`,
      );
    }
    return Int32Array.from(fds, (fd) => fd === -1 ? -1 : checkFd(fd, { verb }));
  }

  /**
   * Memory for buffers: zeroed, page-aligned (fit for `O_DIRECT`), never moved
   * and impossible to transfer away, which makes it the safest there is for
   * operations. A view of a part (`subarray`) costs a fraction of a new array:
   * allocate much at once and cut it up. It is freed when nothing refers to it
   * any more, also after the context is closed.
   *
   * @param size Bytes, 1 to 2^32.
   * @returns The memory.
   * @throws {RangeError} If `size` is out of range, {Error} with `code`
   * `ENOMEM` if there is no memory, {TypeError} if the context is closed,
   * {Deno.errors.NotCapable} if `--allow-ffi` has a list of paths.
   */
  allocate(size: number): Uint8Array<ArrayBuffer> {
    this.#ring.checkOpen("allocate");
    checkInteger(size, MEMORY_MAX, "size", "allocate", 1);
    const memory = mapMemory(size);
    if (memory === undefined) {
      throw exceptionOf(
        errorOf(ENOMEM),
        `allocate ${size} bytes`,
        undefined,
        ": there is no memory or no address space left (ulimit -v); allocate less, or drop what is not needed any more",
      );
    }
    workerThreads().markAsUntransferable(memory);
    return new Uint8Array(memory);
  }

  /**
   * Closes the context at once: cancels what is pending, waits without giving
   * the thread back until the kernel has let go of every buffer, and destroys
   * the ring. The operations complete with `ECANCELED`, or their result if
   * they made it; new fds that come that late are closed. `run()` ends. Does
   * nothing the second time.
   *
   * @throws {Error} With the option `trace`, if operations were pending.
   */
  [Symbol.dispose](): void {
    const leaked = this.#leaked();
    this.#ring.closeNow();
    this.stop();
    if (leaked !== undefined) throw leaked;
  }

  /** The same as `[Symbol.dispose]()`, while the event loop goes on. */
  async [Symbol.asyncDispose](): Promise<void> {
    const leaked = this.#leaked();
    await this.#ring.close();
    this.stop();
    if (leaked !== undefined) throw leaked;
  }

  /** What to complain about when the context is closed. */
  #leaked(): Error | undefined {
    if (!this.#ring.tracing || this.#ring.closing || this.pending === 0) return;
    const lines = this.inspect().map((op) => `\n${describe(op)}`);
    return new Error(
      `${lines.length} operations were pending when their IoContext was closed:${
        lines.join("")
      }`,
    );
  }
}

/** Places of a submission queue: a power of two. */
export function checkEntries(entries: number, verb: string): void {
  if (
    Number.isInteger(entries) && entries >= 1 && entries <= ENTRIES_MAX &&
    (entries & (entries - 1)) === 0
  ) return;
  throw new RangeError(
    `Cannot ${verb}: entries must be a power of two from 1 to ${ENTRIES_MAX}, got ${
      String(entries)
    }`,
  );
}

function doneOf(status: number, action: string): Result<void> {
  return status < 0 ? failure(-status, action) : DONE;
}
