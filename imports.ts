/**
 * Imports every module of the library, before `mod.ts` does. Deno parses the
 * source map of each module that is the first to import another one, to know
 * where that was: 6 ms of 25 in all. This file is small, so its map costs
 * nothing.
 */

import "./ffi/cache.ts";
import "./ffi/digest.ts";
import "./ffi/load.ts";
import "./ffi/memory.ts";
import "./ffi/resolve.ts";
import "./ffi/symbols.ts";
import "./helpers/exact.ts";
import "./helpers/io_helpers.ts";
import "./helpers/sendfile.ts";
import "./lib/IoContext.ts";
import "./lib/SocketAddress.ts";
import "./lib/capabilities.ts";
import "./lib/check.ts";
import "./lib/constants.ts";
import "./lib/errno.ts";
import "./lib/internal.ts";
import "./lib/io.ts";
import "./lib/ip_text.ts";
import "./lib/names.ts";
import "./lib/ops/control.ts";
import "./lib/ops/layout.ts";
import "./lib/ops/offered.ts";
import "./lib/ops/path.ts";
import "./lib/ops/table.ts";
import "./lib/pin.ts";
import "./lib/registered_files.ts";
import "./lib/result.ts";
import "./lib/ring/bounds.ts";
import "./lib/ring/chain.ts";
import "./lib/ring/retained.ts";
import "./lib/ring/ring.ts";
import "./lib/ring/start.ts";
import "./lib/ring/stats.ts";
import "./lib/ring/timers.ts";
import "./lib/ring/waker.ts";
import "./lib/threads/blocking_pool.ts";
import "./lib/threads/join_pool.ts";
import "./lib/threads/messages.ts";
import "./lib/threads/offload.ts";
import "./lib/threads/pool_thread.ts";
import "./lib/threads/room.ts";
import "./lib/threads/threads.ts";
import "./lib/threads/worker.ts";
import "./lib/threads/worker_pool.ts";
import "./lib/worker_threads.ts";
import "./net/Socket.ts";
import "./net/TcpListener.ts";
import "./net/TcpStream.ts";
import "./net/accept_loop.ts";
import "./net/connections.ts";
import "./net/net.ts";
import "./net/on_error.ts";
import "./net/pause.ts";
