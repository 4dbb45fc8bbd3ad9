import {
  checkArray,
  checkBoolean,
  checkDelay,
  checkFunction,
  checkInteger,
  checkOptions,
} from "./check.ts";
import { OPCODES, type RingOperation } from "./ops/rows.ts";
import { CLOSE, POLL } from "./ops/table.ts";
import { type Feature, FEATURE_NAMES, isFeature } from "./ring/features.ts";
import type { RingOptions } from "./ring/opening.ts";
import type { SlowOperation, WatchOptions } from "./ring/watch.ts";

/** Options of `new IoContext()`. */
export interface IoContextOptions {
  /**
   * Entries of the submission queue: a power of two from 1 to 32768. They bound
   * a batch, and a chain of `link()`. More operations may be in flight, as a
   * full queue is submitted. The memory is locked: without privileges a large
   * number can meet `ulimit -l`.
   * @default {256} or 32 if there is no locked memory for these; `stats()` has
   * the number
   */
  entries?: number | undefined;
  /**
   * The most operations that one io_uring_enter(2) hands to the kernel, 1 to
   * 32768. The kernel collects requests for a disk when it gets three or more at
   * once. With `submitMax: 1` some disks do more reads a second by `O_DIRECT`;
   * all else pays for the calls. The operations of a `link()` stay together.
   * @default {32768} all that are queued
   */
  submitMax?: number | undefined;
  /**
   * The most operations in flight, 1 to 2^24: one more is a `RangeError`.
   * @default {1048576}
   */
  operationsMax?: number | undefined;
  /**
   * The most threads that the kernel may start for operations that block, 1 to
   * 65535. The contexts of a thread share them.
   * @default {64}
   */
  kernelWorkersMax?: number | undefined;
  /**
   * Remembers where each operation was started, for `inspect()`. Closing the
   * context throws if operations are pending, with these places. Use it to find
   * operations that hang or were forgotten; it costs some microseconds each.
   * @default {false}
   */
  trace?: boolean | undefined;
  /**
   * Called once for each operation that took `slowMs` or longer, when it is
   * complete, well or not. What is meant to wait is not slow: accepts, receives,
   * polls, sleeps, splices, streams, and reads of what is no file. `inspect()`
   * lists what has no end. An exception is reported like one of an event
   * listener.
   */
  onSlow?: ((slow: SlowOperation) => void) | undefined;
  /**
   * Milliseconds from which on an operation is slow, 0 or more. They begin with
   * its start, so a thread that computes is a reason, too.
   * @default {100} with `onSlow`
   */
  slowMs?: number | undefined;
  /**
   * Counts how long operations take, in histograms that `stats()` has. It costs
   * an operation some 100 ns, and 2 KiB for each function that is used.
   * @default {false}
   */
  histograms?: boolean | undefined;
  /**
   * Tells that the thread does its I/O through this context. It may then wait in
   * the kernel by io_uring_enter(2), and not in Deno's event loop, which makes
   * wake-ups cheaper at light load. It does so while operations are pending,
   * completions come at least every 40 ms and Deno has nothing to do. Deno's
   * timers, operations, sockets, signals and messages of other threads end the
   * wait. Work of Deno's that leaves no trace may be up to 40 ms late;
   * docs/guide/threads.md lists it. One context of a thread waits at a time.
   * `stats().exclusiveWaits` counts the waits.
   * @default {false}
   */
  exclusive?: boolean | undefined;
  /**
   * Restricts the ring to these operations, for good: the kernel completes any
   * other with `EACCES`, and runs no link of its chain. `"recv"`, `"send"`,
   * `"accept"` … are the kernel's names, which docs/kernel-support.md lists. A
   * zero-copy send that the socket refuses is a `"send"` or `"sendmsg"`. Polls,
   * timeouts and closes are always allowed. What is no operation of the ring
   * stays possible: `resolveAsync()`, `asyncPipe()`, `asyncReadlink()`.
   * @default {undefined} all operations
   */
  allow?: readonly RingOperation[] | undefined;
  /**
   * Switches features of the kernel off: `{ recvMultishot: false }`. What is
   * made of them works as before, by what an older kernel has; without
   * `directDescriptors` `reserveFiles()` fails. The variable `KIO_DISABLE` does
   * so for all contexts of a process: names with commas between. It needs no
   * permission.
   * @default {{}} all that this kernel does well
   */
  features?:
    | Readonly<Partial<Record<Feature, boolean | undefined>>>
    | undefined;
  /**
   * Refuses to open where the kernel itself does not do all of these features.
   * @default {[]}
   */
  require?: readonly Feature[] | undefined;
}

