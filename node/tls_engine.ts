/**
 * The engine of TLS inside of a socket of `node:tls`, past the streams of Node
 * around it: bytes in, bytes out. Deno does not document these members, so
 * `openEngine()` tries each of them, and gives undefined where one is missing.
 * The streams of Node do the same at a higher cost.
 */
import type tls from "node:tls";

/** The most bytes that are encrypted at once: Deno would keep the rest. */
export const PLAIN_MAX = 48 * 1024;

/** The part of Deno's handle that is used here. */
interface Handle {
  readBuffer(data: Uint8Array): void;
  writeBuffer(request: object, data: Uint8Array): number;
  drainEncOut(): Uint8Array;
  shutdown(request: object): number;
}

/** For results of writes and of the end, which are known without it. */
const REQUEST = Object.freeze({});

const NOTHING = new Uint8Array();

/** Encrypts and decrypts for a socket whose handshake is over. */
export class Engine {
  readonly #socket: tls.TLSSocket;
  readonly #handle: Handle;
  /** Those of the handle itself also wake its stream. */
  readonly #methods: Handle;

  constructor(socket: tls.TLSSocket, handle: Handle, methods: Handle) {
    this.#socket = socket;
    this.#handle = handle;
    this.#methods = methods;
  }

  /** Decrypts, and gives all to the `push()` of the socket before it returns. */
  decrypt(data: Uint8Array): void {
    this.#methods.readBuffer.call(this.#handle, data);
  }

  /** Encrypts 1 to `PLAIN_MAX` bytes. Gives that, and before it what TLS itself
   * has to say; nothing if that cannot be. */
  encrypt(data: Uint8Array): Uint8Array {
    if (this.#socket.destroyed) return NOTHING;
    const methods = this.#methods;
    const status = methods.writeBuffer.call(this.#handle, REQUEST, data);
    return status === 0 ? this.output() : NOTHING;
  }

  /** Gives the close_notify. */
  end(): Uint8Array {
    if (this.#socket.destroyed) return NOTHING;
    this.#methods.shutdown.call(this.#handle, REQUEST);
    return this.output();
  }

  /** Gives what TLS itself has to say: an alert, a new key. */
  output(): Uint8Array {
    return this.#methods.drainEncOut.call(this.#handle);
  }
}

/** Gives the engine of a socket, or undefined if Deno has no such members. */
export function openEngine(socket: tls.TLSSocket): Engine | undefined {
  const { _handle: handle } = socket as unknown as { _handle: Handle };
  const methods: Handle = Object.getPrototypeOf(handle);
  const { readBuffer, writeBuffer, drainEncOut, shutdown } = methods;
  const areKnown = [readBuffer, writeBuffer, drainEncOut, shutdown]
    .every((method: unknown) => typeof method === "function");
  return areKnown ? new Engine(socket, handle, methods) : undefined;
}
