/**
 * The handle below a socket of Node. `net.Socket` tells its handle when to
 * read, asks it for addresses and options, and closes it; Node has one for each
 * kind of stream. This one is for a {@linkcode Transport}.
 */
import { executionAsyncId } from "node:async_hooks";
import { setImmediate } from "node:timers";
import { SocketTransport, type Transport } from "../helpers/transport.ts";
import { ECANCELED, ENOTCONN } from "../lib/errno.ts";
import { errorOf, type Result } from "../lib/result.ts";
import type { UringOp } from "../lib/UringOp.ts";
import type { SocketAddress } from "../lib/SocketAddress.ts";
import type { Socket } from "../net/Socket.ts";
import { nodeError } from "./errors.ts";

/** Bytes that a receive has room for: at first, and once it has filled that. */
const ROOM = 16 * 1024;
const ROOM_MAX = 64 * 1024;

/** Bytes that are sent at a time: the timeout counts from the last of them. */
const PIECE_SIZE = 256 * 1024;

const AT_ONCE = { timeoutMs: 0 };

/** The socket above a handle. Its calls throw nothing. */
export interface Above {
  /** Takes bytes that nobody else uses. Returns false for no more now. */
  take(bytes: Uint8Array<ArrayBuffer>): boolean;
  /** Takes the end of what the peer sends. */
  takeEnd(): void;
  /** Hears that bytes were sent. */
  sent(): void;
  /** Ends with an error. */
  fail(error: unknown): void;
}

/** An address, as Node has it. */
export interface NodeAddress {
  address?: string;
  family?: string;
  port?: number;
}

/** A {@linkcode Transport} with the members that Node expects. */
export class Handle {
  /** Set by Node as well. */
  reading = false;
  /** Resets the connection when it is closed. */
  resets = false;
  bytesRead = 0;
  bytesWritten = 0;
  readonly #transport: Transport;
  readonly #above: Above;
  #buffer = new Uint8Array(ROOM);
  #isReceiving = false;
  /** The last `send()`, and the operation that it waits for. */
  #sending: Promise<void> | undefined;
  #sendOp: Promise<Result<number>> | undefined;
  #isClosed = false;
  readonly #asyncId = executionAsyncId();

  constructor(transport: Transport, above: Above) {
    this.#transport = transport;
    this.#above = above;
  }

