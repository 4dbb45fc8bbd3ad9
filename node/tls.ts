/**
 * TLS over connections of kio: `node:tls` encrypts, and what comes out is a
 * {@linkcode Transport}. So a server that is written for TCP runs on TLS.
 *
 * @module
 */
import net from "node:net";
import { nextTick } from "node:process";
import type { Duplex } from "node:stream";
import tls from "node:tls";
import { SocketTransport, type Transport } from "../helpers/transport.ts";
import {
  checkBoolean,
  checkBounds,
  checkFunction,
  checkOptions,
  checkText,
} from "../lib/check.ts";
import { ECONNRESET } from "../lib/errno.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { about, failure, type Result, success } from "../lib/result.ts";
import { type ConnectOptions, TcpStream } from "../net/TcpStream.ts";
import { ALERT_MS, Below } from "./tls_below.ts";
import { openEngine } from "./tls_engine.ts";
import { tlsFailure, unverified } from "./tls_errors.ts";
import {
  commonOf,
  contextOf,
  handshakeBounds,
  type TlsClientOptions,
  type TlsHandshakeOptions,
  type TlsServerOptions,
} from "./tls_options.ts";
import { TlsStream } from "./tls_stream.ts";
import { within } from "./tls_waits.ts";

export type {
  TlsClientOptions,
  TlsHandshakeOptions,
  TlsIdentity,
  TlsOptions,
  TlsServerOptions,
} from "./tls_options.ts";
export { TlsStream } from "./tls_stream.ts";

const ACCEPT = "accept TLS";
const START = "start TLS";

/**
 * The server's side of TLS: its certificates, and its part of handshakes. Make
 * one for all connections.
 *
 * @example A server of TCP on TLS: one line more
 * ```ts
 * import {
 *   acceptLoop, Connections, IoContext, SocketTransport, TcpListener,
 *   type Transport, unwrap,
 * } from "@kio/kio";
 * import { TlsAcceptor } from "@kio/kio/tls";
 *
 * async function listen(
 *   identity: { cert: string; key: string },
 *   serve: (peer: Transport) => Promise<void>,
 *   signal: AbortSignal,
 * ) {
 *   using ctx = new IoContext();
 *   const acceptor = new TlsAcceptor(identity);
 *   const connections = new Connections(ctx, async (socket) => {
 *     const peer = await acceptor.accept(new SocketTransport(ctx, socket));
 *     if (peer.ok) await serve(peer.value);
 *   });
 *   await using listener = unwrap(TcpListener.bind(8443));
 *   await acceptLoop(ctx, listener, (fd) => connections.add(fd), signal);
 *   await connections.closed;
 * }
 * console.log(listen.length);
 * ```
 */
export class TlsAcceptor {
  readonly #options: tls.TLSSocketOptions;

