/** The client of the demo: it has a message go round on each connection. */
import {
  asyncConnect,
  asyncRecvMultishot,
  asyncSendExact,
  type BufferLease,
  type BufferPool,
  type IoContext,
  Socket,
  type SocketAddress,
  type Task,
  unwrap,
} from "@kio/kio";
import { Buffer } from "node:buffer";

/** Gets the bytes of a message that has come back, and the time that it took. */
export type OnAnswer = (bytes: number, ms: number) => void;

/**
 * A connection to an echo server. The client compares each chunk with what it
 * has sent, and sends the same buffer again, without a promise: it takes less of
 * the processor than the servers do.
 */
export class Client implements AsyncDisposable {
  readonly #ctx: IoContext;
  readonly #socket: Socket;
  readonly #onAnswer: OnAnswer;
  #message: Uint8Array<ArrayBuffer> = new Uint8Array();
  /** The place in the message of the next chunk. */
  #at = 0;
  /** Bytes that have not come back yet. */
  #away = 0;
  #sentMs = 0;
  #endMs = 0;
  #turn = Promise.withResolvers<void>();

  private constructor(
    ctx: IoContext,
    socket: Socket,
    pool: BufferPool,
    onAnswer: OnAnswer,
  ) {
    this.#ctx = ctx;
    this.#socket = socket;
    this.#onAnswer = onAnswer;
    const stream = asyncRecvMultishot(ctx, socket, pool, {
      onChunk: (chunk) => this.#take(chunk),
    });
    void stream.closed.then(() =>
      this.#turn.reject(new Error("a server has closed a connection"))
    );
  }

  static async connect(
    ctx: IoContext,
    address: SocketAddress,
    pool: BufferPool,
    onAnswer: OnAnswer,
  ): Task<Client> {
    const socket = unwrap(Socket.open(address.family));
    await asyncConnect(ctx, socket, address).orThrow();
    socket.setNodelay(true);
    return new Client(ctx, socket, pool, onAnswer);
  }

  /** Has the message go round until that time, and waits for its end. */
  async talk(message: Uint8Array<ArrayBuffer>, endMs: number): Task<void> {
    this.#turn = Promise.withResolvers();
    this.#message = message;
    this.#at = 0;
    this.#away = message.length;
    this.#endMs = endMs;
    this.#sentMs = performance.now();
    await asyncSendExact(this.#ctx, this.#socket, message).orThrow();
    await this.#turn.promise;
  }

  #take(chunk: BufferLease): void {
    const { length } = chunk;
    const end = this.#at + length;
    const expected = this.#message.subarray(this.#at, end);
    if (Buffer.compare(chunk.bytes, expected) !== 0) {
      return this.#turn.reject(new Error("other bytes came back"));
    }
    this.#at = end % this.#message.length;
    this.#away -= length;
    const nowMs = performance.now();
    if (this.#at === 0) {
      this.#onAnswer(end, nowMs - this.#sentMs);
      this.#sentMs = nowMs;
    }
    if (nowMs < this.#endMs) {
      this.#away += length;
      chunk.sendTo(this.#socket);
    } else if (this.#away === 0) this.#turn.resolve();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Its stream ends; that is no failure any more.
    this.#turn.promise.catch(() => {});
    await this.#socket.close();
  }
}
