import {
  clearFaults,
  countFaults,
  FaultKind,
  faultRecords,
  installFaults,
  type ShimRule,
} from "../ffi/faults.ts";
import { loadFaultShim } from "../ffi/load.ts";
import {
  checkArray,
  checkFd,
  checkInteger,
  checkOptions,
  type Fd,
} from "../lib/check.ts";
import { EINVAL, errnoNamed } from "../lib/errno.ts";
import { OPCODES, type RingOperation } from "../lib/ops/rows.ts";
import { errorOf, exceptionOf } from "../lib/result.ts";

/** Targets that are no operations. */
const FAULT_OF_ENTER = 256;
const FAULT_OF_ANY = 257;

/** The operations by their numbers, and what is none. */
const TARGETS: ReadonlyMap<string, number> = new Map([
  ...OPCODES,
  ["enter", FAULT_OF_ENTER],
  ["any", FAULT_OF_ANY],
]);

/**
 * The target of a rule: an operation of the kernel, `"any"` of them, or `"enter"`.
 * `"enter"` is io_uring_enter(2), which submits operations and collects their
 * results. There is about one for a batch.
 */
export type FaultOperation = RingOperation | "enter" | "any";

const NAMES: ReadonlyMap<number, string> = new Map(
  [...TARGETS].map(([name, opcode]) => [opcode, name]),
);

/** Errors of io_uring_enter(2) on a bad day. */
const ENTER_CODES = ["EINTR", "EAGAIN", "EBUSY", "ENOMEM"];
const ENTER_PROBABILITY_MAX = 0.9;

/** The kernel's own code for a call that it would start again after a signal; kio
 * turns it into `EINTR`. */
const ERESTARTSYS = 512;

/** A transfer moves fewer bytes than asked for, though more were there. */
export interface ShortFault {
  /** A short transfer. The kernel is asked for less, so nothing is lost. */
  fault: "short";
  /** The most bytes, 1 or more; a random number below the length if left out. */
  bytes?: number | undefined;
}

/** An operation fails without being tried. */
export interface ErrorFault {
  /** A failure. `"close"` closes nevertheless, as close(2) does. */
  fault: "error";
  /** The name of the errno, `"ECONNRESET"`; `"ERESTARTSYS"` is possible too,
   * which kio turns into `EINTR`. For `"enter"`: `"EINTR"`, `"EAGAIN"`,
   * `"EBUSY"` or `"ENOMEM"`. */
  code: string;
}

/** A completion is held back after the kernel has given it. */
export interface DelayFault {
  /** `"delay"`: by that time. `"reorder"`: by a random part of it, so that
   * others overtake. `"batch"`: to the end of a period of that length, with
   * all others of the period. */
  fault: "delay" | "reorder" | "batch";
  /** Milliseconds, 1 to 60000. */
  ms: number;
}

/** The operations that a rule applies to, and how often. */
export interface FaultTarget {
  /** The operation of the kernel. */
  operation: FaultOperation;
  /** Only on this fd; on any if left out. */
  fd?: Fd | undefined;
  /** Only the N-th match, from 1; any if left out. */
  nth?: number | undefined;
  /** The probability each time, above 0 and up to 1. For `"enter"` it is at most 0.9,
   * unless `nth` or `times` limits it.
   * @default {1} */
  probability?: number | undefined;
  /** The most times, 1 or more; without a limit if left out. */
  times?: number | undefined;
}

/** A fault, and the operations that it hits. */
export type FaultRule = FaultTarget & (ShortFault | ErrorFault | DelayFault);

/** Options of `FaultPlan.install()`. */
export interface FaultPlanOptions {
  /** An integer from 0 to 2^53 - 1. The same seed and the same operations in
   * the same order give the same faults.
   * @default {1} */
  seed?: number | undefined;
  /** Up to 64 rules. The first that applies to an operation counts. */
  rules: readonly FaultRule[];
}

/** A fault that has been injected. */
export interface InjectedFault {
  /** The operation that it hit. */
  operation: FaultOperation;
  /** The fd of the operation, -1 for `"enter"`. */
  fd: number;
  /** The kind of the fault. */
  fault: FaultRule["fault"];
  /** The errno of an error, the bytes of a short transfer, or milliseconds. */
  value: number;
}

const FAULTS = ["short", "error", "delay", "reorder", "batch"] as const;
const VERB = "install a FaultPlan";

let installed: FaultPlan | undefined;

/**
 * Makes the kernel behave badly, for tests: short transfers, failures, late and
 * reordered completions, refused system calls; reproducibly, by a seed. It
 * applies to all contexts of its thread while it is installed.
 *
 * It needs a build of the library of its own, `deno task build:faults`, so that the
 * normal one has nothing of it. A thread uses one of the two. So install the plan
 * before anything else of kio in that thread, also before sockets.
 *
 * @example Short reads
 * ```ts
 * import { asyncRecv, asyncSend, IoContext, Socket, unwrap } from "@kio/kio";
 * import { FaultPlan } from "@kio/kio/testing";
 *
 * using plan = FaultPlan.install({
 *   seed: 42,
 *   rules: [{ operation: "recv", fault: "short", bytes: 1 }],
 * });
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * await asyncSend(ctx, left, new Uint8Array(100));
 * const received = await asyncRecv(ctx, right, new Uint8Array(100));
 * console.log(received, plan.injected); // 1 byte; the others come next
 * ```
 */
export class FaultPlan implements Disposable {
  private constructor() {}

