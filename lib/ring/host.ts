/**
 * The work of Deno's event loop that none of its fds tells of. A context waits in
 * the kernel only while there is none. Deno does not document these interfaces,
 * so each of them is tried, and what takes one that is missing is left out.
 */
import type { Shim } from "../../ffi/load.ts";

/** The part of a timer and of an immediate of Deno's that is used here. */
interface Timer {
  readonly _idleStart: number;
}
interface Immediate {
  /** The one that runs after it. */
  readonly _idleNext: unknown;
}

/** The part of Deno's core that is used here. */
interface Core {
  __processTimers(nowMs: number): number;
  createTimer(
    callback: () => void,
    delayMs: number,
    args: undefined,
    isRepeated: boolean,
    isRefed: boolean,
    isSystem: boolean,
  ): Timer;
  cancelTimer(timer: Timer): void;
  setUpAsyncStub(name: string, op: (id: number) => number): () => unknown;
  hasTickScheduled(): boolean;
  readonly immediateQueue: { readonly head: unknown; readonly tail: unknown };
}

/** The longest delay of a timer. */
const DELAY_MS_MAX = 2 ** 31 - 1;

/** Gives the core, or undefined if this Deno has none of that name. */
function findCore(): Core | undefined {
  const { internal } = Deno as unknown as { internal: symbol };
  const deno = Deno as unknown as Record<symbol, { core?: Core } | undefined>;
  return deno[internal]?.core;
}

const core = findCore();

/** Tells whether a tick or an immediate of Node's waits for a pass of the loop:
 * each event of a socket or a stream of Node is one. */
export function isPassDue(): boolean {
  return core?.hasTickScheduled?.() === true ||
    (core?.immediateQueue?.head ?? null) !== null;
}

/** Gives the host, or null if this Deno does not tell all that it takes. */
export function openHost(shim: Shim): Host | null {
  try {
    return new Host(findCore()!, shim);
  } catch {
    return null;
  }
}

/** Tells what Deno has to do. */
export class Host {
  readonly #core: Core;
  /** Gives #id the number of the next operation that is not complete at once,
   * and uses none. */
  readonly #lookAtId: () => unknown;
  #id = 0;
  #lastId = 0;
  /** From the clock of Deno's timers to that of `kio_now_ms()`. */
  readonly #offsetMs: number;
  #immediate: Immediate | null = null;

  constructor(core: Core, shim: Shim) {
    this.#core = core;
    this.#lookAtId = core.setUpAsyncStub("op_kio_look", (id) => this.#id = id);
    const timer = core.createTimer(
      () => {},
      DELAY_MS_MAX,
      undefined,
      false,
      false,
      true,
    );
    this.#offsetMs = shim.kio_now_ms() - timer._idleStart;
    const nextMs = core.__processTimers(-1);
    core.cancelTimer(timer);
    this.#lookAtId();
    const isKnown = Number.isFinite(this.#offsetMs) && nextMs !== 0 &&
      Number.isFinite(nextMs) && Number.isInteger(this.#id) &&
      typeof core.hasTickScheduled() === "boolean" &&
      core.immediateQueue.head !== undefined &&
      core.immediateQueue.tail !== undefined &&
      typeof setImmediate === "function";
    if (!isKnown) throw new TypeError("Cannot tell what Deno has to do");
  }

  /** Calls back in the next pass of Deno's loop. Before that it deals with all
   * that it has taken from its fds. Returns false if it will not come: a program
   * may put its own clock in the place of Deno's. */
  soon(callback: () => void): boolean {
    const immediate = setImmediate(callback) as unknown as Immediate;
    this.#immediate = immediate;
    if (this.#core.immediateQueue.tail === immediate) return true;
    clearImmediate(
      immediate as unknown as Parameters<typeof clearImmediate>[0],
    );
    return false;
  }

  /** Tells in the callback of `soon()` whether the loop has to go on: a tick or
   * another immediate waits, or an operation was started since the last call. */
  hasWork(): boolean {
    this.#lookAtId();
    const isStarted = this.#id !== this.#lastId;
    this.#lastId = this.#id;
    return isStarted || this.#core.hasTickScheduled() ||
      this.#core.immediateQueue.head !== null ||
      this.#immediate!._idleNext !== null;
  }

  /** The time at which the next timer is due, by the clock of `kio_now_ms()`; 0
   * for none. */
  nextTimerMs(): number {
    // It runs the timers that are due at a time before all of them: none. The
    // result is negative if none of them keeps the process alive.
    const nextMs = this.#core.__processTimers(-1);
    return nextMs === 0 ? 0 : Math.abs(nextMs) + this.#offsetMs;
  }
}
