import { loadFaultShim } from "./load.ts";

/** What befalls an operation; see shim/test/faults.c, which has the same numbers. */
export const FaultKind = {
  SHORT: 0,
  ERROR: 1,
  DELAY: 2,
  REORDER: 3,
  BATCH: 4,
} as const;

/** A rule as the shim takes it. */
export interface ShimRule {
  operation: number;
  /** -1 for any. */
  fd: number;
  probability: number;
  /** Which that match, 0 for all. */
  nth: number;
  /** How often at most, 0 for always. */
  times: number;
  kind: number;
  /** Bytes, a negative errno, or milliseconds. */
  value: number;
}

/** Fields of a record: operation, fd, kind, value. */
const RECORD_FIELDS = 4;

/** Has the rules apply from now on, on this thread. Gives a negative errno if
 * there is no memory (ENOMEM), there are too many (ENOSPC), or an operation that
 * moves no bytes is to be short (EINVAL). */
export function installFaults(
  seed: number,
  rules: readonly ShimRule[],
): number {
  const shim = loadFaultShim();
  let status = shim.kio_fault_install(seed);
  for (const rule of rules) {
    const { operation, fd, probability, nth, times, kind, value } = rule;
    if (status < 0) break;
    status = shim.kio_fault_rule(
      operation,
      fd,
      probability,
      nth,
      times,
      kind,
      value,
    );
  }
  if (status < 0) shim.kio_fault_clear();
  return status;
}

/** Ends the rules; what is held back still comes when it is due. */
export function clearFaults(): void {
  loadFaultShim().kio_fault_clear();
}

/** How many faults there were, also those beyond the records. */
export function countFaults(): number {
  return loadFaultShim().kio_fault_count();
}

/** What was done, in that order: four numbers each. */
export function faultRecords(): Int32Array {
  const shim = loadFaultShim();
  const capacity = shim.kio_fault_count();
  const records = new Int32Array(RECORD_FIELDS * capacity);
  const count = shim.kio_fault_records(records, capacity);
  return records.subarray(0, RECORD_FIELDS * count);
}
