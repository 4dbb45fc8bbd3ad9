import { loadShim, type Shim } from "../../ffi/load.ts";
import { ENOMEM } from "../errno.ts";
import { errorOf, exceptionOf } from "../result.ts";
import type { Feature, Features } from "./features.ts";
import type { WatchOptions } from "./watch.ts";

/** SQEs of a queue unless a program says otherwise, and where they find no
 * locked memory. */
const ENTRIES = 256;
const ENTRIES_SHORT = 32;

const CQES_FOR_SQE = 4;

/** Options of a new ring, which the caller has checked. */
export interface RingOptions {
  /** Undefined: 256, or fewer if locked memory is short. */
  entries: number | undefined;
  submitMax: number;
  kernelWorkersMax: number;
  operationsMax: number;
  trace: boolean;
  exclusive: boolean;
  /** 1 in the places of the opcodes that may be used; null for all. */
  allowed: Uint8Array<ArrayBuffer> | null;
  switchedOff: ReadonlySet<Feature>;
  /** Null if nobody wants to know. */
  watch: WatchOptions | null;
}

/** Opens an io_uring. */
export function openRing(
  shim: Shim,
  features: Features,
  { entries, submitMax, kernelWorkersMax, allowed }: RingOptions,
): Deno.PointerObject {
  const sizes = entries === undefined ? [ENTRIES, ENTRIES_SHORT] : [entries];
  const defers = features.uses("deferTaskrun");
  const status = new Int32Array(1);
  for (const size of sizes) {
    const handle = shim.kio_context_open(
      size,
      CQES_FOR_SQE * size,
      submitMax,
      kernelWorkersMax,
      defers,
      allowed,
      status,
    );
    if (handle !== null) return handle;
    if (status[0] !== -ENOMEM) break;
  }
  throw openingError(-status[0]!, sizes[0]);
}

const OPENING_HINTS: Record<string, string> = {
  EPERM:
    ": io_uring is forbidden here, by a seccomp filter (containers) or by the sysctl kernel.io_uring_disabled",
  ENOSYS:
    ": this system has no io_uring; it needs Linux 6.1 or later without a filter for it",
  EMFILE: ": the limit of open files is reached (ulimit -n)",
  EOPNOTSUPP:
    ": this Deno has nothing that would make the end of a program safe (Node-API)",
};

/** Makes the exception for a ring that could not be opened, with the reason and
 * a remedy. */
export function openingError(errno: number, entries = ENTRIES): Error {
  const error = errorOf(errno);
  const hint = errno === ENOMEM
    ? memoryHint(entries)
    : OPENING_HINTS[error.code];
  return exceptionOf(error, "open an io_uring", "IoContext", hint);
}

function memoryHint(entries: number): string {
  const shim = loadShim();
  const need = shim.kio_ring_memory(entries, CQES_FOR_SQE * entries) / 1024;
  const limit = shim.kio_lock_limit() / 1024;
  const of = limit < 0 ? "" : `, and all rings of this user may have ${limit}`;
  return `: the limit of locked memory (ulimit -l) or of address space (ulimit -v) is used up; ${entries} entries need ${need} KiB of locked memory${of}; raise it or use fewer entries`;
}