  /**
   * Checks the certificates.
   *
   * @param options The certificate and its key, protocols, other names, and who
   * is trusted.
   * @throws {TypeError} If an option has the wrong type, a certificate or a key
   * is none in PEM, a key is not that of its certificate, or clients have to
   * show certificates and there is no `ca`.
   * @throws {RangeError} If a name of a protocol is too long.
   */
  constructor(options: TlsServerOptions) {
    const { ca, ALPNProtocols } = commonOf(options, ACCEPT);
    const { clientCertificate = false, serverNames } = options;
    checkBoolean(clientCertificate, "clientCertificate", ACCEPT);
    if (clientCertificate && ca === undefined) {
      throw new TypeError(
        `Cannot ${ACCEPT}: clientCertificate needs the authorities of ca`,
      );
    }
    const secureContext = contextOf(options, ca, ACCEPT);
    if (serverNames !== undefined) checkOptions(serverNames, ACCEPT);
    const others = new Map(
      Object.entries(serverNames ?? {}).map(([name, identity]) => [
        name.toLowerCase(),
        contextOf(identity, ca, ACCEPT),
      ]),
    );
    this.#options = {
      isServer: true,
      secureContext,
      requestCert: clientCertificate,
      rejectUnauthorized: clientCertificate,
      ...(ALPNProtocols && { ALPNProtocols }),
      ...(others.size > 0 && {
        SNICallback: (name, done) =>
          done(null, others.get(name.toLowerCase()) ?? secureContext),
      }),
    };
  }

  /**
   * Makes the handshake of a server with a client that has connected.
   *
   * @param transport The connection, which belongs to TLS from now on. A failed
   * handshake closes it.
   * @param options `timeoutMs`, 10 seconds if it is left out, and `signal`.
   * @returns The encrypted connection, which the caller has to close.
   * `ETIMEDOUT`, `ECANCELED`, `ECONNRESET` if the client has left; errors of TLS
   * by their names: `ERR_SSL_WRONG_VERSION_NUMBER` of a client that does not
   * speak TLS, `ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE` …
   * @throws {TypeError} (as a rejection) If an argument has the wrong type.
   * @throws {RangeError} (as a rejection) If `timeoutMs` is out of range.
   * @throws (as a rejection) As the `transport` does: it is closed, or its
   * context.
   */
  async accept(
    transport: Transport,
    options: TlsHandshakeOptions = {},
  ): Promise<Result<TlsStream>> {
    checkBounds(options, ACCEPT);
    return await handshake(transport, {
      verb: ACCEPT,
      event: "secure",
      make: (below) => new tls.TLSSocket(below as net.Socket, this.#options),
      // The socket of a server takes any certificate, and leaves it to a server.
      verify: (socket) =>
        this.#options.requestCert
          ? (socket as unknown as Inner)._handle.verifyError()
          : undefined,
    }, options);
  }
}

/**
 * Makes the handshake of a client over a connection: one of the caller's own, or
 * one that has spoken in the clear before (STARTTLS).
 *
 * @param transport The connection, which belongs to TLS from now on. A failed
 * handshake closes it.
 * @param serverName The name or the address that the certificate of the server
 * must have. The server is asked for a name (SNI), and not for an address.
 * @param options Who is trusted, protocols, the own certificate; `timeoutMs`, 10
 * seconds if it is left out, and `signal`.
 * @returns The encrypted connection, which the caller has to close.
 * `ETIMEDOUT`, `ECANCELED`, `ECONNRESET` if the server has left; errors of TLS
 * by their names: `ERR_TLS_CERT_ALTNAME_INVALID` for a certificate of another
 * name, `DEPTH_ZERO_SELF_SIGNED_CERT`, `CERT_HAS_EXPIRED`,
 * `UNABLE_TO_VERIFY_LEAF_SIGNATURE` for any other that is not trusted …
 * @throws {TypeError} (as a rejection) If an argument has the wrong type,
 * `serverName` is empty, or a certificate or a key is none in PEM.
 * @throws {RangeError} (as a rejection) If `timeoutMs` is out of range, or a name
 * is too long.
 * @throws (as a rejection) As the `transport` does: it is closed, or its context.
 */
export async function startTls(
  transport: Transport,
  serverName: string,
  options: TlsClientOptions & TlsHandshakeOptions = {},
): Promise<Result<TlsStream>> {
  return await start(transport, serverName, clientOf(options, START), options);
}

/**
 * Connects to a server by `TcpStream.connect()` and makes the handshake of TLS.
 *
 * @param ctx The context.
 * @param host A name or an address; the certificate of the server must have it.
 * @param port The port, 0 to 65535.
 * @param options Those of both. `timeoutMs` and `signal` are for the whole; if
 * `timeoutMs` is left out, the handshake has 10 seconds.
 * @returns The encrypted connection, which the caller has to close; the errors of
 * `TcpStream.connect()` and of `startTls()`.
 * @throws As `TcpStream.connect()` and `startTls()`, before it connects.
 *
 * @example A server that is not there
 * ```ts
 * import { IoContext } from "@kio/kio";
 * import { connectTls } from "@kio/kio/tls";
 *
 * using ctx = new IoContext();
 * const options = { alpnProtocols: ["http/1.1"], timeoutMs: 5000 };
 * const connected = await connectTls(ctx, "127.0.0.1", 1, options);
 * if (connected.ok) await connected.value.close();
 * else console.error(connected.error.message);
 * ```
 */
