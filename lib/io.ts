import {
  type BufferLike,
  checkArray,
  checkBuffer,
  checkDelay,
  checkFd,
  checkFlags,
  checkFunction,
  checkInteger,
  checkOffset,
  checkOptions,
  checkOwned,
  checkPart,
  checkPath,
  type Fd,
  type Offset,
  TRANSFER_MAX,
} from "./check.ts";
import { POLLIN, POLLOUT } from "./constants.ts";
import { ringOf } from "./internal.ts";
import type { IoContext } from "./IoContext.ts";
import { loadShim } from "../ffi/load.ts";
import { offered } from "./ops/offered.ts";
import * as operations from "./ops/table.ts";
import type { Operation } from "./ops/table.ts";
import { DONE, failure, type Result } from "./result.ts";
import { PinnedGroup } from "./ring/retained.ts";
import { type Ring, WAKE_TAG } from "./ring/ring.ts";
import {
  ADDRESS_SIZE,
  addressFromBytes,
  bytesOfAddress,
  SocketAddress,
} from "./SocketAddress.ts";
import {
  IOSQE_FIXED_FILE,
  start,
  startOnFixed,
  startWaiting,
  UnixConnect,
} from "./ring/start.ts";
import type { UringOp } from "./UringOp.ts";

/** Buffers of one operation at most: IOV_MAX of the kernel. */
const VECTORS_MAX = 1024;
/** sizeof(struct iovec). */
const VECTOR_SIZE = 16;

/** Parts of the block that kio_message_init() fills: kio.c has the twin. */
const MESSAGE_NAME_AT = 64;
const MESSAGE_VECTORS_AT = MESSAGE_NAME_AT + ADDRESS_SIZE;
const MSG_NAMELEN_AT = 8;
const MSG_CONTROLLEN_AT = 40;
const MSG_FLAGS_AT = 48;

/** Set by the shim: fds that are received are not inherited. */
const MSG_CMSG_CLOEXEC = 0x40000000;

const NO_NAME = new Uint8Array(0);

const IORING_FSYNC_DATASYNC = 1;
const FIXED_FILE_MAX = 65535;

function offsetFor(ring: Ring, offset: Offset, operation: Operation): number {
  return checkOffset(
    offset,
    operation,
    (wide) => ring.shim.kio_wide_offset(ring.handle, wide),
  );
}

/** An offset that has to be a number: the current position makes no sense. */
function sizeFor(
  ring: Ring,
  offset: number | bigint,
  operation: Operation,
): number {
  const at = offsetFor(ring, offset, operation);
  if (at !== -1) return at;
  throw new TypeError(
    `Cannot ${operation.verb}: CURRENT_POSITION is not possible here`,
  );
}

// ---- files -------------------------------------------------------------------

/**
 * Opens a file. The fd is never inherited by other programs (`O_CLOEXEC`).
 * Stands for openat(2).
 *
 * @param ctx The context.
 * @param path The path, relative to the current directory or absolute.
 * @param flags `O_RDONLY`, `O_RDWR | O_CREAT` …
 * @param mode Permissions of a file that is created, less the umask.
 * @returns The new fd; the caller has to close it. `ENOENT`, `EACCES`,
 * `EEXIST`, `EISDIR`, `EMFILE` …
 * @throws {TypeError} If `path` is no string or has a NUL, or the context is
 * closed; {RangeError} if `flags` or `mode` is out of range.
 */
export function asyncOpen(
  ctx: IoContext,
  path: string,
  flags: number,
  mode = 0o644,
): UringOp<number> {
  const operation = operations.OPEN;
  const ring = ringOf(ctx, operation);
  const name = checkPath(path, operation);
  const bits = checkFlags(flags, operation);
  const permissions = checkInteger(mode, 0o7777, "mode", operation.verb);
  return start(
    ring,
    operation,
    -1,
    name,
    (shim, handle, id) => shim.kio_open(handle, id, name, bits, permissions),
    { action: `${operation.verb} ${path}` },
  );
}

/**
 * Reads from a file. Stands for `AsyncRead` and pread(2).
 *
 * @param ctx The context.
 * @param fd What to read from: a file, a pipe, a socket, a terminal.
 * @param buffer Where to; it must not be transferred until completion. At most
 * 2147479552 bytes are read at a time.
 * @param offset Where in the file, 0 to 2^53 - 1 (as a bigint to 2^63 - 1);
 * 0 if left out. `CURRENT_POSITION` is the file's own.
 * @returns The number of bytes, often fewer than asked for; 0 at the end.
 * `EBADF`, `EISDIR`, `EINVAL`, `EIO` … It waits for bytes of a stream also if
 * that is non-blocking; only within `link()` that may be `EAGAIN`.
 * @throws {RangeError} If `fd` or `offset` is out of range or `buffer` is
 * empty; {TypeError} if an argument has the wrong type, `buffer` is detached or
 * the context is closed.
 */
export function asyncRead(
  ctx: IoContext,
  fd: Fd,
  buffer: BufferLike,
  offset: Offset = 0,
): UringOp<number> {
  const operation = operations.READ;
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  const length = checkBuffer(buffer, operation);
  const at = offsetFor(ring, offset, operation);
  const slot = ring.take(operation);
  const id = ring.idOf(slot, operation);
  const status = ring.shim.kio_read(
    ring.handle,
    id,
    file,
    buffer,
    0,
    length,
    at,
    0,
  );
  return ring.queued(slot, operation, file, buffer, status);
}

