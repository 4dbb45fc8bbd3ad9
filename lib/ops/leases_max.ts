import { checkInteger } from "../check.ts";
import type { Pool } from "../ring/pool.ts";

/** Gives the most leases that a stream may have out. */
export function leasesMaxOf(
  given: number | undefined,
  { count }: Pool,
  verb: string,
): number {
  return given === undefined
    ? Math.max(1, count >> 1)
    : checkInteger(given, count, "leasesMax", verb, 1);
}
