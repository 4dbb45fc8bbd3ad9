/**
 * Runs a ring on the thread of Deno's event loop. It knows steps and deadlines,
 * and nothing of operations.
 *
 * A *step* submits what is queued and settles what is complete. Between two
 * steps the continuations get some microtasks (*ticks*), so that what they
 * queue goes into the same submission. A *turn* ends when Deno's own events
 * wait; the driver then *yields* and comes back by itself. A *bounded wait* in
 * the kernel comes before *parking*, which leaves the thread to Deno until the
 * eventfd of the ring is readable.
 */
import { removeIdleListeners } from "./abort.ts";
import type { Driven } from "./driven.ts";
import { type Host, isPassDue, openHost } from "./host.ts";
import { isFirstWaker, openWaker, type Waker } from "./waker.ts";

/**
 * Microtasks that the continuations of a batch get to queue their next
 * operations, before the kernel is entered. An operation awaited through a
 * helper or two resumes its caller a few microtasks later.
 */
const TICKS_MAX = 8;

/** Time budget of a turn. The driver yields to Deno's event loop after
 * TURN_MS_MAX. If the loop has events waiting it yields already after as long
 * as the loop took the last time, but at least TURN_MS_MIN. */
const TURN_MS_MIN = 0.2;
const TURN_MS_MAX = 2;

/** The budget before the first waker of the isolate. Opening that takes longer
 * than a turn, and a short program ends without it. */
const FIRST_TURN_MS = 10;

/** Steps between two looks at the clock, which costs 1 % of a short step. */
const STEPS_PER_CLOCK = 8;

/** A bounded wait lasts this long at most: 1.5 times WAIT_MS of the shim. It
 * costs a fraction of a wake-up through the loop. */
export const BOUNDED_WAIT_MS = 3;

/** Microtasks that others get before a bounded wait: the continuation of an
 * operation of Deno's that completes at once is several of them away. */
const WAIT_TICKS = 16;

/** Runs of the driver without a wake-up in between, after which it leaves the
 * thread once. */
const RUNS_MAX = 64;

/** Bounded waits pay after QUICK_WAKES_MIN wake-ups in a row, each less than
 * QUICK_MS after the thread was left to Deno. */
const QUICK_WAKES_MIN = 2;
const QUICK_MS = 0.5;

/** An exclusive context leaves the thread to Deno after this time at the latest,
 * though nothing tells that Deno has something to do. It waits in the kernel if
 * completions come more often than that. */
export const EXCLUSIVE_MS = 40;

/** Passes through Deno's loop before an exclusive wait, and before the first one
 * behind a wake-up. The later ones deal with what the earlier ones have woken. */
const PASSES = 1;
const FIRST_PASSES = 4;

/** As often the number of steps before an exclusive wait is looked at anew. */
const WAITS_PER_LOOK = 8;

/** Time until the next try when the kernel has no memory for a submission. */
const SUBMIT_RETRY_MS = 1;

/** Time until the next look when the kernel may be silent about a
 * completion. */
const LOOK_MS = 10;

/** Awaiting it costs one microtask. */
const TICK = Promise.resolve();

const Drive = {
  /** Nothing is queued; a completion wakes it. */
  PARKED: 0,
  /** It comes back by itself, through Deno's event loop. */
  YIELDED: 1,
  RUNNING: 2,
  /** An exclusive wait begins in one of the next passes of Deno's loop. */
  PASSING: 3,
} as const;
type DriveState = typeof Drive[keyof typeof Drive];

/** Runs the steps of one ring, and leaves the thread to Deno in between. */
export class Driver {
  readonly #ring: Driven;
  /** Made when the driver first has to wait: the best waker loads much of Deno,
   * and a short program never waits. */
  #waker: Waker | null = null;
  #state: DriveState = Drive.PARKED;
  /** Operations that the last step settled, and that code of the user waits for:
   * as many may follow. */
  #expected = 1;
  /** The time of the last look at the clock; some milliseconds old at most
   * while the driver runs. */
  nowMs = 0;
  /** The time at which the thread was left to Deno. */
  #leftMs = 0;
  /** The time budget of this turn while Deno's events wait. */
  #turnMs = TURN_MS_MIN;
  #quickWakes = 0;
  /** Runs since the eventfd woke it, and the time of that, or of its start. */
  #runs = 0;
  #wokenMs: number;
  /** Calls that wait until Deno has had its turn. */
  #turn: PromiseWithResolvers<void> | null = null;
  /** Waits have brought completions since the last wake-up. */
  #isActive = false;
  /** The last of the waits before the thread was left to Deno had none. */
  #isIdle = false;
  /** Nothing has come to the fds of Deno's loop since the ring watches it. */
  #isWatching = false;
  /** Passes until the wait. */
  #passes = 0;
  /** The time between the last two completions of exclusive waits; 0 behind a
   * wake-up. */
  #intervalMs = 0;
  /** Steps after which an exclusive wait begins: as many had completions the
   * last time, before one had none. */
  #stepsToWait = 0;
  #waits = 0;
  readonly #onPass = () => this.#pass();
  /** Tells of Deno's work, in an exclusive context; null in others. */
  readonly #host: Host | null;
  /** When an exclusive wait is to end, and when it has ended. */
  readonly #time = new Float64Array(1);