/**
 * Writes to a file. Stands for `AsyncWrite` and pwrite(2).
 *
 * @param ctx The context.
 * @param fd What to write to.
 * @param data What to write; it must be neither transferred nor changed until
 * completion. At most 2147479552 bytes are written at a time.
 * @param offset Where in the file, as for `asyncRead()`. A file opened with
 * `O_APPEND` ignores it.
 * @returns The number of bytes, which may be fewer than given. `EBADF`,
 * `ENOSPC`, `EFBIG`, `EIO`, `EPIPE` …
 * @throws As `asyncRead()`.
 */
export function asyncWrite(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike,
  offset: Offset = 0,
): UringOp<number> {
  const operation = operations.WRITE;
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  const length = checkBuffer(data, operation);
  const at = offsetFor(ring, offset, operation);
  const slot = ring.take(operation);
  const id = ring.idOf(slot, operation);
  const status = ring.shim.kio_write(
    ring.handle,
    id,
    file,
    data,
    0,
    length,
    at,
    0,
  );
  return ring.queued(slot, operation, file, data, status);
}

/**
 * Reads from a registered file: `asyncRead()` for
 * `IoContext.registerFiles()`. Stands for `AsyncReadFixed`.
 *
 * @param ctx The context that has the files.
 * @param index Place in the list of registered files.
 * @param buffer Where to, as for `asyncRead()`.
 * @param offset Where in the file, as for `asyncRead()`.
 * @returns The number of bytes; 0 at the end. `EBADF` if there is no file at
 * that index.
 * @throws As `asyncRead()`.
 */
export function asyncReadFixed(
  ctx: IoContext,
  index: number,
  buffer: BufferLike,
  offset: Offset = 0,
): UringOp<number> {
  const operation = operations.READ_FIXED;
  const ring = ringOf(ctx, operation);
  const place = checkInteger(
    index,
    FIXED_FILE_MAX,
    "index",
    operation.verb,
  );
  const length = checkBuffer(buffer, operation);
  const at = offsetFor(ring, offset, operation);
  return startOnFixed(
    ring,
    operation,
    place,
    buffer,
    POLLIN,
    (shim, handle, id) =>
      shim.kio_read(handle, id, place, buffer, 0, length, at, IOSQE_FIXED_FILE),
  );
}

/**
 * Writes to a registered file: `asyncWrite()` for
 * `IoContext.registerFiles()`.
 *
 * @param ctx The context that has the files.
 * @param index Place in the list of registered files.
 * @param data What to write, as for `asyncWrite()`.
 * @param offset Where in the file, as for `asyncRead()`.
 * @returns The number of bytes. `EBADF` if there is no file at that index.
 * @throws As `asyncRead()`.
 */
export function asyncWriteFixed(
  ctx: IoContext,
  index: number,
  data: BufferLike,
  offset: Offset = 0,
): UringOp<number> {
  const operation = operations.WRITE_FIXED;
  const ring = ringOf(ctx, operation);
  const place = checkInteger(
    index,
    FIXED_FILE_MAX,
    "index",
    operation.verb,
  );
  const length = checkBuffer(data, operation);
  const at = offsetFor(ring, offset, operation);
  return startOnFixed(
    ring,
    operation,
    place,
    data,
    POLLOUT,
    (shim, handle, id) =>
      shim.kio_write(handle, id, place, data, 0, length, at, IOSQE_FIXED_FILE),
  );
}

/**
 * Reads into several buffers, one after the other. Stands for `AsyncReadv` and
 * preadv(2).
 *
 * @param ctx The context.
 * @param fd What to read from.
 * @param buffers 1 to 1024 buffers, each as for `asyncRead()`; some may be
 * empty, but not all.
 * @param offset Where in the file, as for `asyncRead()`.
 * @returns The number of bytes in all; 0 at the end.
 * @throws As `asyncRead()`; {RangeError} too if there are no or too many
 * buffers.
 */
export function asyncReadv(
  ctx: IoContext,
  fd: Fd,
  buffers: readonly BufferLike[],
  offset: Offset = 0,
): UringOp<number> {
  const operation = operations.READV;
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  const vectors = vectorsFor(ring, buffers, 0, operation);
  const pinned = new PinnedGroup(vectors, [...buffers]);
  const at = offsetFor(ring, offset, operation);
  return start(
    ring,
    operation,
    file,
    pinned,
    (shim, handle, id) =>
      shim.kio_readv(handle, id, file, vectors, buffers.length, at),
  );
}

/**
 * Writes several buffers, one after the other. Stands for `AsyncWritev` and
 * pwritev(2).
 *
 * @param ctx The context.
 * @param fd What to write to.
 * @param buffers 1 to 1024 buffers, each as for `asyncWrite()`; some may be
 * empty, but not all.
 * @param offset Where in the file, as for `asyncRead()`.
 * @returns The number of bytes in all.
 * @throws As `asyncReadv()`.
 */
