import {
  addressesIn,
  resolve,
  type Resolved,
  resolveJob,
} from "../ffi/resolve.ts";
import { type BlockingPool, startJob } from "./blocking_pool.ts";
import { EAI_FAIL } from "./errno.ts";
import type { Operation } from "./operations.ts";
import type { Outcome } from "./pool_thread.ts";
import { failure, failureOver, type Result, success } from "./result.ts";
import type { Ring } from "./ring.ts";
import type { UringOp } from "./UringOp.ts";

/** Bytes of a name: as many as the DNS takes, with a dot at the end. */
const HOST_SIZE_MAX = 254;

/** A host name as C has it, checked. */
export function checkHost(host: string): Uint8Array<ArrayBuffer> {
  if (typeof host !== "string" || host === "" || host.includes("\0")) {
    throw new TypeError(
      `Cannot resolve a name: host must be a string without NUL that is not empty, got ${
        JSON.stringify(host)
      }`,
    );
  }
  const name = new TextEncoder().encode(`${host}\0`);
  if (name.length <= HOST_SIZE_MAX + 1) return name;
  throw new RangeError(
    `Cannot resolve a name: it may have ${HOST_SIZE_MAX} bytes, got ${
      name.length - 1
    }`,
  );
}

/** Looks a name up and blocks so long; gives the struct sockaddr of each
 * address. */
export function lookUp(
  name: Uint8Array<ArrayBuffer>,
  port: number,
): Result<Iterable<Uint8Array>> {
  return resultOf(resolve(name, port));
}

/** Looks a name up in a thread of a pool. */
export function startLookUp<T>(
  pool: BlockingPool,
  ring: Ring,
  operation: Operation,
  name: Uint8Array<ArrayBuffer>,
  port: number,
  decode: (addresses: Iterable<Uint8Array>) => T,
): UringOp<T> {
  const { source, args } = resolveJob(name, port);
  const task = { source, args, transferResult: false };
  const finish = (outcome: Outcome): Result<T> => {
    // No thread to be had, one that an earlier job has ended, no permission.
    if ("thrown" in outcome) {
      const { thrown } = outcome;
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      return failureOver(EAI_FAIL, why);
    }
    const found = resultOf(outcome.value as Resolved);
    return found.ok ? success(decode(found.value)) : found;
  };
  return startJob(pool, ring, operation, task, [], finish);
}

function resultOf(resolved: Resolved): Result<Iterable<Uint8Array>> {
  const { status } = resolved;
  if (status > 0) return success(addressesIn(resolved));
  // 0 stands for EAI_SYSTEM without an errno.
  return failure(status === 0 ? EAI_FAIL : -status);
}
