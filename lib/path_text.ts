import type { Path } from "./check.ts";

/** Refuses what is no UTF-8, and keeps a byte order mark, which a name may
 * begin with. */
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Gives the path that the kernel has in bytes: as a string if it is UTF-8,
 * else as a copy of the bytes. Both name the same again. */
export function decodePath(bytes: Uint8Array): Path {
  try {
    return utf8.decode(bytes);
  } catch {
    return bytes.slice();
  }
}

/** Gives a path for people to read: what is not UTF-8 in the escapes of C. */
export function shownPath(path: Path): string {
  const shown = typeof path === "string" ? path : decodePath(path);
  if (typeof shown === "string") return shown;
  return [...shown].map((byte) =>
    byte >= 0x20 && byte < 0x7f
      ? String.fromCharCode(byte)
      : `\\x${byte.toString(16).padStart(2, "0")}`
  ).join("");
}
