/** Cancelling: a request. What the kernel says to it is the truth. */
import { ECANCELED } from "../errno.ts";
import { AbortGroup, type AbortTarget } from "./abort.ts";
import type { Core } from "./core.ts";
import { type Entry, Mark, State } from "./entry.ts";
import { end } from "./settle.ts";

/** Asks for the end of an operation. */
export function cancel(core: Core, entry: Entry): void {
  if (entry.state === State.FREE || entry.marks & Mark.CANCELLED) return;
  // It takes no time, and who called it has given up the fd.
  if (entry.operation.closesFd) return;
  entry.marks |= Mark.CANCELLED;
  core.tally.cancels++;
  if (entry.state === State.SUBMITTED) return requestCancel(core, entry);
  end(core, entry, -ECANCELED);
  // Nothing may be left that keeps the process alive.
  core.schedule();
}

/** Cancels an operation for good: an fd that it makes all the same is closed. */
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

/** Has the next step ask the kernel; a chain is not interrupted by it. */
export function requestCancel(core: Core, entry: Entry): void {
  if (!entry.awaitsCancel) {
    entry.awaitsCancel = true;
    core.cancels.push(entry);
  }
  core.schedule();
}

/** Sends what `requestCancel()` has collected. */
export function sendCancels(core: Core): void {
  if (core.cancels.length === 0 || core.chaining) return;
  // All of them first: a cancel may fill the queue, which submits it.
  const submitted = core.cancels.filter((entry) =>
    entry.awaitsCancel && !retract(core, entry)
  );
  core.cancels = [];
  for (const entry of submitted) {
    // It was released meanwhile, and may be another operation's by now.
    if (!entry.awaitsCancel) continue;
    entry.awaitsCancel = false;
    if (!sendCancel(core, entry)) requestCancel(core, entry);
  }
}

/** Keeps an operation from being submitted, if it was not yet. */
function retract(core: Core, entry: Entry): boolean {
  if (!entry.isGivenUp) return false;
  if (!core.shim.kio_retract(core.handle, entry.id)) return false;
  entry.marks |= Mark.NEVER_RAN;
  entry.awaitsCancel = false;
  return true;
}

/** Asks the kernel to cancel an operation, or the poll that it waits by. Returns
 * false if that must be tried again. */
function sendCancel({ shim, handle }: Core, entry: Entry): boolean {
  const chain = entry.extra?.chain;
  if (chain !== undefined) return chain.cancel();
  const isWhole = entry.isGivenUp || entry.extra?.shots !== undefined;
  const status = isWhole
    ? shim.kio_cancel(handle, entry.id)
    : shim.kio_poll_end(handle, entry.id);
  return status >= 0;
}
