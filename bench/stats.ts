/** Medians and spreads of the rounds. */

import { isSteady, type Steadiness } from "./steadiness.ts";
import type { Figures, Sample } from "./suite.ts";

/** Fewer steady rounds than this say less than all of them. */
const STEADY_ROUNDS_MIN = 3;

/** One run of one peer. */
export interface Taken {
  readonly round: number;
  readonly sample: Sample;
  readonly machine: Steadiness;
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
  #ideal: Steadiness = { slowestMs: Infinity, distanceNs: Infinity };

  add(title: string, peer: string, taken: Taken, ideal: Steadiness): void {
    const list = this.#taken.get(key(title, peer)) ?? [];
    list.push(taken);
    this.#taken.set(key(title, peer), list);
    this.#ideal = ideal;
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

  isSteady(taken: Taken): boolean {
    return isSteady(taken.machine, this.#ideal);
  }

  summary(title: string, peer: string, metric: string): Summary | null {
    return summarize(
      this.#chosen(this.taken(title, peer), (taken) => this.isSteady(taken))
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
      ({ taken, other }) => this.isSteady(taken) && this.isSteady(other),
    ).map(({ taken, other }) =>
      combine(taken.sample[metric]!, other.sample[metric]!)
    );
    return summarize(values)?.median ?? null;
  }

  /** The steady ones where there are enough of them, otherwise all. */
  #chosen<T>(all: readonly T[], isSteady: (one: T) => boolean): readonly T[] {
    const steady = all.filter(isSteady);
    return steady.length < STEADY_ROUNDS_MIN ? all : steady;
  }
}

function key(title: string, peer: string): string {
  return `${title}\n${peer}`;
}
