/** Errors of TLS as results. */
import { about, errorOf, type Failure, type IoError } from "../lib/result.ts";
import { EPROTO } from "../lib/errno.ts";

/** Makes the failure of a certificate that was not verified, by its name. */
export function unverified(code: string, action: string): Failure {
  const message = "the certificate of the peer is not trusted";
  return { ok: false, error: about({ errno: EPROTO, code, message }, action) };
}

/** Makes a failure of an exception of `node:tls`. Its `code` is the name of Node
 * and OpenSSL: `CERT_HAS_EXPIRED`. An error of the connection below is that of
 * the system. */
export function tlsFailure(cause: Error, action: string): Failure {
  const { code = "EPROTO", errno } = cause as {
    code?: string;
    errno?: number;
  };
  const error: IoError = errno !== undefined && errno < 0
    ? { ...errorOf(-errno) }
    : { errno: EPROTO, code, message: cause.message, cause };
  return { ok: false, error: about(error, action) };
}

/** Makes the failure of a connection that has ended without close_notify. */
export function truncated(action: string): Failure {
  const error: IoError = {
    errno: EPROTO,
    code: "ERR_SSL_UNEXPECTED_EOF_WHILE_READING",
    message: "the connection has ended without close_notify",
  };
  return { ok: false, error: about(error, action) };
}
