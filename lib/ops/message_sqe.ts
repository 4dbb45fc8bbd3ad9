import { type BufferLike, checkBuffer } from "../check.ts";
import type { Ring } from "../ring/Ring.ts";
import { Sqe } from "../ring/sqe.ts";
import type { SocketAddress } from "../SocketAddress.ts";
import { checkAddress } from "./address.ts";
import { MESSAGE_NAME_AT, MESSAGE_VECTORS_AT } from "./layout.ts";
import type { Row } from "./table.ts";
import { vectorsFor } from "./vectors.ts";

const NO_NAME = new Uint8Array(0);

/** The memory of a message. */
interface Parts {
  readonly buffers: readonly BufferLike[];
  readonly control?: Uint8Array | undefined;
}

/** Gives the bytes of the receiver's address; none without one. */
export function nameOf(
  address: SocketAddress | undefined,
  row: Row,
): Uint8Array {
  return address === undefined ? NO_NAME : checkAddress(address, row);
}

/** Makes the submission of a struct msghdr. The name and the vectors that the
 * struct points to are in one block with it. */
export function messageSqe(
  ring: Ring,
  row: Row,
  fd: number,
  { buffers, control }: Parts,
  name: Uint8Array,
  flags: number,
): Sqe {
  if (control !== undefined && !(control instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot ${row.verb}: control must be a Uint8Array, got ${typeof control}`,
    );
  }
  const size = control === undefined ? 0 : checkBuffer(control, row);
  const memory = vectorsFor(ring, buffers, MESSAGE_VECTORS_AT, row);
  memory.set(name, MESSAGE_NAME_AT);
  ring.shim.kio_message_init(
    memory,
    name.length,
    buffers.length,
    control ?? null,
    size,
  );
  const sqe = new Sqe(row.opcode);
  sqe.fd = fd;
  sqe.addr = memory;
  sqe.len = 1;
  sqe.opFlags = flags;
  sqe.retain(control === undefined ? [...buffers] : [...buffers, control]);
  return sqe;
}