  #owner(): SocketTransport | undefined {
    return this.#transport instanceof SocketTransport
      ? this.#transport
      : undefined;
  }

  /** The socket of the transport; undefined if it has none of IP, or it is
   * closed. */
  get ipSocket(): Socket | undefined {
    const socket = this.#owner()?.socket;
    if (socket === undefined || socket.fd === -1) return undefined;
    return socket.localAddress?.family === "unix" ? undefined : socket;
  }

  readStart(): number {
    this.reading = true;
    if (!this.#isReceiving) void this.#receive();
    return 0;
  }

  /** Ends reading, but for the receive that is pending. */
  readStop(): number {
    this.reading = false;
    return 0;
  }

  async #receive(): Promise<void> {
    this.#isReceiving = true;
    try {
      while (this.reading) {
        const received = await this.#transport.recv(this.#buffer);
        if (this.#isClosed) return;
        if (!received.ok) {
          this.#above.fail(nodeError("read", received.error));
          return;
        }
        if (received.value === 0) {
          this.#above.takeEnd();
          return;
        }
        this.bytesRead += received.value;
        if (!this.#above.take(this.#taken(received.value))) this.readStop();
      }
    } catch (error) {
      if (!this.#isClosed) this.#above.fail(error);
    } finally {
      this.#isReceiving = false;
    }
  }

  /** Gives the first bytes of the buffer away: a copy if they are few. */
  #taken(count: number): Uint8Array<ArrayBuffer> {
    const buffer = this.#buffer;
    if (count < buffer.length / 2) return buffer.slice(0, count);
    this.#buffer = new Uint8Array(
      count === buffer.length ? ROOM_MAX : buffer.length,
    );
    return buffer.subarray(0, count);
  }

  /** Sends buffers, one after the other. */
  send(buffers: readonly Uint8Array[]): Promise<void> {
    for (const { length } of buffers) this.bytesWritten += length;
    return this.#sending = this.#send(buffers);
  }

  async #send(buffers: readonly Uint8Array[]): Promise<void> {
    const isOne = buffers.length === 1 && isPiece(buffers[0]!);
    for (const piece of isOne ? buffers : piecesOf(buffers)) {
      this.#sendOp = this.#transport.send(piece, this.#isClosed ? AT_ONCE : {});
      const sent = await this.#sendOp;
      if (!sent.ok) {
        // close() ends it by a timeout.
        const error = this.#isClosed ? errorOf(ECANCELED) : sent.error;
        throw nodeError("write", error);
      }
      this.#above.sent();
    }
  }

  /** Ends the sending side. */
  async sendEnd(): Promise<void> {
    const ended = await this.#transport.shutdown();
    // The peer has reset the connection: Node takes that for an end.
    if (!ended.ok && ended.error.errno !== ENOTCONN) {
      throw nodeError("shutdown", ended.error);
    }
  }

  /**
   * Closes the connection; then it calls `done`. Many programs destroy a socket
   * right after they have written to it. In Node the kernel has the data then,
   * if it has room for it. So has it here: a send that is pending may end, if it
   * need not wait.
   */
  async close(done: () => void): Promise<void> {
    this.#isClosed = true;
    this.reading = false;
    try {
      if (this.resets) await this.ipSocket?.reset();
      const op = this.#sendOp as Partial<UringOp<number>> | undefined;
      // Only such an operation can be made to end.
      if (op?.withTimeout !== undefined) {
        op.withTimeout(0);
        await this.#sending?.catch(() => {});
      }
      await this.#transport.close();
    } catch (error) {
      this.#above.fail(error);
    }
    // An error that ends the socket comes before its "close".
    setImmediate(done);
  }

  /** Names the operation for async_hooks. node:http asks for it. */
  getAsyncId(): number {
    return this.#asyncId;
  }

  // A transport that is no socket has no operation that could let the process
  // end, and no address.

  ref(): void {
    this.#owner()?.ref();
  }

  unref(): void {
    this.#owner()?.unref();
  }

  getsockname(into: NodeAddress): number {
    return fillAddress(into, this.ipSocket?.localAddress);
  }

  getpeername(into: NodeAddress): number {
    return fillAddress(into, this.ipSocket?.peerAddress);
  }

  // As in Node, options that cannot be set are not.

  // Node takes any value for true or false.
  setNoDelay(on: unknown): void {
    this.ipSocket?.setNodelay(Boolean(on));
  }

  setKeepAlive(on: unknown, idleSeconds: number): void {
    const socket = this.ipSocket;
    socket?.setKeepAlive(Boolean(on));
    if (on && idleSeconds > 0) {
      socket?.setOptions({
        keepAliveIdleSeconds: Math.min(idleSeconds, 32767),
      });
    }
  }
}

/** Gives Node an address of IP; a negative errno if there is none. */
export function fillAddress(
  into: NodeAddress,
  address: SocketAddress | undefined,
): number {
  if (address === undefined) return -ENOTCONN;
  into.address = address.host;
  into.family = address.family === "ipv4" ? "IPv4" : "IPv6";
  into.port = address.port;
  return 0;
}

function isPiece({ length }: Uint8Array): boolean {
  return length > 0 && length <= PIECE_SIZE;
}

/** Joins small buffers and cuts large ones, so that each gives one send. */
function* piecesOf(buffers: readonly Uint8Array[]): Generator<Uint8Array> {
  let some: Uint8Array[] = [];
  let size = 0;
  for (const buffer of buffers) {
    if (size > 0 && size + buffer.length > PIECE_SIZE) {
      yield joined(some, size);
      some = [];
      size = 0;
    }
    if (buffer.length <= PIECE_SIZE) {
      some.push(buffer);
      size += buffer.length;
      continue;
    }
    for (let at = 0; at < buffer.length; at += PIECE_SIZE) {
      yield buffer.subarray(at, at + PIECE_SIZE);
    }
  }
  if (size > 0) yield joined(some, size);
}

function joined(buffers: readonly Uint8Array[], size: number): Uint8Array {
  if (buffers.length === 1) return buffers[0]!;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const buffer of buffers) {
    whole.set(buffer, at);
    at += buffer.length;
  }
  return whole;
}
