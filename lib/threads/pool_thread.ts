import {
  type Port,
  type WorkerHandle,
  workerThreads,
} from "./worker_threads.ts";

/** What a thread is told to do, cloned already. */
export interface Task {
  /** The text of a function. */
  readonly source: string;
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
 * It is not ended by `terminate()` but asked to leave, which takes effect at the
 * same point, when its code returns to the event loop: after `terminate()` the
 * `exit` event comes at once, while the thread may go on in native code or in a
 * loop for long.
 */
export class PoolThread {
  readonly #worker: WorkerHandle;
  #isEnding = false;
  /** When its last line has run. */
  readonly ended: Promise<void>;

  constructor(owner: ThreadOwner) {
    const { Worker, SHARE_ENV } = workerThreads();
    // A copy of the environment would be made now: without permission to read
    // it, Deno asks at a terminal, and everything stands still so long.
    const worker = new Worker(bootstrap(), { env: SHARE_ENV });
    let cause: unknown;
    worker.on("message", (reply: Reply) => {
      owner.onOutcome(this, outcomeOf(reply));
    });
    worker.on("error", (error) => cause = error);
    this.ended = new Promise((resolve) => {
      worker.on("exit", (exitCode) => {
        this.#isEnding = true;
        owner.onEnd(this, exitCode, cause);
        resolve();
      });
    });
    worker.unref();
    this.#worker = worker;
  }

  run(task: Task, transfer: readonly Transferable[]): void {
    this.#worker.postMessage(task, transfer);
  }

  /** Has it end as soon as the code that it is running lets it. */
  end(): void {
    this.#isEnding = true;
    this.#worker.postMessage(null, []);
  }

  /** Whether it takes no more jobs. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Keeps the process alive until it has ended. */
  ref(): void {
    this.#worker.ref();
  }
}

function outcomeOf(reply: Reply): Outcome {
  return "value" in reply ? reply : { thrown: unpack(reply.thrown) };
}

/** What runs in a thread. It is sent there as text, with `pack()`. */
function serve(packThrown: typeof pack): void {
  const { process } = globalThis as unknown as {
    process: {
      getBuiltinModule(name: string): { parentPort: Port };
      exit(): never;
    };
  };
  const { parentPort } = process.getBuiltinModule("node:worker_threads");
  // As they are before any job has changed them.
  const exit = process.exit.bind(process);
  const evaluate = eval;
  const functions = new Map<string, (...args: unknown[]) => unknown>();

  parentPort.on(
    "message",
    async (task: Task | null) => {
      if (task === null) return exit();
      const { source, args, transferResult } = task;
      try {
        const value = await evaluated(source)(...args);
        reply({ value }, transferResult ? memoryOf(value) : [], "returned");
      } catch (error) {
        reply({ thrown: packOrSay(error) }, [], "thrown");
      }
    },
  );

  /** Each text once: Deno keeps half a kilobyte of every evaluation. */
  function evaluated(source: string): (...args: unknown[]) => unknown {
    const KEPT_MAX = 256;
    const known = functions.get(source);
    if (known !== undefined) return known;
    if (functions.size === KEPT_MAX) functions.clear();
    const run = evaluate(`"use strict";(${source})\n//# sourceURL=kio:job`);
    functions.set(source, run);
    return run;
  }

  function reply(message: Reply, transfer: ArrayBuffer[], how: string): void {
    try {
      parentPort.postMessage(message, transfer);
    } catch (error) {
      const refused = new TypeError(
        `Cannot offload a job: what it has ${how} cannot be sent: ${error}`,
      );
      parentPort.postMessage({ thrown: packThrown(refused) }, []);
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

function bootstrap(): URL {
  const source = encodeURIComponent(`(${serve})(${pack})`);
  return new URL(`data:text/javascript,${source}`);
}

/** An error as it crosses from a thread: what a structured clone drops. */
interface PackedError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly isDomException: boolean;
  /** Own properties that are primitive, like `code`. */
  readonly properties: Record<string, unknown>;
  readonly cause?: PackedThrown;
  /** Of an AggregateError. */
  readonly errors?: readonly PackedThrown[];
}

/** What was thrown: an error, or any other value. */
type PackedThrown = { readonly error: PackedError } | {
  readonly value: unknown;
};

/**
 * Takes an error apart so that it survives the way between threads; a clone
 * would lose the name of its class, its properties and, in part, its cause.
 * It is sent to the threads as text, so it must not refer to anything else.
 */
function pack(thrown: unknown, depth = 0): PackedThrown {
  const DEPTH_MAX = 8;
  if (!(thrown instanceof Error)) return { value: thrown };
  const properties: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(thrown)) {
    const isPrimitive = value === null ||
      /^(string|number|bigint|boolean|undefined)$/.test(typeof value);
    if (isPrimitive) properties[key] = value;
  }
  const { errors } = thrown as Partial<AggregateError>;
  const isDeep = depth >= DEPTH_MAX;
  return {
    error: {
      name: String(thrown.name),
      message: String(thrown.message),
      stack: thrown.stack === undefined ? undefined : String(thrown.stack),
      isDomException: thrown instanceof DOMException,
      properties,
      ...("cause" in thrown && !isDeep && thrown.cause !== thrown
        ? { cause: pack(thrown.cause, depth + 1) }
        : {}),
      ...(Array.isArray(errors) && !isDeep
        ? { errors: errors.map((error) => pack(error, depth + 1)) }
        : {}),
    },
  };
}

/** The class of an error of the language or of Deno, else `Error`. */
function classNamed(name: string): new (message: string) => Error {
  const classes = [
    EvalError,
    RangeError,
    ReferenceError,
    SyntaxError,
    TypeError,
    URIError,
    ...Object.values(Deno.errors),
  ];
  return classes.find((Class) => Class.name === name) ?? Error;
}

/** The error again: of its class where it is one of the language, of the web
 * or of Deno, else an `Error` with its name. */
function unpack(thrown: PackedThrown): unknown {
  if ("value" in thrown) return thrown.value;
  const { name, message, stack, isDomException, properties, cause, errors } =
    thrown.error;
  if (isDomException) {
    return define(new DOMException(message, name), { stack });
  }
  const error = errors === undefined
    ? new (classNamed(name))(message)
    : new AggregateError(errors.map(unpack), message);
  if (error.name !== name) define(error, { name });
  if (cause !== undefined) define(error, { cause: unpack(cause) });
  return define(Object.assign(error, properties), { stack });
}

/** Sets properties as an error has them: not enumerable. */
function define(error: Error, properties: Record<string, unknown>): Error {
  for (const [key, value] of Object.entries(properties)) {
    Object.defineProperty(error, key, {
      value,
      configurable: true,
      writable: true,
    });
  }
  return error;
}
