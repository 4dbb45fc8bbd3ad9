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
 * jobs do, as pending operations of their contexts. Its messages go through a
 * port of its own, because that is closed when the thread has really ended: the
 * `exit` event comes as soon as it was told to, while it may go on in native
 * code or in a loop for long.
 */
export class PoolThread {
  readonly #worker: WorkerHandle;
  readonly #port: Port;
  #isEnding = false;
  /** When its last line has run. */
  readonly ended: Promise<void>;

  constructor(owner: ThreadOwner) {
    const { MessageChannel, Worker } = workerThreads();
    const { port1, port2 } = new MessageChannel();
    const options = { workerData: port2, transferList: [port2] };
    let worker: WorkerHandle;
    try {
      worker = new Worker(new URL(BOOTSTRAP), options);
    } catch (error) {
      port1.close();
      throw error;
    }
    this.#worker = worker;
    this.#port = port1;
    port1.on(
      "message",
      (reply: Reply) => owner.onOutcome(this, outcomeOf(reply)),
    );
    let cause: unknown;
    worker.on("error", (error) => cause = error);
    const exited = new Promise<number>((exit) => worker.on("exit", exit));
    const closed = new Promise<void>((close) => port1.on("close", close));
    this.ended = Promise.all([exited, closed]).then(([exitCode]) =>
      owner.onEnd(this, exitCode, cause)
    );
    // Adding a listener has made the port keep the process alive.
    worker.unref();
    port1.unref();
  }

  run(task: Task, transfer: readonly Transferable[]): void {
    this.#port.postMessage(task, transfer);
  }

  /**
   * Tells the thread to end, which it does when the code that it is running
   * returns to its event loop.
   */
  end(): void {
    this.#isEnding = true;
    void this.#worker.terminate();
  }

  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Keeps the process alive until it has ended. */
  ref(): void {
    this.#port.ref();
  }
}

function outcomeOf(reply: Reply): Outcome {
  return "value" in reply ? reply : { thrown: unpack(reply.thrown) };
}

/** What runs in a thread. It is sent there as text, with `pack()`. */
function serve(packThrown: typeof pack): void {
  const { process } = globalThis as unknown as {
    process: { getBuiltinModule(name: string): { workerData: Port } };
  };
  const port = process.getBuiltinModule("node:worker_threads").workerData;
  const evaluate = eval;

  port.on("message", async ({ what, args, transferResult }: Task) => {
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
  });

  function reply(message: Reply, transfer: ArrayBuffer[], how: string): void {
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
