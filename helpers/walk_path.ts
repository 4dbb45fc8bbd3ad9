/** Paths of a tree: strings where they are UTF-8, else bytes. */
import type { Path } from "../lib/check.ts";
import type { DirEntry } from "../lib/ops/folder.ts";
import { decodePath, shownPath } from "../lib/path_text.ts";

const SLASH = 47;

/** Gives a path with a slash at its end: names come behind it. */
export function prefixOf(path: Path): Path {
  if (typeof path === "string") return path.endsWith("/") ? path : `${path}/`;
  return path.at(-1) === SLASH ? path : concatenated(path, [SLASH]);
}

/** Gives the path of a name. */
export function joined(prefix: Path, name: Path): Path {
  return typeof prefix === "string" && typeof name === "string"
    ? prefix + name
    : concatenated(bytesOf(prefix), bytesOf(name));
}

/** Gives the last name of a path, as an entry has it; of one that has none the
 * path itself. */
export function nameOf(path: Path): Pick<DirEntry, "name" | "bytes"> {
  const bytes = bytesOf(path);
  let end = bytes.length;
  while (end > 1 && bytes[end - 1] === SLASH) end--;
  const start = end > 1 ? bytes.lastIndexOf(SLASH, end - 1) + 1 : 0;
  const given = decodePath(bytes.subarray(start, end));
  return typeof given === "string"
    ? { name: given, bytes: undefined }
    : { name: shownPath(given), bytes: given };
}

function bytesOf(path: Path): Uint8Array {
  return typeof path === "string" ? new TextEncoder().encode(path) : path;
}

function concatenated(
  first: Uint8Array,
  second: ArrayLike<number>,
): Uint8Array {
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}