  constructor(ring: Driven, isExclusive: boolean) {
    this.#ring = ring;
    this.#wokenMs = ring.shim.kio_now_ms();
    this.#host = isExclusive ? openHost(ring.shim) : null;
  }

  /** Makes sure that a step comes soon. */
  schedule(): void {
    if (this.#state !== Drive.PARKED) return;
    this.#look();
    this.#expected = 1;
    this.#runs++;
    void this.#run(true);
  }

  /** Gives up the eventfd of the ring. */
  close(): void {
    const { shim, handle } = this.#ring;
    removeIdleListeners();
    this.#endTurn();
    if (this.#waker !== null) this.#waker.close();
    else shim.kio_fd_close(shim.kio_event_fd(handle));
  }

  /** Looks at the clock. V8 makes calls of the shim fast only outside of the
   * endless loop, so all that come often are in functions of their own. */
  #look(): number {
    return this.nowMs = this.#ring.shim.kio_now_ms();
  }

  /** Tells whether Deno must get its turn now. Code with many microtasks
   * between its operations starts the driver anew for each, and keeps the
   * thread all the time. The runs since the last wake-up show that. */
  #isOverdue(): boolean {
    const turnMs = this.#isFirst() ? FIRST_TURN_MS : TURN_MS_MAX;
    return this.#runs > RUNS_MAX && this.nowMs - this.#wokenMs > turnMs;
  }

  /** Counts a call that is made without the ring as a run. Returns false if Deno
   * must get its turn before: `turn()`, or an operation. */
  mayCall(): boolean {
    if (++this.#runs > RUNS_MAX && this.#runs % STEPS_PER_CLOCK === 0) {
      this.#look();
    }
    return !this.#isOverdue();
  }

