/** Streams of what read(2) gives: a multishot where the kernel can be trusted. */
import { EAGAIN, EINVAL, errnoNamed } from "../errno.ts";
import type { Entry } from "../ring/entry.ts";
import type { Pool } from "../ring/pool.ts";
import { LeaseStream, type OnChunk } from "../ring/receive.ts";
import type { Sqe } from "../ring/sqe.ts";
import { NO_POSITION } from "../ring/steps.ts";
import { READ_MULTISHOT } from "./table.ts";

/** IORING_OP_READ_MULTISHOT; a single shot is the opcode of the row. */
const READ_MANY = 49;

/** A multishot cannot wait for this file. */
const EBADFD = errnoNamed("EBADFD")!;

export class ReadStream extends LeaseStream {
  constructor(
    pool: Pool,
    entry: Entry,
    sqe: Sqe,
    leasesMax: number,
    onChunk: OnChunk | null,
  ) {
    super(pool, entry, sqe, leasesMax, onChunk);
    sqe.offset = NO_POSITION;
    const { features, shim } = pool.ring;
    // Of a terminal or a named pipe the kernel makes single shots, and misses the
    // end (6.18). Of a file it does not advance the position: each shot would
    // read the same.
    const isMany = pool.group >= 0 && shim.kio_pipe_has_nowait(sqe.fd) &&
      features.uses("readMultishot");
    if (isMany) sqe.opcode = READ_MANY;
    else sqe.len = pool.size;
  }

  override last(result: number, flags: number): void {
    const { sqe } = this;
    if (result === -EAGAIN) {
      // The file has O_NONBLOCK, and the kernel does not wait for its data.
      this.polls = true;
    } else if (
      sqe.opcode === READ_MANY && (result === -EBADFD || result === -EINVAL)
    ) {
      sqe.opcode = READ_MULTISHOT.opcode;
      sqe.len = this.size;
      result = -EAGAIN;
    }
    super.last(result, flags);
  }
}
