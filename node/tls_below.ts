import { Duplex } from "node:stream";
import type { Transport } from "../helpers/transport.ts";
import type { Result } from "../lib/result.ts";
import { nodeError } from "./errors.ts";

/** Bytes that a receive has room for: more than a record of TLS. */
const ROOM = 32 * 1024;

type Callback = (error?: Error | null) => void;

/** A part of the encrypted stream, its end, or a mark: all before it was sent. */
interface Outgoing {
  readonly data: Uint8Array | "end" | "mark";
  readonly done: Callback;
}

/**
 * A connection as `node:tls` needs it below: a stream of Node, whose bytes go
 * past the buffers of Node's streams. `toNodeSocket()` has these as well, and
 * takes 1.3 µs more a message.
 *
 * It receives when its gate is open only. The gate is shut
 *
 * - until TLS has started. Deno's `node:tls` throws where nobody can catch it if
 *   there is an error before that, such as the first bytes of a client that does
 *   not speak TLS;
 * - while decrypted bytes wait to be received. Deno's `node:tls` reads on although
 *   the stream above it is full.
 */
export class Below extends Duplex {
  readonly #transport: Transport;
  /** Lets the next receive through; undefined if the gate is open. */
  #gate: PromiseWithResolvers<void> | undefined = Promise.withResolvers();
  readonly #buffer = new Uint8Array(ROOM);
  readonly #outgoing: Outgoing[] = [];
  #isSending = false;
  /** The exception of the transport, if there is one: it is closed, or its
   * context. */
  thrown: unknown;
  /** The error of a send: nothing is sent behind it. */
  #failed: Error | undefined;

  constructor(transport: Transport) {
    super({ allowHalfOpen: true, emitClose: true });
    this.#transport = transport;
    void this.#receiveAll();
  }

  /** Goes on receiving. */
  open(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  /** Receives no more than what is on its way. */
  shut(): void {
    this.#gate ??= Promise.withResolvers();
  }

  async #receiveAll(): Promise<void> {
    try {
      for (;;) {
        while (this.#gate !== undefined) await this.#gate.promise;
        if (this.destroyed) return;
        const received = await this.#transport.recv(this.#buffer);
        if (this.destroyed) return;
        if (!received.ok) {
          this.destroy(nodeError("read", received.error));
          return;
        }
        if (received.value === 0) {
          this.push(null);
          return;
        }
        // node:tls has taken all of it when it returns.
        this.emit("data", this.#buffer.subarray(0, received.value));
      }
    } catch (error) {
      this.#breakOff(error);
    }
  }

  // It has bytes whether asked or not.
  override _read(): void {}

  /** Sends what TLS has encrypted, and calls back. */
  override write(data: Uint8Array, ...rest: unknown[]): boolean {
    const done = rest.at(-1);
    this.#send(data, typeof done === "function" ? done as Callback : () => {});
    return true;
  }

  override _write(data: Uint8Array, _: BufferEncoding, done: Callback): void {
    this.#send(data, done);
  }

  override _final(done: Callback): void {
    this.#send("end", done);
  }

  /** Calls back when all is sent that TLS has given until now, or has failed.
   * Deno's `node:tls` calls back earlier. */
  whenSent(done: Callback): void {
    if (this.#isSending || this.#failed !== undefined) this.#send("mark", done);
    else done(null);
  }

  #send(data: Outgoing["data"], done: Callback): void {
    this.#outgoing.push({ data, done });
    if (!this.#isSending) this.#sendNext();
  }

  /** Sends one part after the other: two at a time could mix. It is no async
   * function, as it runs for each message. */
  #sendNext(): void {
    this.#isSending = true;
    for (let next; (next = this.#outgoing.shift()) !== undefined;) {
      const { data, done } = next;
      if (data === "mark" || this.#failed !== undefined) {
        done(this.#failed ?? null);
        continue;
      }
      const goOn = (failed: Error | undefined) => {
        this.#failed = failed;
        done(failed ?? null);
        this.#sendNext();
      };
      this.#attempt(data).then(
        (sent) => goOn(sent.ok ? undefined : nodeError("write", sent.error)),
        (error) => {
          this.#breakOff(error);
          goOn(error);
        },
      );
      return;
    }
    this.#isSending = false;
  }

  #attempt(data: Uint8Array | "end"): Promise<Result<unknown>> {
    try {
      return data === "end"
        ? this.#transport.shutdown()
        : this.#transport.send(data);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Ends with an exception of the transport. */
  #breakOff(error: unknown): void {
    // TLS sends an alert also when it has closed the transport.
    if (!this.destroyed) this.thrown = error;
    this.destroy(error as Error);
  }

  override _destroy(error: Error | null, done: Callback): void {
    // The receive that waits at the gate ends.
    this.open();
    this.#transport.close().then(() => done(error), done);
  }
}
