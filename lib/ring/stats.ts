/**
 * The figures of a context, for people and for metrics. The ring counts
 * operations in a `Tally`; the shim counts entries of the kernel, SQEs and
 * CQEs. Nothing is computed before a program asks.
 */
import { errorOf } from "../result.ts";
import type { Latencies } from "./latency.ts";

/** Figures of a context since it was opened. */
export interface ContextStats {
  /** Operations that were started, sleeps included. */
  started: number;
  /** Operations that are complete, well or not. */
  completed: number;
  /** Operations in flight now. */
  pending: number;
  /** The most operations that were in flight at a time. */
  pendingMax: number;
  /** Operations that failed, by the code of the error. */
  errors: Record<string, number>;
  /** Operations that hit their timeout. */
  timeouts: number;
  /** Operations that were cancelled by `cancel()`, a signal, or the close of
   * their socket or context. */
  cancels: number;
  /** SQEs that the submission queue holds: 32 if there was too little locked
   * memory for 256, and `entries` was not given. */
  sqEntries: number;
  /** CQEs that the completion queue holds. */
  cqEntries: number;
  /** Calls of io_uring_enter(2). This figure and the next four include the
   * library's own requests: timers and cancels. */
  kernelEntries: number;
  /** SQEs that the kernel took. */
  submissions: number;
  /** CQEs that the kernel posted. */
  completions: number;
  /** CQEs for each entry, on average. */
  completionsPerEntry: number;
  /** Entries of the kernel that left CQEs behind, as the completion queue was
   * full. None is lost, but `entries` is too small for this load. */
  overflows: number;
  /** Wake-ups by Deno's event loop. */
  wakeUps: number;
  /** How long operations took, by the names of their functions, with the option
   * `histograms`; else empty. Streams are in none. */
  latencies: Record<string, Latencies>;
  /** Waits in the kernel instead of Deno's event loop, with the option
   * `exclusive`. 0 if this Deno does not tell all that they take. */
  exclusiveWaits: number;
}

/** A pending operation, as `inspect()` lists it. */
export interface PendingOperation {
  /** The name of the function that started it. */
  operation: string;
  /** Its fd; -1 for none. */
  fd: number;
  /** The file of the fd: `socket:[4711]`, `/tmp/file`; a direct descriptor:
   * `direct 3`; empty for none. */
  target: string;
  /** Size of its buffers. */
  bytes: number;
  /** Milliseconds since its start, some milliseconds off at most. */
  ageMs: number;
  /** Milliseconds until its timeout or the end of its sleep; Infinity without
   * one. */
  leftMs: number;
  /** True if it was cancelled and is not complete yet. */
  isCancelled: boolean;
  /** The stack of its start, with the option `trace`; else empty. */
  stack: string;
}

/** The figures of a `BufferPool`. */
export interface PoolStats {
  /** Buffers of the pool. */
  count: number;
  /** Bytes of each. */
  size: number;
  /** Buffers that the kernel may fill. */
  free: number;
  /** Leases that are out: with streams, with the program, or being sent. */
  leased: number;
  /** Streams that wait for a buffer now. */
  starved: number;
  /** How often a stream has found none (`ENOBUFS`). */
  starvations: number;
  /** False where the kernel has no ring of buffers (before Linux 5.19): the pool
   * does the same by poll and receive. */
  isNative: boolean;
}

/** A lease that is out, as `BufferPool.inspect()` lists it. */
export interface PooledBuffer {
  /** Bytes that it has. */
  length: number;
  /** True after `keep()`. */
  isKept: boolean;
  /** The stack at which it was taken over by the program, with the option
   * `trace` of the context; else empty. */
  stack: string;
}

/** The counters of the ring itself; the shim has the others. */
export class Tally {
  completed = 0;
  pendingMax = 0;
  timeouts = 0;
  cancels = 0;
  wakeUps = 0;
  exclusiveWaits = 0;
  readonly #errors = new Map<number, number>();

  addError(errno: number): void {
    this.#errors.set(errno, 1 + (this.#errors.get(errno) ?? 0));
  }

  /** Puts all figures together; `shim` has those of kio_stats(). */
  stats(
    pending: number,
    shim: Float64Array,
    latencies: Record<string, Latencies>,
  ): ContextStats {
    const [
      sqEntries = 0,
      cqEntries = 0,
      kernelEntries = 0,
      submissions = 0,
      completions = 0,
      overflows = 0,
    ] = shim;
    const { completed, pendingMax, timeouts, cancels } = this;
    const { wakeUps, exclusiveWaits } = this;
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
      sqEntries,
      cqEntries,
      kernelEntries,
      submissions,
      completions,
      completionsPerEntry: kernelEntries && completions / kernelEntries,
      overflows,
      wakeUps,
      latencies,
      exclusiveWaits,
    };
  }
}

/** Writes a line about an operation, for people. */
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
