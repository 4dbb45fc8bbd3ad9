import type { Shim } from "../ffi/load.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import {
  type BufferLike,
  checkFd,
  checkMemory,
  checkOffset,
  type Fd,
  type Offset,
  TRANSFER_MAX,
} from "../lib/check.ts";
import { MSG_WAITALL, POLLIN, POLLOUT } from "../lib/constants.ts";
import { EAGAIN, EINTR, ESPIPE } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { SO_TYPE, SOL_SOCKET } from "../lib/ops/layout.ts";
import * as operations from "../lib/ops/table.ts";
import type { Operation } from "../lib/ops/table.ts";
import type { Ring, Transfer } from "../lib/ring/ring.ts";
import { NO_POSITION, startTransfer, Waiting } from "../lib/ring/start.ts";
import type { UringOp } from "../lib/UringOp.ts";

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
 * @param fd The socket: a stream, or one of datagrams. The kernel puts the
 * messages of a seqpacket socket together, and cuts the last one.
 * @param buffer The buffer, of any length; it must not be transferred until
 * completion.
 * @param options `timeoutMs` and `signal` for the whole transfer.
 * @returns The length of the buffer. `ENODATA` if the peer has closed its side
 * before, or has sent a shorter datagram. `ETIMEDOUT`, `ECANCELED`,
 * `ECONNRESET` … `error.bytesTransferred` tells how many bytes are in the
 * buffer.
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
  const operation = operations.RECV_EXACT;
  const ring = ringOf(ctx, operation);
  const socket = checkFd(fd, operation);
  const total = checkMemory(buffer, operation);
  // With MSG_WAITALL the kernel itself mostly waits for the rest.
  const prepare: Prepare = (shim, handle, id, moved, length) =>
    shim.kio_recv(handle, id, socket, buffer, moved, length, MSG_WAITALL);
  return exact(
    ring,
    operation,
    socket,
    POLLIN,
    buffer,
    total,
    prepare,
    options,
  );
}

/**
 * Sends all of the data by send(2).
 *
 * C++: `AsyncSendExact`
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param data The data, of any length; it must be neither transferred nor
 * changed until completion.
 * @param options `timeoutMs` and `signal` for the whole transfer.
 * @returns The length of the data. `EPIPE`, `ECONNRESET`, `ETIMEDOUT`,
 * `ECANCELED` … `error.bytesTransferred` tells how many bytes the kernel has
 * taken. After that the connection is of little use: the peer has a part.
 * @throws As `asyncRecvExact()`.
 */
export function asyncSendExact(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike,
  options: BoundOptions = {},
): UringOp<number> {
  const operation = operations.SEND_EXACT;
  const ring = ringOf(ctx, operation);
  const socket = checkFd(fd, operation);
  const total = checkMemory(data, operation);
  const prepare: Prepare = (shim, handle, id, moved, length) =>
    shim.kio_send(handle, id, socket, data, moved, length, MSG_WAITALL);
  return exact(ring, operation, socket, POLLOUT, data, total, prepare, options);
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
  const operation = operations.READ_EXACT;
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  const total = checkMemory(buffer, operation);
  checkRange(ring, offset, total, operation);
  const prepare: Prepare = (shim, handle, id, moved, length, isStream) => {
    const at = isStream
      ? NO_POSITION
      : offsetAfter(ring, offset, moved, operation);
    return shim.kio_read(handle, id, file, buffer, moved, length, at, 0);
  };
  return exact(ring, operation, file, POLLIN, buffer, total, prepare, options);
}

/**
 * Writes all of the data to a file by pwrite(2).
 *
 * C++: `AsyncWriteExact`
 *
 * @param ctx The context.
 * @param fd The file, or a pipe, a socket, a terminal.
 * @param data The data, as for `asyncSendExact()`.
 * @param offset The place in the file, as for `asyncRead()`.
 * @param options `timeoutMs` and `signal` for the whole transfer.
 * @returns The length of the data. `ENODATA` if the file takes no more and
 * gives no reason; else the errors of `asyncWrite()`. `error.bytesTransferred`
 * tells how many bytes are written.
 * @throws As `asyncReadExact()`.
 */
export function asyncWriteExact(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike,
  offset: Offset = 0,
  options: BoundOptions = {},
): UringOp<number> {
  const operation = operations.WRITE_EXACT;
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  const total = checkMemory(data, operation);
  checkRange(ring, offset, total, operation);
  const prepare: Prepare = (shim, handle, id, moved, length, isStream) => {
    const at = isStream
      ? NO_POSITION
      : offsetAfter(ring, offset, moved, operation);
    return shim.kio_write(handle, id, file, data, moved, length, at, 0);
  };
  return exact(ring, operation, file, POLLOUT, data, total, prepare, options);
}

/** Queues one operation of an exact transfer. */
type Prepare = (
  shim: Shim,
  handle: Deno.PointerObject,
  id: number,
  moved: number,
  length: number,
  isStream: boolean,
) => number;

const SOCK_STREAM = 1;

/** Moves a buffer, operation by operation. */
class ExactTransfer extends Waiting implements Transfer {
  moved = 0;
  readonly total: number;
  readonly #shim: Shim;
  readonly #fd: number;
  readonly #prepare: Prepare;
  /** The file has no position: the kernel refused to go on at one. */
  #isStream = false;

  constructor(
    shim: Shim,
    fd: number,
    events: number,
    total: number,
    prepare: Prepare,
  ) {
    super(fd, 0, events);
    this.#shim = shim;
    this.#fd = fd;
    this.total = total;
    this.#prepare = prepare;
  }

  submit(shim: Shim, handle: Deno.PointerObject, id: number): number {
    const length = Math.min(this.total - this.moved, TRANSFER_MAX);
    return this.#prepare(
      shim,
      handle,
      id,
      this.moved,
      length,
      this.#isStream,
    );
  }

  take(result: number): boolean {
    if (result === -ESPIPE && this.moved > 0 && !this.#isStream) {
      this.#isStream = true;
      return true;
    }
    if (result <= 0) return result === -EINTR || result === -EAGAIN;
    const isFirst = this.moved === 0;
    this.moved += result;
    return this.moved < this.total && !(isFirst && this.#isDatagram());
  }

  /** Tells if the socket has messages: the end of one is that of the transfer,
   * as the next one would be cut. */
  #isDatagram(): boolean {
    const type = this.#shim.kio_option_get(this.#fd, SOL_SOCKET, SO_TYPE);
    return type > SOCK_STREAM;
  }
}

function exact(
  ring: Ring,
  operation: Operation,
  fd: number,
  events: number,
  buffer: BufferLike,
  total: number,
  prepare: Prepare,
  options: BoundOptions,
): UringOp<number> {
  const transfer = new ExactTransfer(ring.shim, fd, events, total, prepare);
  return startTransfer(ring, operation, fd, buffer, { transfer }, options);
}

/** Throws unless the offset is in range until the end of the transfer. */
function checkRange(
  ring: Ring,
  offset: Offset,
  total: number,
  operation: Operation,
): void {
  offsetAfter(ring, offset, 0, operation);
  offsetAfter(ring, offset, total, operation);
}

/** Gives the offset of the rest, in the form that the shim takes. */
function offsetAfter(
  ring: Ring,
  offset: Offset,
  moved: number,
  operation: Operation,
): number {
  const at = typeof offset === "number"
    ? offset + moved
    : typeof offset === "bigint"
    ? offset + BigInt(moved)
    : offset;
  return checkOffset(
    at,
    operation,
    (wide) => ring.shim.kio_wide_offset(ring.handle, wide),
  );
}
