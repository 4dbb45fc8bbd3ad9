/** Hashes files, for `tree_hash.ts` and its workers. */
import {
  asyncClose,
  asyncOpen,
  asyncRead,
  type IoContext,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  type Path,
  readFile,
  type Result,
  type Task,
} from "@kio/kio";
import { createHash, hash } from "node:crypto";

/** Most files of a tree fit, so that one call reads all of it. */
const BUFFER_SIZE = 65536;
/** It may have become something else meanwhile, that would wait. */
const FLAGS = O_NOFOLLOW | O_NONBLOCK;

/** The hash of a file. */
export interface FileHash {
  hash: string;
  bytes: number;
}

/** Files for a worker. */
export interface FileList {
  paths: readonly Path[];
  /** How many of them are read at a time. */
  inFlight: number;
}

export function newBuffer(): Uint8Array<ArrayBuffer> {
  return new Uint8Array(BUFFER_SIZE);
}

/** Hashes a file, to its end wherever its size says that is. */
export async function hashFile(
  ctx: IoContext,
  path: Path,
  buffer: Uint8Array<ArrayBuffer>,
): Task<Result<FileHash>> {
  const sizeMax = buffer.length - 1;
  const read = await readFile(ctx, path, { flags: FLAGS, buffer, sizeMax });
  if (read.ok) {
    const { value } = read;
    const one = { hash: hash("sha256", value), bytes: value.length };
    return { ok: true, value: one };
  }
  return read.error.code === "EFBIG" ? hashLong(ctx, path, buffer) : read;
}

/** Hashes a file that is longer than a buffer. */
async function hashLong(
  ctx: IoContext,
  path: Path,
  buffer: Uint8Array,
): Task<Result<FileHash>> {
  const opened = await asyncOpen(ctx, path, O_RDONLY | FLAGS);
  if (!opened.ok) return opened;
  const sum = createHash("sha256");
  let bytes = 0, read;
  do {
    read = await asyncRead(ctx, opened.value, buffer, bytes);
    if (!read.ok) break;
    sum.update(buffer.subarray(0, read.value));
    bytes += read.value;
  } while (read.value > 0);
  await asyncClose(ctx, opened.value);
  if (!read.ok) return read;
  return { ok: true, value: { hash: sum.digest("hex"), bytes } };
}
