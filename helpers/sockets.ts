/**
 * `connect()` in the manner of the Sockets API that WinterTC drafts, for
 * programs that are written for it: the client's side of TCP as streams.
 *
 * @module
 */
import {
  checkBoolean,
  checkInteger,
  checkOptions,
  checkText,
} from "../lib/check.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { CONNECT } from "../lib/ops/table.ts";
import { unwrap } from "../lib/result.ts";
import { TcpStream } from "../net/TcpStream.ts";

const PORT_MAX = 65535;

/** Where to connect to. */
export interface SocketAddress {
  /** A name or an address; one of IPv6 may have brackets. */
  readonly hostname: string;
  /** The port, 1 to 65535. */
  readonly port: number;
}

/** Options of `connect()`. */
export interface SocketOptions {
  /** There is no TLS here: `"on"` and `"starttls"` throw.
   * @default {"off"} */
  readonly secureTransport?: "off" | "on" | "starttls" | undefined;
  /** Leaves `writable` open when the peer has ended its side. Otherwise the
   * socket is closed then.
   * @default {false} */
  readonly allowHalfOpen?: boolean | undefined;
}

/** The ends of a connection. */
export interface SocketInfo {
  /** The address of the peer, with its port: `"127.0.0.1:80"`. */
  readonly remoteAddress: string;
  /** The own address, with its port. */
  readonly localAddress: string;
  /** Always null, as there is no TLS. */
  readonly alpn: null;
}

/** Tells that a socket could not connect; `cause` is the error of the system. */
export class SocketError extends TypeError {
  /** Makes an error with a message behind `"SocketError: "`. */
  constructor(message: string, options?: ErrorOptions) {
    super(`SocketError: ${message}`, options);
    this.name = "SocketError";
  }
}

/** A connection that `connect()` has begun. */
export class Socket implements AsyncDisposable {
  /** Resolves when the connection is there; rejects with a `SocketError`. */
  readonly opened: Promise<SocketInfo>;
  /** Resolves when the socket is closed; rejects if it could not connect. */
  readonly closed: Promise<void>;
  readonly #inbound = new Pass<Uint8Array<ArrayBuffer>>();
  readonly #outbound = new Pass<Uint8Array<ArrayBufferLike>>();
  readonly #abort = new AbortController();
  #stream: TcpStream | undefined;

  /** Begins to connect; `connect()` checks the arguments. */
  constructor(ctx: IoContext, to: SocketAddress, allowHalfOpen: boolean) {
    this.opened = this.#open(ctx, to);
    this.closed = this.opened.then(() => this.#run(allowHalfOpen));
    // As in the draft, nobody has to look at them.
    this.closed.catch(() => {});
  }

  /** The bytes that come. It can be read from at once, and has bytes when the
   * connection is there. */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#inbound.readable;
  }

  /** Sends each chunk whole, when the connection is there. `close()` ends the
   * sending side, `abort()` resets the connection. */
  get writable(): WritableStream<Uint8Array<ArrayBufferLike>> {
    return this.#outbound.writable;
  }

  /** Always false: there is no TLS here. */
  get upgraded(): boolean {
    return false;
  }

  /**
   * Closes the connection, or ends the attempt to connect. A write that is under
   * way is cut off; wait for `writable` to be closed first.
   *
   * @param reason Why: writes that are not over reject with it.
   * @returns As `closed`.
   */
  close(reason?: unknown): Promise<void> {
    const error = reason ?? new SocketError("the socket is closed");
    this.#abort.abort(error);
    // It gives up the fd first: else the error would reset the connection.
    void this.#stream?.close();
    this.#inbound.controller.terminate();
    this.#outbound.controller.error(error);
    return this.closed;
  }

  /**
   * Refuses to start TLS, which the library does not have.
   *
   * @throws {SocketError} Always.
   */
  startTls(): Socket {
    throw new SocketError(
      "Cannot start TLS: secureTransport is off; Deno.connectTls() has TLS",
    );
  }