const ENTRIES_MAX = 32768;
const SLOW_MS = 100;
const OPCODES_MAX = 256;

/** Checks the options of a context, or its number of entries. */
export function ringOptionsOf(options: number | IoContextOptions): RingOptions {
  const verb = "open an IoContext";
  if (typeof options !== "number") checkOptions(options, verb);
  const {
    entries,
    submitMax = ENTRIES_MAX,
    operationsMax = 2 ** 20,
    kernelWorkersMax = 64,
    trace = false,
    exclusive = false,
    allow,
    features = {},
    onSlow = null,
    slowMs,
    histograms = false,
  } = typeof options === "number" ? { entries: options } : options;
  if (entries !== undefined) checkEntries(entries, verb);
  checkInteger(submitMax, ENTRIES_MAX, "submitMax", verb, 1);
  checkInteger(operationsMax, 2 ** 24, "operationsMax", verb, 1);
  checkInteger(kernelWorkersMax, 65535, "kernelWorkersMax", verb, 1);
  checkBoolean(trace, "trace", verb);
  checkBoolean(exclusive, "exclusive", verb);
  const allowed = allow === undefined ? null : allowedBy(allow, verb);
  const switchedOff = switchedOffBy(features, verb);
  return {
    entries,
    submitMax,
    operationsMax,
    kernelWorkersMax,
    trace,
    exclusive,
    allowed,
    switchedOff,
    watch: watchOf(onSlow, slowMs, histograms, verb),
  };
}

/** Checks the options about times; null if there are none. */
function watchOf(
  onSlow: WatchOptions["onSlow"],
  slowMs: number | undefined,
  histograms: boolean,
  verb: string,
): WatchOptions | null {
  checkBoolean(histograms, "histograms", verb);
  if (onSlow === null) {
    if (slowMs !== undefined) {
      throw new TypeError(
        `Cannot ${verb}: slowMs without onSlow reports to nobody; give both`,
      );
    }
    return histograms ? { slowMs: Infinity, onSlow, histograms } : null;
  }
  checkFunction(onSlow, "onSlow", verb);
  if (slowMs !== undefined) checkDelay(slowMs, "slowMs", verb);
  return { slowMs: slowMs ?? SLOW_MS, onSlow, histograms };
}

/** Checks the features that a context requires. */
export function requiredBy(
  options: number | IoContextOptions,
): readonly Feature[] {
  const verb = "open an IoContext";
  const { require = [] } = typeof options === "number" ? {} : options;
  checkArray(require, "features", verb);
  for (const name of require) checkFeature(name, "require", verb);
  return require;
}

/** Gives the features that are switched off. */
function switchedOffBy(
  features: Readonly<Record<string, unknown>>,
  verb: string,
): ReadonlySet<Feature> {
  checkOptions(features, verb);
  const names = new Set<Feature>();
  for (const [name, isOn = true] of Object.entries(features)) {
    const feature = checkFeature(name, "features", verb);
    if (!checkBoolean(isOn as boolean, name, verb)) names.add(feature);
  }
  return names;
}

function checkFeature(name: unknown, option: string, verb: string): Feature {
  if (isFeature(name)) return name;
  throw new RangeError(
    `Cannot ${verb}: ${option} has ${Deno.inspect(name)}; it takes ${
      FEATURE_NAMES.join(", ")
    }`,
  );
}

/** Checks the number of entries of a submission queue. */
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

/** Gives the operations of a list, and those that are always allowed: 1 in the
 * place of each number. */
function allowedBy(
  allow: readonly unknown[],
  verb: string,
): Uint8Array<ArrayBuffer> {
  checkArray(allow, "operations", verb);
  const allowed = new Uint8Array(OPCODES_MAX);
  // Waiting is made of polls, and an fd that is given up must be closed.
  for (const { opcode } of [POLL, CLOSE]) allowed[opcode] = 1;
  for (const operation of allow) {
    const opcode = OPCODES.get(operation as string);
    if (opcode === undefined) {
      throw new RangeError(
        `Cannot ${verb}: allow has ${Deno.inspect(operation)}; it takes ${
          [...OPCODES.keys()].join(", ")
        }`,
      );
    }
    allowed[opcode] = 1;
  }
  return allowed;
}