export function asyncWritev(
  ctx: IoContext,
  fd: Fd,
  buffers: readonly BufferLike[],
  offset: Offset = 0,
): UringOp<number> {
  const operation = operations.WRITEV;
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  const vectors = vectorsFor(ring, buffers, 0, operation);
  const pinned = new PinnedGroup(vectors, [...buffers]);
  const at = offsetFor(ring, offset, operation);
  return start(
    ring,
    operation,
    file,
    pinned,
    (shim, handle, id) =>
      shim.kio_writev(handle, id, file, vectors, buffers.length, at),
  );
}

/**
 * Closes an fd. Operations that are pending on it are not cancelled by that
 * and go on with the old file: `Socket.close()` ends them first. The fd is
 * gone whatever the result, also in a chain that has ended before; never repeat
 * it. It cannot be cancelled. To close a number that is not the program's own
 * can end the process: Deno has fds for itself. Stands for `AsyncClose` and close(2).
 *
 * The next file or socket gets the lowest number that is free: after
 * `asyncClose(ctx, 2)` it may get what is written to stderr.
 *
 * @param ctx The context.
 * @param fd The fd; a `Socket` is released by it.
 * @returns `EBADF` if it is not open; `EIO`, `ENOSPC`, `EDQUOT` for what could
 * not be written.
 * @throws {RangeError} If `fd` is out of range; {TypeError} if it is no fd or
 * the ring of a context, or the context is closed.
 */
export function asyncClose(
  ctx: IoContext,
  fd: number | { readonly fd: number; release?(): number },
): UringOp<void> {
  const operation = operations.CLOSE;
  const ring = ringOf(ctx, operation);
  const file = checkOwned(checkFd(fd, operation), operation.verb);
  return start(ring, operation, file, null, (shim, handle, id) => {
    // From here on it is the operation that owns the fd.
    if (typeof fd !== "number") fd.release?.();
    offered.delete(file);
    return shim.kio_close(handle, id, file);
  });
}

/**
 * Makes a file durable: data and metadata. Stands for `AsyncFsync` and
 * fsync(2).
 *
 * @param ctx The context.
 * @param fd The file. Only writes that are complete are covered; `link()` puts
 * this behind a write.
 * @returns `EIO`, `ENOSPC` if data was lost, `EINVAL` for what cannot be synced.
 * @throws As `asyncClose()`.
 */
export function asyncFsync(ctx: IoContext, fd: Fd): UringOp<void> {
  return sync(ctx, fd, operations.FSYNC, 0);
}

/**
 * Makes the data of a file durable, and of the metadata only what is needed to
 * read it back (the size). Stands for `AsyncFdatasync` and fdatasync(2).
 *
 * @param ctx The context.
 * @param fd The file, as for `asyncFsync()`.
 * @returns As `asyncFsync()`.
 * @throws As `asyncClose()`.
 */
export function asyncFdatasync(ctx: IoContext, fd: Fd): UringOp<void> {
  return sync(ctx, fd, operations.FDATASYNC, IORING_FSYNC_DATASYNC);
}

function sync(
  ctx: IoContext,
  fd: Fd,
  operation: Operation,
  flags: number,
): UringOp<void> {
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  return start(
    ring,
    operation,
    file,
    null,
    (shim, handle, id) => shim.kio_fsync(handle, id, file, flags),
  );
}

/**
 * Allocates space for a file, so that writing there cannot fail for the lack
 * of it, or punches holes. Stands for `AsyncFallocate` and fallocate(2).
 *
 * @param ctx The context.
 * @param fd The file.
 * @param mode 0, or `FALLOC_FL_KEEP_SIZE` and others.
 * @param offset Start of the range, as for `asyncRead()`.
 * @param length Bytes, 1 to 2^53 - 1.
 * @returns `ENOSPC`, `EFBIG`, `EOPNOTSUPP` where the file system cannot do it,
 * `ESPIPE` for what is no file.
 * @throws {RangeError} If an argument is out of range; {TypeError} as
 * `asyncClose()`.
 */
export function asyncFallocate(
  ctx: IoContext,
  fd: Fd,
  mode: number,
  offset: number | bigint,
  length: number,
): UringOp<void> {
  const operation = operations.FALLOCATE;
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  const bits = checkFlags(mode, operation);
  const bytes = checkInteger(
    length,
    Number.MAX_SAFE_INTEGER,
    "length",
    operation.verb,
    1,
  );
  const at = sizeFor(ring, offset, operation);
  return start(
    ring,
    operation,
    file,
    null,
    (shim, handle, id) => shim.kio_fallocate(handle, id, file, bits, at, bytes),
  );
}

/**
 * Cuts a file off or extends it with zeros. Stands for `AsyncFtruncate` and
 * ftruncate(2). Before Linux 6.9 it is done at once, on the calling thread,
 * and is refused within `link()` (`EOPNOTSUPP`).
 *
 * @param ctx The context.
 * @param fd The file, open for writing.
 * @param length Its new length in bytes, 0 to 2^53 - 1, as a bigint to
 * 2^63 - 1.
 * @returns `EINVAL` if it is not open for writing, `EFBIG`, `EPERM` …
 * @throws {RangeError} If an argument is out of range; {TypeError} as
 * `asyncClose()`.
 */
