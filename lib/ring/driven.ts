import type { Shim } from "../../ffi/load.ts";
import type { Tally } from "./stats.ts";

/** The part of a ring that its driver needs. */
export interface Driven {
  readonly shim: Shim;
  readonly handle: Deno.PointerObject;
  readonly tally: Tally;
  readonly closed: boolean;
  /** Operations that are not complete. */
  readonly pending: number;
  /** Those among them that do not keep the process alive. */
  readonly unrefs: number;
  /** Submissions queued since the last step. */
  readonly queued: number;
  /** Completions of the last step that no code of the user waits for. */
  readonly silent: number;
  /** Something is queued, or waits to be cancelled. */
  readonly hasWork: boolean;
  /** The earliest deadline, 0 when there is none. */
  readonly nextDeadlineMs: number;
  /** Keeps the process alive though nothing is pending. */
  readonly keepAlive: boolean;
  /** A handler waits for messages or fds of other threads. */
  readonly listens: boolean;
  /** Called when the thread is left to Deno, each time. */
  readonly onLeave: (() => void) | null;
  /** Submits and settles, and may wait in the kernel for a bounded time.
   * Returns how many completions there were, below 0 if nothing could be
   * submitted. With `time` it is an exclusive wait until then, and gets the time
   * after. */
  step(wait: boolean, time?: Float64Array): number;
}
