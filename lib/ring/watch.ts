/**
 * The times of operations, from their start to their completion: histograms, and
 * a report of each that was slow. A ring has it only with an option that needs
 * it, as the clock costs more than all counters.
 */
import { errnoText } from "../errno.ts";
import type { Core, Times } from "./core.ts";
import { targetOf } from "./dump.ts";
import type { Entry } from "./entry.ts";
import { Histogram, type Latencies } from "./latency.ts";
import { type Operation, Patience } from "./operation.ts";
import { sizeOf } from "./retained.ts";
import { stackOf } from "./trace.ts";

/** An operation that took long; see `IoContextOptions.onSlow`. */
export interface SlowOperation {
  /** The name of the function that started it. */
  operation: string;
  /** Its action, as errors say it: `open /srv/data`. */
  action: string;
  /** Its fd; -1 for none. */
  fd: number;
  /** The file that the fd had at the end: `/tmp/file`, `socket:[4711]`,
   * `direct 3`; empty for none, or if it was closed. */
  target: string;
  /** Size of its buffers. */
  bytes: number;
  /** Milliseconds from its start to its completion. */
  elapsedMs: number;
  /** The code of its error; empty if it had none. */
  code: string;
  /** The stack of its start, with the option `trace`; else empty. */
  stack: string;
}

/** Options of a watch. */
export interface WatchOptions {
  /** Infinity without `onSlow`. */
  slowMs: number;
  onSlow: ((slow: SlowOperation) => void) | null;
  histograms: boolean;
}

export class Watch implements Times {
  readonly #core: Core;
  readonly #slowMs: number;
  readonly #onSlow: WatchOptions["onSlow"];
  /** By operation, if wanted. */
  readonly #histograms: Map<Operation, Histogram> | null;
  /** The time of the batch that is being settled; 0 outside of one. */
  batchMs = 0;

  constructor(core: Core, { slowMs, onSlow, histograms }: WatchOptions) {
    this.#core = core;
    this.#slowMs = slowMs;
    this.#onSlow = onSlow;
    this.#histograms = histograms ? new Map() : null;
  }

  settled(entry: Entry, errno: number): void {
    const { operation } = entry;
    if (operation.patience === Patience.ENDLESS) return;
    const nowMs = this.batchMs || this.#core.shim.kio_now_ms();
    const elapsedMs = Math.max(
      0,
      nowMs - this.#core.table.startedMs[entry.slot]!,
    );
    if (this.#histograms !== null) {
      const known = this.#histograms.get(operation);
      const histogram = known ?? new Histogram();
      if (known === undefined) this.#histograms.set(operation, histogram);
      histogram.add(elapsedMs);
    }
    if (elapsedMs >= this.#slowMs && !this.#isPatient(entry)) {
      this.#report(entry, elapsedMs, errno);
    }
  }

  /** Tells whether an operation is meant to wait. */
  #isPatient({ operation: { patience }, fd }: Entry): boolean {
    if (patience !== Patience.OF_STREAMS) return patience === Patience.ALWAYS;
    return fd >= 0 && this.#core.shim.kio_fd_is_stream(fd);
  }

  #report(entry: Entry, elapsedMs: number, errno: number): void {
    const { operation, fd, extra } = entry;
    const slow: SlowOperation = {
      operation: operation.name,
      action: `${extra?.action ?? operation.verb}`,
      fd: Math.max(fd, -1),
      target: targetOf(this.#core, fd),
      bytes: extra?.lease?.length ?? sizeOf(entry.retained),
      elapsedMs,
      code: errno === 0 ? "" : errnoText(errno)[0],
      stack: stackOf(entry.trace),
    };
    // Not within the batch: the callback may start operations, or close the ring.
    queueMicrotask(() => this.#onSlow!(slow));
  }

  /** Gives the latencies by the names of operations: several forms of an
   * operation have one. */
  latencies(): Record<string, Latencies> {
    const byName = new Map<string, Histogram>();
    for (const [{ name }, histogram] of this.#histograms ?? []) {
      const all = byName.get(name) ?? new Histogram();
      all.addAll(histogram);
      byName.set(name, all);
    }
    const names = [...byName].map(([name, all]) => [name, all.latencies()]);
    return Object.fromEntries(names);
  }
}