export function asyncFtruncate(
  ctx: IoContext,
  fd: Fd,
  length: number | bigint,
): UringOp<void> {
  const operation = operations.FTRUNCATE;
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  const size = sizeFor(ring, length, operation);
  return start(
    ring,
    operation,
    file,
    null,
    (shim, handle, id) => shim.kio_ftruncate(handle, id, file, size),
  );
}

/** What `asyncSplice()` moves from where to where. */
export interface SpliceOptions {
  /** Where in the source, 0 to 2^53 - 1; its own position if left out, which is
   * all that a pipe or a socket has. */
  fromOffset?: number | undefined;
  /** Where in the destination, likewise. */
  toOffset?: number | undefined;
  /** `SPLICE_F_MOVE`, `SPLICE_F_MORE` …
   * @default {0} */
  flags?: number | undefined;
}

/**
 * Moves bytes between a pipe and something else without copying them through
 * this process. See splice(2); `asyncSendfile()` is made of it.
 *
 * A splice that has to wait holds a thread of the kernel: with a non-blocking
 * socket it gives `EAGAIN` instead, and `asyncPoll()` waits.
 *
 * @param ctx The context.
 * @param from Where from; it or `to` must be a pipe.
 * @param to Where to.
 * @param length Bytes, 1 to 2147479552.
 * @param options Offsets and flags.
 * @returns The number of bytes, often fewer than asked for; 0 at the end of
 * `from`. `EINVAL` if none is a pipe, `ESPIPE` for an offset where there are
 * none, `EAGAIN`, `EPIPE` …
 * @throws {RangeError} If an argument is out of range; {TypeError} as
 * `asyncClose()`.
 */
export function asyncSplice(
  ctx: IoContext,
  from: Fd,
  to: Fd,
  length: number,
  options: SpliceOptions = {},
): UringOp<number> {
  const operation = operations.SPLICE;
  const ring = ringOf(ctx, operation);
  checkOptions(options, operation.verb);
  const { fromOffset, toOffset, flags = 0 } = options;
  const source = checkFd(from, operation);
  const destination = checkFd(to, operation);
  const bytes = checkInteger(
    length,
    TRANSFER_MAX,
    "length",
    operation.verb,
    1,
  );
  const at = positionFor(fromOffset, "fromOffset", operation);
  const toAt = positionFor(toOffset, "toOffset", operation);
  const bits = checkFlags(flags, operation);
  return start(
    ring,
    operation,
    source,
    null,
    (shim, handle, id) =>
      shim.kio_splice(
        handle,
        id,
        source,
        at,
        destination,
        toAt,
        bytes,
        bits,
      ),
    { otherFd: destination },
  );
}

/** An offset of asyncSplice(); -1 for none. */
function positionFor(
  offset: number | undefined,
  name: string,
  operation: Operation,
): number {
  if (offset === undefined) return -1;
  return checkInteger(offset, Number.MAX_SAFE_INTEGER, name, operation.verb);
}

// ---- sockets -----------------------------------------------------------------

/**
 * Accepts a connection. Stands for `AsyncAccept` and accept4(2).
 *
 * A lack of fds or memory (`EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM`) is reported
 * 10 ms later than it happened, so that a loop that accepts again at once does
 * not spin until there are some.
 *
 * @param ctx The context.
 * @param fd A listening socket.
 * @returns The fd of the connection, to be closed by the caller: `new Socket()`
 * makes that easy. The peer may be gone already. `EMFILE`, `ECONNABORTED`,
 * `EINVAL` if the socket does not listen (any more).
 * @throws As `asyncClose()`.
 */
export function asyncAccept(ctx: IoContext, fd: Fd): UringOp<number> {
  const operation = operations.ACCEPT;
  const ring = ringOf(ctx, operation);
  const socket = checkFd(fd, operation);
  return start(
    ring,
    operation,
    socket,
    null,
    (shim, handle, id) => shim.kio_accept(handle, id, socket, null),
  );
}

/** A connection, and who is at the other end. */
export interface AcceptedConnection {
  /** The fd, to be closed by the caller. */
  fd: number;
  /** The address of the peer. */
  address: SocketAddress;
}

/**
 * Accepts a connection and tells where it comes from; else `asyncAccept()`.
 *
 * @param ctx The context.
 * @param fd A listening socket.
 * @returns The fd of the connection and the address of the peer.
 * @throws As `asyncClose()`.
 */
export function asyncAcceptFrom(
  ctx: IoContext,
  fd: Fd,
): UringOp<AcceptedConnection> {
  const operation = operations.ACCEPT_FROM;
  const ring = ringOf(ctx, operation);
  const socket = checkFd(fd, operation);
  const memory = new Uint8Array(ADDRESS_SIZE + 4);
  return start(
    ring,
    operation,
    socket,
    memory,
    (shim, handle, id) => shim.kio_accept(handle, id, socket, memory),
    {
      decode: (accepted) => ({
        fd: accepted,
        address: addressFromBytes(
          memory.subarray(0, uint32At(memory, ADDRESS_SIZE)),
        ),
      }),
    },
  );
}

