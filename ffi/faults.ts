import { loadFaultShim } from "./load.ts";

/** Kinds of faults, with the numbers of shim/test/fault_plan.c. */
export const FaultKind = {
  SHORT: 0,
  ERROR: 1,
  DELAY: 2,
  REORDER: 3,
  BATCH: 4,
} as const;

/** A rule for the shim. */
export interface ShimRule {
  operation: number;
  /** -1 for any. */
  fd: number;
  probability: number;
  /** The number of the operation among those that match; 0 for all. */
  nth: number;
  /** The most operations that it concerns; 0 for no limit. */
  times: number;
  kind: number;
  /** Bytes, a negative errno, or milliseconds. */
  value: number;
}

/** Fields of a record: operation, fd, kind, value. */
const RECORD_FIELDS = 4;

/** Applies rules from now on, on this thread. Gives a negative errno if
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

/** Ends the rules. Completions that are held back still come when they are
 * due. */
export function clearFaults(): void {
  loadFaultShim().kio_fault_clear();
}

/** Counts the faults so far, also those beyond the records. */
export function countFaults(): number {
  return loadFaultShim().kio_fault_count();
}

/** Lists the faults in their order: four numbers each. */
export function faultRecords(): Int32Array {
  const shim = loadFaultShim();
  const capacity = shim.kio_fault_count();
  const records = new Int32Array(RECORD_FIELDS * capacity);
  const count = shim.kio_fault_records(records, capacity);
  return records.subarray(0, RECORD_FIELDS * count);
}
