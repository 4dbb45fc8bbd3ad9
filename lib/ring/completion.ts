/**
 * Completions: each settles its operation, or queues the next step of it. The
 * usual one, a success without marks or extra state, takes the short way; all
 * special cases are in `completeRare()`.
 */
import { POLLRDHUP } from "../constants.ts";
import {
  EAGAIN,
  ECANCELED,
  EINTR,
  EMFILE,
  ENFILE,
  ENOBUFS,
  ENOMEM,
} from "../errno.ts";
import { requestCancel } from "./cancel.ts";
import { backOff, queueNext, waitUntil } from "./clock.ts";
import type { Core } from "./core.ts";
import { abort } from "./dump.ts";
import { type Entry, Mark, State, type Steps } from "./entry.ts";
import { isTaken } from "./retained.ts";
import { conclude, resultFor } from "./settle.ts";
import { waitingAgain } from "./steps.ts";

/** An accept that failed for lack of fds or memory is held back this long. A
 * loop that accepts again at once would spin until there are some. */
export const ACCEPT_PAUSE_MS = 10;

/** Completes an operation, or queues its next step. */
export function complete(
  core: Core,
  entry: Entry,
  result: number,
  step = 0,
  flags = 0,
): void {
  const isPlain = result >= 0 && entry.marks === 0 && entry.extra === null;
  if (isPlain && !core.closing) {
    checkRetained(core, entry);
    conclude(core, entry, result);
  } else completeRare(core, entry, result, step, flags);
}

function completeRare(
  core: Core,
  entry: Entry,
  result: number,
  step: number,
  flags: number,
): void {
  const { operation, extra } = entry;
  if (entry.marks & Mark.NEVER_RAN) {
    conclude(core, entry, resultFor(entry, -ECANCELED));
    return;
  }
  if (extra?.notified !== undefined) result = extra.notified.resultOf(result);
  // Kernel threads that a signal interrupts give the kernel's internal codes
  // for "restart", which are no errnos.
  if (result <= -512 && result >= -516) result = -EINTR;
  if (result === -ECANCELED && lacksThread(core, entry)) result = -EAGAIN;
  checkRetained(core, entry);
  if (extra?.shots !== undefined) return extra.shots.last(result, flags);
  if (extra?.chain?.keeps(entry, result)) return;
  const isLost = core.closing || (entry.marks & Mark.ABANDONED) !== 0;
  if (result >= 0 && isLost && operation.makesFd) {
    // The caller will never see this fd.
    core.shim.kio_fd_close(result);
    result = -ECANCELED;
  }
  if (result >= 0 && entry.marks & Mark.ABANDONED && extra?.discard) {
    extra.discard(result);
    result = -ECANCELED;
  }
  if (operation.closesFd && result === -ECANCELED) {
    // Its chain has ended before it, but its caller has given up the fd.
    core.shim.kio_fd_close(entry.fd);
  }
  const steps = extra?.steps;
  if (steps !== undefined) {
    const isUnfinished = steps.advance(result, step);
    if (isUnfinished && entry.marks === 0) {
      goOn(core, entry, steps);
      return;
    }
    // Given up between two steps: this result is not that of the whole.
    if (isUnfinished) result = -ECANCELED;
  } else if (entry.marks === 0 && extra?.chain === undefined) {
    if (result === -EAGAIN && waitsAgain(core, entry)) return;
  }
  if (operation.holdsBack && entry.marks === 0 && isShort(-result)) {
    entry.heldErrno = -result;
    const wakeMs = core.shim.kio_now_ms() + ACCEPT_PAUSE_MS;
    waitUntil(core, entry, State.HELD_BACK, wakeMs);
    return;
  }
  conclude(core, entry, resultFor(entry, result));
}

/** Tells whether the kernel has cancelled an operation by itself: it could not
 * start a thread for it, as clone(2) failed with EAGAIN three times. */
function lacksThread(
  { closing }: Core,
  { marks, extra, operation }: Entry,
): boolean {
  if (marks !== 0 || closing || extra?.chain !== undefined) return false;
  return !operation.closesFd && extra?.shots === undefined &&
    !extra?.steps?.isWaiting;
}

/** Takes a completion that is not the last: of a stream, of a poll for changes,
 * or of a zero-copy send. Nothing else has more than one. */
export function report(
  core: Core,
  entry: Entry,
  result: number,
  flags: number,
): void {
  const { extra, operation } = entry;
  if (extra?.shots !== undefined) return extra.shots.more(result, flags);
  if (extra?.steps?.isWaiting) {
    // Its poll for changes: it goes on when there is more than the peer's end.
    if ((result & ~POLLRDHUP) !== 0) requestCancel(core, entry);
    return;
  }
  if (extra?.notified !== undefined) {
    if (extra.notified.report(result)) awaitNotification(core, entry);
    return;
  }
  abort(core, `${operation.name}: more than one completion`);
}

/** Leaves an operation to the kernel, which only has its memory. The fd is not
 * its own any more, and nothing can end it. */
function awaitNotification({ timers }: Core, entry: Entry): void {
  entry.state = State.NOTIFYING;
  entry.fd = -1;
  entry.awaitsCancel = false;
  timers.delete(entry.slot);
}

/** Queues the next step, at once or after its pause. */
function goOn(core: Core, entry: Entry, steps: Steps): void {
  if (steps.pauseMs > 0) backOff(core, entry, steps);
  else queueNext(core, entry, steps);
}

/** Lets a plain operation that got `EAGAIN` wait and try again. Returns whether
 * it does. */
function waitsAgain(core: Core, entry: Entry): boolean {
  const steps = waitingAgain(core, entry);
  if (steps === undefined) return false;
  (entry.extra ??= {}).steps = steps;
  queueNext(core, entry, steps);
  return true;
}

/** Aborts the process if a buffer was taken away while the kernel used it. */
export function checkRetained(
  core: Core,
  { retained, operation }: Entry,
): void {
  if (retained === null || retained.byteLength > 0 || !isTaken(retained)) {
    return;
  }
  abort(
    core,
    `${operation.name}: a buffer was transferred or detached while the kernel was using it; its memory may be corrupt. pin() prevents this; in place of resizable buffers and WebAssembly memory use IoContext.allocate()`,
  );
}

/** Tells whether an errno means that fds or memory are used up. */
export function isShort(errno: number): boolean {
  return errno === EMFILE || errno === ENFILE || errno === ENOBUFS ||
    errno === ENOMEM;
}
