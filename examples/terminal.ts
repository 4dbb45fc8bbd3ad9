/** Writes to a terminal, and less of it to a log. */

const isTerminal = Deno.stderr.isTerminal();

/** Gives the columns of the terminal, 100 at most; 80 where there is none. */
export function columns(): number {
  try {
    return Math.min(Deno.consoleSize().columns || 80, 100);
  } catch {
    return 80;
  }
}

/** Fills lines with words. A longer word has a line of its own. */
export function fill(words: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(word);
  }
  return lines;
}

/** Breaks a text at spaces, for lines that begin at a column. */
export function wrapped(text: string, column: number): string {
  // An option stays together with its value.
  const words = text.match(/\[[^\]]*\]|--\S+ [A-Z]+|\S+/g) ?? [];
  return fill(words, columns() - column).join(`\n${" ".repeat(column)}`);
}

/** Shows progress on the standard error output: in one line of a terminal that
 * is written again and again, and in a log by a line now and then. */
export class LiveLine implements Disposable {
  readonly #logEveryMs: number;
  #timer: ReturnType<typeof setInterval> | undefined;
  #nextMs: number;
  #isThere = false;

  /** @param logEveryMs The time before each line of a log; by default there are
   * none. */
  constructor(logEveryMs = Infinity) {
    this.#logEveryMs = logEveryMs;
    this.#nextMs = performance.now() + logEveryMs;
  }

  /** Replaces the line. */
  show(text: string): void {
    if (isTerminal) {
      this.#isThere = true;
      return write(`\r\x1b[K${text.slice(0, columns() - 1)}`);
    }
    if (performance.now() < this.#nextMs) return;
    this.#nextMs = performance.now() + this.#logEveryMs;
    write(`${text}\n`);
  }

  /** Replaces the line again and again. */
  keep(text: () => string): void {
    clearInterval(this.#timer);
    this.show(text());
    const intervalMs = isTerminal ? 100 : 1000;
    this.#timer = setInterval(() => this.show(text()), intervalMs);
  }

  /** Prints something that stays, to the standard output. */
  print(text: string): void {
    this.#takeAway();
    console.log(text);
  }

  /** Takes the line away. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#takeAway();
  }

  #takeAway(): void {
    if (this.#isThere) write("\r\x1b[K");
    this.#isThere = false;
  }
}

function write(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

/** Lets a `console.log` that cannot write, to a full disk for one, end the program
 * with 1 and a line that says why, without a stack. */
export function endWithOutput(): void {
  const { log } = console;
  console.log = (...data: unknown[]) => {
    try {
      log(...data);
    } catch (error) {
      console.error(`Cannot write the output: ${(error as Error).message}`);
      Deno.exit(1);
    }
  };
}

/** Gives minutes and seconds: "1:05". */
export function minutesOf(seconds: number): string {
  const whole = Math.ceil(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
