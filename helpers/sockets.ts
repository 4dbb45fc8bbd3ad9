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
  /** Resolves when the socket is closed; rejects if it could not connect. As in
   * the draft, the end of the peer closes a socket whose `readable` is read: what
   * has come may be wanted. So read it, cancel it, or call `close()`. */
  readonly closed: Promise<void>;
  /** Sends each chunk whole, when the connection is there; its write is over
   * then. `close()` ends the sending side, `abort()` resets the connection. */
  readonly writable: WritableStream<Uint8Array<ArrayBufferLike>>;
  readonly #inbound = new Inbound();
  #outbound!: WritableStreamDefaultController;
  readonly #abort = new AbortController();
  #stream: TcpStream | undefined;
  /** Of the stream's own `writable`. */
  #writer: WritableStreamDefaultWriter<Uint8Array> | undefined;

  /** Begins to connect; `connect()` checks the arguments. */
  constructor(ctx: IoContext, to: SocketAddress, allowHalfOpen: boolean) {
    this.writable = new WritableStream({
      start: (controller) => {
        this.#outbound = controller;
        const { signal } = controller;
        // abort() waits for the write that is under way, which may be stuck.
        signal.addEventListener("abort", () => {
          this.#send((writer) => writer.abort(signal.reason)).catch(() => {});
        });
      },
      write: (chunk) => this.#send((writer) => writer.write(chunk)),
      close: () => this.#send((writer) => writer.close()),
    });
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
    // It gives up the fd first: else abort() would reset the connection.
    void this.#stream?.close();
    void this.#writer?.abort(error);
    this.#inbound.controller.terminate();
    this.#outbound.error(error);
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
      this.#outbound.error(error);
      throw error;
    }
  }

  /** Sends when the connection is there. */
  async #send(
    act: (writer: WritableStreamDefaultWriter<Uint8Array>) => Promise<void>,
  ): Promise<void> {
    try {
      await this.opened;
      await act(this.#writer!);
    } catch (error) {
      // close() ends what is under way.
      const { signal } = this.#abort;
      throw signal.aborted ? signal.reason : error;
    }
  }

  /** Moves the bytes until both directions have ended. */
  async #run(allowHalfOpen: boolean): Promise<void> {
    const stream = this.#stream!;
    // close() may have come before the connection was known here.
    if (this.#abort.signal.aborted) return await stream.close();
    const writer = this.#writer = stream.writable.getWriter();
    // A reset ends the other direction as well, also if nobody reads.
    writer.closed.catch((error) => {
      if (stream.fd === -1) this.#inbound.controller.error(error);
    });
    try {
      await stream.readable.pipeTo(this.#inbound.writable);
      if (!allowHalfOpen) {
        // A write that is under way is still sent, and then the end.
        this.#outbound.error(new SocketError("the peer has ended its side"));
        await writer.close();
      }
    } catch (error) {
      // A connection that has failed, and no readable that was cancelled.
      if (stream.fd === -1) {
        this.#outbound.error(error);
        void writer.abort(error);
      }
    }
    await writer.closed.catch(() => {});
    await stream.close();
  }
}

type Bytes = Uint8Array<ArrayBuffer>;

/** The bytes that come, which `close()` can end whoever has locked them. */
class Inbound extends TransformStream<Bytes, Bytes> {
  readonly controller: TransformStreamDefaultController<Bytes>;

  constructor() {
    let controller: TransformStreamDefaultController<Bytes>;
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
  const { hostname, port } = to;
  checkText(hostname, "hostname", CONNECT.verb);
  checkInteger(port, PORT_MAX, "port", CONNECT.verb, 1);
  checkOptions(options, CONNECT.verb);
  const { secureTransport = "off", allowHalfOpen = false } = options;
  checkBoolean(allowHalfOpen, "allowHalfOpen", CONNECT.verb);
  if (secureTransport !== "off") {
    throw new SocketError(
      `Cannot connect: secureTransport must be "off", got "${secureTransport}"; Deno.connectTls() has TLS`,
    );
  }
  const host = hostname.replace(/^\[(.+)\]$/, "$1");
  return new Socket(ctx, { hostname: host, port }, allowHalfOpen);
}

/** Takes a name and a port apart. */
function parsed(address: string): SocketAddress {
  const match = /^(\[.+\]|[^:]+):(\d+)$/.exec(address);
  if (match !== null) return { hostname: match[1]!, port: Number(match[2]) };
  throw new SocketError(
    `Cannot connect: expected "name:port" or "[IPv6 address]:port", got "${address}"`,
  );
}
