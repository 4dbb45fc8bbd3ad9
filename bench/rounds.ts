/** Runs the peers of a benchmark in turn, round after round. */

import { Results, type Taken } from "./stats.ts";
import { best, isSteady, probe, type Steadiness, worst } from "./steadiness.ts";
import type { Case, Peer, Suite } from "./suite.ts";

/** How often a run on a disturbed machine is repeated. */
const REPEATS_MAX = 1;

interface Turn {
  readonly round: number;
  readonly title: string;
  readonly peer: Peer;
}

/** A B C A B C …, so that a slow minute of the machine meets all of them. */
function turnsOf(cases: readonly Case[], rounds: number): Turn[] {
  return Array.from({ length: rounds }, (_, round) => round).flatMap((round) =>
    cases.flatMap(({ title, peers }) =>
      peers.filter((peer) => peer.installed)
        .map((peer) => ({ round, title, peer }))
    )
  );
}

/** Measures all rounds; a peer that fails once takes no further part. */
export async function measure(suite: Suite, rounds: number): Promise<Results> {
  const turns = turnsOf(suite.cases, rounds);
  const results = new Results();
  const progress = new Progress(turns.length);
  let before = await probe();
  let ideal = before;

  /** One run, with what the machine was like before and after it. */
  async function take({ round, peer }: Turn): Promise<Taken> {
    const sample = await peer.sample();
    const after = await probe();
    const machine: Steadiness = worst(before, after);
    ideal = best(ideal, best(before, after));
    before = after;
    return { round, sample, machine };
  }

  for (const turn of turns) {
    const { title, peer, round } = turn;
    if (results.failure(title, peer.name) !== undefined) {
      progress.done();
      continue;
    }
    progress.show(`round ${round + 1}/${rounds}, ${title}, ${peer.name}`);
    try {
      let taken = await take(turn);
      for (let i = 0; i < REPEATS_MAX; i++) {
        if (isSteady(taken.machine, ideal)) break;
        taken = await take(turn);
      }
      results.add(title, peer.name, taken, ideal);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      results.fail(title, peer.name, reason);
    }
    progress.done();
  }
  progress.clear();
  return results;
}

/** One line on a terminal that says what runs and how long it will take. */
class Progress {
  readonly #startMs = performance.now();
  readonly #total: number;
  #done = 0;

  constructor(total: number) {
    this.#total = total;
  }

  show(text: string): void {
    const passedMs = performance.now() - this.#startMs;
    const leftMs = passedMs / this.#done * (this.#total - this.#done);
    const left = this.#done === 0 ? "" : `, ${minutes(leftMs)} left`;
    this.#write(`${text} (${this.#done}/${this.#total}${left})`);
  }

  done(): void {
    this.#done++;
  }

  clear(): void {
    this.#write(`measured in ${minutes(performance.now() - this.#startMs)}`);
    console.error();
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