/**
 * Connects a socket by connect(2). Stands for `AsyncConnect`.
 *
 * A unix listener whose queue is full is waited for, without limit: give it a
 * timeout. A non-blocking socket tries again every 32 ms at most, a blocking one
 * holds a thread of the kernel meanwhile. As a link of a chain it does not wait,
 * and fails with `EAGAIN`.
 *
 * A TCP socket may be connected to itself where nobody listens: if the port is
 * one of those that the kernel gives to who connects, and it gives just that
 * one. `TcpStream.connect()` refuses it.
 *
 * Close the socket after a timeout or a cancel. The kernel may go on connecting
 * it: another try gives `EALREADY`, or finds it connected.
 *
 * @param ctx The context.
 * @param fd The socket, of the family of the address.
 * @param address Where to.
 * @returns `ECONNREFUSED`, `ETIMEDOUT`, `ENETUNREACH`, `EAFNOSUPPORT` if the
 * families differ, `ENOENT` for a unix socket that is not there …
 * @throws {TypeError} If `address` is no `SocketAddress`; else as
 * `asyncClose()`.
 */
export function asyncConnect(
  ctx: IoContext,
  fd: Fd,
  address: SocketAddress,
): UringOp<void> {
  const operation = operations.CONNECT;
  const ring = ringOf(ctx, operation);
  const socket = checkFd(fd, operation);
  const bytes = checkAddress(address, operation);
  const isUnix = address.family === "unix" && !ring.chaining;
  return start(
    ring,
    operation,
    socket,
    bytes,
    (shim, handle, id) =>
      shim.kio_connect(handle, id, socket, bytes, bytes.length),
    {
      action: { toString: () => `${operation.verb} to ${address}` },
      course: isUnix ? new UnixConnect(socket, bytes) : undefined,
    },
  );
}

/**
 * Receives from a socket. Stands for `AsyncRecv` and recv(2).
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param buffer Where to; it must not be transferred until completion.
 * @param flags `MSG_WAITALL`, `MSG_PEEK` …
 * @returns The number of bytes; 0 when the peer has closed its side, or for an
 * empty datagram, which is no end. `ECONNRESET`, `ENOTCONN` … With `MSG_WAITALL` fewer bytes than asked for may
 * come with a timeout or cancel: they are not lost.
 * @throws {RangeError} If `fd` or `flags` is out of range or `buffer` is empty;
 * {TypeError} as `asyncRead()`.
 */
export function asyncRecv(
  ctx: IoContext,
  fd: Fd,
  buffer: BufferLike,
  flags = 0,
): UringOp<number> {
  const operation = operations.RECV;
  const ring = ringOf(ctx, operation);
  const socket = checkFd(fd, operation);
  const length = checkBuffer(buffer, operation);
  const bits = checkFlags(flags, operation);
  const slot = ring.take(operation);
  const id = ring.idOf(slot, operation);
  const status = ring.shim.kio_recv(
    ring.handle,
    id,
    socket,
    buffer,
    0,
    length,
    bits,
  );
  return ring.queued(slot, operation, socket, buffer, status);
}

/**
 * Sends to a connected socket. Stands for `AsyncSend` and send(2).
 *
 * It waits for room whether the socket is blocking or not. While it waits for a
 * peer that has shut down its own sending side, Linux may have a thread for it:
 * `kernelWorkersMax` is how many at most.
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param data What to send; it must be neither transferred nor changed until
 * completion.
 * @param flags `MSG_MORE`, `MSG_WAITALL` … `MSG_NOSIGNAL` is always set.
 * @returns The number of bytes that the kernel took, which may be fewer than
 * given. `EPIPE` and `ECONNRESET` if the peer is gone, `ENOTCONN` …
 * @throws As `asyncRecv()`.
 */
export function asyncSend(
  ctx: IoContext,
  fd: Fd,
  data: BufferLike,
  flags = 0,
): UringOp<number> {
  const operation = operations.SEND;
  const ring = ringOf(ctx, operation);
  const socket = checkFd(fd, operation);
  const length = checkBuffer(data, operation);
  const bits = checkFlags(flags, operation);
  const slot = ring.take(operation);
  const id = ring.idOf(slot, operation);
  const status = ring.shim.kio_send(
    ring.handle,
    id,
    socket,
    data,
    0,
    length,
    bits,
  );
  return ring.queued(slot, operation, socket, data, status);
}

/** What `asyncSendmsg()` sends. */
export interface SendmsgHeader {
  /** Up to 1024 buffers, sent as one; none, or empty ones, for an empty
   * datagram. */
  buffers: readonly BufferLike[];
  /** Where to, for a socket that is not connected. */
  address?: SocketAddress | undefined;
  /** Ancillary data as in cmsg(3): headers and data, aligned. */
  control?: Uint8Array | undefined;
}

/**
 * Sends several buffers as one message, to an address or with ancillary data
 * where wanted. Stands for `AsyncSendmsg` and sendmsg(2).
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param message What to send; the memory stays in use until completion.
 * @param flags As for `asyncSend()`.
 * @returns The number of bytes. As `asyncSend()`; `EMSGSIZE` for a datagram
 * that is too long. For a full queue of an address that the socket is not
 * connected to it tries again by the clock, every 64 milliseconds at the
 * longest, as no event tells of room there.
 * @throws As `asyncSend()`.
 */
