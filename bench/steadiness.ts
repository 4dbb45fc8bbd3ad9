/**
 * Tells whether the machine stayed as fast as it was. See `peers/steady.c` for
 * why that is needed and how it is found out.
 */

import { c } from "./programs.ts";
import { runForJson } from "./run.ts";

/** The speed of the machine at a moment; less is better. */
export interface Look {
  readonly slowestMs: number;
  readonly distanceNs: number;
}

/** The slowest of several looks that are alike, of the fastest. Quiet machines
 * have up to 1.1 and 1.7. A program that runs beside the benchmark, or a host
 * that moves a core, makes it 1.3 or 3 and more. */
const SLOWEST_RATIO_MAX = 1.25;
const DISTANCE_RATIO_MAX = 2;
/** Looks that wait for a quiet moment, and the pause between them. */
const LOOKS_MAX = 20;
const PAUSE_MS = 250;

/** Looks at the machine for a twentieth of a second. */
export async function look(): Promise<Look> {
  const { slowestMs, distanceNs } = await runForJson(c("steady"), 1);
  return { slowestMs: slowestMs!, distanceNs: distanceNs! };
}

/** True if the machine was about as fast at each look. Where it is slow all the
 * time, all programs are: ratios hold. */
export function isSteady(looks: readonly Look[]): boolean {
  const isWithin = (values: readonly number[], ratioMax: number) =>
    Math.max(...values) <= Math.min(...values) * ratioMax;
  return isWithin(looks.map((one) => one.slowestMs), SLOWEST_RATIO_MAX) &&
    isWithin(looks.map((one) => one.distanceNs), DISTANCE_RATIO_MAX);
}

/** Waits until two looks in a row are alike, some seconds at the most. Returns
 * the last. */
export async function settled(look: () => Promise<Look>): Promise<Look> {
  let last = await look();
  for (let i = 0; i < LOOKS_MAX; i++) {
    const now = await look();
    if (isSteady([last, now])) return now;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  return last;
}
