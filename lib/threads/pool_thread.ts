import type { JobCall, JobOutcome } from "../internal.ts";
import {
  type Port,
  type WorkerHandle,
  workerThreads,
} from "../worker_threads.ts";

/** A message from a thread: how its job ended. */
type Reply = { readonly value: unknown } | { readonly thrown: PackedThrown };

/** Receives the reports of a thread. */
export interface ThreadOwner {
  /** The job of the thread has ended. */
  onOutcome(thread: PoolThread, outcome: JobOutcome): void;
  /** The thread has ended; `cause` is its uncaught error, if there was one. */
  onEnd(thread: PoolThread, exitCode: number, cause: unknown): void;
}

/**
 * Runs one job at a time in a thread. It never keeps the process alive: the jobs
 * do, as pending operations of their contexts.
 *
 * `end()` asks the thread to leave when its code returns to the event loop.
 * `terminate()` takes effect at the same point, but gives the `exit` event at
 * once: the thread may then go on in native code or in a loop for long.
 */
export class PoolThread {
  readonly #worker: WorkerHandle;
  #isEnding = false;
  /** Resolved when its last line has run. */
  readonly ended: Promise<void>;

  constructor(owner: ThreadOwner) {
    const { Worker, SHARE_ENV } = workerThreads();
    // Without SHARE_ENV Deno copies the environment now. Without permission to
    // read it, it asks at a terminal, and everything stands still meanwhile.
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

  run(call: JobCall, transfer: readonly Transferable[]): void {
    this.#worker.postMessage(call, transfer);
  }

  /** Asks the thread to end as soon as its code returns. */
  end(): void {
    this.#isEnding = true;
    this.#worker.postMessage(null, []);
  }

  /** True if it takes no more jobs. */
  get isEnding(): boolean {
    return this.#isEnding;
  }

  /** Keeps the process alive until the thread has ended. */
  ref(): void {
    this.#worker.ref();
  }
}

function outcomeOf(reply: Reply): JobOutcome {
  return "value" in reply ? reply : { thrown: unpack(reply.thrown) };
}

/** Runs in a thread, where it is sent as text, with `pack()`. */
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
    async (call: JobCall | null) => {
      if (call === null) return exit();
      const { source, args, transferResult } = call;
      try {
        const value = await evaluated(source)(...args);
        reply({ value }, transferResult ? memoryOf(value) : [], "returned");
      } catch (error) {
        reply({ thrown: packOrSay(error) }, [], "thrown");
      }
    },
  );

  /** Evaluates a text once: Deno keeps half a kilobyte of every evaluation. */
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

  /** Packs an error; reading a hostile one may throw once more. */
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

  /** Lists the memory of a buffer, or of the buffers of an array or object. */
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

/** An error on its way between threads, with what a structured clone drops. */
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

/** An exception: an error, or any other value. */
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

/** Finds the class of an error of the language or of Deno, else `Error`. */
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

/** Makes the error again: of its class if that is one of the language, of the
 * web or of Deno, else an `Error` with its name. */
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

/** Sets properties that are not enumerable, as those of an error are. */
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