export function asyncSendmsg(
  ctx: IoContext,
  fd: Fd,
  message: SendmsgHeader,
  flags = 0,
): UringOp<number> {
  const operation = operations.SENDMSG;
  const ring = ringOf(ctx, operation);
  const socket = checkFd(fd, operation);
  const bits = checkFlags(flags, operation);
  const { address } = message;
  const name = address === undefined
    ? NO_NAME
    : checkAddress(address, operation);
  const { memory, pinned } = messageFor(ring, message, name, operation);
  return startWaiting(
    ring,
    operation,
    socket,
    pinned,
    (shim, handle, id) => shim.kio_sendmsg(handle, id, socket, memory, bits),
    { events: POLLOUT, flags: bits },
  );
}

/** Where `asyncRecvmsg()` puts what it receives. */
export interface RecvmsgHeader {
  /** Up to 1024 buffers, filled one after the other. */
  buffers: readonly BufferLike[];
  /** Room for ancillary data. */
  control?: Uint8Array | undefined;
}

/** What `asyncRecvmsg()` received. */
export interface ReceivedMessage {
  /** The number of bytes; 0 when the peer has closed its side, or for an empty
   * datagram. */
  bytes: number;
  /** Who sent it; undefined where the socket is connected or has no name. */
  address: SocketAddress | undefined;
  /** The part of `control` that was filled. Fds in it are the caller's. */
  control: Uint8Array;
  /** `MSG_TRUNC` if the datagram did not fit, and others. */
  flags: number;
}

/**
 * Receives a message into several buffers, with the address of the sender and
 * ancillary data. Stands for recvmsg(2).
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param message Where to; the memory stays in use until completion.
 * @param flags As for `asyncRecv()`.
 * @returns What was received. As `asyncRecv()`.
 * @throws As `asyncRecv()`.
 */
export function asyncRecvmsg(
  ctx: IoContext,
  fd: Fd,
  message: RecvmsgHeader,
  flags = 0,
): UringOp<ReceivedMessage> {
  const operation = operations.RECVMSG;
  const ring = ringOf(ctx, operation);
  const socket = checkFd(fd, operation);
  const bits = checkFlags(flags, operation);
  const { control: room = new Uint8Array(0) } = message;
  const name = new Uint8Array(ADDRESS_SIZE);
  const { memory, pinned } = messageFor(ring, message, name, operation);
  return startWaiting(
    ring,
    operation,
    socket,
    pinned,
    (shim, handle, id) => shim.kio_recvmsg(handle, id, socket, memory, bits),
    {
      events: POLLIN,
      flags: bits,
      decode: (bytes) => {
        const nameLength = uint32At(memory, MSG_NAMELEN_AT);
        const from = memory.subarray(
          MESSAGE_NAME_AT,
          MESSAGE_NAME_AT + nameLength,
        );
        return {
          bytes,
          address: nameLength === 0 ? undefined : addressFromBytes(from),
          control: room.subarray(0, uint32At(memory, MSG_CONTROLLEN_AT)),
          flags: uint32At(memory, MSG_FLAGS_AT) & ~MSG_CMSG_CLOEXEC,
        };
      },
    },
  );
}

/**
 * Shuts down one direction of a connection or both, in order with what was
 * sent before. Stands for shutdown(2).
 *
 * @param ctx The context.
 * @param fd The socket.
 * @param how `SHUT_WR`, `SHUT_RD` or `SHUT_RDWR`.
 * @returns `ENOTCONN` if it is not connected.
 * @throws As `asyncClose()`; {RangeError} too for another `how`.
 */
export function asyncShutdown(
  ctx: IoContext,
  fd: Fd,
  how: number,
): UringOp<void> {
  const operation = operations.SHUTDOWN;
  const ring = ringOf(ctx, operation);
  const socket = checkFd(fd, operation);
  const direction = checkInteger(how, 2, "how", operation.verb);
  return start(
    ring,
    operation,
    socket,
    null,
    (shim, handle, id) => shim.kio_shutdown(handle, id, socket, direction),
  );
}

/**
 * Waits until an fd is ready. Stands for `AsyncPoll` and poll(2).
 *
 * @param ctx The context.
 * @param fd The fd.
 * @param events `POLLIN`, `POLLOUT` …, or several with `|`.
 * @returns The events that have come, or `POLLERR`, `POLLHUP` or `POLLRDHUP`,
 * which io_uring reports without being asked for: once the peer has shut down
 * its sending side, a poll of a full socket for `POLLOUT` is over at once.
 * @throws As `asyncClose()`; {RangeError} too if `events` is out of range.
 */
export function asyncPoll(
  ctx: IoContext,
  fd: Fd,
  events: number,
): UringOp<number> {
  const operation = operations.POLL;
  const ring = ringOf(ctx, operation);
  const file = checkFd(fd, operation);
  const mask = checkInteger(events, 0xffff, "events", operation.verb);
  return start(
    ring,
    operation,
    file,
    null,
    (shim, handle, id) => shim.kio_poll(handle, id, file, mask, 0),
  );
}

// ---- time, other rings, chains -----------------------------------------------

