/** A connection of TLS as a {@linkcode Transport}. */
import type { X509Certificate } from "node:crypto";
import type tls from "node:tls";
import type { Transport } from "../helpers/transport.ts";
import { checkBounds, checkBytes } from "../lib/check.ts";
import { ECANCELED, EFAULT, EPIPE } from "../lib/errno.ts";
import {
  DONE,
  type Failure,
  failure,
  type Result,
  success,
} from "../lib/result.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";
import type { Below } from "./tls_below.ts";
import { tlsFailure, truncated } from "./tls_errors.ts";
import { within } from "./tls_waits.ts";

const RECV = "receive by TLS";
const SEND = "send by TLS";
const END = "end TLS";

/** Decrypted bytes that wait to be received, before the peer is stopped. */
const WAITING_MAX = 64 * 1024;

/** Milliseconds that the last bytes may take when a connection is closed. */
const CLOSE_MS = 1000;

/**
 * A connection that is encrypted by TLS. A server or a client that is written
 * for a {@linkcode Transport} takes it as it takes a connection of TCP.
 * `TlsAcceptor`, `startTls()` and `connectTls()` make them.
 */
export class TlsStream implements Transport {
  readonly #below: Below;
  readonly #socket: tls.TLSSocket;
  /** Decrypted, and not received yet; the first may be there in part. */
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  /** The end, or the error that all receives give from now on. */
  #end: Result<number> | undefined;
  /** Wakes the receive that waits. */
  #wake: ((late?: Failure) => void) | undefined;
  /** Ends the sends that are pending. */
  readonly #sends = new Set<(lost: Failure) => void>();
  /** Why nothing can be sent any more. */
  #broken: Failure | undefined;
  #closing: Promise<void> | undefined;
  #canSend = true;

