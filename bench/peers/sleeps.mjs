/**
 * What the timer programs share: many sleeps at once, and how late each was.
 */

import { randomSource } from "./window.mjs";

const SLEEP_MAX_MS = 1000;
/** Some runtimes fire up to a millisecond early; more than that is no sleep. */
const EARLY_MAX_MS = 1.5;

/**
 * @param {Float64Array} sorted
 * @param {number} fraction
 * @returns {number}
 */
function percentile(sorted, fraction) {
  return sorted[Math.floor((sorted.length - 1) * fraction)] ?? 0;
}

const OVER = Promise.resolve();

/**
 * Sleeps 1 to 1000 ms many times at once and prints how late they were.
 *
 * @param {string[]} args How often; and "over" if each sleep is to be over at
 * once, which shows what all the rest of the program costs.
 * @param {(ms: number) => PromiseLike<unknown>} sleepFor
 * @returns {Promise<void>}
 */
export async function measureSleeps([times, mode], sleepFor) {
  const random = randomSource();
  const count = Number(times);
  const isOver = mode === "over";
  const sleep = isOver ? () => OVER : sleepFor;
  const lateMs = new Float64Array(count);

  /** @param {number} index */
  async function sleepOnce(index) {
    const ms = 1 + random() % SLEEP_MAX_MS;
    const startMs = performance.now();
    await sleep(ms);
    lateMs[index] = performance.now() - startMs - ms;
  }

  await Promise.all(Array.from({ length: count }, (_, i) => sleepOnce(i)));
  lateMs.sort();
  if (!isOver && percentile(lateMs, 0) < -EARLY_MAX_MS) {
    throw new Error(`Cannot trust the sleeps: ${lateMs[0]} ms late`);
  }
  console.log(JSON.stringify({
    sleeps: count,
    p50Ms: percentile(lateMs, 0.5),
    p99Ms: percentile(lateMs, 0.99),
    maxMs: percentile(lateMs, 1),
  }));
}
