import { loadShim } from "../ffi/load.ts";
import { MSG_WAITALL, SHUT_WR } from "../lib/constants.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncRecv, asyncSend, asyncShutdown } from "../lib/ops/socket.ts";
import { RECV, SEND, SHUTDOWN } from "../lib/ops/table.ts";
import { unwrap } from "../lib/result.ts";
import { checkNotClosed } from "../lib/ring/close_idle.ts";
import { Refs } from "../lib/ring/refs.ts";
import type { UringOp } from "../lib/UringOp.ts";
import { ByteStreams } from "./byte_streams.ts";
import { call, contextOf } from "./call.ts";
import { Socket } from "./Socket.ts";

const LACK = "the stream has no IoContext; pass one to its constructor";

/**
 * A connected stream socket, and the members that it shares with `Deno.Conn`.
 * Operations take it wherever they take an fd, and give results. Its own members
 * throw for an error of the system, with the class of `Deno.errors` that fits.
 *
 * They need a context. `connect()`, `incoming()`, `accept()` and `Connections`
 * give the stream theirs.
 */
export abstract class StreamSocket extends Socket {
  readonly #ctx: IoContext | undefined;
  #refs: Refs | undefined;
  #streams: ByteStreams | undefined;

  /**
   * Takes ownership of an fd, as `Socket` does.
   *
   * @param fd The fd of a connected stream socket.
   * @param ctx The context of `read()`, `write()`, `readable` and the other
   * members that Deno has. Without it they throw.
   * @throws {RangeError} If `fd` is no integer from 0 to 2^31 - 1.
   * @throws {TypeError} If `fd` is the ring of a context, or `ctx` is no context.
   */
  constructor(fd: number, ctx?: IoContext) {
    if (ctx !== undefined) ringOf(ctx, { verb: "own a socket" });
    super(fd);
    this.#ctx = ctx;
  }

  /**
   * Receives the bytes that are there by recv(2), and waits for the first.
   *
   * @param buffer The buffer; it must not be transferred until completion.
   * @returns The number of bytes; null when the peer has closed its side. 0 if
   * the buffer is empty.
   * @throws {Error} (as a rejection) An error of `asyncRecv()`.
   * @throws {TypeError} If the socket or the context is closed, the stream has no
   * context, or `buffer` is no buffer.
   */
  read(buffer: Uint8Array): Promise<number | null> {
    this.#contextFor(RECV.verb);
    if (buffer.length === 0) return Promise.resolve(0);
    return this.#receive(buffer).then((result) => {
      this.#refs!.ended();
      return unwrap(result) || null;
    });
  }

  /**
   * Sends bytes by send(2).
   *
   * @param data The data; it must be neither transferred nor changed until
   * completion.
   * @returns The number of bytes, which may be fewer than given;
   * `asyncSendExact()` sends all.
   * @throws {Error} (as a rejection) An error of `asyncSend()`.
   * @throws {TypeError} As `read()`.
   */
  write(data: Uint8Array): Promise<number> {
    const ctx = this.#contextFor(SEND.verb);
    if (data.length === 0) return Promise.resolve(0);
    return asyncSend(ctx, this, data).then(unwrap<number>);
  }

  /**
   * Ends the sending side by shutdown(2): the peer reads an end, and may go on
   * sending. What was sent before still arrives.
   *
   * @throws {Error} (as a rejection) `ENOTCONN` if the peer has reset the
   * connection …
   * @throws {TypeError} As `read()`.
   */
  closeWrite(): Promise<void> {
    return asyncShutdown(this.#contextFor(SHUTDOWN.verb), this, SHUT_WR)
      .orThrow();
  }

  /**
   * The bytes that come, as a byte stream. It receives when somebody reads, one
   * receive at a time. A reader of the mode `"byob"` has the kernel write into
   * its own buffer; other readers get up to 64 KiB at a time.
   *
   * An end of the peer ends the stream. `cancel()` ends the receive, and what
   * comes later is not read. An error closes the connection. When this stream
   * and `writable` have both ended, the connection is closed. Otherwise close
   * it yourself.
   *
   * @throws {TypeError} As `read()`.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#byteStreams(RECV.verb).readable;
  }

  /**
   * Sends each chunk whole. A chunk must be neither transferred nor changed
   * until its write is over. `close()` ends the sending side, as `closeWrite()`
   * does, after all chunks. `abort()` resets the connection, as `reset()` does,
   * also while a write waits for the peer.
   *
   * @throws {TypeError} As `read()`.
   */
  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    return this.#byteStreams(SEND.verb).writable;
  }

  /** Has pending reads keep the process alive, as they do by default. */
  ref(): void {
    this.#refsFor("ref").set(false);
  }

  /** Has no pending read keep the process alive, also none that follows. */
  unref(): void {
    this.#refsFor("unref").set(true);
  }

  #receive(buffer: Uint8Array): UringOp<number> {
    const op = asyncRecv(this.#ctx!, this, buffer);
    (this.#refs ??= new Refs(this.#ctx!)).started();
    return op;
  }

  /** It is no async function, as it runs for each chunk. */
  #sendAll(data: Uint8Array, failed: () => void): Promise<void> {
    checkNotClosed(this, SEND.verb);
    return asyncSend(this.#ctx!, this, data, MSG_WAITALL).then((result) => {
      if (!result.ok) failed();
      const count = unwrap(result);
      if (count === data.length) return undefined;
      // Closing the connection cuts a send short, too.
      return this.#sendAll(data.subarray(count), failed);
    });
  }

  #byteStreams(verb: string): ByteStreams {
    if (this.#streams !== undefined) return this.#streams;
    this.#contextFor(verb);
    let receiving: UringOp<number> | undefined;
    return this.#streams = new ByteStreams({
      receive: (buffer, then) => {
        checkNotClosed(this, RECV.verb);
        receiving = this.#receive(buffer);
        return receiving.then((result) => {
          this.#refs!.ended();
          return then(result);
        });
      },
      cancelReceive: () => receiving?.cancel(),
      send: (data, failed) => this.#sendAll(data, failed),
      endWrite: () =>
        unwrap(call(
          this,
          SHUTDOWN.verb,
          (fd) => loadShim().kio_socket_shutdown(fd, SHUT_WR),
        )),
      close: () => this.close(),
      reset: () => this.reset(),
    });
  }

  #refsFor(verb: string): Refs {
    return this.#refs ??= new Refs(this.#contextFor(verb));
  }

  #contextFor(verb: string): IoContext {
    return contextOf(this, this.#ctx, verb, LACK);
  }
}
