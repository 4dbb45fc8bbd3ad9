/**
 * Tells the rounds that were measured on a quiet machine from the others. See
 * `peers/steady.c` for why that is needed and how it is found out.
 */

import { c } from "./programs.ts";
import { runForJson } from "./run.ts";

/** The speed of the machine; less is better. */
export interface Steadiness {
  readonly slowestMs: number;
  readonly distanceNs: number;
}

/** Slower than the best by more than this is disturbed. */
const SLOWEST_RATIO_MAX = 1.2;
const DISTANCE_RATIO_MAX = 2;

/** Looks at the machine for a tenth of a second. */
export async function probe(): Promise<Steadiness> {
  const { slowestMs, distanceNs } = await runForJson(c("steady"), 1);
  return { slowestMs: slowestMs!, distanceNs: distanceNs! };
}

/** The worse of each figure: what held before and after a run. */
export function worst(left: Steadiness, right: Steadiness): Steadiness {
  return {
    slowestMs: Math.max(left.slowestMs, right.slowestMs),
    distanceNs: Math.max(left.distanceNs, right.distanceNs),
  };
}

/** The better of each figure. */
export function best(left: Steadiness, right: Steadiness): Steadiness {
  return {
    slowestMs: Math.min(left.slowestMs, right.slowestMs),
    distanceNs: Math.min(left.distanceNs, right.distanceNs),
  };
}

/** True if the machine was about as fast as at its best. */
export function isSteady(now: Steadiness, ideal: Steadiness): boolean {
  return now.slowestMs <= ideal.slowestMs * SLOWEST_RATIO_MAX &&
    now.distanceNs <= ideal.distanceNs * DISTANCE_RATIO_MAX;
}
