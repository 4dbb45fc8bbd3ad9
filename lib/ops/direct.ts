/** Direct descriptors: files in the table of a ring that have no fd. */
import { checkBoolean } from "../check.ts";
import {
  DIRECT_FIRST,
  type DirectFd,
  endDirect,
  makeDirect,
  useDirect,
} from "../DirectFd.ts";
import { ECANCELED, ENFILE } from "../errno.ts";
import { DONE, failure, type Result } from "../result.ts";
import { complete } from "../ring/completion.ts";
import type { Places } from "../ring/core.ts";
import { Op } from "../ring/op.ts";
import type { Ring } from "../ring/Ring.ts";
import type { Sqe } from "../ring/sqe.ts";
import { fdOf } from "../ring/start.ts";
import type { Values } from "../ring/stream.ts";
import type { UringOp } from "../UringOp.ts";
import { CLOSE, type Row } from "./table.ts";

/** IORING_FILE_INDEX_ALLOC: the kernel chooses a place that is free. */
const FILE_INDEX_ALLOC = -1;

/** Options of an operation that makes a `DirectFd` in place of an fd. */
export interface DirectOptions {
  /** It takes one of the places of `reserveFiles()`. */
  direct: true;
}

/** Tells whether a direct descriptor is wanted. */
export function isDirectIn(
  { direct = false }: { readonly direct?: boolean },
  { verb }: Row,
): boolean {
  return checkBoolean(direct, "direct", verb);
}

/** Gives the places of a ring that are for direct descriptors. */
function placesOf({ places }: Ring, { verb }: Row): Places {
  if (places !== null) return places;
  throw new TypeError(
    `Cannot ${verb}: the IoContext has no places for direct descriptors; call reserveFiles() before`,
  );
}

/**
 * Starts an operation whose result is a direct descriptor: the kernel puts the
 * file into a free place. Without one nothing is submitted: the kernel would do
 * the work, and then close the file. `action` completes "Cannot …: "; `fd` is -1
 * where that field has no fd.
 */
export function startDirect(
  ring: Ring,
  row: Row,
  sqe: Sqe,
  action: string,
  fd = fdOf(sqe),
): UringOp<DirectFd> {
  const places = placesOf(ring, row);
  if (ring.chaining) {
    throw new TypeError(
      `Cannot ${row.verb} a direct descriptor in link(): no other link could use it; make it before`,
    );
  }
  sqe.extra = FILE_INDEX_ALLOC;
  const entry = ring.take(row);
  if (places.taken >= places.count) {
    const op = new Op<DirectFd>(ring, entry);
    entry.extra = {
      action:
        `${action}: all ${places.count} places of reserveFiles() are taken; close a DirectFd, or reserve more`,
    };
    complete(ring, entry, -ENFILE);
    // An accept is held back: see its row.
    ring.schedule();
    return op;
  }
  const status = sqe.submit(ring.shim, ring.handle, entry.id);
  const op = ring.enter<DirectFd>(entry, fd, sqe.retained, status, {
    action,
    decode: (place) => directAt(ring, place),
    discard: (place) => freePlace(ring, place),
  });
  if (status < 0) return op;
  places.taken++;
  const { settle } = entry;
  entry.settle = (result) => {
    if (!result.ok) places.taken--;
    settle(result);
  };
  return op;
}

/** Makes a multishot one of direct descriptors. Returns the values of its
 * stream. */
export function newDirects(
  ring: Ring,
  sqe: Sqe,
  row: Row,
): Omit<Values<DirectFd>, "transient"> {
  const places = placesOf(ring, row);
  sqe.extra = FILE_INDEX_ALLOC;
  return {
    of: (place: number): DirectFd => {
      places.taken++;
      return directAt(ring, place);
    },
    keep: () => {},
    give: () => {},
    discard: (direct: DirectFd) => void closeDirectNow(ring, direct),
  };
}

function directAt(ring: Ring, place: number): DirectFd {
  return makeDirect(ring, place, (direct) => closeDirect(ring, direct));
}

/** Empties a place at once; the kernel closes the file. Returns a status. */
function freePlace(ring: Ring, place: number): number {
  const { shim, handle, closed } = ring;
  return closed ? 0 : shim.kio_place_free(handle, place);
}

/** Closes a descriptor that nothing uses, at once. Returns a status. */
function closeDirectNow(ring: Ring, direct: DirectFd): number {
  const fd = useDirect(direct, ring, CLOSE.verb);
  endDirect(direct);
  ring.places!.taken--;
  return freePlace(ring, DIRECT_FIRST - fd);
}

/** Closes a descriptor when the operations on it have ended. */
async function closeDirect(
  ring: Ring,
  direct: DirectFd,
): Promise<Result<void>> {
  if (!direct.isOpen || ring.closing) return DONE;
  const fd = useDirect(direct, ring, CLOSE.verb);
  endDirect(direct);
  await Promise.all(ring.cancelOn(fd));
  const status = freePlace(ring, DIRECT_FIRST - fd);
  ring.places!.taken--;
  return status < 0 ? failure(-status, `${CLOSE.verb} (${direct})`) : DONE;
}

/** Starts the close of a descriptor. */
export function startDirectClose(ring: Ring, direct: DirectFd): UringOp<void> {
  const fd = useDirect(direct, ring, CLOSE.verb);
  const { length } = ring.table.live(fd);
  if (length > 0 || ring.chaining) {
    const reason = ring.chaining
      ? "link() cannot hold its place until then; close it after the chain"
      : "operations on it are pending; await them, or call its close(), which cancels them";
    throw new TypeError(`Cannot ${CLOSE.verb} ${direct}: ${reason}`);
  }
  const { shim, handle } = ring;
  const places = ring.places!;
  const place = DIRECT_FIRST - fd;
  const entry = ring.take(CLOSE);
  endDirect(direct);
  const status = shim.kio_place_close(handle, entry.id, place);
  const op = ring.enter<void>(entry, fd, null, status);
  if (status < 0) {
    freePlace(ring, place);
    places.taken--;
    return op;
  }
  const { settle } = entry;
  entry.settle = (result) => {
    // It never ran, but its caller has given up the descriptor.
    if (!result.ok && result.error.errno === ECANCELED) freePlace(ring, place);
    places.taken--;
    settle(result);
  };
  return op;
}
