import { pack, type PackedThrown, unpack } from "./thrown.ts";
import {
  type Port,
  type WorkerHandle,
  workerThreads,
} from "./worker_threads.ts";

/** What a thread is told to do, cloned already. */
export interface Task {
  /** A function as text, or an export of a module. */
  readonly what:
    | { readonly source: string }
    | { readonly module: string; readonly name: string };
  readonly args: readonly unknown[];
  readonly transferResult: boolean;
}

/** How a job ended. */
export type Outcome = { readonly value: unknown } | {
  readonly thrown: unknown;
};

/** What comes back from a thread. */
type Reply = { readonly value: unknown } | { readonly thrown: PackedThrown };

/** Who a thread reports to. */
export interface ThreadOwner {
  onOutcome(thread: PoolThread, outcome: Outcome): void;
  /** Its thread has ended; `cause` is what has ended it, if that is known. */
  onEnd(thread: PoolThread, exitCode: number, cause: unknown): void;
}

/**
 * A thread that does one job at a time. It never keeps the process alive: the
 * jobs do, as pending operations of their contexts.
 *
 * Each job has a channel of its own, whose end here is closed when the job has
 * replied, or when the thread has really ended: its `exit` event comes as soon
 * as it was told to end, while it may go on in native code or in a loop for
 * long. An idle thread has no channel, as the resource sanitizer of tests would
 * report it.
 */
export class PoolThread {
  readonly #owner: ThreadOwner;
  readonly #worker: WorkerHandle;
  readonly #end = Promise.withResolvers<void>();
  #isEnding = false;
  /** Of the job that has not replied. */
  #port: Port | undefined;
  #exitCode: number | undefined;
  #cause: unknown;

  constructor(owner: ThreadOwner) {
    const { Worker } = workerThreads();
    this.#owner = owner;
    this.#worker = new Worker(new URL(BOOTSTRAP));
    this.#worker.on("error", (error) => this.#cause = error);
    this.#worker.on("exit", (exitCode) => {
      this.#exitCode = exitCode;
      this.#isEnding = true;
      this.#checkEnd();
    });
    this.#worker.unref();
  }

  run(task: Task, transfer: readonly Transferable[]): void {
    const { MessageChannel } = workerThreads();
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.on("message", (reply: Reply) => {
      this.#port = undefined;
      port1.close();
      this.#owner.onOutcome(this, outcomeOf(reply));
      this.#checkEnd();
    });
    port1.on("close", () => {
      if (this.#port !== port1) return;
      this.#port = undefined;
      this.#checkEnd();
    });
    // Adding a listener has made the port keep the process alive.
    port1.unref();
    this.#worker.postMessage({ task, port: port2 }, [port2, ...transfer]);
  }

  /**
   * Tells the thread to end, which it does when the code that it is running
   * returns to its event loop.
   */
  end(): void {
    this.#isEnding = true;
    void this.#worker.terminate();
  }

  /** Whether it takes no more jobs. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** When its job, if it had one, runs no more. */
  get ended(): Promise<void> {
    return this.#end.promise;
  }

  #checkEnd(): void {
    if (this.#exitCode === undefined || this.#port !== undefined) return;
    this.#owner.onEnd(this, this.#exitCode, this.#cause);
    this.#end.resolve();
  }
}

function outcomeOf(reply: Reply): Outcome {
  return "value" in reply ? reply : { thrown: unpack(reply.thrown) };
}

/** What runs in a thread. It is sent there as text, with `pack()`. */
function serve(packThrown: typeof pack): void {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): { parentPort: Port } };
  };
  const { parentPort } = process.getBuiltinModule("node:worker_threads");
  const evaluate = eval;

  parentPort.on(
    "message",
    async ({ task, port }: { task: Task; port: Port }) => {
      const { what, args, transferResult } = task;
      const reply = replyTo.bind(null, port);
      try {
        const job = "source" in what
          ? evaluate(`"use strict";(${what.source})\n//# sourceURL=kio:job`)
          : (await import(what.module))[what.name];
        if (typeof job !== "function") {
          const { module, name } = what as { module: string; name: string };
          throw new TypeError(
            `Cannot offload a job: ${module} exports no function "${name}"`,
          );
        }
        const value = await job(...args);
        reply({ value }, transferResult ? memoryOf(value) : [], "returned");
      } catch (error) {
        reply({ thrown: packOrSay(error) }, [], "thrown");
      }
    },
  );

  function replyTo(
    port: Port,
    message: Reply,
    transfer: ArrayBuffer[],
    how: string,
  ): void {
    try {
      port.postMessage(message, transfer);
    } catch (error) {
      const refused = new TypeError(
        `Cannot offload a job: what it has ${how} cannot be sent: ${error}`,
      );
      port.postMessage({ thrown: packThrown(refused) }, []);
    }
  }

  /** Reading a hostile error may throw once more. */
  function packOrSay(error: unknown): PackedThrown {
    try {
      return packThrown(error);
    } catch (second) {
      return packThrown(
        new TypeError(
          `Cannot offload a job: what it has thrown cannot be read: ${second}`,
        ),
      );
    }
  }

  /** The memory of a buffer, or of the buffers of an array or object. */
  function memoryOf(value: unknown): ArrayBuffer[] {
    const isBuffer = ArrayBuffer.isView(value) || value instanceof ArrayBuffer;
    const parts = isBuffer ? [value] : Object.values(value ?? {});
    const memory = parts.map((part) =>
      ArrayBuffer.isView(part) ? part.buffer : part
    );
    return [...new Set(memory)].filter((part) => part instanceof ArrayBuffer);
  }
}

const BOOTSTRAP = `data:text/javascript,${
  encodeURIComponent(`(${serve})(${pack})`)
}`;
