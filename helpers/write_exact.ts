import type { BufferLease } from "../lib/BufferLease.ts";
import {
  type BufferLike,
  checkBoolean,
  checkFd,
  checkFlags,
  checkMemory,
  checkOptions,
  type Fd,
  type Offset,
} from "../lib/check.ts";
import { POLLOUT, RWF_NOWAIT } from "../lib/constants.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { bytesFor, held, isLease } from "../lib/ops/held.ts";
import { IORING_FSYNC_DATASYNC } from "../lib/ops/layout.ts";
import type { RwOptions } from "../lib/ops/read_write.ts";
import { FDATASYNC, WRITE_EXACT, WRITEV } from "../lib/ops/table.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import { useFixedMemory } from "../lib/ring/fixed_memory.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import { Sqe } from "../lib/ring/sqe.ts";
import { startTransfer } from "../lib/ring/start.ts";
import { NO_POSITION } from "../lib/ring/steps.ts";
import type { UringOp } from "../lib/UringOp.ts";
import {
  checkRange,
  ExactTransfer,
  offsetAfter,
  type Prepare,
} from "./exact.ts";
import { Vectors } from "./vectors.ts";

/** Options of `asyncWriteExact()`. */
export interface WriteExactOptions extends BoundOptions, RwOptions {
  /** Makes the data durable by fdatasync(2), once all of it is written.
   * @default {false} */
  durable?: boolean | undefined;
}

/**
 * Writes all of the data to a file by pwrite(2), or pwritev(2) for an array.
 *
 * With `durable: true` the operation is complete when fdatasync(2) is. That
 * covers all writes to the file that are complete, not only this one. A new
 * file also needs an `asyncFsync()` of its directory, for its name.
 *
 * **If a durable write fails, the content of the disk is unknown**: nothing, all
 * or any part of the data, in any order. The page cache may show data that the
 * disk does not have, and a sync that is repeated may succeed without it. So
 * write the data again, elsewhere or from the start, or let a checksum tell.
 *
 * C++: `AsyncWriteExact`
 *
 * @param ctx The context.
 * @param fd The file, or a pipe, a socket, a terminal.
 * @param data The data, as for `asyncSendExact()`, or an array of any number of
 * such buffers, one after the other. Some may be empty, but not all.
 * @param offset The place in the file, as for `asyncRead()`.
 * @param options `durable`; `rwFlags` for each write; `timeoutMs` and `signal`
 * for the whole, the sync included.
 * @returns The length of the data. `ENODATA` if the file takes no more and
 * gives no reason; else the errors of `asyncWrite()`, and with `durable` those
 * of `asyncFdatasync()`: `EIO`, `ENOSPC`, `EINVAL` for a pipe or a socket.
 * `error.bytesTransferred` tells how many bytes are written: all of them if the
 * sync has failed.
 * @throws {RangeError} As `asyncReadExact()`; also if `rwFlags` has
 * `RWF_NOWAIT`, as an exact transfer waits.
 * @throws {TypeError} As `asyncReadExact()`; also if `durable` is no boolean.
 *
 * @example Records that survive a power cut
 * ```ts
 * import {
 *   asyncClose, asyncOpen, asyncWriteExact, IoContext, O_RDWR, O_TMPFILE,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const log = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR).orThrow();
 * const records = ["one\n", "two\n"].map((it) => new TextEncoder().encode(it));
 * const durable = true;
 * const count = await asyncWriteExact(ctx, log, records, 0, { durable }).orThrow();
 * assertEquals(count, 8);
 * await asyncClose(ctx, log);
 * ```
 */
export function asyncWriteExact(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike | BufferLease | readonly BufferLike[],
  offset: Offset = 0,
  options: WriteExactOptions = {},
): UringOp<number> {
  if (isLease(data)) {
    const bytes = bytesFor(data, WRITE_EXACT);
    return held(data, asyncWriteExact(ctx, fd, bytes, offset, options));
  }
  const ring = ringOf(ctx, WRITE_EXACT);
  const { verb } = WRITE_EXACT;
  checkOptions(options, verb);
  const { durable = false, rwFlags = 0 } = options;
  checkBoolean(durable, "durable", verb);
  const sqe = new Sqe(Array.isArray(data) ? WRITEV.opcode : WRITE_EXACT.opcode);
  sqe.fd = checkFd(fd, WRITE_EXACT, ring);
  sqe.opFlags = checkFlags(rwFlags, WRITE_EXACT, "rwFlags");
  if (rwFlags & RWF_NOWAIT) {
    throw new RangeError(
      `Cannot ${verb} all: rwFlags has RWF_NOWAIT, and an exact transfer waits; use asyncWrite()`,
    );
  }
  const vectors = Array.isArray(data)
    ? new Vectors(ring, data, WRITE_EXACT)
    : null;
  if (vectors === null) {
    checkMemory(data as BufferLike, WRITE_EXACT);
    sqe.addr = data as BufferLike;
    useFixedMemory(ring, sqe);
  } else vectors.point(sqe);
  const total = vectors?.total ?? sqe.addr!.byteLength;
  checkRange(offset, total, WRITE_EXACT);
  const transfer = new WriteTransfer(
    ring,
    sqe,
    total,
    vectors,
    durable,
    (moved, isStream) => {
      sqe.offset = isStream ? NO_POSITION : offsetAfter(offset, moved);
    },
  );
  const { retained } = sqe;
  return startTransfer(ring, WRITE_EXACT, sqe.fd, retained, transfer, options);
}

/** A write of all data, and the sync behind it. */
class WriteTransfer extends ExactTransfer {
  readonly #vectors: Vectors | null;
  /** The sync that is left to do; null for none. */
  #sync: Sqe | null = null;

  constructor(
    ring: Ring,
    sqe: Sqe,
    total: number,
    vectors: Vectors | null,
    isDurable: boolean,
    prepare: Prepare,
  ) {
    super(ring, sqe, total, POLLOUT, prepare);
    this.#vectors = vectors;
    if (!isDurable) return;
    this.#sync = new Sqe(FDATASYNC.opcode);
    this.#sync.fd = sqe.fd;
    this.#sync.opFlags = IORING_FSYNC_DATASYNC;
  }

  override get isComplete(): boolean {
    return super.isComplete && this.#sync === null;
  }

  get remark(): string {
    return this.#sync !== null && this.moved > 0
      ? "; the disk may have any part of them"
      : "";
  }

  override submit(...to: Parameters<Sqe["submit"]>): number {
    return super.isComplete ? this.#sync!.submit(...to) : super.submit(...to);
  }

  protected override point(sqe: Sqe): void {
    if (this.#vectors === null) super.point(sqe);
    else this.#vectors.point(sqe);
  }

  override take(result: number): boolean {
    if (super.isComplete) {
      // A sync that has failed is never repeated: the next one may succeed, and
      // the data is lost all the same.
      if (result >= 0) this.#sync = null;
      return false;
    }
    const { moved } = this;
    const goesOn = super.take(result);
    this.#vectors?.skip(this.moved - moved);
    return goesOn || super.isComplete && this.#sync !== null;
  }
}
