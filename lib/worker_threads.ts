/** The part of `node:worker_threads` that is used here. Its threads need not
 * keep the process alive, unlike the `Worker` of the web. */
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

/** One end of a channel of messages between threads. */
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

/** Loads `node:worker_threads` when it is first used: that takes
 * milliseconds. */
export function workerThreads(): WorkerThreads {
  const { process } = globalThis as unknown as {
    process: {
      getBuiltinModule(name: "node:worker_threads"): WorkerThreads;
    };
  };
  return process.getBuiltinModule("node:worker_threads");
}