  /** Closes the connection, as `close()` does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close().catch(() => {});
  }

  async #open(
    ctx: IoContext,
    { hostname, port }: SocketAddress,
  ): Promise<SocketInfo> {
    const { signal } = this.#abort;
    try {
      const connecting = TcpStream.connect(ctx, hostname, port, { signal });
      const stream = this.#stream = unwrap(await connecting);
      return {
        remoteAddress: `${stream.peerAddress}`,
        localAddress: `${stream.localAddress}`,
        alpn: null,
      };
    } catch (cause) {
      const error = signal.aborted
        ? signal.reason
        : new SocketError((cause as Error).message, { cause });
      this.#inbound.controller.error(error);
      this.#outbound.controller.error(error);
      throw error;
    }
  }

  /** Moves the bytes until both directions have ended. */
  async #run(allowHalfOpen: boolean): Promise<void> {
    const stream = this.#stream!;
    if (stream.fd === -1) return;
    const received = stream.readable.pipeTo(this.#inbound.writable);
    const sent = this.#outbound.readable.pipeTo(stream.writable);
    try {
      await received;
      // What is queued is still sent, and then the end.
      if (!allowHalfOpen) this.#outbound.controller.terminate();
    } catch (error) {
      // A connection that has failed, and no readable that was cancelled.
      if (stream.fd === -1) this.#outbound.controller.error(error);
    }
    await sent.catch(() => {});
    await stream.close();
  }
}

/** A pair of streams, which its owner can end whoever has locked them. */
class Pass<T> extends TransformStream<T, T> {
  readonly controller: TransformStreamDefaultController<T>;

  constructor() {
    let controller: TransformStreamDefaultController<T>;
    super({ start: (it) => void (controller = it) });
    this.controller = controller!;
  }
}

/**
 * Begins to connect over TCP, as `TcpStream.connect()` does.
 *
 * @param ctx The context.
 * @param address A name or an address and a port: `"example.com:80"`,
 * `"[::1]:80"`, or an object of both.
 * @param options What happens when the peer ends its side.
 * @returns The socket, at once: `opened` tells when it is connected. The caller
 * has to close it, or end both of its streams.
 * @throws {SocketError} If the address has no port, or `secureTransport` is not
 * `"off"`.
 * @throws {RangeError} If the port is out of range.
 * @throws {TypeError} If an argument has the wrong type.
 *
 * @example Ask and read the answer
 * ```ts
 * import { IoContext, SocketAddress, TcpListener, unwrap } from "@kio/kio";
 * import { connect } from "@kio/kio/sockets";
 *
 * using ctx = new IoContext();
 * const address = SocketAddress.v4(0, "127.0.0.1");
 * const listener = unwrap(TcpListener.bind(address, { ctx }));
 * void listener.accept().then((peer) => peer.readable.pipeTo(peer.writable));
 *
 * const socket = connect(ctx, `127.0.0.1:${listener.addr.port}`);
 * const writer = socket.writable.getWriter();
 * await writer.write(new TextEncoder().encode("hello"));
 * await writer.close();
 * console.log(await new Response(socket.readable).text()); // → hello
 * await socket.closed;
 * await listener.close();
 * ```
 */
export function connect(
  ctx: IoContext,
  address: string | SocketAddress,
  options: SocketOptions = {},
): Socket {
  ringOf(ctx, CONNECT);
  const to = typeof address === "string" ? parsed(address) : address;
  checkOptions(to, CONNECT.verb);
  checkText(to.hostname, "hostname", CONNECT.verb);
  checkInteger(to.port, PORT_MAX, "port", CONNECT.verb, 1);
  checkOptions(options, CONNECT.verb);
  const { secureTransport = "off", allowHalfOpen = false } = options;
  checkBoolean(allowHalfOpen, "allowHalfOpen", CONNECT.verb);
  if (secureTransport !== "off") {
    throw new SocketError(
      `Cannot connect: secureTransport must be "off", got "${secureTransport}"; Deno.connectTls() has TLS`,
    );
  }
  return new Socket(ctx, to, allowHalfOpen);
}

/** Takes a name and a port apart. */
function parsed(address: string): SocketAddress {
  const match = /^(?:\[(.+)\]|([^:]+)):(\d+)$/.exec(address);
  if (match !== null) {
    return { hostname: match[1] ?? match[2]!, port: Number(match[3]) };
  }
  throw new SocketError(
    `Cannot connect: expected "name:port" or "[IPv6 address]:port", got "${address}"`,
  );
}
