import { loadShim } from "../../ffi/load.ts";

/** What `node:worker_threads` has, as far as needed: unlike the `Worker` of
 * the web, its threads need not keep the process alive. */
export interface WorkerThreads {
  readonly Worker: new (
    module: URL,
    options: { env: symbol },
  ) => WorkerHandle;
  /** The thread has the environment of the process, not a copy of it. */
  readonly SHARE_ENV: symbol;
  markAsUntransferable(memory: ArrayBuffer): void;
  isMarkedAsUntransferable(memory: ArrayBuffer): boolean;
}

/** The other end of the messages of a thread. */
export interface Port {
  on<T>(event: "message", listener: (message: T) => void): void;
  postMessage(message: unknown, transfer: readonly Transferable[]): void;
}

/** A thread with an isolate. */
export interface WorkerHandle extends Port {
  on<T>(event: "message", listener: (message: T) => void): void;
  on(event: "error", listener: (error: unknown) => void): void;
  on(event: "exit", listener: (exitCode: number) => void): void;
  ref(): void;
  unref(): void;
}

/** Loaded when first used: the module takes milliseconds. */
export function workerThreads(): WorkerThreads {
  const { process } = globalThis as unknown as {
    process: {
      getBuiltinModule(name: "node:worker_threads"): WorkerThreads;
    };
  };
  return process.getBuiltinModule("node:worker_threads");
}

/** What an isolate with a context opens, and some for what it loads. */
const FDS_PER_THREAD = 16;

/** To be used where a thread is refused with EMFILE or ENFILE. */
export const NO_ROOM_HINT =
  `: a thread needs up to ${FDS_PER_THREAD} fds; close some or raise the limit of open files (ulimit -n)`;

/**
 * Whether threads can be started, else a negative errno. To be asked before:
 * Deno ends the whole process if an isolate finds no fd for its event loop.
 */
export function roomForThreads(count: number): number {
  return loadShim().kio_fd_room(count * FDS_PER_THREAD);
}
