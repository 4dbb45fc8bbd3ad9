import type { BufferLease } from "../lib/BufferLease.ts";
import {
  type BufferLike,
  checkFd,
  checkMemory,
  checkOffset,
  CURRENT_POSITION,
  type Fd,
  type Offset,
  TRANSFER_MAX,
} from "../lib/check.ts";
import {
  MSG_WAITALL,
  POLLIN,
  POLLOUT,
  SO_TYPE,
  SOCK_STREAM,
  SOL_SOCKET,
} from "../lib/constants.ts";
import { EAGAIN, EINTR, ESPIPE } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { bytesFor, held, isLease } from "../lib/ops/held.ts";
import { READ_EXACT, RECV_EXACT, SEND_EXACT } from "../lib/ops/table.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import type { Transfer } from "../lib/ring/entry.ts";
import { useFixedMemory } from "../lib/ring/fixed_memory.ts";
import type { Operation } from "../lib/ring/operation.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import { Sqe } from "../lib/ring/sqe.ts";
import { startTransfer } from "../lib/ring/start.ts";
import { NO_POSITION, Waiting } from "../lib/ring/steps.ts";
import type { UringOp } from "../lib/UringOp.ts";
import { sendAll } from "./send_all.ts";

/**
 * Receives by recv(2) until the buffer is full.
 *
 * Like all exact transfers it is one operation. The ring goes on by itself when
 * the kernel has moved a part. A timeout, a signal or a cancel is for the
 * whole. It cannot be a link of a chain.
 *
 * C++: `AsyncRecvExact`
 *
 * @param ctx The context.
 * @param fd The socket: a stream, or one of datagrams or seqpackets, which gives
 * one message.
 * @param buffer The buffer, one byte or more; it must not be transferred until
 * completion.
 * @param options `timeoutMs` and `signal` for the whole transfer.
 * @returns The length of the buffer. `ENODATA` if the peer has closed its side
 * before, or has sent a shorter message: its end is data, and the transfer never
 * joins two. `ETIMEDOUT`, `ECANCELED`, `ECONNRESET` … `error.bytesTransferred`
 * tells how many bytes are in the buffer. A message that is longer than the
 * buffer is cut, as by recv(2).
 * @throws {RangeError} If `fd` or `timeoutMs` is out of range or `buffer` is
 * empty.
 * @throws {TypeError} If an argument has the wrong type, `buffer` is detached,
 * the context is closed, or it is called within `link()`.
 *
 * @example A length, then as many bytes
 * ```ts
 * import {
 *   asyncRecvExact, asyncSendExact, IoContext, Socket, unwrap,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * await asyncSendExact(ctx, left, new Uint8Array([2, 7, 8])).orThrow();
 *
 * const head = new Uint8Array(1);
 * await asyncRecvExact(ctx, right, head, { timeoutMs: 1000 }).orThrow();
 * const body = new Uint8Array(head[0]!);
 * await asyncRecvExact(ctx, right, body, { timeoutMs: 1000 }).orThrow();
 * assertEquals([...body], [7, 8]);
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncRecvExact(
  ctx: IoContext,
  fd: Fd,
  buffer: BufferLike,
  options: BoundOptions = {},
): UringOp<number> {
  const ring = ringOf(ctx, RECV_EXACT);
  const sqe = sqeFor(ring, RECV_EXACT, fd, buffer);
  // With MSG_WAITALL the kernel waits for the rest. Not at first: it would join
  // the records of a seqpacket socket, and cut the last of them.
  return exact(ring, RECV_EXACT, sqe, POLLIN, options, (moved) => {
    sqe.opFlags = moved === 0 ? 0 : MSG_WAITALL;
  });
}

/**
 * Sends all of the data by send(2), several buffers by sendmsg(2). After a
 * short send it goes on where that ended, within a buffer too.
 *
 * C++: `AsyncSendExact`
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param data The data, one byte or more, or 1 to 1024 buffers, one after the
 * other, of which some may be empty. It must be neither transferred nor changed
 * until completion. A lease is held until then.
 * @param options `timeoutMs` and `signal` for the whole transfer.
 * @returns The length of the data. `EPIPE`, `ECONNRESET`, `ETIMEDOUT`,
 * `ECANCELED` … `error.bytesTransferred` tells how many bytes the kernel has
 * taken. After that the connection is of little use: the peer has a part.
 * @throws As `asyncRecvExact()`; {RangeError} too if there are too many buffers,
 * or all are empty.
 *
 * @example A head and a body, without joining them
 * ```ts
 * import { asyncRecvExact, asyncSendExact, IoContext, Socket, unwrap } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * const body = new TextEncoder().encode("hello");
 * const head = new Uint8Array([body.length]);
 * assertEquals(await asyncSendExact(ctx, left, [head, body]).orThrow(), 6);
 * await asyncRecvExact(ctx, right, new Uint8Array(6)).orThrow();
 * await Promise.all([left.close(), right.close()]);
 * ```
 */
