/** What `node:worker_threads` has, as far as needed: unlike the `Worker` of
 * the web, its threads need not keep the process alive. */
export interface WorkerThreads {
  readonly Worker: new (module: URL) => WorkerHandle;
  readonly MessageChannel: new () => { port1: Port; port2: Port };
  markAsUntransferable(memory: ArrayBuffer): void;
}

/** A thread with an isolate. */
export interface WorkerHandle {
  on(event: "error", listener: (error: unknown) => void): void;
  on(event: "exit", listener: (exitCode: number) => void): void;
  postMessage(
    message: unknown,
    transfer: readonly (Transferable | Port)[],
  ): void;
  terminate(): Promise<number>;
  unref(): void;
}

/** One end of a channel between threads. */
export interface Port {
  on(event: "close", listener: () => void): void;
  on<T>(event: "message", listener: (message: T) => void): void;
  postMessage(message: unknown, transfer: readonly Transferable[]): void;
  unref(): void;
  close(): void;
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