  /** Made by `TlsAcceptor` and `startTls()`.
   * @ignore */
  constructor(below: Below, socket: tls.TLSSocket) {
    this.#below = below;
    this.#socket = socket;
    // Node's stream would hold each chunk once more.
    socket.push = (chunk: Uint8Array | null) => this.#take(chunk);
    // The peer has closed the connection. All that came before was decrypted.
    below.prependListener("end", () => this.#finish(truncated(RECV)));
    const fail = (error: Error) => this.#break(tlsFailure(error, RECV));
    socket.on("error", fail);
    // Errors of a server have this name, as it has no tls.Server above it.
    socket.on("_tlsError", fail);
    socket.on("close", () => this.#break(failure(ECANCELED, RECV)));
  }

  /** The protocol that ALPN has agreed on; undefined if there is none. */
  get alpnProtocol(): string | undefined {
    return this.#socket.alpnProtocol || undefined;
  }

  /** The name that the client has asked for (SNI); undefined if there is none. */
  get serverName(): string | undefined {
    const { servername } = this.#socket as { servername?: unknown };
    return typeof servername === "string" && servername !== ""
      ? servername
      : undefined;
  }

  /** The version: `"TLSv1.3"` or `"TLSv1.2"`. */
  get protocol(): string | undefined {
    return this.#socket.getProtocol() ?? undefined;
  }

  /** The certificate of the peer; undefined if it has shown none. */
  get peerCertificate(): X509Certificate | undefined {
    return this.#socket.getPeerX509Certificate();
  }

  #take(chunk: Uint8Array | null): boolean {
    if (chunk === null) this.#finish(success(0));
    else if (this.#end === undefined) {
      this.#waiting.push(chunk);
      this.#waitingBytes += chunk.length;
      if (this.#waitingBytes >= WAITING_MAX) this.#below.shut();
      this.#wake?.();
    }
    return true;
  }

  /** Notes how it ends; the first end counts. */
  #finish(end: Result<number>): void {
    this.#end ??= end;
    this.#wake?.();
  }

  /** Ends both directions. Node calls back without an error for data that it
   * drops, so the sends are ended here. */
  #break(why: Failure): void {
    this.#finish(why);
    this.#broken ??= why;
    for (const lose of this.#sends) lose(this.#broken);
  }

  /**
   * Receives bytes that TLS has decrypted.
   *
   * @param buffer Memory for them, one byte or more.
   * @param options `timeoutMs` and `signal`. Neither loses a byte.
   * @returns The number of bytes; 0 after the close_notify of the peer.
   * `ERR_SSL_UNEXPECTED_EOF_WHILE_READING` if the connection has ended without
   * one: what came may be a part only. `ECONNRESET`, `ECANCELED` after `close()`,
   * and errors of TLS, which are named as Node names them. `EFAULT` if `buffer`
   * was transferred before bytes came, which wait for the next receive.
   * @throws {RangeError} If `buffer` is empty, or `timeoutMs` is out of range.
   * @throws {TypeError} If an argument has the wrong type, or another receive is
   * pending.
   */
  recv(
    buffer: Uint8Array<ArrayBuffer>,
    options: BoundOptions = {},
  ): Promise<Result<number>> {
    checkBounds(options, RECV);
    checkBytes(buffer, "buffer", RECV);
    if (this.#wake !== undefined) {
      throw new TypeError(
        `Cannot ${RECV}: another receive is pending; await it first`,
      );
    }
    if (options.signal?.aborted) {
      return Promise.resolve(failure(ECANCELED, RECV));
    }
    if (this.#waiting.length > 0 || this.#end !== undefined) {
      return Promise.resolve(this.#received(buffer));
    }
    const { promise, resolve } = Promise.withResolvers<Result<number>>();
    this.#wake = (late) => {
      this.#wake = undefined;
      resolve(late ?? this.#received(buffer));
    };
    return within(promise, options, (late) => this.#wake?.(late));
  }

  /** The result of a receive that need not wait. */
  #received(buffer: Uint8Array): Result<number> {
    // It was transferred meanwhile. 0 bytes would be an end.
    if (buffer.length === 0) return failure(EFAULT, RECV);
    return this.#waiting.length > 0 ? success(this.#fill(buffer)) : this.#end!;
  }

  /** Moves bytes that wait into a buffer. */
  #fill(buffer: Uint8Array): number {
    let at = 0;
    while (at < buffer.length && this.#waiting.length > 0) {
      const chunk = this.#waiting[0]!;
      const part = chunk.subarray(0, buffer.length - at);
      buffer.set(part, at);
      at += part.length;
      if (part.length === chunk.length) this.#waiting.shift();
      else this.#waiting[0] = chunk.subarray(part.length);
    }
    this.#waitingBytes -= at;
    if (this.#waitingBytes < WAITING_MAX) this.#below.open();
    return at;
  }

  /**
   * Encrypts all of the data and sends it.
   *
   * @param data The data, one byte or more; it must be neither transferred nor
   * changed until the promise is resolved.
   * @param options `timeoutMs` and `signal`. If one of them ends it, the
   * connection is closed, too: a part of a record may be on its way. A signal
   * that is aborted already sends nothing, and leaves the connection open.
   * @returns The length of the data. `EPIPE` after `shutdown()`; `ETIMEDOUT`,
   * `ECANCELED`, `ECONNRESET`, and errors of TLS.
   * @throws {RangeError} If `data` is empty, or `timeoutMs` is out of range.
   * @throws {TypeError} If an argument has the wrong type.
   */
  send(
    data: Uint8Array,
    options: BoundOptions = {},
  ): Promise<Result<number>> {
    checkBounds(options, SEND);
    checkBytes(data, "data", SEND);
    if (this.#broken !== undefined || !this.#canSend) {
      return Promise.resolve(this.#broken ?? failure(EPIPE, SEND));
    }
    if (options.signal?.aborted) {
      return Promise.resolve(failure(ECANCELED, SEND));
    }
    const { promise, resolve } = Promise.withResolvers<Result<number>>();
    this.#sends.add(resolve);
    const sent = success(data.length);
    const settle = (error?: Error | null) =>
      this.#settle(resolve, error, SEND, sent);
    if (this.#below.engine !== undefined) this.#below.encrypt(data, settle);
    else this.#socket.write(data, (error) => this.#whenSent(error, settle));
    return within(promise, options, (late) => {
      this.#sends.delete(resolve);
      resolve(late);
      this.#break(failure(ECANCELED, SEND));
      this.#socket.destroy();
    });
  }

  /**
   * Ends the sending side by close_notify. The peer reads an end, and may go on
   * sending: the connection below stays open until `close()`.
   *
   * @returns When all is sent; an error of `send()`. The second time it does
   * nothing.
   */
  shutdown(): Promise<Result<void>> {
    if (this.#broken !== undefined || !this.#canSend) {
      return Promise.resolve(this.#broken ?? DONE);
    }
    const { promise, resolve } = Promise.withResolvers<Result<void>>();
    this.#canSend = false;
    this.#sends.add(resolve);
    const settle = (error?: Error | null) =>
      this.#settle(resolve, error, END, DONE);
    if (this.#below.engine !== undefined) {
      this.#below.encrypt("close_notify", settle);
    } else this.#socket.end(() => this.#whenSent(null, settle));
    return promise;
  }

  /** Settles when the bytes are in the connection below. */
  #whenSent(
    error: Error | null | undefined,
    settle: (error?: Error | null) => void,
  ): void {
    if (error) settle(error);
    else this.#below.whenSent(settle);
  }

  #settle<T>(
    resolve: (result: Result<T>) => void,
    error: Error | null | undefined,
    verb: string,
    result: Result<T>,
  ): void {
    this.#sends.delete(resolve);
    resolve(error ? tlsFailure(error, verb) : result);
  }

  /**
   * Sends close_notify, closes the connection below, and ends what is pending
   * with `ECANCELED`. It waits a second at most until the kernel has taken the
   * last bytes. These reach a slow peer too, unless bytes of its own were not
   * received: that resets it. To be sure, `shutdown()`, then receive until the
   * end. Does nothing the second time.
   */
  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    const closed = failure(ECANCELED, RECV);
    // Also after an end of the peer, and bytes that nobody has received.
    this.#waiting.length = 0;
    this.#end = closed;
    this.#wake?.();
    const { promise, resolve } = Promise.withResolvers<unknown>();
    void this.shutdown().then(resolve);
    await within(promise, { timeoutMs: CLOSE_MS }, resolve);
    this.#break(closed);
    this.#socket.destroy();
    await this.#below.close();
  }

  /** Closes the connection as `close()` does. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
