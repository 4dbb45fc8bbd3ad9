/** Small files that are in the page cache: read at once, without the ring. */
import { checkPath, checkText, type Path } from "../check.ts";
import type { Ring } from "../ring/Ring.ts";
import { OPEN } from "./table.ts";

/** Bytes at most: beyond these a copy costs as much as the operations. */
const BYTES_MAX = 2 ** 16;
/** PATH_MAX, with the NUL. */
const NAME_BYTES = 4096;

const utf8 = new TextEncoder();
/** Memory of the call that is being made: it ends before another begins. */
const scratch = new Uint8Array(BYTES_MAX + 1);
const pathScratch = new Uint8Array(NAME_BYTES);

/**
 * Reads a whole file if that waits for nothing, by openat2(2), fstat(2),
 * preadv2(2) and close(2) of this thread. The ring makes the same calls when it
 * submits an open and a read.
 *
 * @param flags More flags of the open.
 * @param buffer Memory for the bytes, and for one more. Without it they get
 * memory of their own.
 * @returns The bytes. Or an fd, at its start, which the caller owns: the ring
 * has to read. -1 if the ring has to open the file.
 */
export function readNow(
  ring: Ring,
  dir: number,
  path: Path,
  flags: number,
  buffer: Uint8Array<ArrayBuffer> | undefined,
  sizeMax: number,
): Uint8Array<ArrayBuffer> | number {
  if (ring.closing || ring.chaining || ring.allowed !== null) return -1;
  const memory = buffer ?? scratch;
  const most = Math.min(sizeMax, memory.length - 1, BYTES_MAX);
  // No file of these has no bytes, and a buffer may be detached by now.
  if (most < 1) return -1;
  const name = encoded(path);
  const { shim } = ring;
  const result = shim.kio_file_read_now(dir, name, flags, memory, most);
  if (result < 0) return -2 - result;
  return buffer === undefined
    ? memory.slice(0, result)
    : memory.subarray(0, result);
}

function encoded(path: Path): Uint8Array<ArrayBuffer> {
  // A character takes three bytes at most.
  if (typeof path !== "string" || path.length > NAME_BYTES / 3 - 1) {
    return checkPath(path, OPEN);
  }
  checkText(path, "path", OPEN.verb);
  pathScratch[utf8.encodeInto(path, pathScratch).written] = 0;
  return pathScratch;
}
