import type { Transport } from "../helpers/transport.ts";
import type { Result } from "../lib/result.ts";

/**
 * A connection that is received from when its gate is open only. It is shut
 *
 * - until TLS has started. Deno's `node:tls` throws where nobody can catch it if
 *   there is an error before that, such as the first bytes of a client that does
 *   not speak TLS;
 * - while decrypted bytes wait to be received. Deno's `node:tls` reads on although
 *   the stream above it is full.
 */
export class Gate implements Transport {
  readonly transport: Transport;
  /** Lets a receive through; undefined if the gate is open. */
  #opened: PromiseWithResolvers<void> | undefined = Promise.withResolvers();

  constructor(transport: Transport) {
    this.transport = transport;
  }

  open(): void {
    this.#opened?.resolve();
    this.#opened = undefined;
  }

  shut(): void {
    this.#opened ??= Promise.withResolvers();
  }

  /** Is not async: that would cost a microsecond each time. */
  recv(buffer: Uint8Array<ArrayBuffer>): Promise<Result<number>> {
    return this.#opened === undefined
      ? this.transport.recv(buffer)
      : this.#opened.promise.then(() => this.recv(buffer));
  }

  send(data: Uint8Array): Promise<Result<number>> {
    return this.transport.send(data);
  }

  shutdown(): Promise<Result<void>> {
    return this.transport.shutdown();
  }

  close(): Promise<void> {
    // The receive that waits ends with the connection.
    this.open();
    return this.transport.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
