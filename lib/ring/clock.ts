/**
 * The clock: operations that it ends or continues (sleeps, errors held back,
 * pauses between tries), and the timeouts of all others.
 */
import { EAGAIN, ETIMEDOUT } from "../errno.ts";
import { requestCancel } from "./cancel.ts";
import type { Core } from "./core.ts";
import { type Entry, Mark, State, type Steps } from "./entry.ts";
import { conclude, end } from "./settle.ts";

/** Puts an operation into a state that the clock ends at `wakeMs`. Its timeout
 * keeps running. */
export function waitUntil(
  core: Core,
  entry: Entry,
  state: Entry["state"],
  wakeMs: number,
): void {
  const { timers, table } = core;
  const { slot } = entry;
  const deadlineMs = timers.of(slot);
  entry.state = state;
  table.wakeMs[slot] = wakeMs;
  table.deadlineMs[slot] = deadlineMs;
  if (wakeMs < deadlineMs) timers.set(slot, wakeMs);
}

/** Gives an operation a timeout; the earliest counts. */
export function limit(core: Core, entry: Entry, timeoutMs: number): void {
  if (entry.state === State.NOTIFYING) return;
  const { timers, table } = core;
  const { slot } = entry;
  const deadlineMs = core.shim.kio_now_ms() + timeoutMs;
  if (entry.state !== State.SUBMITTED) {
    if (table.deadlineMs[slot]! <= deadlineMs) return;
    table.deadlineMs[slot] = deadlineMs;
  }
  if (timers.isBefore(slot, deadlineMs)) return;
  timers.set(slot, deadlineMs);
  core.schedule();
}

/** Ends or continues all operations whose time has come. */
export function expire(core: Core): void {
  const nowMs = core.shim.kio_now_ms();
  for (;;) {
    const slot = core.timers.takeDue(nowMs);
    if (slot < 0) return;
    expireOne(core, core.table.at(slot)!);
  }
}

function expireOne(core: Core, entry: Entry): void {
  const { wakeMs, deadlineMs } = core.table;
  if (entry.state === State.SUBMITTED) {
    if (entry.operation.closesFd) return;
    if (!entry.isGivenUp) markTimedOut(core, entry);
    requestCancel(core, entry);
  } else if (deadlineMs[entry.slot]! < wakeMs[entry.slot]!) {
    markTimedOut(core, entry);
    end(core, entry, -ETIMEDOUT);
  } else if (entry.state === State.BACKING_OFF) goOnAfterPause(core, entry);
  else conclude(core, entry, -entry.heldErrno);
}

function markTimedOut(core: Core, entry: Entry): void {
  entry.marks |= Mark.TIMED_OUT;
  core.tally.timeouts++;
}

/** Makes an operation the kernel's again, with its timeout. */
export function resume(core: Core, entry: Entry): void {
  const { slot } = entry;
  const deadlineMs = core.table.deadlineMs[slot]!;
  entry.state = State.SUBMITTED;
  if (deadlineMs !== Infinity) core.timers.set(slot, deadlineMs);
}

function goOnAfterPause(core: Core, entry: Entry): void {
  resume(core, entry);
  const { shots, steps } = entry.extra!;
  const result = steps?.attempt?.(core.shim) ?? 1;
  if (result > 0) queueNext(core, entry, (shots ?? steps)!);
  else if (result === -EAGAIN) {
    steps!.advance(result, 0);
    backOff(core, entry, steps!);
  } else conclude(core, entry, result);
}

/** Pauses before the next step. */
export function backOff(core: Core, entry: Entry, { pauseMs }: Steps): void {
  const wakeMs = core.shim.kio_now_ms() + pauseMs;
  waitUntil(core, entry, State.BACKING_OFF, wakeMs);
}

type Next = Pick<Steps, "prepare">;

/** Queues the next submission of an operation. */
export function queueNext(core: Core, entry: Entry, next: Next): void {
  const status = next.prepare(core.shim, core.handle, entry.id);
  if (status < 0) conclude(core, entry, status);
  else core.queued++;
}
