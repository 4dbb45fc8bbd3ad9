/** Medians and spreads of the rounds. */

import type { Figures, Sample } from "./suite.ts";

/** The number of steady rounds that are enough, of a number that was wanted:
 * fewer say less than all rounds. */
export function enoughOf(rounds: number): number {
  return Math.ceil(rounds / 2);
}

/** One run of one peer. */
export interface Taken {
  readonly round: number;
  readonly sample: Sample;
  /** The machine was as fast as in the run of the base. */
  readonly isSteady: boolean;
}

/** A median and the values that it was taken from. */
export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The middle value; the mean of the two middle ones of an even number. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  if (sorted.length % 2 === 1) return upper;
  return ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** The median and the extremes, or null without values. */
export function summarize(values: readonly number[]): Summary | null {
  if (values.length === 0) return null;
  return {
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
  };
}

/** All that was measured: samples by case and peer, and failures. */
export class Results implements Figures {
  readonly #taken = new Map<string, Taken[]>();
  readonly #failures = new Map<string, string>();
  readonly #enough: number;

  /** @param rounds The steady rounds that each peer shall have. */
  constructor(rounds: number) {
    this.#enough = enoughOf(rounds);
  }

  add(title: string, peer: string, taken: Taken): void {
    const list = this.#taken.get(key(title, peer)) ?? [];
    list.push(taken);
    this.#taken.set(key(title, peer), list);
  }

  /** A peer that fails in one round has no figures at all. */
  fail(title: string, peer: string, reason: string): void {
    this.#taken.delete(key(title, peer));
    this.#failures.set(key(title, peer), reason);
  }

  failure(title: string, peer: string): string | undefined {
    return this.#failures.get(key(title, peer));
  }

  get hasFailures(): boolean {
    return this.#failures.size > 0;
  }

  taken(title: string, peer: string): readonly Taken[] {
    return this.#taken.get(key(title, peer)) ?? [];
  }

  steadyRounds(title: string, peer: string): number {
    return this.taken(title, peer).filter(({ isSteady }) => isSteady).length;
  }

  summary(title: string, peer: string, metric: string): Summary | null {
    return summarize(
      this.#chosen(this.taken(title, peer), ({ isSteady }) => isSteady)
        .map((taken) => taken.sample[metric]!),
    );
  }

  median(title: string, peer: string, metric: string): number | null {
    return this.summary(title, peer, metric)?.median ?? null;
  }

  compare(
    title: string,
    left: string,
    right: string,
    metric: string,
    combine: (left: number, right: number) => number,
  ): number | null {
    const others = this.taken(title, right);
    const pairs = this.taken(title, left).flatMap((taken) => {
      const other = others.find(({ round }) => round === taken.round);
      return other === undefined ? [] : [{ taken, other }];
    });
    const values = this.#chosen(
      pairs,
      ({ taken, other }) => taken.isSteady && other.isSteady,
    ).map(({ taken, other }) =>
      combine(taken.sample[metric]!, other.sample[metric]!)
    );
    return summarize(values)?.median ?? null;
  }

  /** The steady ones where there are enough of them, otherwise all. */
  #chosen<T>(all: readonly T[], isSteady: (one: T) => boolean): readonly T[] {
    const steady = all.filter(isSteady);
    return steady.length < this.#enough ? all : steady;
  }
}

function key(title: string, peer: string): string {
  return `${title}\n${peer}`;
}
