/**
 * Runs a ring on the thread of Deno's event loop. It knows steps and deadlines,
 * and nothing of operations.
 *
 * A *step* submits what is queued and settles what is complete. Between two
 * steps the continuations get some microtasks (*ticks*), so that what they queue
 * goes into the same submission. A *turn* ends when Deno's own events wait; the
 * driver then *yields* and comes back by itself. A *bounded wait* in the kernel
 * comes before *parking*, which leaves the thread to Deno until the eventfd of
 * the ring is readable.
 */
import type { Shim } from "../../ffi/load.ts";
import { removeIdleListeners } from "./abort.ts";
import type { Tally } from "./stats.ts";
import { isFirstWaker, openWaker, type Waker } from "./waker.ts";

/**
 * Microtasks that the continuations of a batch get for queueing what they do
 * next, before the kernel is entered without it: an operation awaited through
 * a helper or two resumes its caller a few microtasks later.
 */
const TICKS_MAX = 8;

/** Time budget of a turn. The driver yields to Deno's event loop after
 * TURN_MS_MAX. If the loop has events waiting it yields already after as long
 * as the loop took the last time, but at least TURN_MS_MIN. */
const TURN_MS_MIN = 0.2;
const TURN_MS_MAX = 2;

/** The same before the first waker of the isolate, which a short program can
 * do without: opening it would take the thread for longer. */
const FIRST_TURN_MS = 10;

/** Steps between two looks at the clock, which costs 1 % of a short step. */
const STEPS_PER_CLOCK = 8;

/** A bounded wait may last that long: 1.5 times WAIT_NS of the shim. It costs a
 * fraction of a wake-up through the loop. */
export const BOUNDED_WAIT_MS = 3;

/** Microtasks that others get before a bounded wait: the continuation of an
 * operation of Deno's that completes at once is several of them away. */
const WAIT_TICKS = 16;

/** Runs of the driver without a wake-up in between, after which it leaves the
 * thread once. */
const RUNS_MAX = 64;

/** Bounded waits are worth it after that many wake-ups in a row, each so soon
 * after the thread was left to Deno. */
const QUICK_WAKES_MIN = 2;
const QUICK_MS = 0.5;

/** Until the next try when the kernel has no memory for a submission. */
const SUBMIT_RETRY_MS = 1;

/** Until the next look, where the kernel may not tell of a completion. */
const LOOK_MS = 10;

/** Awaiting it costs one microtask. */
const TICK = Promise.resolve();

/** A ring, as far as its driver needs it. */
export interface Driven {
  readonly shim: Shim;
  readonly handle: Deno.PointerObject;
  readonly tally: Tally;
  readonly closed: boolean;
  /** Operations that are not complete. */
  readonly pending: number;
  /** Submissions queued since the last step. */
  readonly queued: number;
  /** Something is queued, or waits to be cancelled. */
  readonly hasWork: boolean;
  /** The earliest deadline, 0 when there is none. */
  readonly nextDeadlineMs: number;
  /** Keeps the process alive though nothing is pending. */
  readonly keepAlive: boolean;
  /** Somebody wants to hear of what other threads send. */
  readonly listens: boolean;
  /** Called when the thread is left to Deno, each time. */
  readonly onLeave: (() => void) | null;
  /** Submits and settles, and may wait in the kernel for a bounded time. Returns
   * how many completions there were, below 0 if nothing could be submitted. */
  step(wait: boolean): number;
}

const Drive = {
  /** Nothing is queued; a completion wakes it. */
  PARKED: 0,
  /** On its way back by itself, through Deno's event loop. */
  YIELDED: 1,
  RUNNING: 2,
} as const;
type DriveState = typeof Drive[keyof typeof Drive];

export class Driver {
  readonly #ring: Driven;
  /** Made when there is something to wait for, which not all programs have:
   * the best one loads much of Deno. */
  #waker: Waker | null = null;
  #state: DriveState = Drive.PARKED;
  /** Operations that the last step settled: as many may follow. */
  #expected = 1;
  /** When the clock was looked at last; some milliseconds old at most while
   * the driver runs. */
  nowMs = 0;
  /** When the thread was left to Deno. */
  #leftMs = 0;
  /** Deno's events may have to wait that long, at least. */
  #turnMs = TURN_MS_MIN;
  #quickWakes = 0;
  /** Runs since the eventfd woke it, and when that was. */
  #runs = 0;
  #wokenMs = 0;

  constructor(ring: Driven) {
    this.#ring = ring;
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
    if (this.#waker !== null) this.#waker.close();
    else shim.kio_fd_close(shim.kio_event_fd(handle));
  }

  /** Looks at the clock. A function of its own, like all that calls the shim
   * often: V8 makes such calls fast only outside of the endless loop. */
  #look(): number {
    return this.nowMs = this.#ring.shim.kio_now_ms();
  }