  /**
   * Chooses the library with faults for this thread, without any fault yet. Call it
   * before anything else of kio in this thread; `install()` calls it too.
   *
   * @throws {Deno.errors.NotFound} If it is not built, {TypeError} if the normal
   * one is in use, {Deno.errors.NotCapable} without `--allow-ffi`.
   */
  static load(): void {
    loadFaultShim();
  }

  /**
   * Starts the faults.
   *
   * @param options The rules, and the seed for what is left to chance.
   * @returns The plan, which ends with its block (`using`).
   * @throws {TypeError} If another plan is installed, or a rule makes no sense;
   * {RangeError} if a number is out of range; else as `load()`.
   */
  static install(options: FaultPlanOptions): FaultPlan {
    checkOptions(options, VERB);
    const { seed = 1, rules } = options;
    checkInteger(seed, Number.MAX_SAFE_INTEGER, "seed", VERB);
    checkArray(rules, "rules", VERB);
    const shimRules = rules.map(shimRuleOf);
    if (installed !== undefined) {
      throw new TypeError(
        `Cannot ${VERB}: another one is installed; dispose of it first`,
      );
    }
    const status = installFaults(seed, shimRules);
    if (status === -EINVAL) {
      const short = rules.filter(({ fault }) => fault === "short");
      throw new TypeError(
        `Cannot ${VERB}: a rule is "short" for an operation that moves no bytes; look at ${
          short.map(({ operation }) => operation).join(", ")
        }`,
      );
    }
    if (status < 0) throw exceptionOf(errorOf(-status), VERB);
    return installed = new FaultPlan();
  }

  /** The faults injected so far, in order; the first 65536 of them. Empty once the
   * plan is disposed of. */
  get injected(): InjectedFault[] {
    if (installed !== this) return [];
    const records = faultRecords();
    return Array.from({ length: records.length / 4 }, (_, i) => {
      const [operation = 0, fd = 0, kind = 0, value = 0] = records.subarray(
        4 * i,
        4 * i + 4,
      );
      return {
        operation: NAMES.get(operation) as FaultOperation,
        fd,
        fault: FAULTS[kind]!,
        value: kind === FaultKind.ERROR ? -value : value,
      };
    });
  }

  /** The number of faults injected so far. */
  get injectedCount(): number {
    return installed === this ? countFaults() : 0;
  }

  /** Ends the faults. Completions that are held back still come when due. */
  [Symbol.dispose](): void {
    if (installed !== this) return;
    installed = undefined;
    clearFaults();
  }
}

function shimRuleOf(rule: FaultRule): ShimRule {
  checkOptions(rule, VERB);
  const { operation, fault, fd, nth, probability = 1, times } = rule;
  const opcode = TARGETS.get(operation);
  if (opcode === undefined) {
    throw new TypeError(
      `Cannot ${VERB}: there is no operation "${operation}"; there are ${
        [...TARGETS.keys()].join(", ")
      }`,
    );
  }
  const kind = FAULTS.indexOf(fault);
  if (kind < 0) {
    throw new TypeError(
      `Cannot ${VERB}: there is no fault "${fault}"; there are ${
        FAULTS.join(", ")
      }`,
    );
  }
  if (
    typeof probability !== "number" || !(probability > 0 && probability <= 1)
  ) {
    throw new RangeError(
      `Cannot ${VERB}: probability must be above 0 and up to 1, got ${probability}`,
    );
  }
  const limit = (value: number | undefined, name: string) =>
    value === undefined ? 0 : checkInteger(value, 2 ** 31 - 1, name, VERB, 1);
  const shimRule: ShimRule = {
    operation: opcode,
    fd: fd === undefined ? -1 : checkFd(fd, { verb: VERB }),
    probability,
    nth: limit(nth, "nth"),
    times: limit(times, "times"),
    kind,
    value: valueOf(rule),
  };
  if (
    operation === "enter" && shimRule.nth === 0 && shimRule.times === 0 &&
    probability > ENTER_PROBABILITY_MAX
  ) {
    throw new RangeError(
      `Cannot ${VERB}: "enter" would always fail and nothing would ever complete; give nth, times or a probability up to ${ENTER_PROBABILITY_MAX}`,
    );
  }
  return shimRule;
}

/** Gives the value of a rule that the shim needs besides the kind. */
function valueOf(rule: FaultRule): number {
  const { operation, fault } = rule;
  if (operation === "enter" && fault !== "error") {
    throw new TypeError(
      `Cannot ${VERB}: "enter" can only fail; use the fault "error"`,
    );
  }
  switch (fault) {
    case "short":
      return rule.bytes === undefined
        ? 0
        : checkInteger(rule.bytes, 2 ** 31 - 1, "bytes", VERB, 1);
    case "error":
      return -errnoOf(rule.code, operation);
    default:
      return checkInteger(rule.ms, 60_000, "ms", VERB, 1);
  }
}

function errnoOf(code: string, operation: FaultOperation): number {
  if (operation === "enter" && !ENTER_CODES.includes(code)) {
    throw new TypeError(
      `Cannot ${VERB}: "enter" fails with one of ${
        ENTER_CODES.join(", ")
      }, got "${code}"`,
    );
  }
  if (code === "ERESTARTSYS") return ERESTARTSYS;
  const errno = errnoNamed(code);
  if (errno !== undefined) return errno;
  throw new TypeError(`Cannot ${VERB}: there is no errno "${code}"`);
}