export async function connectTls(
  ctx: IoContext,
  host: string,
  port: number,
  options: TlsClientOptions & ConnectOptions = {},
): Promise<Result<TlsStream>> {
  const client = clientOf(options, "connect");
  const { timeoutMs, signal } = options;
  const startMs = performance.now();
  const connected = await TcpStream.connect(ctx, host, port, options);
  if (!connected.ok) return connected;
  const leftMs = timeoutMs === undefined
    ? undefined
    : Math.max(0, timeoutMs - (performance.now() - startMs));
  const transport = new SocketTransport(ctx, connected.value);
  const limits = { timeoutMs: leftMs, signal };
  const started = await start(transport, host, client, limits);
  if (!started.ok) about(started.error, `connect to ${host}:${port} by TLS`);
  return started;
}

/** Checks the options of a client; gives them for `node:tls`. */
function clientOf(options: TlsClientOptions, verb: string) {
  const { ca, ALPNProtocols } = commonOf(options, verb);
  const secureContext = contextOf(options.identity, ca, verb);
  return { secureContext, ...(ALPNProtocols && { ALPNProtocols }) };
}

async function start(
  transport: Transport,
  serverName: string,
  client: tls.ConnectionOptions,
  options: TlsHandshakeOptions,
): Promise<Result<TlsStream>> {
  checkBounds(options, START);
  checkText(serverName, "serverName", START);
  if (serverName === "") {
    throw new TypeError(
      `Cannot ${START}: serverName is empty; give the name of the certificate`,
    );
  }
  const name = net.isIP(serverName) === 0
    ? { servername: serverName }
    : { host: serverName };
  return await handshake(transport, {
    verb: START,
    event: "secureConnect",
    make: (socket) =>
      // The environment of the process cannot turn it off.
      tls.connect({ ...client, ...name, socket, rejectUnauthorized: true }),
  }, options);
}

/** A side of a handshake. */
interface Side {
  readonly verb: string;
  /** Tells that the handshake is over. */
  readonly event: "secure" | "secureConnect";
  /** Makes the socket of TLS over another. */
  make(below: Duplex): tls.TLSSocket;
  /** Names the error of the certificate of the peer. */
  verify?(socket: tls.TLSSocket): string | null | undefined;
}

/** A member that Node's own server uses. */
interface Inner {
  readonly _handle: { verifyError(): string | null };
}

/** Waits for the end of a handshake. */
async function handshake(
  transport: Transport,
  { verb, event, make, verify }: Side,
  options: TlsHandshakeOptions,
): Promise<Result<TlsStream>> {
  checkFunction(transport?.recv, "recv of a Transport", verb);
  const below = new Below(transport);
  const socket = make(below);
  const stream = new TlsStream(below, socket);
  const engine = openEngine(socket);
  below.failing = engine;
  // A server starts in a tick that was asked for before this one.
  nextTick(() => below.open());
  const { promise, resolve, reject } = Promise.withResolvers<
    Result<TlsStream>
  >();
  const fail = (error: Error) => {
    if (below.thrown === undefined) resolve(tlsFailure(error, verb));
    else reject(below.thrown);
  };
  const left = () => resolve(failure(ECONNRESET, verb));
  // An alert that the peer has sent before says more.
  let failing: ReturnType<typeof setTimeout> | undefined;
  below.onFailedSend = (error) => {
    failing ??= setTimeout(fail, ALERT_MS, error);
  };
  socket.once(event, () => {
    const code = verify?.(socket);
    below.failing = undefined;
    if (!code) below.engine = engine;
    resolve(code ? unverified(code, verb) : success(stream));
  });
  socket.once("error", fail);
  socket.once("_tlsError", fail);
  below.once("end", left);
  socket.once("close", left);
  const limits = handshakeBounds(options);
  let result: Result<TlsStream> | undefined;
  try {
    return result = await within(promise, limits, resolve);
  } finally {
    below.onFailedSend = undefined;
    clearTimeout(failing);
    if (result?.ok !== true) {
      socket.destroy();
      await below.close();
    }
  }
}
