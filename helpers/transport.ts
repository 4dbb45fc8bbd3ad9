import type { IoContext } from "../lib/IoContext.ts";
import { checkBounds } from "../lib/check.ts";
import { SHUT_WR } from "../lib/constants.ts";
import { ringOf } from "../lib/internal.ts";
import { asyncRecv, asyncShutdown } from "../lib/ops/socket.ts";
import { RECV } from "../lib/ops/table.ts";
import type { Result } from "../lib/result.ts";
import { bound, type BoundOptions } from "../lib/ring/bounds.ts";
import { Refs } from "../lib/ring/refs.ts";
import type { UringOp } from "../lib/UringOp.ts";
import type { Socket } from "../net/Socket.ts";
import { asyncSendExact } from "./exact.ts";

/** A source of bytes that come in order: the receiving side of a
 * {@linkcode Transport}. */
export interface ByteSource {
  /**
   * Receives the bytes that are there, and waits for the first.
   *
   * @param buffer Memory for them, one byte or more. It belongs to the source
   * until the promise is resolved.
   * @param options `timeoutMs` and `signal`. Neither loses a byte.
   * @returns The number of bytes; 0 at the end.
   */
  recv(
    buffer: Uint8Array<ArrayBuffer>,
    options?: BoundOptions,
  ): Promise<Result<number>>;
}

/**
 * A connection, as far as a protocol needs it: the same server runs on TCP, on
 * unix sockets, behind TLS and in a test. {@linkcode SocketTransport} is one on a
 * socket.
 */
export interface Transport extends ByteSource, AsyncDisposable {
  /**
   * Sends all of the data.
   *
   * @param data The data, one byte or more; it must be neither transferred nor
   * changed until the promise is resolved. Join a head and a small body: over
   * TLS each call makes records of its own.
   * @param options `timeoutMs` and `signal` for the whole.
   * @returns The length of the data.
   * @throws {RangeError} If `data` is empty.
   */
  send(
    data: Uint8Array,
    options?: BoundOptions,
  ): Promise<Result<number>>;

  /** Ends the sending side: the peer reads an end, and may go on sending. */
  shutdown(): Promise<Result<void>>;

  /** Ends what is pending, and closes the connection. Does nothing the second
   * time. */
  close(): Promise<void>;
}

/**
 * A {@linkcode Transport} on a stream socket: a `TcpStream`, or a unix one. It
 * owns the socket.
 *
 * @example A server that a test can run without a network
 * ```ts
 * import {
 *   BufferedReader, IoContext, Socket, SocketTransport, type Transport, unwrap,
 * } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * async function serve(peer: Transport): Promise<void> {
 *   for await (const line of new BufferedReader(peer).lines()) {
 *     const answer = new TextEncoder().encode(`${unwrap(line).toUpperCase()}\n`);
 *     unwrap(await peer.send(answer));
 *   }
 *   await peer.close();
 * }
 *
 * using ctx = new IoContext();
 * const [a, b] = unwrap(Socket.pair());
 * const [client, server] = [new SocketTransport(ctx, a), new SocketTransport(ctx, b)];
 * const serving = serve(server);
 * unwrap(await client.send(new TextEncoder().encode("hello\n")));
 * assertEquals(unwrap(await new BufferedReader(client).line()), "HELLO");
 * await client.shutdown();
 * await Promise.all([serving, client.close()]);
 * ```
 */
export class SocketTransport implements Transport {
  readonly #ctx: IoContext;
  #refs: Refs | undefined;
  /** The last receive. */
  #receiving: UringOp<number> | undefined;
  /** The socket, which this object owns. */
  readonly socket: Socket;

  /**
   * Takes ownership of a socket.
   *
   * @param ctx The context of its operations.
   * @param socket A connected stream socket.
   * @throws {TypeError} If `ctx` is no context.
   */
  constructor(ctx: IoContext, socket: Socket) {
    ringOf(ctx, RECV);
    this.#ctx = ctx;
    this.socket = socket;
  }

  /**
   * Receives by recv(2), as `asyncRecv()` does.
   *
   * @param buffer Memory for the bytes; it must not be transferred until
   * completion.
   * @param options `timeoutMs` and `signal`.
   * @returns The number of bytes; 0 when the peer has closed its side. The errors
   * of `asyncRecv()`.
   * @throws {RangeError} If `timeoutMs` is out of range, `buffer` is empty, or the
   * socket is closed.
   * @throws {TypeError} If an argument has the wrong type, or the context is
   * closed.
   */
  recv(
    buffer: Uint8Array<ArrayBuffer>,
    options: BoundOptions = {},
  ): UringOp<number> {
    checkBounds(options, RECV.verb);
    const op = asyncRecv(this.#ctx, this.socket, buffer);
    bound(op, options);
    this.#receiving = op;
    if (this.#refs !== undefined) this.#count(this.#refs, op);
    return op;
  }

  #count(refs: Refs, op: UringOp<number>): void {
    refs.started();
    void op.then(() => refs.ended());
  }

  /** Has a pending receive keep the process alive, as it does by default. */
  ref(): void {
    this.#refs?.set(false);
  }

  /** Has no pending receive keep the process alive, also none that follows. */
  unref(): void {
    if (this.#refs === undefined) {
      this.#refs = new Refs(this.#ctx);
      if (this.#receiving !== undefined) {
        this.#count(this.#refs, this.#receiving);
      }
    }
    this.#refs.set(true);
  }

  /**
   * Sends all of the data by send(2), as `asyncSendExact()` does.
   *
   * @param data The data, one byte or more; it must be neither transferred nor
   * changed until completion.
   * @param options `timeoutMs` and `signal` for the whole.
   * @returns The length of the data; the errors of `asyncSendExact()`.
   * @throws As `recv()`.
   */
  send(data: Uint8Array, options: BoundOptions = {}): UringOp<number> {
    return asyncSendExact(this.#ctx, this.socket, data, options);
  }

  /**
   * Ends the sending side by shutdown(2).
   *
   * @returns `ENOTCONN` if the peer has reset the connection …
   * @throws {RangeError} If the socket is closed.
   * @throws {TypeError} If the context is closed.
   */
  shutdown(): UringOp<void> {
    return asyncShutdown(this.#ctx, this.socket, SHUT_WR);
  }

  /** Closes the socket, as `Socket.close()` does. */
  close(): Promise<void> {
    return this.socket.close();
  }

  /** Closes the socket, as `Socket.close()` does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