  /** Code that takes many microtasks between two operations has had the thread
   * for long: each of them starts the driver anew, and nothing tells whether
   * Deno had its turn in between. */
  get #isOverdue(): boolean {
    return this.#runs > RUNS_MAX && this.nowMs - this.#wokenMs > TURN_MS_MAX;
  }

  /** Wakes up from Deno's event loop; may be spurious. */
  #onWake(): void {
    if (this.#state === Drive.RUNNING || this.#ring.closed) return;
    const nowMs = this.#look();
    this.#ring.tally.wakeUps++;
    this.#runs = 0;
    this.#wokenMs = nowMs;
    const awayMs = nowMs - this.#leftMs;
    if (this.#state === Drive.PARKED) {
      this.#quickWakes = awayMs < QUICK_MS ? this.#quickWakes + 1 : 0;
      this.#turnMs = TURN_MS_MIN;
    } else {
      this.#turnMs = Math.min(Math.max(awayMs, TURN_MS_MIN), TURN_MS_MAX);
    }
    void this.#run(false);
  }

  /** With a tick, as the first waker is opened in microtasks only: it loads
   * modules, and elsewhere those that wait would run within that. */
  #retry(): void {
    if (this.#state === Drive.YIELDED && !this.#ring.closed) {
      void this.#run(true);
    }
  }

  /** Runs until there is nothing to do at once. */
  async #run(tick: boolean): Promise<void> {
    const ring = this.#ring;
    this.#state = Drive.RUNNING;
    let steps = 0;
    // Over from the start, if it is overdue.
    let endMs = this.#isOverdue ? this.nowMs : 0;
    let lookMs = endMs;
    for (;;) {
      if (tick) {
        let ticks = TICKS_MAX;
        do await TICK; while (ring.queued < this.#expected && --ticks > 0);
        if (ring.closed) return;
      }
      tick = true;
      let waits = this.#mayWait();
      if (waits) {
        // What completed in Deno meanwhile continues in microtasks: not after
        // a wait in the kernel.
        for (let left = WAIT_TICKS; left > 0; left--) await TICK;
        if (ring.closed) return;
        waits = this.#mayWait();
      }
      const settled = ring.step(waits);
      if (ring.closed) return;
      if (settled < 0) {
        // Out of memory or the like: what is queued stays queued.
        this.#state = Drive.YIELDED;
        setTimeout(() => this.#retry(), SUBMIT_RETRY_MS);
        return;
      }
      this.#expected = settled;
      if (settled === 0) {
        this.#quickWakes = Math.min(this.#quickWakes, QUICK_WAKES_MIN - 1);
        const isShort = waits && this.#isFirst &&
          (endMs === 0 || this.nowMs < endMs);
        if (!isShort && this.#park()) return;
      }
      if (waits || steps++ % STEPS_PER_CLOCK === 0) {
        const nowMs = this.#look();
        if (endMs === 0) {
          endMs = nowMs + (this.#isFirst ? FIRST_TURN_MS : TURN_MS_MAX);
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

  /** Tells whether Deno's events wait. */
  #loopIsReady(): boolean {
    return this.#ring.shim.kio_loop_is_ready(this.#ring.handle);
  }

  /** Decides whether the next step may wait in the kernel. */
  #mayWait(): boolean {
    const isWorthIt = this.#quickWakes >= QUICK_WAKES_MIN || this.#isFirst;
    if (!isWorthIt || this.#ring.pending === 0) return false;
    const nowMs = this.#look();
    const { nextDeadlineMs } = this.#ring;
    return nextDeadlineMs === 0 || nextDeadlineMs >= nowMs + BOUNDED_WAIT_MS;
  }

  /** Parking would have to open the first waker. */
  get #isFirst(): boolean {
    return this.#waker === null && isFirstWaker;
  }

  /** Leaves the thread to Deno until the ring has something to say. */
  #park(): boolean {
    const ring = this.#ring;
    if (ring.hasWork) return false;
    // Whole milliseconds: deadlines that are close share one wake-up.
    const nextMs = Math.ceil(ring.nextDeadlineMs);
    const armed = ring.shim.kio_arm(ring.handle, nextMs);
    if (armed === 0) return false;
    // A write to an eventfd may go unnoticed.
    if (armed === 2) setTimeout(() => this.#onWake(), LOOK_MS);
    this.#leave(Drive.PARKED, ring.pending > 0 || ring.keepAlive);
    return true;
  }

  /** Deno polls its own events only when nothing is left to run: parks as if
   * idle, with the wake-up already on its way. */
  #yield(): void {
    this.#leave(Drive.YIELDED, true);
    this.#ring.shim.kio_wake_self(this.#ring.handle);
  }

  #leave(state: DriveState, keepAlive: boolean): void {
    this.#state = state;
    removeIdleListeners();
    this.#ring.onLeave?.();
    this.#leftMs = this.#ring.shim.kio_now_ms();
    // Not if nobody would be told of what comes.
    if (!keepAlive && !this.#ring.listens && this.#waker === null) return;
    this.#waker ??= openWaker(this.#ring.handle, () => this.#onWake());
    this.#waker.watch(keepAlive);
  }
}
