import { checkDelay, checkInteger, checkOptions } from "./check.ts";
import { POOL, ringOf } from "./internal.ts";
import type { IoContext } from "./IoContext.ts";
import { Pool } from "./ring/pool.ts";
import type { PooledBuffer, PoolStats } from "./ring/stats.ts";

/** The most buffers of a ring of the kernel. */
const COUNT_MAX = 32768;
const SIZE_MAX = 2 ** 30;
const MEMORY_MAX = 2 ** 32;

/** A peer that is there takes something within some seconds, also after a loss:
 * TCP repeats a segment six times by then. */
const SEND_TIMEOUT_MS = 10_000;

const VERB = "open a BufferPool";

/** Options of `new BufferPool()`. */
export interface BufferPoolOptions {
  /** Buffers, 1 to 32768: as many as connections that are busy at a time, or
   * twice as many.
   * @default {256} */
  count?: number | undefined;
  /** Bytes of each, 1 to 2^30: the most that one result has. All together 2^32
   * at most.
   * @default {16384} */
  size?: number | undefined;
  /** Milliseconds, 0 or more, that a peer may take for a lease of `sendTo()`
   * while others need its buffer: streams wait, and for all that time none was
   * free. After that its sends end, their buffers come back, and the streams of
   * these leases end with `ETIMEDOUT`. While there are buffers a slow reader may
   * take as long as it likes; with Infinity it always may, unless leases of
   * another pool wait for the same socket.
   * @default {10_000} */
  sendTimeoutMs?: number | undefined;
}

/**
 * Owns buffers that the kernel picks from when data has come. Connections that
 * wait need no buffers of their own: a pool of 256 serves thousands.
 *
 * The kernel takes them from a ring that io_uring_register_buf_ring(3) makes.
 * The memory is one piece, as `ctx.allocate()` gives it. Giving a buffer back
 * takes no system call. A context may have several pools, of different sizes.
 *
 * When all buffers are out the streams with data wait, and go on in the order in
 * which they began to wait. A stream that goes on is behind the others for the next
 * buffer.
 *
 * @example An echo without a buffer for each connection
 * ```ts
 * import {
 *   asyncRecv, asyncRecvMultishot, asyncSend, asyncShutdown, BufferPool,
 *   IoContext, SHUT_WR, Socket, unwrap,
 * } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * using pool = new BufferPool(ctx, { count: 16, size: 4096 });
 * const [client, server] = unwrap(Socket.pair());
 * await asyncSend(ctx, client, new TextEncoder().encode("hello"));
 * await asyncShutdown(ctx, client, SHUT_WR);
 * for await (const chunk of asyncRecvMultishot(ctx, server, pool).orThrow()) {
 *   chunk.sendTo(server);
 * }
 * await asyncRecv(ctx, client, new Uint8Array(5)).orThrow();
 * await Promise.all([client.close(), server.close()]);
 * ```
 */
export class BufferPool implements Disposable, AsyncDisposable {
  private readonly [POOL]: Pool;

  /**
   * Allocates the buffers, and registers them.
   *
   * @param ctx The context.
   * @param options How many, and their size.
   * @throws {RangeError} If an option is out of range.
   * @throws {TypeError} If `ctx` is no context, or is closed.
   * @throws {Error} With `code` `ENOMEM` if there is no memory.
   * @throws {Deno.errors.NotCapable} If `--allow-ffi` has a list of paths.
   */
  constructor(ctx: IoContext, options: BufferPoolOptions = {}) {
    const ring = ringOf(ctx, { verb: VERB });
    checkOptions(options, VERB);
    const { count = 256, size = 16384, sendTimeoutMs = SEND_TIMEOUT_MS } =
      options;
    checkInteger(count, COUNT_MAX, "count", VERB, 1);
    checkInteger(size, SIZE_MAX, "size", VERB, 1);
    checkInteger(count * size, MEMORY_MAX, "count * size", VERB, 1);
    if (sendTimeoutMs !== Infinity) {
      checkDelay(sendTimeoutMs, "sendTimeoutMs", VERB);
    }
    const memory = ctx.allocate(count * size);
    // Their number, and that of each: see ffi/shim/pool.c.
    const returned = ctx.allocate(4 * (count + 1));
    this[POOL] = new Pool(
      ring,
      memory,
      returned,
      count,
      size,
      sendTimeoutMs,
    );
  }

  /** Gives the figures of the pool. */
  stats(): PoolStats {
    const { count, size, free, leased, starved, starvations, group } =
      this[POOL];
    const isNative = group >= 0;
    return { count, size, free, leased, starved, starvations, isNative };
  }

  /** Lists the leases that are out. With the option `trace` of the context it
   * tells where each was taken or kept, so that one that was forgotten can be
   * found. */
  inspect(): PooledBuffer[] {
    return this[POOL].inspect();
  }

  /** Writes the text that `console.log(pool)` prints. */
  [Symbol.for("Deno.customInspect")](): string {
    const { count, size, leased } = this.stats();
    const lines = this.inspect().map(({ length, isKept, stack }) =>
      `\n  ${length} bytes${isKept ? ", kept" : ""}${stack && `\n${stack}`}`
    );
    return `BufferPool { ${leased} of ${count} leased, ${size} bytes each }${
      lines.join("")
    }`;
  }

  /**
   * Closes the pool: it cancels its streams, and unregisters the buffers when
   * the kernel has let go of them. Leases that are out stay valid, and so does
   * their memory until nothing refers to it. Closing the context closes its
   * pools.
   *
   * @returns When the buffers are unregistered.
   */
  async close(): Promise<void> {
    this[POOL].close();
    await this[POOL].closed;
  }

  /** Closes the pool as `close()` does, without waiting for the end. */
  [Symbol.dispose](): void {
    this[POOL].close();
  }

  /** Closes the pool as `close()` does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
