/** The streams of the Web for a connection. */
import { isDetached } from "../lib/check.ts";
import { SEND } from "../lib/ops/table.ts";
import { type Result, unwrap } from "../lib/result.ts";

/** The memory of one receive. */
const RECEIVE_SIZE = 2 ** 16;
/** As many bytes are copied, and their memory received into again: the memory
 * of a chunk that is given away would be mostly empty. */
const COPY_MAX = RECEIVE_SIZE / 2;

type Bytes = Uint8Array<ArrayBuffer>;

/** A connection, as far as its streams need it. */
export interface Connection {
  /** Receives once, and calls `then` with the result. */
  receive(
    buffer: Bytes,
    then: (result: Result<number>) => Promise<void> | undefined,
  ): PromiseLike<void>;
  /** Sends all of it. If it cannot, it calls `failed`, and rejects. */
  send(data: Uint8Array, failed: () => void): PromiseLike<void>;
  /** Ends the receive that is under way. */
  cancelReceive(): void;
  /** Ends the sending side; throws for an error. */
  endWrite(): void;
  /** Closes the connection. */
  close(): Promise<void>;
  /** Closes it with a reset. */
  reset(): Promise<void>;
}

/** Makes the two streams of a connection, each when it is asked for. When both
 * have ended, the connection is closed. */
export class ByteStreams {
  readonly #connection: Connection;
  #readable: ReadableStream<Bytes> | undefined;
  #writable: WritableStream<Uint8Array> | undefined;
  #hasRead = false;
  #hasWritten = false;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  get readable(): ReadableStream<Bytes> {
    return this.#readable ??= new ReadableStream(
      new Source(this.#connection, () => {
        this.#hasRead = true;
        return this.#closeIfOver();
      }),
    );
  }

  get writable(): WritableStream<Uint8Array> {
    return this.#writable ??= new WritableStream(
      new Sink(this.#connection, () => {
        this.#hasWritten = true;
        return this.#closeIfOver();
      }),
    );
  }

  #closeIfOver(): Promise<void> | undefined {
    return this.#hasRead && this.#hasWritten
      ? this.#connection.close()
      : undefined;
  }
}

type End = () => Promise<void> | undefined;

/** Receives when the consumer asks for bytes: one receive at a time, into the
 * consumer's own buffer if there is one. */
class Source implements UnderlyingByteSource {
  readonly type = "bytes";
  readonly #connection: Connection;
  readonly #end: End;
  /** Memory of the next receive. It never gets out of here while the kernel has
   * it, nor does a buffer of the consumer: the stream has taken that away. */
  #memory: Bytes | undefined;
  #receiving: PromiseLike<void> | undefined;
  #isCancelled = false;

  constructor(connection: Connection, end: End) {
    this.#connection = connection;
    this.#end = end;
  }

  /** It is no async function, as it runs for each chunk. */
  pull(controller: ReadableByteStreamController): PromiseLike<void> {
    const request = controller.byobRequest;
    const buffer = request !== null
      ? request.view as Bytes
      : this.#memory ??= new Uint8Array(RECEIVE_SIZE);
    const take = (result: Result<number>) => {
      this.#receiving = undefined;
      if (this.#isCancelled) return undefined;
      if (!result.ok) return this.#fail(result);
      const count = result.value;
      if (count === 0) return this.#finish(controller);
      if (request !== null) request.respond(count);
      else if (count <= COPY_MAX) controller.enqueue(buffer.slice(0, count));
      else {
        this.#memory = undefined;
        controller.enqueue(buffer.subarray(0, count));
      }
      return undefined;
    };
    try {
      return this.#receiving = this.#connection.receive(buffer, take);
    } catch (error) {
      // The context is full or closed, which ends the stream as well.
      void this.#connection.close();
      throw error;
    }
  }

  async #finish(controller: ReadableByteStreamController): Promise<void> {
    await this.#end();
    if (this.#isCancelled) return;
    controller.close();
    // A read into the consumer's own buffer gets it back.
    controller.byobRequest?.respond(0);
  }

  async #fail(result: Result<number>): Promise<void> {
    // Nothing can be received any more, so nobody may come to close it.
    await this.#connection.close();
    unwrap(result);
  }

  /** Waits until the kernel has let go of the memory. */
  async cancel(): Promise<void> {
    this.#isCancelled = true;
    this.#connection.cancelReceive();
    await this.#receiving;
    await this.#end();
  }
}

/** Sends one chunk after the other, each whole. */
class Sink implements UnderlyingSink<Uint8Array> {
  readonly #connection: Connection;
  readonly #end: End;

  constructor(connection: Connection, end: End) {
    this.#connection = connection;
    this.#end = end;
  }

  start({ signal }: WritableStreamDefaultController): void {
    // abort() waits for the write that is under way, which may be stuck.
    signal.addEventListener("abort", () => void this.#connection.reset());
  }

  write(chunk: Uint8Array): PromiseLike<void> | undefined {
    try {
      if (!(chunk instanceof Uint8Array)) {
        throw new TypeError(
          `Cannot ${SEND.verb}: a chunk must be a Uint8Array, got ${typeof chunk}`,
        );
      }
      if (chunk.length === 0 && !isDetached(chunk)) return undefined;
      return this.#connection.send(chunk, this.#end);
    } catch (error) {
      // The stream ends here, and its peer must not take that for the end.
      void this.#connection.reset();
      throw error;
    }
  }

  async close(): Promise<void> {
    try {
      this.#connection.endWrite();
    } finally {
      await this.#end();
    }
  }

  abort(): Promise<void> {
    return this.#connection.reset();
  }
}
