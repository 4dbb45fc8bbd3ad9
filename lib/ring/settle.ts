/**
 * Settling: a number of the kernel becomes the `Result` of an operation. Its
 * entry is released first, so the user's code finds the slot free.
 */
import { EAGAIN, ECANCELED, EINTR, ENODATA, ETIMEDOUT } from "../errno.ts";
import {
  actionOf,
  DONE,
  type Failure,
  failure,
  failureOf,
  type Result,
  shortFailure,
  success,
} from "../result.ts";
import { AbortGroup } from "./abort.ts";
import type { Core } from "./core.ts";
import { type Entry, Mark, type Transfer } from "./entry.ts";
import { Yields } from "./operation.ts";

/** Releases an entry, and settles its operation with a result of the kernel. */
export function conclude(core: Core, entry: Entry, result: number): void {
  const { operation, extra, settle } = entry;
  const transfer = extra?.transfer;
  if (transfer !== undefined) {
    const outcome = outcomeOf(core, entry, transfer, result);
    release(core, entry, outcome.ok ? 0 : outcome.error.errno);
    transfer.end?.();
    settle(outcome);
    return;
  }
  release(core, entry, -Math.min(result, 0));
  if (result < 0) {
    core.tally.addError(-result);
    const action = extra?.action;
    settle(
      action === undefined
        ? failureOf(operation, -result)
        : failure(-result, `${action}`),
    );
    return;
  }
  switch (operation.yields) {
    case Yields.NOTHING:
      settle(DONE);
      return;
    case Yields.DECODED:
      settle(success(extra!.decode!(result)));
      return;
    default:
      settle(success(result));
  }
}

/** Releases an entry, and settles its operation with another thread's
 * result. */
export function concludeWith(
  core: Core,
  entry: Entry,
  result: Result<unknown>,
): void {
  const { settle } = entry;
  const outcome = result.ok ? result : named(entry, result);
  release(core, entry, result.ok ? 0 : result.error.errno);
  if (!result.ok) core.tally.addError(result.error.errno);
  settle(outcome);
}

/** Ends an operation that the kernel does not have (any more). */
export function end(core: Core, entry: Entry, result: number): void {
  const onCancel = entry.extra?.onCancel;
  conclude(core, entry, result);
  onCancel?.();
}

/** Resolves when the operation that has the entry now is complete. */
export function whenSettled(entry: Entry): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const { settle } = entry;
  entry.settle = (result) => {
    settle(result);
    resolve();
  };
  return promise;
}

/** Names the reason in a result, if the library ended the wait. */
export function resultFor(entry: Entry, result: number): number {
  if (result >= 0) return result;
  // EAGAIN is the result of a last try after the wait was ended.
  if (result !== -ECANCELED && result !== -EINTR && result !== -EAGAIN) {
    return result;
  }
  if (entry.marks & Mark.CANCELLED) return -ECANCELED;
  return entry.marks & Mark.TIMED_OUT ? -ETIMEDOUT : result;
}

function release(core: Core, entry: Entry, errno: number): void {
  const { extra, slot } = entry;
  if (core.watch !== null) core.watch.settled(entry, errno);
  core.table.release(entry);
  core.tally.completed++;
  if (core.timers.size > 0) core.timers.delete(slot);
  if (extra === null) return;
  extra.lease?.letGo();
  const { signals } = extra;
  if (signals === undefined) return;
  const target = extra.abortTarget!;
  if (signals instanceof AbortGroup) signals.delete(target);
  else for (const group of signals) group.delete(target);
}

/** Adds to a failure the path or address that it was about. */
function named(entry: Entry, failed: Failure): Failure {
  const { error } = failed;
  if (actionOf(error) !== undefined) return failed;
  const action = entry.extra?.action;
  return action === undefined
    ? failureOf(entry.operation, error.errno)
    : failure(error.errno, `${action}`);
}

function outcomeOf(
  core: Core,
  entry: Entry,
  { moved, isComplete, remark }: Transfer,
  result: number,
): Result<number> {
  if (isComplete) return success(moved);
  const errno = -Math.min(result, 0) || reasonFor(entry, result) || ENODATA;
  core.tally.addError(errno);
  return shortFailure(entry.operation, errno, moved, remark);
}

/** Gives the errno of the cancel or timeout that ended a transfer; 0 if none
 * did. */
function reasonFor({ marks }: Entry, result: number): number {
  if (result === 0) return 0;
  if (marks & Mark.CANCELLED) return ECANCELED;
  return marks & Mark.TIMED_OUT ? ETIMEDOUT : 0;
}