/**
 * Waits for a time to pass, on the clock that does not jump
 * (CLOCK_MONOTONIC). Stands for `AsyncSleep`. It needs no memory of the
 * kernel: hundreds of thousands at a time are fine.
 *
 * @param ctx The context.
 * @param delayMs Milliseconds, 0 or more and finite. Never early, late by up to
 * a millisecond and the load of the thread.
 * @returns `ECANCELED` if it was cancelled.
 * @throws {RangeError} If `delayMs` is negative, NaN or infinite; {TypeError}
 * if the context is closed.
 */
export function asyncSleep(ctx: IoContext, delayMs: number): UringOp<void> {
  const operation = operations.SLEEP;
  const ring = ringOf(ctx, operation);
  checkDelay(delayMs, "delayMs", operation.verb);
  return ring.sleeping(ring.take(operation), operation, delayMs);
}

/**
 * Sends a message to another ring of this process: its context, in whatever
 * thread, wakes up and calls `onMessage(result, userData)`. Stands for
 * `MsgRingOp` and io_uring_prep_msg_ring(3).
 *
 * @param ctx The context that sends.
 * @param targetRingFd `ringFd` of the context that receives.
 * @param result Any int32.
 * @param userData An integer from 0 to 2^53 - 1; with `WAKE_TAG` the target
 * only wakes up.
 * @returns When the message is in the target's queue. `EBADF` if the fd is not
 * open, `EBADFD` if it is no ring (or one that is not ready), `EOVERFLOW` if
 * the target has no memory left for it.
 * @throws {RangeError} If an argument is out of range; {TypeError} if the
 * context is closed.
 */
export function asyncMsgRing(
  ctx: IoContext,
  targetRingFd: number,
  result: number,
  userData: number,
): UringOp<void> {
  const operation = operations.MSG_RING;
  const ring = ringOf(ctx, operation);
  const target = checkFd(targetRingFd, operation);
  checkMessage(result, userData, operation);
  return start(
    ring,
    operation,
    target,
    null,
    (shim, handle, id) =>
      shim.kio_msg_ring(handle, id, target, result | 0, userData + 0),
  );
}

/**
 * Wakes a ring of this process by a message, like `asyncMsgRing()` but at once
 * and without a context: any thread may call it. On Linux before 6.13 a small
 * ring is made for it, which takes some 50 µs.
 *
 * @param ringFd `ringFd` of the context to be woken.
 * @param result Any int32.
 * @param userData An integer from 0 to 2^53 - 1; with `WAKE_TAG`, if left out,
 * the target only wakes up.
 * @returns As `asyncMsgRing()`; the message is in the target's queue.
 * @throws {RangeError} If an argument is out of range.
 */
export function wake(
  ringFd: number,
  result = 0,
  userData: number = WAKE_TAG,
): Result<void> {
  const operation = operations.WAKE;
  const target = checkFd(ringFd, operation);
  checkMessage(result, userData, operation);
  const status = loadShim().kio_ring_message(target, result | 0, userData + 0);
  return status < 0 ? failure(-status, `wake ring ${target}`) : DONE;
}

/**
 * Gives an fd to another context of this process, whose thread then gets it by
 * `onFd`: connections from one thread that accepts to those that serve. An fd
 * number is valid in every thread, so what this is for is that somebody owns
 * it: the caller until this returns a success, then the target context, which
 * closes what it has not given to its `onFd` when it ends, and then `onFd`. It
 * works at once and from any thread; on Linux before 6.13 waking a target that
 * has none waiting takes some 50 µs.
 *
 * @param ringFd `ringFd` of the context that is to have the fd.
 * @param fd The fd; of a `Socket`, what `release()` returns.
 * @param tag An integer from 0 to 2^53 - 1 that comes with it.
 * @returns After an error the fd is still the caller's: `EBADFD` if no open
 * context has that ring, `EBADF` if `fd` is not open.
 * @throws {RangeError} If an argument is out of range; {TypeError} if `fd` is
 * the ring of a context.
 *
 * @example From one context to another
 * ```ts
 * import { passFd, IoContext, Socket, unwrap } from "@kio/kio";
 *
 * using target = new IoContext();
 * const { promise: arrived, resolve } = Promise.withResolvers<Socket>();
 * target.onFd = (fd) => resolve(new Socket(fd));
 * const running = target.run();
 * const [left, right] = unwrap(Socket.pair());
 * unwrap(passFd(target.ringFd, left.release()));
 * await Promise.all([arrived.then((socket) => socket.close()), right.close()]);
 * target.stop();
 * await running;
 * ```
 */
export function passFd(ringFd: number, fd: number, tag = 0): Result<void> {
  const { verb } = operations.PASS_FD;
  const target = checkFd(ringFd, operations.PASS_FD);
  const given = checkOwned(checkInteger(fd, 2 ** 31 - 1, "fd", verb), verb);
  const number = checkInteger(tag, Number.MAX_SAFE_INTEGER, "tag", verb);
  const status = loadShim().kio_fd_send(target, given, number);
  if (status < 0) return failure(-status, `pass fd ${given}`);
  offered.delete(given);
  return DONE;
}

function checkMessage(
  result: number,
  userData: number,
  operation: Operation,
): void {
  checkInteger(userData, Number.MAX_SAFE_INTEGER, "userData", operation.verb);
  if ((result | 0) === result) return;
  throw new RangeError(
    `Cannot ${operation.verb}: result must be an int32, got ${result}`,
  );
}

