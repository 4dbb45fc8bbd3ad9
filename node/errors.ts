/** Errors as Node has them. */
import type { IoError } from "../lib/result.ts";

/** Names of Node for errors of getaddrinfo(3). */
const NAMES: Readonly<Record<string, string>> = {
  EAI_NONAME: "ENOTFOUND",
  EAI_NODATA: "ENOTFOUND",
};

/** Tells if a number is of an error of getaddrinfo(3). */
export function isNameErrno(errno: number): boolean {
  return errno > 1000;
}

/** Makes the exception of Node for an error: "read ECONNRESET". */
export function nodeError(
  syscall: string,
  { code, errno }: IoError,
  details: Readonly<Record<string, unknown>> = {},
  place = "",
): Error {
  const name = NAMES[code] ?? code;
  const message = `${syscall} ${name}${place && ` ${place}`}`;
  return Object.assign(new Error(message), {
    // Node has numbers of its own for errors of getaddrinfo(3).
    ...(isNameErrno(errno) ? {} : { errno: -errno }),
    code: name,
    syscall,
    ...details,
  });
}

/** Makes an exception of Node's own kind. */
export function errorWithCode(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}
