/** Errors as Node has them. */
import type { IoError } from "../lib/result.ts";

/** Names of Node for errors of getaddrinfo(3). */
const NAMES: Readonly<Record<string, string>> = {
  EAI_NONAME: "ENOTFOUND",
  EAI_NODATA: "ENOTFOUND",
};

/** Makes the exception of Node for an error: "read ECONNRESET". */
export function nodeError(
  syscall: string,
  { code, errno }: IoError,
  details: Readonly<Record<string, unknown>> = {},
  place = "",
): Error {
  const name = NAMES[code] ?? code;
  const message = `${syscall} ${name}${place && ` ${place}`}`;
  const number = { errno: -errno, code: name, syscall };
  return Object.assign(new Error(message), number, details);
}
