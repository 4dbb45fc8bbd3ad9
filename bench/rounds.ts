/** Runs the peers of a benchmark in turn, round after round. */

import type { Progress } from "./progress.ts";
import { Results, type Taken } from "./stats.ts";
import { best, isSteady, probe, type Steadiness, worst } from "./steadiness.ts";
import type { Case, Peer } from "./suite.ts";

/** Repetitions of a run on a disturbed machine. */
const REPEATS_MAX = 1;

/** One planned run of one peer. */
export interface Turn {
  readonly round: number;
  readonly title: string;
  readonly peer: Peer;
}

/** A B C A B C …, so that a slow minute of the machine meets all of them. */
export function turnsOf(cases: readonly Case[], rounds: number): Turn[] {
  return Array.from({ length: rounds }, (_, round) => round).flatMap((round) =>
    cases.flatMap(({ title, peers }) =>
      peers.filter((peer) => peer.installed)
        .map((peer) => ({ round, title, peer }))
    )
  );
}

/**
 * Measures all rounds; a peer that fails once takes no further part.
 *
 * @param turns All runs, in their order.
 * @param progress Shows what runs.
 * @param turnSeconds The seconds that the progress expects of a run.
 */
export async function measure(
  turns: readonly Turn[],
  progress: Progress,
  turnSeconds: number,
): Promise<Results> {
  const results = new Results();
  let before = await probe();
  let ideal = before;

  /** Makes one run, with a look at the machine before and after it. */
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
      progress.done(turnSeconds);
      continue;
    }
    progress.show(`${title}, ${peer.name}, round ${round + 1}`);
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
    progress.done(turnSeconds);
  }
  return results;
}
