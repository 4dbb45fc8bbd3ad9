/** Runs the peers of a benchmark in turn, round after round. */

import type { Progress } from "./progress.ts";
import { Results } from "./stats.ts";
import {
  isSteady,
  type Look,
  look as lookAtMachine,
  settled,
} from "./steadiness.ts";
import type { Case, Peer, Sample } from "./suite.ts";

/** One run of one peer, with a look at the machine before and after it. */
interface Run {
  readonly name: string;
  readonly sample: Sample;
  readonly looks: readonly Look[];
}

/** The peers that still lack steady rounds, with the base that they are
 * compared with. */
function peersLeft(one: Case, rounds: number, results: Results): Peer[] {
  const able = one.peers.filter(({ name, installed }) =>
    installed && results.failure(one.title, name) === undefined
  );
  const lacks = ({ name }: Peer) =>
    results.steadyRounds(one.title, name) < rounds;
  return able.some(lacks)
    ? able.filter((peer) => peer.name === one.base || lacks(peer))
    : [];
}

/** The part of the steady rounds that is there. */
function partDone(
  cases: readonly Case[],
  rounds: number,
  results: Results,
): number {
  const parts = cases.flatMap(({ title, peers }) =>
    peers.filter(({ installed }) => installed).map(({ name }) =>
      results.failure(title, name) !== undefined
        ? 1
        : Math.min(1, results.steadyRounds(title, name) / rounds)
    )
  );
  return parts.reduce((sum, part) => sum + part, 0) / parts.length;
}

/** A B C …: no other case comes between the peers and their base. */
async function measureRound(
  one: Case,
  peers: readonly Peer[],
  round: number,
  results: Results,
  look: () => Promise<Look>,
  show: (name: string) => void,
): Promise<void> {
  const runs: Run[] = [];
  let before = await settled(look);
  for (const { name, sample: measure } of peers) {
    show(name);
    try {
      const sample = await measure();
      const after = await look();
      runs.push({ name, sample, looks: [before, after] });
      before = after;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      results.fail(one.title, name, reason);
    }
  }
  const base = runs.find(({ name }) => name === one.base)?.looks ?? [];
  for (const { name, sample, looks } of runs) {
    results.add(one.title, name, {
      round,
      sample,
      isSteady: isSteady([...looks, ...base]),
    });
  }
}

/**
 * Repeats all cases until each peer has its steady rounds, or the time is over.
 * A round of a peer is steady if the machine was as fast before and after its
 * run as before and after that of the base. A peer that fails once takes no
 * further part.
 *
 * @param cases The cases; each is measured once, however late it is.
 * @param rounds The steady rounds that each peer shall have.
 * @param endMs When the time is over, by performance.now().
 * @param progress Shows what runs.
 * @param look Looks at the machine.
 */
export async function measure(
  cases: readonly Case[],
  rounds: number,
  endMs: number,
  progress: Pick<Progress, "round" | "peer">,
  look: () => Promise<Look> = lookAtMachine,
): Promise<Results> {
  const results = new Results(rounds);
  for (let round = 0, hasWork = true; hasWork; round++) {
    hasWork = false;
    for (const one of cases) {
      const peers = peersLeft(one, rounds, results);
      const isLate = round > 0 && performance.now() > endMs;
      if (peers.length === 0 || isLate) continue;
      hasWork = true;
      const part = partDone(cases, rounds, results);
      progress.round(one.title, round + 1, part);
      await measureRound(
        one,
        peers,
        round,
        results,
        look,
        (name) => progress.peer(name),
      );
    }
  }
  return results;
}
