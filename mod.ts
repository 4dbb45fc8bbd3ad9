/**
 * Linux io_uring from TypeScript: files, sockets and timers at close to the
 * speed of plain C, with buffers that the caller owns and results instead of
 * exceptions.
 *
 * An {@linkcode IoContext} owns a ring. Operations (`asyncRead`, `asyncRecv` …)
 * start at once, give a promise of a {@linkcode Result}, and can be bounded in
 * time, cancelled or tied to an `AbortSignal`. Sockets are in
 * {@linkcode Socket}, {@linkcode TcpListener}, {@linkcode TcpStream} and
 * {@linkcode SocketAddress}, threads for what blocks in
 * {@linkcode BlockingPool} and {@linkcode offload}.
 * Needs Linux 6.1 or later and `--allow-ffi`.
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
export {
  IoContext,
  type IoContextOptions,
  type Task,
} from "./lib/IoContext.ts";
export type { Capabilities, Feature, Support } from "./lib/capabilities.ts";
export * from "./lib/io.ts";
export * from "./lib/ops/control.ts";
export * from "./lib/ops/path.ts";
export * from "./lib/ops/pipe.ts";
export * from "./lib/threads/join_pool.ts";
export * from "./lib/threads/worker_pool.ts";
export * from "./lib/constants.ts";
export {
  type Failure,
  type IoError,
  type Result,
  type Success,
  unwrap,
} from "./lib/result.ts";
export type { ContextStats, PendingOperation } from "./lib/ring/stats.ts";
export type { UringOp } from "./lib/UringOp.ts";
export {
  type Buffer,
  CURRENT_POSITION,
  type Fd,
  type Offset,
} from "./lib/check.ts";
export {
  BlockingPool,
  type BlockingPoolOptions,
  type FunctionJob,
  type JobOptions,
  type ModuleJob,
  offload,
} from "./lib/threads/blocking_pool.ts";
export { pin } from "./lib/pin.ts";
export { WAKE_TAG } from "./lib/ring/Ring.ts";
export type { BoundOptions } from "./lib/ring/bounds.ts";
export * from "./net/net.ts";
export * from "./helpers/io_helpers.ts";

// Deno parses the source map of each module that is the first to import another
// one: 6 ms of 25 in all. So this small one is the first to import any of them.
import "./ffi/cache.ts";
import "./ffi/digest.ts";
import "./ffi/load.ts";
import "./ffi/memory.ts";
import "./ffi/resolve.ts";
import "./ffi/symbols.ts";
import "./helpers/sendfile.ts";
import "./lib/ring/bounds.ts";
import "./lib/capabilities.ts";
import "./lib/ring/chain.ts";
import "./lib/errno.ts";
import "./lib/ops/layout.ts";
import "./lib/threads/names.ts";
import "./lib/ring/offered.ts";
import "./lib/ops/table.ts";
import "./lib/ring/retained.ts";
import "./lib/threads/pool_messages.ts";
import "./lib/threads/pool_thread.ts";
import "./lib/SocketAddress.ts";
import "./lib/ring/abort.ts";
import "./lib/ring/cancel.ts";
import "./lib/ring/clock.ts";
import "./lib/ring/completion.ts";
import "./lib/ring/driver.ts";
import "./lib/ring/dump.ts";
import "./lib/ring/entry.ts";
import "./lib/ring/op.ts";
import "./lib/ring/opening.ts";
import "./lib/ring/operation.ts";
import "./lib/ring/settle.ts";
import "./lib/ring/start.ts";
import "./lib/ring/steps.ts";
import "./lib/ring/table.ts";
import "./lib/ring/stats.ts";
import "./lib/ring/timers.ts";
import "./lib/ring/waker.ts";
import "./lib/threads/worker_threads.ts";
import "./net/accept_loop.ts";
import "./net/connections.ts";
import "./net/on_error.ts";
import "./net/pause.ts";
import "./net/TcpStream.ts";
