import { Duplex } from "node:stream";
import type { Transport } from "../helpers/transport.ts";
import { ECANCELED, EFAULT } from "../lib/errno.ts";
import { errorOf, type Result } from "../lib/result.ts";
import { nodeError } from "./errors.ts";
import { type Engine, PLAIN_MAX } from "./tls_engine.ts";

/** Bytes that a receive has room for: more than a record of TLS. */
const ROOM = 32 * 1024;

/** Milliseconds that an alert may take: a peer that does not read does not hold
 * up the end. */
export const ALERT_MS = 100;

type Callback = (error?: Error | null) => void;

/** A part of the encrypted stream, its end, or a mark: all before it was sent.
 * Plain ones are encrypted when their turn comes: a close_notify, too. */
interface Outgoing {
  readonly data: Uint8Array | "close_notify" | "end" | "mark";
  readonly isPlain: boolean;
  done: Callback;
}

const NOTHING = () => {};

/** Bytes of an array that is freed at once. */
const FREED_MIN = 16 * 1024;

/** Frees an array that was sent, if all memory of it is its own. Large answers
 * make many, and the collections of them would take a fifth of the CPU. */
function free({ buffer, length }: Uint8Array<ArrayBuffer>): void {
  if (length >= FREED_MIN && length === buffer.byteLength) buffer.transfer(0);
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
  /** Encrypts and decrypts from the end of the handshake on; undefined if the
   * streams of Node go on with it. */
  engine: Engine | undefined;
  /** The engine until the end of the handshake, for what it says of a failure. */
  failing: Engine | undefined;
  /** Called for a send that fails in the handshake: TLS does not tell. */
  onFailedSend: ((error: Error) => void) | undefined;
  /** The alert that ends the connection is on its way. */
  #alerting: Promise<unknown> | undefined;
  /** TLS may have an answer of its own to what came. */
  #mayOwe = false;

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
        const data = this.#buffer.subarray(0, received.value);
        if (this.engine === undefined) this.emit("data", data);
        else this.#decrypt(this.engine, data);
      }
    } catch (error) {
      this.#breakOff(error);
    }
  }

  #decrypt(engine: Engine, data: Uint8Array): void {
    engine.decrypt(data);
    // What is encrypted next takes an answer along.
    this.#mayOwe = true;
    if (!this.#isSending) this.#answer(engine);
  }

  /** Sends what TLS itself answers. */
  #answer(engine: Engine): void {
    this.#mayOwe = false;
    const data = engine.output();
    if (data.length > 0) this.#send({ data, isPlain: false, done: NOTHING });
  }

  // It has bytes whether asked or not.
  override _read(): void {}

  /** Sends what TLS has encrypted, and calls back. */
  override write(data: Uint8Array, ...rest: unknown[]): boolean {
    const last = rest.at(-1);
    const done = typeof last === "function" ? last as Callback : NOTHING;
    this.#send({ data, isPlain: false, done });
    return true;
  }

  /** Encrypts by the engine, and sends: data, or the end of it. */
  encrypt(data: Uint8Array | "close_notify", done: Callback): void {
    this.#send({ data, isPlain: true, done });
  }

  override _write(data: Uint8Array, _: BufferEncoding, done: Callback): void {
    this.#send({ data, isPlain: false, done });
  }

  override _final(done: Callback): void {
    this.#send({ data: "end", isPlain: false, done });
  }

  /** Calls back when all is sent that TLS has given until now, or has failed.
   * Deno's `node:tls` calls back earlier. */
  whenSent(done: Callback): void {
    if (this.#isSending || this.#failed !== undefined) {
      this.#send({ data: "mark", isPlain: false, done });
    } else done(null);
  }

  #send(it: Outgoing): void {
    // Records are sent in the order in which they were encrypted.
    const at = it.isPlain || this.engine === undefined
      ? -1
      : this.#outgoing.findIndex(({ isPlain }) => isPlain);
    if (at < 0) this.#outgoing.push(it);
    else this.#outgoing.splice(at, 0, it);
    if (!this.#isSending) this.#sendNext();
  }

  /** Sends one part after the other: two at a time could mix. It is no async
   * function, as it runs for each message. */
  #sendNext(): void {
    this.#isSending = true;
    for (let next; (next = this.#outgoing.shift()) !== undefined;) {
      const data = this.#failed === undefined ? this.#encrypted(next) : "mark";
      const { done } = next;
      if (data === "mark") {
        done(this.#failed ?? null);
        continue;
      }
      const goOn = (failed: Error | undefined) => {
        if (next.isPlain) free(data as Uint8Array<ArrayBuffer>);
        this.#failed = failed;
        if (failed !== undefined) this.onFailedSend?.(failed);
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
    if (this.#mayOwe) this.#answer(this.engine!);
  }

  /** Gives what to send for a part; a mark if that has failed. */
  #encrypted(part: Outgoing): Uint8Array | "end" | "mark" {
    if (!part.isPlain) return part.data as Uint8Array | "end" | "mark";
    let { data } = part;
    if (data.length > PLAIN_MAX) {
      const plain = data as Uint8Array;
      data = plain.subarray(0, PLAIN_MAX);
      this.#outgoing.unshift({ ...part, data: plain.subarray(PLAIN_MAX) });
      part.done = NOTHING;
    }
    const engine = this.engine!;
    try {
      const encrypted = data === "close_notify"
        ? engine.end()
        : engine.encrypt(data as Uint8Array);
      if (encrypted.length > 0) return encrypted;
      // It was transferred, or TLS is destroyed.
      const errno = data.length === 0 ? EFAULT : ECANCELED;
      this.#failed = nodeError("write", errorOf(errno));
    } catch (error) {
      this.#failed = error as Error;
    }
    return "mark";
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
    this.#alerting = this.#alert();
    this.close().then(() => done(error), done);
  }

  /** Sends the alert that tells the peer why TLS ends, if there is one and
   * nothing is in its way. */
  async #alert(): Promise<void> {
    if (this.#isSending || this.#failed !== undefined) return;
    const data = (this.engine ?? this.failing)?.output();
    if (data === undefined || data.length === 0) return;
    try {
      await this.#transport.send(data, { timeoutMs: ALERT_MS });
    } catch {
      // It is closed, or its context.
    }
  }

  /** Closes the connection, behind an alert. */
  async close(): Promise<void> {
    await this.#alerting;
    await this.#transport.close();
  }
}
