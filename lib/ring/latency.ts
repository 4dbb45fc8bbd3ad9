/**
 * A histogram of latencies with bounded memory: of each power of two it has eight
 * parts, so a value is known to an eighth. Below 16 µs each one has its own.
 */

/** Latencies of one operation; see `ContextStats.latencies`. */
export interface Latencies {
  /** Operations that are complete, well or not. */
  count: number;
  /** Milliseconds of all together. */
  totalMs: number;
  /** Milliseconds of the longest. */
  maxMs: number;
  /** Half of them took this long at most, to an eighth. */
  p50Ms: number;
  /** 90 of 100. */
  p90Ms: number;
  /** 99 of 100. */
  p99Ms: number;
  /** 999 of 1000. */
  p999Ms: number;
  /** How many took less than each bound and no less than the one before; those
   * without any are left out. */
  buckets: { belowMs: number; count: number }[];
}

const PARTS_BITS = 3;
const PARTS = 1 << PARTS_BITS;
/** Values below have a bucket each. */
const EXACT = 2 * PARTS;
const EXACT_BITS = PARTS_BITS + 1;
/** Longer latencies, of more than half an hour, are in the last bucket. */
const MICROSECONDS_MAX = 2 ** 31 - 1;
const BUCKETS = EXACT + (31 - EXACT_BITS) * PARTS;

/** Gives the bucket of an integer. */
function bucketOf(microseconds: number): number {
  if (microseconds < EXACT) return microseconds;
  const power = 31 - Math.clz32(microseconds);
  const part = microseconds >>> power - PARTS_BITS & PARTS - 1;
  return EXACT + (power - EXACT_BITS) * PARTS + part;
}

/** Gives the first integer that is beyond a bucket. */
function boundOf(bucket: number): number {
  if (bucket < EXACT) return bucket + 1;
  const power = (bucket - EXACT >>> PARTS_BITS) + EXACT_BITS;
  const part = bucket - EXACT & PARTS - 1;
  return (PARTS + part + 1) * 2 ** (power - PARTS_BITS);
}

export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #totalMs = 0;
  #maxMs = 0;

  add(ms: number): void {
    this.#count++;
    this.#totalMs += ms;
    if (ms > this.#maxMs) this.#maxMs = ms;
    const microseconds = Math.min(ms * 1000, MICROSECONDS_MAX) | 0;
    this.#counts[bucketOf(microseconds)]!++;
  }

  /** Adds another one. */
  addAll(other: Histogram): void {
    this.#count += other.#count;
    this.#totalMs += other.#totalMs;
    this.#maxMs = Math.max(this.#maxMs, other.#maxMs);
    for (let i = 0; i < BUCKETS; i++) this.#counts[i]! += other.#counts[i]!;
  }

  latencies(): Latencies {
    const buckets: Latencies["buckets"] = [];
    for (const [bucket, count] of this.#counts.entries()) {
      if (count > 0) buckets.push({ belowMs: boundOf(bucket) / 1000, count });
    }
    return {
      count: this.#count,
      totalMs: this.#totalMs,
      maxMs: this.#maxMs,
      p50Ms: this.#quantile(0.5),
      p90Ms: this.#quantile(0.9),
      p99Ms: this.#quantile(0.99),
      p999Ms: this.#quantile(0.999),
      buckets,
    };
  }

  #quantile(part: number): number {
    let left = Math.ceil(part * this.#count);
    for (const [bucket, count] of this.#counts.entries()) {
      left -= count;
      if (left <= 0) return Math.min(boundOf(bucket) / 1000, this.#maxMs);
    }
    return this.#maxMs;
  }
}