export function asyncSendExact(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike | BufferLease | readonly BufferLike[],
  options: BoundOptions = {},
): UringOp<number> {
  if (isLease(data)) {
    const bytes = bytesFor(data, SEND_EXACT);
    return held(data, asyncSendExact(ctx, fd, bytes, options));
  }
  const ring = ringOf(ctx, SEND_EXACT);
  if (Array.isArray(data)) return sendAll(ring, fd, data, options);
  const sqe = sqeFor(ring, SEND_EXACT, fd, data as BufferLike);
  sqe.opFlags = MSG_WAITALL;
  return exact(ring, SEND_EXACT, sqe, POLLOUT, options, () => {});
}

/**
 * Reads from a file by pread(2) until the buffer is full.
 *
 * C++: `AsyncReadExact`
 *
 * @param ctx The context.
 * @param fd The file, or a pipe, a socket, a terminal.
 * @param buffer The buffer, as for `asyncRecvExact()`.
 * @param offset The place in the file, as for `asyncRead()`; 0 or
 * `CURRENT_POSITION` for a file without a position (a socket, a pipe).
 * @param options `timeoutMs` and `signal` for the whole transfer.
 * @returns The length of the buffer. `ENODATA` if the file ends before; else
 * the errors of `asyncRead()`. `error.bytesTransferred` tells how many bytes
 * are in the buffer.
 * @throws As `asyncRecvExact()`; {RangeError} too if `offset` is out of range.
 */
export function asyncReadExact(
  ctx: IoContext,
  fd: Fd,
  buffer: BufferLike,
  offset: Offset = 0,
  options: BoundOptions = {},
): UringOp<number> {
  const ring = ringOf(ctx, READ_EXACT);
  const sqe = sqeFor(ring, READ_EXACT, fd, buffer);
  checkRange(offset, buffer.byteLength, READ_EXACT);
  return exact(ring, READ_EXACT, sqe, POLLIN, options, (moved, isStream) => {
    sqe.offset = isStream ? NO_POSITION : offsetAfter(offset, moved);
  });
}

/** Sets the fields of the next submission but for those of the buffer. */
export type Prepare = (moved: number, isStream: boolean) => void;

/** A transfer that fills or sends a buffer. */
export class ExactTransfer extends Waiting implements Transfer {
  moved = 0;
  readonly total: number;
  readonly #shim: Ring["shim"];
  readonly #sqe: Sqe;
  readonly #prepare: Prepare;
  /** It has no position: the kernel refused to go on at one. */
  #isStream = false;

  constructor(
    { shim }: Ring,
    sqe: Sqe,
    total: number,
    events: number,
    prepare: Prepare,
  ) {
    super(sqe.fd, 0, events);
    this.total = total;
    this.#shim = shim;
    this.#sqe = sqe;
    this.#prepare = prepare;
  }

  get isComplete(): boolean {
    return this.moved === this.total;
  }

  submit(...to: Parameters<Sqe["submit"]>): number {
    this.point(this.#sqe);
    this.#prepare(this.moved, this.#isStream);
    return this.#sqe.submit(...to);
  }

  /** Points to the memory of the next submission. */
  protected point(sqe: Sqe): void {
    sqe.at = this.moved;
    sqe.len = Math.min(this.total - this.moved, TRANSFER_MAX);
  }

  take(result: number): boolean {
    if (result === -ESPIPE && this.moved > 0 && !this.#isStream) {
      this.#isStream = true;
      return true;
    }
    if (result <= 0) return result === -EINTR || result === -EAGAIN;
    const isFirst = this.moved === 0;
    this.moved += result;
    return this.moved < this.total && !(isFirst && this.#isMessage());
  }

  /** Tells that a message came: its end is that of the transfer, as the next
   * one would be cut. */
  #isMessage(): boolean {
    const { fd } = this.#sqe;
    return this.#shim.kio_option_get(fd, SOL_SOCKET, SO_TYPE) > SOCK_STREAM;
  }
}

function sqeFor(ring: Ring, row: Operation, fd: Fd, buffer: BufferLike): Sqe {
  const sqe = new Sqe(row.opcode);
  sqe.fd = checkFd(fd, row, ring);
  checkMemory(buffer, row);
  sqe.addr = buffer;
  useFixedMemory(ring, sqe);
  return sqe;
}

function exact(
  ring: Ring,
  operation: Operation,
  sqe: Sqe,
  events: number,
  options: BoundOptions,
  prepare: Prepare,
): UringOp<number> {
  const total = sqe.addr!.byteLength;
  const transfer = new ExactTransfer(ring, sqe, total, events, prepare);
  const { fd, retained } = sqe;
  return startTransfer(ring, operation, fd, retained, transfer, options);
}

/** Checks that the offset is one, and stays one until the end. */
export function checkRange(
  offset: Offset,
  total: number,
  operation: Operation,
): void {
  checkOffset(offset, operation);
  if (offset !== CURRENT_POSITION) {
    checkOffset(sum(offset, total), operation);
  }
}

/** The offset for the rest, as a submission takes it. */
export function offsetAfter(offset: Offset, moved: number): number | bigint {
  return offset === CURRENT_POSITION ? NO_POSITION : sum(offset, moved);
}

/** A bigint where a number would be rounded. */
function sum(offset: number | bigint, moved: number): number | bigint {
  const isExact = typeof offset === "number" &&
    offset + moved <= Number.MAX_SAFE_INTEGER;
  return isExact ? offset + moved : BigInt(offset) + BigInt(moved);
}
