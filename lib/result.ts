import { errnoText } from "./errno.ts";
import type { Operation } from "./ring/operation.ts";

/**
 * An error of the kernel: a plain value, no exception and without a stack
 * trace. Failures of the same operation with the same errno share one frozen
 * `IoError`. A failure has its own if it is about a path or an address, ends a
 * transfer, or has a reason. `unwrap()` and `orThrow()` name what it was about.
 *
 * C++: `std::error_code`
 */
export interface IoError {
  /** The number of errno(3), above 0: 110. A value above 1000 is an error of
   * getaddrinfo(3): 1000 plus the absolute value of its EAI code. */
  readonly errno: number;
  /** Its name: `"ETIMEDOUT"`. */
  readonly code: string;
  /** Its meaning: `"Connection timed out"`. */
  readonly message: string;
  /** Bytes that an exact transfer had moved before it failed; else
   * undefined. */
  readonly bytesTransferred?: number;
  /** Registered files that `updateFiles()` had replaced before it failed; else
   * undefined. */
  readonly filesUpdated?: number;
  /** The path that `walk()` could not read; else undefined. */
  readonly path?: string | Uint8Array;
  /** The uncaught error that ended the thread of an `offload()`; else
   * undefined. */
  readonly cause?: unknown;
}

/** The result of an operation that failed. */
export interface Failure {
  /** Always false: tells a `Failure` from a `Success`. */
  readonly ok: false;
  /** The error. */
  readonly error: IoError;
}

/** The result of an operation that succeeded. */
export interface Success<T> {
  /** Always true: tells a `Success` from a `Failure`. */
  readonly ok: true;
  /** The value: a number of bytes, an fd … */
  readonly value: T;
}

/**
 * The result of every operation: errors of the system are values, and are not
 * thrown.
 *
 * C++: `std::expected<T, std::error_code>`
 *
 * @example Look at a result
 * ```ts
 * import { asyncSleep, IoContext } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * const result = await asyncSleep(ctx, 1);
 * if (!result.ok) console.error(result.error.code, result.error.message);
 * ```
 */
export type Result<T> = Success<T> | Failure;

/** The result of every operation that succeeds without a value. */
export const DONE: Success<void> = Object.freeze({
  ok: true,
  value: undefined,
});

/** Makes a success with a value. */
export function success<T>(value: T): Result<T> {
  return { ok: true, value };
}

/** Completions of "Cannot …: ", by error. They are no property of the error:
 * most programs only look at the code, and some compare errors. */
const actions = new WeakMap<IoError, string>();

/** Notes the action that an error is about, for an exception. */
export function about(error: IoError, action: string): IoError {
  actions.set(error, action);
  return error;
}

/** Gives the action that `about()` has noted, if any. */
export function actionOf(error: IoError): string | undefined {
  return actions.get(error);
}

/** Makes a failure with an error of its own: an errno (above 0) and an
 * action. */
export function failure(errno: number, action: string): Failure {
  const error = Object.freeze(errorOf(errno));
  return Object.freeze({ ok: false, error: about(error, action) });
}

/** The failures that were made, one for each operation and errno. */
const failures = new WeakMap<Operation, Map<number, Failure>>();

/** Gives the one failure of an operation with an errno (above 0). */
export function failureOf(operation: Operation, errno: number): Failure {
  let ofOperation = failures.get(operation);
  if (ofOperation === undefined) {
    ofOperation = new Map();
    failures.set(operation, ofOperation);
  }
  let known = ofOperation.get(errno);
  if (known === undefined) {
    known = failure(errno, operation.verb);
    ofOperation.set(errno, known);
  }
  return known;
}

/** Makes the failure of an errno with its reason. */
export function failureOver(
  errno: number,
  reason: string,
  action: string,
  cause?: unknown,
): Failure {
  const { code, message } = errorOf(errno);
  const error = {
    errno,
    code,
    message: `${message}: ${reason}`,
    ...(cause === undefined ? {} : { cause }),
  };
  return { ok: false, error: about(error, action) };
}

/** Makes the failure of a transfer that had moved some bytes already. */
export function shortFailure(
  { verb }: Operation,
  errno: number,
  bytesTransferred: number,
  remark = "",
): Failure {
  const { code, message } = errorOf(errno);
  const error = {
    errno,
    code,
    message: `${message}, after ${bytesTransferred} bytes${remark}`,
    bytesTransferred,
  };
  return { ok: false, error: about(error, verb) };
}

