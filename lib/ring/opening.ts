import type { Shim } from "../../ffi/load.ts";
import { errorOf, exceptionOf } from "../result.ts";

/** Options of a new ring, which the caller has checked. */
export interface RingOptions {
  entries: number;
  kernelWorkersMax: number;
  operationsMax: number;
  trace: boolean;
}

/** Opens an io_uring. */
export function openRing(
  shim: Shim,
  { entries, kernelWorkersMax }: RingOptions,
): Deno.PointerObject {
  const status = new Int32Array(1);
  const handle = shim.kio_context_open(
    entries,
    4 * entries,
    kernelWorkersMax,
    status,
  );
  if (handle === null) throw openingError(-status[0]!);
  return handle;
}

const OPENING_HINTS: Record<string, string> = {
  EPERM:
    ": io_uring is forbidden here, by a seccomp filter (containers) or by the sysctl kernel.io_uring_disabled",
  ENOSYS:
    ": this system has no io_uring; it needs Linux 6.1 or later without a filter for it",
  ENOMEM:
    ": the limit of locked memory (ulimit -l) or of address space (ulimit -v) is used up; raise it or use fewer entries",
  EMFILE: ": the limit of open files is reached (ulimit -n)",
  EOPNOTSUPP:
    ": this Deno has nothing that would make the end of a program safe (Node-API)",
};

/** Makes the exception for a ring that could not be opened, with the reason and
 * a remedy. */
export function openingError(errno: number): Error {
  const error = errorOf(errno);
  return exceptionOf(
    error,
    "open an io_uring",
    "IoContext",
    OPENING_HINTS[error.code],
  );
}
