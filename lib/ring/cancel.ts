/**
 * Cancelling: a request. The completion of the operation is the truth. The next
 * step sends the requests to the kernel; an operation that was not submitted
 * yet is retracted instead, and never runs.
 */
import { ECANCELED } from "../errno.ts";
import { AbortGroup, type AbortTarget } from "./abort.ts";
import type { Core } from "./core.ts";
import { type Entry, Mark, State } from "./entry.ts";
import { conclude, end, resultFor, whenSettled } from "./settle.ts";

/** Time until a cancel is repeated that found nothing to cancel. */
const CANCEL_RETRY_MS = 5;

/** Cancels an operation. The kernel completes it, if it has it; in all other
 * states it ends at once. */
export function cancel(core: Core, entry: Entry): void {
  if (entry.state === State.FREE || entry.marks & Mark.CANCELLED) return;
  // It has its result.
  if (entry.state === State.NOTIFYING) return;
  // A close takes no time, and its caller has given up the fd.
  if (entry.operation.closesFd) return;
  entry.marks |= Mark.CANCELLED;
  core.tally.cancels++;
  if (entry.state === State.SUBMITTED) return requestCancel(core, entry);
  end(core, entry, -ECANCELED);
  // The driver lets go of the event loop if nothing is pending any more.
  core.schedule();
}

/** Cancels all pending operations, or those on one fd. Returns a promise of the
 * end of each. */
export function cancelLive(core: Core, fd?: number): Promise<unknown>[] {
  const entries = core.table.live(fd);
  const ends = entries.map(whenSettled);
  for (const entry of entries) cancel(core, entry);
  return ends;
}

/** Cancels an operation whose promise is lost: an fd that it makes all the same
 * is closed. */
export function abandon(core: Core, entry: Entry): void {
  if (entry.state === State.FREE) return;
  entry.marks |= Mark.ABANDONED;
  cancel(core, entry);
}

/** Cancels an operation, by way of its promise or its stream, when the signal is
 * aborted. */
export function cancelOnAbort(
  entry: Entry,
  target: AbortTarget,
  signal: AbortSignal,
): void {
  if (signal.aborted) return target.cancel();
  const group = AbortGroup.of(signal);
  group.add(target);
  const extra = entry.extra ??= {};
  extra.abortTarget = target;
  extra.signals = extra.signals === undefined
    ? group
    : [extra.signals, group].flat();
}

/** Notes a cancel for the next step. A chain that is being queued is not
 * interrupted by it. */
export function requestCancel(core: Core, entry: Entry): void {
  if (!entry.awaitsCancel) {
    entry.awaitsCancel = true;
    core.cancels.push(entry);
  }
  core.schedule();
}

/** Sends the cancels that `requestCancel()` has noted. */
export function sendCancels(core: Core): void {
  if (core.cancels.length === 0 || core.chaining) return;
  // Retract all first: a cancel may fill the queue, and that submits it.
  const submitted = core.cancels.filter((entry) =>
    entry.awaitsCancel && !retract(core, entry)
  );
  core.cancels = [];
  for (const entry of submitted) {
    // The entry was released meanwhile: another operation may have it by now.
    if (!entry.awaitsCancel) continue;
    entry.awaitsCancel = false;
    if (!sendCancel(core, entry)) requestCancel(core, entry);
  }
}

/** Repeats a cancel that has found nothing to cancel: it may have come too early.
 * A stream that only makes a pause has ended its shot by then. */
export function cancelLater(core: Core, entry: Entry): void {
  if (!entry.isGivenUp && entry.extra?.shots !== undefined) return;
  core.timers.set(entry.slot, core.shim.kio_now_ms() + CANCEL_RETRY_MS);
}

/** Takes an operation out of the queue. Returns false if it was submitted. */
function retract(core: Core, entry: Entry): boolean {
  if (!entry.isGivenUp) return false;
  if (core.turns.leave(entry)) {
    // The kernel has nothing of it.
    conclude(core, entry, resultFor(entry, -ECANCELED));
    return true;
  }
  if (!core.shim.kio_retract(core.handle, entry.id)) return false;
  entry.marks |= Mark.NEVER_RAN;
  entry.awaitsCancel = false;
  return true;
}

/** Queues a cancel of an operation, or of the poll that it waits by. Returns
 * false if the next step must try again. */
function sendCancel({ shim, handle }: Core, entry: Entry): boolean {
  const chain = entry.extra?.chain;
  if (chain !== undefined) return chain.cancel();
  const isWhole = entry.isGivenUp || entry.extra?.shots !== undefined;
  const status = isWhole
    ? shim.kio_cancel(handle, entry.id)
    : shim.kio_poll_end(handle, entry.id);
  return status >= 0;
}
