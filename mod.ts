/**
 * Linux io_uring from TypeScript: files, sockets and timers at close to the
 * speed of plain C. The caller owns the buffers, and errors are results instead
 * of exceptions.
 *
 * An {@linkcode IoContext} owns a ring. Operations (`asyncRead`, `asyncRecv` …)
 * start at once and give a promise of a {@linkcode Result}. They can be bounded
 * in time, cancelled or tied to an `AbortSignal`. Sockets are in {@linkcode
 * Socket}, {@linkcode TcpListener}, {@linkcode TcpStream} and {@linkcode
 * SocketAddress}; {@linkcode BlockingPool} and {@linkcode offload} have threads
 * for calls that block. It needs Linux 6.1 or later and `--allow-ffi`.
 *
 * @example Echo
 * ```ts
 * import { asyncRecv, asyncSend, IoContext, Socket, unwrap } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const [left, right] = unwrap(Socket.pair());
 * const buffer = new Uint8Array(64);
 * await asyncSend(ctx, left, new TextEncoder().encode("hello"));
 * const count = await asyncRecv(ctx, right, buffer).orThrow();
 * console.log(new TextDecoder().decode(buffer.subarray(0, count)));
 * await Promise.all([left.close(), right.close()]);
 * ```
 *
 * @module
 */
import "./imports.ts";

export type { IoContextOptions } from "./lib/context_options.ts";
export { IoContext, type Task } from "./lib/IoContext.ts";
export type { AllocateOptions } from "./lib/allocate.ts";
export type { Capabilities, RingFlag, Support } from "./lib/capabilities.ts";
export type { Feature, FeatureSupport } from "./lib/ring/features.ts";
export type { RingOperation } from "./lib/ops/rows.ts";
export * from "./lib/io.ts";
export * from "./lib/ops/advise.ts";
export * from "./lib/ops/control.ts";
export type { DirectOptions } from "./lib/ops/direct.ts";
export * from "./lib/ops/directory.ts";
export type { FileStat, FileStatNs, FileType } from "./lib/ops/file_stat.ts";
export type { DirEntry } from "./lib/ops/folder.ts";
export * from "./lib/ops/install_fd.ts";
export * from "./lib/ops/path.ts";
export * from "./lib/ops/pipe.ts";
export * from "./lib/ops/socket_option.ts";
export * from "./lib/ops/socket_setup.ts";
export * from "./lib/ops/stat.ts";
export * from "./lib/ops/symlink.ts";
export * from "./lib/ops/tee.ts";
export * from "./lib/ops/xattr.ts";
export * from "./lib/ops/zero_copy.ts";
export * from "./lib/threads/threads.ts";
export * from "./lib/constants.ts";
export {
  type Failure,
  type IoError,
  type Result,
  type Success,
  unwrap,
} from "./lib/result.ts";
export type {
  ContextStats,
  PendingOperation,
  PooledBuffer,
  PoolStats,
} from "./lib/ring/stats.ts";
export type { Latencies } from "./lib/ring/latency.ts";
export type { SlowOperation } from "./lib/ring/watch.ts";
export type { BufferLease } from "./lib/BufferLease.ts";
export type { MessageLease } from "./lib/MessageLease.ts";
export { BufferPool, type BufferPoolOptions } from "./lib/BufferPool.ts";
export type { UringOp } from "./lib/UringOp.ts";
export type { UringStream } from "./lib/UringStream.ts";
export {
  type BufferLike,
  CURRENT_POSITION,
  type Fd,
  type Offset,
  type Path,
} from "./lib/check.ts";
export { DirectFd } from "./lib/DirectFd.ts";
export { dup } from "./lib/dup.ts";
export { pin } from "./lib/pin.ts";
export { WAKE_TAG } from "./lib/ring/Ring.ts";
export type { BoundOptions } from "./lib/ring/bounds.ts";
export * from "./net/net.ts";
export * from "./helpers/io_helpers.ts";
