/** A scenario, and how it reports its findings. */
import type { IoContext } from "@kio/kio";
import type { LiveLine } from "../../examples/terminal.ts";
import { run, sleep } from "../process/support.ts";

/** The size of a scenario. */
export interface Size {
  /** Seconds that it goes on, apart from building up and clearing away. */
  seconds: number;
  /** Number of connections, or of the objects that the scenario is about. */
  connections: number;
}

export interface Scenario {
  /** The objects that `connections` counts, for people. */
  about: string;
  /** The intended size. */
  long: Size;
  /** For a machine that is not to be busy with it: seconds, not minutes. */
  short: Size;
  run(load: Load): Promise<void>;
}

/** A scenario lacks something that it needs. */
export class Unavailable extends Error {}

/** Runs a command whose words have no spaces in them; the machine is to blame
 * if it fails. */
export async function must(command: string, input?: string): Promise<void> {
  const [program = "", ...args] = command.split(" ");
  const why = await run(program, args, { input }).then(
    ({ code, err }) => code === 0 ? undefined : err.trim(),
    (error) => (error as Error).message,
  );
  if (why !== undefined) throw new Unavailable(`${command}: ${why}`);
}

/** Undoes changes, in no order, if a run is interrupted. */
export const undoing = new Set<() => void>();

/** A run of a scenario: its size, its context for clients, and its findings. */
export class Load {
  readonly ctx: IoContext;
  readonly seconds: number;
  readonly connections: number;
  /** Limits of time and of growth count. On a machine that is busy otherwise
   * they would say more about the machine. */
  readonly isLong: boolean;
  /** A folder of its own. */
  readonly folder: string;
  readonly #live: LiveLine;
  failures = 0;

  constructor(
    ctx: IoContext,
    { seconds, connections }: Size,
    isLong: boolean,
    folder: string,
    live: LiveLine,
  ) {
    this.ctx = ctx;
    this.#live = live;
    this.folder = folder;
    this.seconds = seconds;
    this.connections = connections;
    this.isLong = isLong;
  }

  /** The file that the server sends parts of. */
  get file(): string {
    return `${this.folder}/file`;
  }

  /** Demands what must hold on any machine. */
  check(demand: string, isRight: boolean, measured: unknown): void {
    if (!isRight) this.failures++;
    this.#print(isRight ? "ok" : "FAILED", demand, measured);
  }

  /** Demands what must hold in the long form; the short form prints it only. */
  limit(demand: string, isRight: boolean, measured: unknown): void {
    if (this.isLong) this.check(demand, isRight, measured);
    else this.#print("-", demand, measured);
  }

  /** A figure that has no limit, or progress. */
  note(text: string): void {
    this.#live.print(`  ${text}`);
  }

  #print(verdict: string, demand: string, measured: unknown): void {
    this.#live.print(`  ${verdict.padEnd(6)} ${demand}: ${measured}`);
  }
}

/** The value below which that part of the values is; NaN of none. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = Math.min(sorted.length - 1, Math.floor(part * sorted.length));
  return sorted[at] ?? NaN;
}

/** Percentiles of times in ms, as text. */
export function summary(values: readonly number[]): string {
  const [p50, p99, max] = [0.5, 0.99, 1].map((part) =>
    quantile(values, part).toFixed(1)
  );
  return `p50 ${p50}, p99 ${p99}, max ${max} ms of ${values.length}`;
}

/** Computes how fast values grow, by least squares. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]) {
  const count = points.length;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / count;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / count;
  let [xx, xy] = [0, 0];
  for (const [x, y] of points) {
    xx += (x - meanX) ** 2;
    xy += (x - meanX) * (y - meanY);
  }
  return xy / xx;
}

/** Waits until a condition holds or the time is over; gives its last value. */
export async function eventually<T>(
  look: () => T | Promise<T>,
  isRight: (value: T) => boolean,
  limitMs = 120_000,
): Promise<T> {
  const endMs = performance.now() + limitMs;
  for (;;) {
    const value = await look();
    if (isRight(value) || performance.now() > endMs) return value;
    await sleep(20);
  }
}

/** Calls it for 0 to `count` - 1, that many at a time. */
export async function inLanes(
  count: number,
  lanes: number,
  body: (i: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await body(next++);
  };
  await Promise.all(Array.from({ length: Math.min(lanes, count) }, lane));
}
