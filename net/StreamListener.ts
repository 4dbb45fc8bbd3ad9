import { checkFd } from "../lib/check.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import type { MultishotOptions } from "../lib/io.ts";
import { acceptStream } from "../lib/ops/accept_stream.ts";
import { queueMaxOf } from "../lib/ops/queue_max.ts";
import { asyncAccept } from "../lib/ops/socket.ts";
import { ACCEPT, ACCEPT_MULTISHOT } from "../lib/ops/table.ts";
import { unwrap } from "../lib/result.ts";
import { OVER, type Step } from "../lib/ring/iterators.ts";
import { Refs } from "../lib/ring/refs.ts";
import type { UringStream } from "../lib/UringStream.ts";
import { contextOf } from "./call.ts";
import { Socket } from "./Socket.ts";
import type { StreamSocket } from "./StreamSocket.ts";

const LACK = "the listener has no IoContext; give bind() one: { ctx }";

/**
 * A socket that listens, and the members that it shares with `Deno.Listener`.
 * These throw for an error of the system, with the class of `Deno.errors` that
 * fits. They need the context that `bind()` or the constructor was given.
 *
 * @typeParam S The connections.
 */
export abstract class StreamListener<S extends StreamSocket> extends Socket
  implements AsyncIterable<S> {
  readonly #ctx: IoContext | undefined;
  readonly #streamOf: (fd: number, ctx: IoContext) => S;
  #refs: Refs | undefined;

  /** Takes ownership of an fd, for `TcpListener` and `UnixListener`. */
  constructor(
    fd: number,
    ctx: IoContext | undefined,
    streamOf: (fd: number, ctx: IoContext) => S,
  ) {
    if (ctx !== undefined) ringOf(ctx, { verb: "own a socket" });
    super(fd);
    this.#ctx = ctx;
    this.#streamOf = streamOf;
  }

  /**
   * Accepts connections by accept4(2), one after the other, as
   * `asyncAcceptMultishot()` does. `acceptLoop()` does more for a server: at the
   * end it serves the clients that wait.
   *
   * @param ctx The context, also of the connections.
   * @param options The length of the queue.
   * @returns The connections. Who takes one owns it and must close it; those
   * that nobody takes are closed. An error of one connection, or a lack of fds
   * or memory, is a result like any other, and the stream goes on. It ends with
   * this listener: `ECANCELED`.
   * @throws {RangeError} If `queueMax` is out of range, or the listener is
   * closed.
   * @throws {TypeError} If an argument has the wrong type, the context is
   * closed, or it is called within `link()`.
   *
   * @example Greet who connects
   * ```ts
   * import {
   *   asyncSend, IoContext, SocketAddress, TcpListener, unwrap,
   * } from "@kio/kio";
   *
   * using ctx = new IoContext();
   * await using listener = unwrap(TcpListener.bind(SocketAddress.v4(0)));
   * const stop = AbortSignal.timeout(10);
   * for await (const result of listener.incoming(ctx).withSignal(stop)) {
   *   if (!result.ok) continue;
   *   await using connection = result.value;
   *   await asyncSend(ctx, connection, new TextEncoder().encode("hello\n"));
   * }
   * ```
   */
  incoming(
    ctx: IoContext,
    options: MultishotOptions = {},
  ): UringStream<S> {
    const ring = ringOf(ctx, ACCEPT_MULTISHOT);
    const fd = checkFd(this, ACCEPT_MULTISHOT);
    const queueMax = queueMaxOf(options, ACCEPT_MULTISHOT);
    // Connections that wait to be taken: each owns its fd from the start.
    return acceptStream(ring, fd, queueMax, {
      of: (fd) => this.#streamOf(fd, ctx),
      keep: () => {},
      give: () => {},
      discard: (stream) => stream[Symbol.dispose](),
    });
  }

  /**
   * Accepts a connection by accept4(2).
   *
   * @returns The connection, which the caller has to close.
   * @throws {Error} (as a rejection) `ECANCELED` if the listener is closed
   * meanwhile; an error of `asyncAccept()`.
   * @throws {TypeError} If the listener or the context is closed, or the
   * listener has no context.
   */
  accept(): Promise<S> {
    const ctx = this.#contextFor(ACCEPT.verb);
    const op = asyncAccept(ctx, this);
    (this.#refs ??= new Refs(ctx)).started();
    return op.then((result) => {
      this.#refs!.ended();
      return this.#streamOf(unwrap(result), ctx);
    });
  }

  /**
   * Iterates over connections, each by `accept()`. As with a `Deno.Listener`,
   * leaving the loop closes the listener, and closing the listener ends the
   * loop. `incoming()` is faster, and leaves the listener open.
   *
   * @throws {TypeError} As `accept()`.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<S, undefined> {
    this.#contextFor(ACCEPT.verb);
    return new Accepted(this);
  }

  /** Has a pending accept keep the process alive, as it does by default. */
  ref(): void {
    this.#refsFor("ref").set(false);
  }

  /** Has no pending accept keep the process alive, also none that follows. */
  unref(): void {
    this.#refsFor("unref").set(true);
  }

  #refsFor(verb: string): Refs {
    return this.#refs ??= new Refs(this.#contextFor(verb));
  }

  #contextFor(verb: string): IoContext {
    return contextOf(this, this.#ctx, verb, LACK);
  }
}

class Accepted<S extends StreamSocket>
  implements AsyncIterableIterator<S, undefined> {
  readonly #listener: StreamListener<S>;

  constructor(listener: StreamListener<S>) {
    this.#listener = listener;
  }

  async next(): Promise<Step<S>> {
    if (this.#listener.fd === -1) return OVER;
    try {
      return { done: false, value: await this.#listener.accept() };
    } catch (error) {
      if (this.#listener.fd === -1) return OVER;
      throw error;
    }
  }

  async return(): Promise<Step<S>> {
    await this.#listener.close();
    return OVER;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