  /** Gives Deno its turn; resolves after that, or at the end of the ring.
   * Returns undefined where the next operation sees to it. */
  turn(): Promise<void> | undefined {
    if (this.#host !== null || this.#ring.closed) return undefined;
    if (this.#turn !== null) return this.#turn.promise;
    this.#turn = Promise.withResolvers();
    // In a microtask, for the same reason as #retry().
    void TICK.then(() => {
      if (this.#state === Drive.PARKED && !this.#ring.closed) this.#yield();
    });
    return this.#turn.promise;
  }

  #endTurn(): void {
    this.#turn?.resolve();
    this.#turn = null;
  }

  /** Wakes up from Deno's event loop; may be spurious. */
  #onWake(): void {
    if (this.#state >= Drive.RUNNING || this.#ring.closed) return;
    const nowMs = this.#look();
    this.#ring.tally.wakeUps++;
    this.#runs = 0;
    this.#wokenMs = nowMs;
    this.#intervalMs = 0;
    this.#endTurn();
    const awayMs = nowMs - this.#leftMs;
    if (this.#state === Drive.PARKED) {
      const quickMs = this.#host === null ? QUICK_MS : EXCLUSIVE_MS;
      const isQuick = awayMs < quickMs && !this.#isIdle;
      this.#quickWakes = isQuick ? this.#quickWakes + 1 : 0;
      this.#isIdle = false;
      this.#turnMs = TURN_MS_MIN;
    } else {
      this.#turnMs = Math.min(Math.max(awayMs, TURN_MS_MIN), TURN_MS_MAX);
    }
    this.#isActive = false;
    void this.#run(false, true);
  }

  /** Runs again after a refused submission. It begins with a tick: the first
   * waker loads modules, and outside of a microtask waiting microtasks would
   * run within that. */
  #retry(): void {
    if (this.#state === Drive.YIELDED && !this.#ring.closed) {
      void this.#run(true);
    }
  }

  /** Runs until there is nothing to do at once. `isFresh`: `nowMs` is the time
   * at which this turn begins. */
  async #run(tick: boolean, isFresh = false): Promise<void> {
    const ring = this.#ring;
    this.#state = Drive.RUNNING;
    let steps = isFresh ? 1 : 0;
    // Those with completions, behind an exclusive wait that had some.
    let fruitful = 0;
    const isWaited = tick && this.#isWatching;
    const looks = this.#waits++ % WAITS_PER_LOOK === 0;
    // An overdue turn has ended before it begins.
    let endMs = isFresh
      ? this.nowMs + TURN_MS_MAX
      : this.#isOverdue()
      ? this.nowMs
      : 0;
    let lookMs = isFresh ? this.nowMs + this.#turnMs : endMs;
    for (;;) {
      if (tick) {
        let ticks = TICKS_MAX;
        do await TICK; while (ring.queued < this.#expected && --ticks > 0);
        if (ring.closed) return;
        // What is queued goes into the kernel with the wait.
        const isDone = isWaited && !looks && fruitful >= this.#stepsToWait;
        if (isDone && this.#goPassing()) return;
      }
      tick = true;
      let waits = this.#mayWait();
      if (waits) {
        // Operations of Deno that are complete continue in microtasks: they
        // must not wait for a wait in the kernel.
        for (let left = WAIT_TICKS; left > 0; left--) await TICK;
        if (ring.closed) return;
        waits = this.#mayWait();
      }
      const settled = ring.step(waits);
      if (ring.closed) return;
      if (settled < 0) {
        // The kernel is out of memory: the queue stays as it is.
        this.#retryLater();
        return;
      }
      this.#expected = settled - ring.silent;
      if (settled > 0) fruitful++;
      else {
        if (isWaited) this.#stepsToWait = fruitful;
        if (this.#goPassing()) return;
        this.#quickWakes = Math.min(this.#quickWakes, QUICK_WAKES_MIN - 1);
        const isShort = waits && this.#isFirst() &&
          (endMs === 0 || this.nowMs < endMs);
        if (!isShort && this.#park()) return;
      }
      if (waits || steps++ % STEPS_PER_CLOCK === 0) {
        const nowMs = this.#look();
        if (endMs === 0) {
          endMs = nowMs + (this.#isFirst() ? FIRST_TURN_MS : TURN_MS_MAX);
          lookMs = nowMs + this.#turnMs;
        } else if (nowMs > lookMs) {
          lookMs = nowMs + TURN_MS_MIN;
          if (nowMs <= endMs && !this.#loopIsReady()) continue;
          this.#yield();
          return;
        }
      }
    }
  }

  #retryLater(): void {
    this.#state = Drive.YIELDED;
    setTimeout(() => this.#retry(), SUBMIT_RETRY_MS);
  }

  /** Tells whether Deno's event loop has something to do. */
  #loopIsReady(): boolean {
    return this.#ring.shim.kio_loop_is_ready(this.#ring.handle);
  }

  /** Decides whether the next step may wait in the kernel. */
  #mayWait(): boolean {
    const isWorthIt = this.#isFirst() ||
      this.#quickWakes >= QUICK_WAKES_MIN && this.#host === null &&
        !isPassDue();
    if (!isWorthIt || this.#ring.pending === 0) return false;
    const nowMs = this.#look();
    const { nextDeadlineMs } = this.#ring;
    return nextDeadlineMs === 0 || nextDeadlineMs >= nowMs + BOUNDED_WAIT_MS;
  }

  /** Tells whether parking would open the first waker. */
  #isFirst(): boolean {
    return this.#waker === null && isFirstWaker;
  }

  /**
   * Goes through Deno's loop before an exclusive wait, if that is worth it.
   * Deno takes events from its fds, and deals with them later. So the ring first
   * polls the loop; then some passes deal with all that was taken before. If
   * the poll has seen nothing meanwhile, nothing of Deno's is left.
   *
   * A pass that keeps the program alive comes at once. Over another Deno would
   * sleep, with the eventfd off: then there is no exclusive wait.
   */
  #goPassing(): boolean {
    const { shim, handle } = this.#ring;
    if (this.#host === null || this.#quickWakes < QUICK_WAKES_MIN) return false;
    if (!this.#keepsAlive() || this.#isDenosTurn()) return false;
    this.#passes = PASSES;
    if (!this.#isWatching) {
      this.#isWatching = shim.kio_loop_watch(handle);
      if (!this.#isWatching) return false;
      this.#passes = FIRST_PASSES;
    }
    if (!this.#host.soon(this.#onPass)) return false;
    this.#state = Drive.PASSING;
    return true;
  }

  /** Tells whether the time of an exclusive context would end before the next
   * completion. A wake-up for that alone would find the caches as cold as any,
   * so Deno gets its turn with this one. */
  #isDenosTurn(): boolean {
    return this.nowMs + this.#intervalMs >= this.#wokenMs + EXCLUSIVE_MS;
  }

  /** Runs in a pass of Deno's loop, where no microtask is left: counts it, or
   * waits in the kernel. */
  #pass(): void {
    const ring = this.#ring;
    if (this.#state !== Drive.PASSING || ring.closed) return;
    const host = this.#host!;
    if (--this.#passes > 0 && host.soon(this.#onPass)) return;
    const turnEndMs = this.#wokenMs + EXCLUSIVE_MS;
    const timerMs = host.nextTimerMs() || Infinity;
    const deadlineMs = Math.ceil(ring.nextDeadlineMs) || Infinity;
    const endMs = Math.min(turnEndMs, timerMs, deadlineMs);
    if (this.#passes > 0 || host.hasWork()) this.#quickWakes = 0;
    else if (this.#waitUntil(endMs)) return;
    else if (this.nowMs < endMs) this.#quickWakes = 0;
    else if (endMs === timerMs) this.#quickWakes = QUICK_WAKES_MIN - 1;
    else if (endMs === turnEndMs) {
      // Deno has timers of its own, which it looks at only when it polls.
      if (this.#isActive) return this.#yield();
      this.#isIdle = true;
      this.#quickWakes = 0;
    }
    void this.#run(false, true);
  }

  /** Waits in the kernel. Returns false if no completion has come. */
  #waitUntil(endMs: number): boolean {
    const ring = this.#ring;
    this.#rest();
    ring.tally.exclusiveWaits++;
    this.#time[0] = endMs;
    const settled = ring.step(false, this.#time);
    if (ring.closed) return true;
    const fromMs = this.nowMs;
    this.nowMs = this.#time[0]!;
    if (settled === 0) return false;
    this.#intervalMs = this.nowMs - fromMs;
    if (settled < 0) {
      this.#retryLater();
      return true;
    }
    this.#isActive = true;
    this.#expected = settled - ring.silent;
    void this.#run(true, true);
    return true;
  }

  /** Tells whether the program has to wait for the ring. */
  #keepsAlive(): boolean {
    const { pending, unrefs, keepAlive } = this.#ring;
    return pending > unrefs || keepAlive;
  }

  /** Leaves the thread to Deno until a completion or a deadline. Returns false
   * if there is something to do at once. */
  #park(): boolean {
    const ring = this.#ring;
    if (ring.hasWork) return false;
    if (this.#turn !== null) {
      this.#yield();
      return true;
    }
    // Whole milliseconds: deadlines that are close share one wake-up.
    const nextMs = Math.ceil(ring.nextDeadlineMs);
    const armed = ring.shim.kio_arm(ring.handle, nextMs);
    if (armed === 0) return false;
    // A write to an eventfd may go unnoticed.
    if (armed === 2) setTimeout(() => this.#onWake(), LOOK_MS);
    this.#leave(Drive.PARKED, this.#keepsAlive());
    return true;
  }

  /** Leaves the thread to Deno for one turn of its event loop. Deno polls its
   * own events only when nothing is left to run. So the driver parks as if
   * idle, with the wake-up already on its way. */
  #yield(): void {
    this.#leave(Drive.YIELDED, true);
    this.#ring.shim.kio_wake_self(this.#ring.handle);
  }

  /** Does what is left for the time in which the thread rests. */
  #rest(): void {
    removeIdleListeners();
    this.#ring.onLeave?.();
  }

  #leave(state: DriveState, keepAlive: boolean): void {
    this.#state = state;
    this.#isWatching = false;
    this.#rest();
    this.#leftMs = this.#ring.shim.kio_now_ms();
    const { handle, listens, pending } = this.#ring;
    // No waker if nothing can come that a handler or a promise waits for.
    const isAwaited = keepAlive || listens || pending > 0;
    if (!isAwaited && this.#waker === null) return;
    this.#waker ??= openWaker(handle, () => this.#onWake());
    this.#waker.watch(keepAlive, pending > 0);
  }
}
