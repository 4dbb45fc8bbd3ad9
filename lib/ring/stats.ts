/**
 * The figures of a context, for people and for metrics. The ring counts
 * operations in a `Tally`; the shim counts entries of the kernel, SQEs and
 * CQEs. Nothing is computed before a program asks.
 */
import { errorOf } from "../result.ts";

/** What a context has done since it was opened. */
export interface ContextStats {
  /** Operations that were started, sleeps included. */
  started: number;
  /** Operations that are complete, well or not. */
  completed: number;
  /** Operations that are not, and how many these were at most at a time. */
  pending: number;
  /** The most that were pending at a time. */
  pendingMax: number;
  /** How many failed, by the code of the error. */
  errors: Record<string, number>;
  /** Deadlines of operations that came before their end. */
  timeouts: number;
  /** Operations that were asked to end, by `cancel()`, a signal, a closed
   * socket or context. */
  cancels: number;
  /** Calls of io_uring_enter(2), and how many SQEs and CQEs went through them:
   * those of the library itself (timers, cancels) included. */
  kernelEntries: number;
  /** SQEs that the kernel took. */
  submissions: number;
  /** CQEs that the kernel posted. */
  completions: number;
  /** CQEs for each entry, on average. */
  completionsPerEntry: number;
  /** How often completions had to wait in the kernel, as the queue was full:
   * none is lost, but `entries` is small for what is going on. */
  overflows: number;
  /** How often Deno's event loop brought the thread back. */
  wakeUps: number;
}

/** An operation that is not complete. */
export interface PendingOperation {
  /** The function that started it. */
  operation: string;
  /** What it is about, -1 for none. */
  fd: number;
  /** What the fd is: `socket:[4711]`, `/tmp/file`; empty for none. */
  target: string;
  /** Size of its buffers. */
  bytes: number;
  /** Milliseconds since its start, to some milliseconds. */
  ageMs: number;
  /** Milliseconds until its timeout or the end of its sleep; Infinity without
   * one. */
  leftMs: number;
  /** Whether it was asked to end. */
  isCancelled: boolean;
  /** Where it was started, with the option `trace`; else empty. */
  stack: string;
}

/** What the ring itself counts; the shim counts the rest. */
export class Tally {
  completed = 0;
  pendingMax = 0;
  timeouts = 0;
  cancels = 0;
  wakeUps = 0;
  readonly #errors = new Map<number, number>();

  addError(errno: number): void {
    this.#errors.set(errno, 1 + (this.#errors.get(errno) ?? 0));
  }

  /** All figures; `shim` has those of kio_stats(). */
  stats(pending: number, shim: Float64Array): ContextStats {
    const [kernelEntries = 0, submissions = 0, completions = 0, overflows = 0] =
      shim;
    const { completed, pendingMax, timeouts, cancels, wakeUps } = this;
    return {
      started: completed + pending,
      completed,
      pending,
      pendingMax,
      errors: Object.fromEntries(
        this.#errors.entries().map(([errno, count]) => [
          errorOf(errno).code,
          count,
        ]),
      ),
      timeouts,
      cancels,
      kernelEntries,
      submissions,
      completions,
      completionsPerEntry: kernelEntries && completions / kernelEntries,
      overflows,
      wakeUps,
    };
  }
}

/** A line about an operation, for people. */
export function describe(
  { operation, fd, target, bytes, ageMs, leftMs, isCancelled, stack }:
    PendingOperation,
): string {
  const parts = [operation];
  if (fd >= 0) parts.push(`fd ${fd}`);
  if (target !== "") parts.push(`(${target})`);
  if (bytes > 0) parts.push(`${bytes} bytes`);
  parts.push(`for ${Math.round(ageMs)} ms`);
  if (leftMs !== Infinity) parts.push(`${Math.round(leftMs)} ms left`);
  if (isCancelled) parts.push("cancelled");
  return parts.join(" ") + (stack === "" ? "" : `\n${stack}`);
}
