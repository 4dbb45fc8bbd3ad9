import { columns, LiveLine, minutesOf } from "../examples/terminal.ts";

/** A benchmark that will be measured. */
export interface Planned {
  readonly name: string;
  /** Seconds of all rounds, about, if none is repeated. */
  readonly seconds: number;
}

/** Says what runs, and how long all of it will still take: in one line on a
 * terminal, otherwise in a line for each round of a case. */
export class Progress {
  readonly #startMs = performance.now();
  readonly #isTerminal = Deno.stderr.isTerminal();
  readonly #plan: readonly Planned[];
  readonly #limitS: number;
  readonly #expectedS: number;
  #doneS = 0;
  #now: Planned | undefined;
  #part = 0;
  #title = "";
  readonly #line = new LiveLine(0);

  /**
   * @param plan The benchmarks, in their order.
   * @param limitS The longest time of all of them.
   */
  constructor(plan: readonly Planned[], limitS: number) {
    this.#plan = plan;
    this.#limitS = limitS;
    this.#expectedS = plan.reduce((sum, { seconds }) => sum + seconds, 0);
  }

  /** Begins the next benchmark. Returns when its time is over: its share of what
   * is left, by performance.now(). */
  next(index: number): number {
    this.#now = this.#plan[index]!;
    this.#part = 0;
    const before = this.#plan.slice(0, index);
    this.#doneS = before.reduce((sum, { seconds }) => sum + seconds, 0);
    const share = this.#now.seconds / (this.#expectedS - this.#doneS);
    const nowMs = performance.now();
    const leftMs = this.#startMs + this.#limitS * 1000 - nowMs;
    return nowMs + Math.max(0, leftMs) * share;
  }

  /** Begins a round of a case, with a part of the benchmark done. */
  round(title: string, round: number, part: number): void {
    this.#part = part;
    this.#title = `${this.#now!.name}, round ${round}: ${title}`;
    if (!this.#isTerminal) this.#line.show(`${this.#title} (${this.#times()})`);
  }

  /** Begins a program of the case. */
  peer(name: string): void {
    if (!this.#isTerminal) return;
    const times = ` (${this.#times()})`;
    const room = Math.max(0, columns() - 1 - times.length);
    this.#line.show(`${this.#title}, ${name}`.slice(0, room) + times);
  }

  /** Takes the line away. */
  clear(): void {
    this.#line[Symbol.dispose]();
  }

  /** The time that has passed, what is left if no further round is repeated, and
   * what may be left. */
  #times(): string {
    const passedS = (performance.now() - this.#startMs) / 1000;
    const doneS = this.#doneS + this.#part * (this.#now?.seconds ?? 0);
    const mostS = Math.max(0, this.#limitS - passedS);
    const expectedS = doneS === 0
      ? this.#expectedS
      : passedS * (this.#expectedS / doneS - 1);
    return `${minutes(passedS)}, ${minutes(Math.min(expectedS, mostS))} left`;
  }
}

/** "3:05" */
export function minutes(seconds: number): string {
  return minutesOf(Math.round(seconds));
}