/**
 * Queues operations as a chain: each starts when the one before it has
 * succeeded. When one fails, or a read or write is short, those behind it
 * complete with `ECANCELED`. The kernel runs the whole chain for one call. See
 * IOSQE_IO_LINK in io_uring_enter(2).
 *
 * The kernel goes on after a failed `asyncFallocate()`, `asyncFdatasync()`,
 * `asyncFstat()`, `asyncFsync()`, `asyncFtruncate()`, `asyncRename()`,
 * `asyncShutdown()` or `asyncUnlink()`.
 *
 * It refuses the whole chain, what is before it too, for an operation that it
 * does not even try: a path that is empty or too long, or flags of
 * `asyncSplice()` and `asyncUnlink()` that it does not know.
 *
 * A link that is cancelled, aborted or timed out before it starts never runs.
 * For that the library takes the operation under way back, and queues it and
 * those up to the cancelled link again. A `MSG_WAITALL` transfer that has moved
 * a part by then gives that part, and ends the chain. What the kernel cannot
 * cancel, like a write to a file, goes on: a link behind it that completes at
 * once may still run.
 *
 * @typeParam T What `queue` returns, as a rule the operations.
 * @param ctx The context.
 * @param queue Queues operations of this context, synchronously. Up to as many
 * as the context has entries, those beyond complete with `E2BIG`. Sleeps, which
 * are not the kernel's, are no part of the chain.
 * @returns What `queue` returned. If `queue` throws, the exception is passed on
 * and what it had queued is cancelled: nothing of it happens that was not
 * submitted before, and an `asyncClose()` closes its fd.
 * @throws {TypeError} If called within another `link()` of the context, or the
 * context is closed.
 *
 * @example A durable write
 * ```ts
 * import {
 *   asyncFdatasync, asyncOpen, asyncWrite, IoContext, link, O_RDWR, O_TMPFILE,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const fd = await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600).orThrow();
 * const [written, synced] = link(ctx, () => [
 *   asyncWrite(ctx, fd, new TextEncoder().encode("record")),
 *   asyncFdatasync(ctx, fd),
 * ]);
 * console.log(await written, await synced);
 * ```
 */
export function link<const T>(ctx: IoContext, queue: () => T): T {
  const ring = ringOf(ctx, operations.LINK);
  checkFunction(queue, "queue", operations.LINK.verb);
  const links = ring.beginChain();
  try {
    return queue();
  } catch (error) {
    // Nobody has them in hand.
    for (const op of links) op.cancel();
    throw error;
  } finally {
    ring.endChain();
  }
}

// ---- what operations are made of -----------------------------------------------

function checkAddress(
  address: SocketAddress,
  operation: Operation,
): Uint8Array<ArrayBuffer> {
  if (address instanceof SocketAddress) return bytesOfAddress(address);
  throw new TypeError(
    `Cannot ${operation.verb}: expected a SocketAddress, got ${typeof address}`,
  );
}

/** Memory for a number of struct iovec behind `head` bytes, filled. */
function vectorsFor(
  ring: Ring,
  buffers: readonly BufferLike[],
  head: number,
  operation: Operation,
): Uint8Array<ArrayBuffer> {
  checkArray(buffers, "buffers", operation.verb);
  const count = buffers.length;
  const countMin = head === 0 ? 1 : 0;
  if (count < countMin || count > VECTORS_MAX) {
    throw new RangeError(
      `Cannot ${operation.verb}: expected ${countMin} to ${VECTORS_MAX} buffers, got ${count}`,
    );
  }
  const memory = new Uint8Array(head + VECTOR_SIZE * count);
  const vectors = memory.subarray(head);
  let total = 0;
  for (let i = 0; i < count; i++) {
    const buffer = buffers[i]!;
    const length = checkPart(buffer, operation);
    ring.shim.kio_vector_set(vectors, i, buffer, length);
    total += length;
  }
  if (total === 0 && countMin > 0) {
    throw new RangeError(
      `Cannot ${operation.verb}: the buffers are empty; pass at least one byte`,
    );
  }
  return memory;
}

/** A struct msghdr, what it points to, and what has to stay. */
function messageFor(
  ring: Ring,
  { buffers, control }: RecvmsgHeader,
  name: Uint8Array,
  operation: Operation,
): { memory: Uint8Array<ArrayBuffer>; pinned: PinnedGroup } {
  if (control !== undefined && !(control instanceof Uint8Array)) {
    throw new TypeError(
      `Cannot ${operation.verb}: control must be a Uint8Array, got ${typeof control}`,
    );
  }
  const size = control === undefined ? 0 : checkBuffer(control, operation);
  const memory = vectorsFor(ring, buffers, MESSAGE_VECTORS_AT, operation);
  memory.set(name, MESSAGE_NAME_AT);
  ring.shim.kio_message_init(
    memory,
    name.length,
    buffers.length,
    control ?? null,
    size,
  );
  const all = control === undefined ? [...buffers] : [...buffers, control];
  return { memory, pinned: new PinnedGroup(memory, all) };
}

function uint32At(memory: Uint8Array, at: number): number {
  return new DataView(memory.buffer, memory.byteOffset).getUint32(at, true);
}
