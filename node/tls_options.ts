/** Options of TLS, and how they are checked. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import tls from "node:tls";
import { checkArray, checkOptions, checkText } from "../lib/check.ts";
import type { BoundOptions } from "../lib/ring/bounds.ts";

/** Milliseconds that a handshake may take, unless the caller says otherwise. */
const HANDSHAKE_MS = 10_000;

/** Bytes of the longest name of a protocol in ALPN. */
const PROTOCOL_SIZE_MAX = 255;

/** A certificate and its key, each in PEM. */
export interface TlsIdentity {
  /** The certificate, followed by those that lead to its authority. */
  cert: string;
  /** The private key of the certificate, not encrypted. */
  key: string;
}

/** Options of both sides. */
export interface TlsOptions {
  /** Certificates of the authorities that are trusted, in PEM. A client that
   * leaves it out trusts those of Deno (`DENO_TLS_CA_STORE`). */
  ca?: string | readonly string[] | undefined;
  /** Names for ALPN, the best first: `["h2", "http/1.1"]`. If left out, ALPN is
   * not used. */
  alpnProtocols?: readonly string[] | undefined;
}

/** Limits of a handshake. */
export interface TlsHandshakeOptions extends BoundOptions {
  /** Milliseconds for the whole handshake, 0 or more and finite. After that it
   * ends with `ETIMEDOUT`.
   * @default {10000} */
  timeoutMs?: number | undefined;
}

/** Options of a client: `startTls()` and `connectTls()`. */
export interface TlsClientOptions extends TlsOptions {
  /** The client's own certificate, for servers that ask for one. */
  identity?: TlsIdentity | undefined;
}

/** Options of a `TlsAcceptor`. */
export interface TlsServerOptions extends TlsOptions, TlsIdentity {
  /** Certificates for other names that clients ask for (SNI), by their names in
   * lower case. Clients of no name, or of another, get `cert`. */
  serverNames?: Readonly<Record<string, TlsIdentity>> | undefined;
  /** Requires a certificate of the client that an authority of `ca` has signed.
   * @default {false} */
  clientCertificate?: boolean | undefined;
}

/** Checks what both sides have; gives them for `node:tls`. */
export function commonOf(
  options: TlsOptions,
  verb: string,
): { ca: string[] | undefined; ALPNProtocols: string[] | undefined } {
  checkOptions(options, verb);
  const { ca, alpnProtocols } = options;
  const authorities = typeof ca === "string" ? [ca] : ca;
  if (authorities !== undefined) {
    checkArray(authorities, "certificates", verb);
    for (const it of authorities) checkCertificate(it, "ca", verb);
  }
  if (alpnProtocols !== undefined) {
    checkArray(alpnProtocols, "names of protocols", verb);
    for (const name of alpnProtocols) {
      checkText(name, "a name of alpnProtocols", verb);
      const { length } = new TextEncoder().encode(name);
      if (length > 0 && length <= PROTOCOL_SIZE_MAX) continue;
      throw new RangeError(
        `Cannot ${verb}: a name of alpnProtocols must have 1 to ${PROTOCOL_SIZE_MAX} bytes, got ${length}`,
      );
    }
  }
  return {
    ca: authorities && [...authorities],
    ALPNProtocols: alpnProtocols && [...alpnProtocols],
  };
}

/** Checks a certificate and its key, and makes a context of them. */
export function contextOf(
  identity: TlsIdentity | undefined,
  ca: string[] | undefined,
  verb: string,
): tls.SecureContext {
  if (identity === undefined) return tls.createSecureContext({ ca });
  checkOptions(identity, verb);
  const { cert, key } = identity;
  checkText(key, "key", verb);
  const leaf = checkCertificate(cert, "cert", verb);
  try {
    const context = tls.createSecureContext({ cert, key, ca });
    if (leaf.checkPrivateKey(createPrivateKey(key))) return context;
  } catch (cause) {
    throw new TypeError(`Cannot ${verb}: key is no private key in PEM`, {
      cause,
    });
  }
  throw new TypeError(`Cannot ${verb}: key is not that of cert`);
}

function checkCertificate(
  pem: string,
  name: string,
  verb: string,
): X509Certificate {
  checkText(pem, name, verb);
  try {
    return new X509Certificate(pem);
  } catch (cause) {
    throw new TypeError(`Cannot ${verb}: ${name} is no certificate in PEM`, {
      cause,
    });
  }
}

/** Gives the limits of a handshake, one of time included. */
export function handshakeBounds(options: TlsHandshakeOptions): BoundOptions {
  const { timeoutMs = HANDSHAKE_MS, signal } = options;
  return { timeoutMs, signal };
}
