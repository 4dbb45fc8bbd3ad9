import { errorOf, exceptionOf } from "../result.ts";

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
