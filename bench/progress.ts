/** Says what runs, and how long all of it will still take. */
export class Progress {
  readonly #startMs = performance.now();
  readonly #turns: number;
  readonly #expectedS: number;
  #doneTurns = 0;
  #doneS = 0;

  /** @param plan How many runs there will be, and about how long each takes. */
  constructor(plan: readonly { turns: number; turnSeconds: number }[]) {
    this.#turns = plan.reduce((sum, { turns }) => sum + turns, 0);
    this.#expectedS = plan.reduce(
      (sum, { turns, turnSeconds }) => sum + turns * turnSeconds,
      0,
    );
  }

  /** Says what runs now. */
  show(text: string): void {
    const left = minutes(this.#leftMs());
    this.#write(`${text} (${this.#doneTurns}/${this.#turns}, ${left} left)`);
  }

  /** Counts a run that is over. */
  done(turnSeconds: number): void {
    this.#doneTurns++;
    this.#doneS += turnSeconds;
  }

  /** Leaves the line that was written last. */
  clear(): void {
    const passed = minutes(performance.now() - this.#startMs);
    this.#write(`${this.#doneTurns}/${this.#turns} measured in ${passed}`);
    console.error();
  }

  /** Estimates the time left: the expected time, corrected by the error so far.
   */
  #leftMs(): number {
    const leftMs = (this.#expectedS - this.#doneS) * 1000;
    if (this.#doneS === 0) return leftMs;
    return leftMs * (performance.now() - this.#startMs) / (this.#doneS * 1000);
  }

  /** Over the last line on a terminal, below it in a log. */
  #write(line: string): void {
    const text = Deno.stderr.isTerminal() ? `\r\x1b[K${line}` : `${line}\n`;
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  }
}

function minutes(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