/** Makes the failure of an errno (above 0) about a path, which it has. */
export function pathFailure(
  errno: number,
  path: string | Uint8Array,
  action: string,
): Failure {
  const error = { ...errorOf(errno), path };
  return { ok: false, error: about(error, action) };
}

/** Makes the error of an errno (above 0). */
export function errorOf(errno: number): IoError {
  const [code, message] = errnoText(errno);
  return { errno, code, message };
}

/** Makes the failure of an update of registered files, after some of them. */
export function updateFailure(errno: number, filesUpdated: number): Failure {
  const { code, message } = errorOf(errno);
  const error = {
    errno,
    code,
    message: filesUpdated === 0
      ? message
      : `${message}, after ${filesUpdated} of them`,
    filesUpdated,
  };
  return { ok: false, error: about(error, "update files") };
}

/** The classes of `Deno.errors`, by the errno of the same meaning. */
const CLASSES: Record<string, new (message: string) => Error> = {
  EACCES: Deno.errors.PermissionDenied,
  EADDRINUSE: Deno.errors.AddrInUse,
  EADDRNOTAVAIL: Deno.errors.AddrNotAvailable,
  EAGAIN: Deno.errors.WouldBlock,
  EAI_NONAME: Deno.errors.NotFound,
  EBADF: Deno.errors.BadResource,
  EBUSY: Deno.errors.Busy,
  ECANCELED: Deno.errors.Interrupted,
  ECONNABORTED: Deno.errors.ConnectionAborted,
  ECONNREFUSED: Deno.errors.ConnectionRefused,
  ECONNRESET: Deno.errors.ConnectionReset,
  EEXIST: Deno.errors.AlreadyExists,
  EINTR: Deno.errors.Interrupted,
  EISDIR: Deno.errors.IsADirectory,
  ELOOP: Deno.errors.FilesystemLoop,
  ENETUNREACH: Deno.errors.NetworkUnreachable,
  ENODATA: Deno.errors.UnexpectedEof,
  ENOENT: Deno.errors.NotFound,
  ENOTCONN: Deno.errors.NotConnected,
  ENOTDIR: Deno.errors.NotADirectory,
  EOPNOTSUPP: Deno.errors.NotSupported,
  EPERM: Deno.errors.PermissionDenied,
  EPIPE: Deno.errors.BrokenPipe,
  ETIMEDOUT: Deno.errors.TimedOut,
};

/**
 * Makes the exception of an operating error: of the class of `Deno.errors` that
 * fits (else `Error`), with `code`, `errno` and, where known, `operation`.
 */
export function exceptionOf(
  error: IoError,
  action: string,
  operation?: string,
  hint = "",
): Error {
  const Class = CLASSES[error.code] ?? Error;
  const message = `Cannot ${action}: ${error.message} (${error.code})${hint}`;
  return Object.assign(new Class(message), {
    code: error.code,
    errno: error.errno,
    ...(operation === undefined ? {} : { operation }),
    ...(error.cause === undefined ? {} : { cause: error.cause }),
  });
}

/**
 * Gives the value of a result, and throws for an error. Use it where an
 * exception is better than a value.
 *
 * @typeParam T The type of the value.
 * @param result The result of an operation.
 * @returns Its value.
 * @throws {Error} The class of `Deno.errors` that fits the errno (`NotFound`
 * for ENOENT, `TimedOut` for ETIMEDOUT …), else `Error`; always with `code` and
 * `errno`. The message names the action, and the path or address if there is
 * one: `Cannot listen on 0.0.0.0:80: Permission denied (EACCES)`. The stack
 * begins with the caller. `UringOp.orThrow()` also names function and fd.
 *
 * @example Give up on an error
 * ```ts
 * import { TcpListener, unwrap } from "@kio/kio";
 *
 * using listener = unwrap(TcpListener.bind(0));
 * ```
 */
export function unwrap<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  const { error } = result;
  const exception = exceptionOf(error, actionOf(error) ?? "unwrap the result");
  Error.captureStackTrace(exception, unwrap);
  throw exception;
}
