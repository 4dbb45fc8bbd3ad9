/** The registered files of a ring; see the methods of `IoContext`. */
import { checkArray, checkFd, checkInteger, type Fd } from "./check.ts";
import { EBUSY, EOPNOTSUPP } from "./errno.ts";
import {
  ACCEPT_MULTISHOT_DIRECT,
  READ_FIXED,
  WRITE_FIXED,
} from "./ops/table.ts";
import { DONE, failure, type Result, updateFailure } from "./result.ts";
import type { Ring } from "./ring/Ring.ts";

const FILES_MAX = 65536;
/** IORING_MAX_FIXED_FILES */
const RESERVED_MAX = 2 ** 20;

export function registerFiles(ring: Ring, fds: readonly Fd[]): Result<void> {
  const verb = "register files";
  const table = fileTable(ring, fds, verb);
  const { shim, handle } = ring;
  return doneOf(shim.kio_files_register(handle, table, table.length), verb);
}

export function updateFiles(
  ring: Ring,
  offset: number,
  fds: readonly Fd[],
): Result<void> {
  const verb = "update files";
  const table = fileTable(ring, fds, verb);
  if (ring.places !== null) return failure(EBUSY, verb);
  const first = checkInteger(offset, FILES_MAX - 1, "offset", verb);
  const { shim, handle } = ring;
  let done = 0;
  while (done < table.length) {
    const rest = table.subarray(done);
    const status = shim.kio_files_update(
      handle,
      first + done,
      rest,
      rest.length,
    );
    // After a part of the fds the kernel gives only their number. The next call
    // begins with the fd that it refused, and gives the reason.
    if (status < 0) return updateFailure(-status, done);
    done += status;
  }
  return DONE;
}

export function unregisterFiles(ring: Ring): Result<void> {
  const verb = "unregister files";
  ring.checkOpen(verb);
  const isUsed = ring.places === null
    ? ring.hasPending(READ_FIXED, WRITE_FIXED)
    : ring.places.taken > 0 || ring.hasPending(ACCEPT_MULTISHOT_DIRECT);
  if (isUsed) return failure(EBUSY, verb);
  const status = ring.shim.kio_files_unregister(ring.handle);
  if (status === 0) ring.places = null;
  return doneOf(status, verb);
}

export function reserveFiles(ring: Ring, count: number): Result<void> {
  const verb = "reserve files";
  ring.checkOpen(verb);
  checkInteger(count, RESERVED_MAX, "count", verb, 1);
  if (!ring.features.uses("directDescriptors")) {
    return failure(EOPNOTSUPP, verb);
  }
  const status = ring.shim.kio_files_reserve(ring.handle, count);
  if (status === 0) ring.places = { count, taken: 0 };
  return doneOf(status, verb);
}

function fileTable(
  ring: Ring,
  fds: readonly Fd[],
  verb: string,
): Int32Array<ArrayBuffer> {
  ring.checkOpen(verb);
  checkArray(fds, "fds", verb);
  if (fds.length < 1 || fds.length > FILES_MAX) {
    throw new RangeError(
      `Cannot ${verb}: expected 1 to ${FILES_MAX} fds, got ${fds.length}`,
    );
  }
  return Int32Array.from(fds, (fd) => fd === -1 ? -1 : checkFd(fd, { verb }));
}

function doneOf(status: number, action: string): Result<void> {
  return status < 0 ? failure(-status, action) : DONE;
}
