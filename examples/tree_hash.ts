/**
 * Prints the SHA-256 of each file of a tree, as `find -type f | sort | xargs
 * sha256sum` does, with many files in flight.
 *
 *     deno task hash FOLDER [--in-flight 128] [--skip REGEXP] [--summary]
 *
 * A file or a directory that cannot be read is named on the standard error
 * output, and the rest goes on. Exits with 0, with 1 if anything could not be
 * read, and with 2 for wrong arguments.
 */
import {
  asyncClose,
  asyncOpen,
  asyncRead,
  asyncWriteExact,
  type Failure,
  IoContext,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  type Path,
  readFile,
  type Result,
  type Task,
  walk,
} from "@kio/kio";
import { createHash, hash } from "node:crypto";
import { readArguments, wholeNumber } from "./command_line.ts";

/** Most files of a tree fit, so that one call reads all of it. */
const BUFFER_SIZE = 65536;
/** It may have become something else meanwhile, that would wait. */
const FLAGS = O_NOFOLLOW | O_NONBLOCK;
const STDOUT = 1;

/** The hash of a file. */
interface Hashed {
  path: Path;
  hash: string;
  bytes: number;
}

/** Hashes the files below a root. Gives what cannot be read to `onFailure`. */
async function hashTree(
  ctx: IoContext,
  root: string,
  { inFlight, skip }: { inFlight: number; skip: RegExp[] },
  onFailure: (path: Path, failure: Failure) => void,
): Task<Hashed[]> {
  const options = { stat: true, includeDirs: false, skip } as const;
  const files = walk(ctx, root, options);
  const found = files[Symbol.asyncIterator]();
  const hashed: Hashed[] = [];

  async function hashNext(): Task<void> {
    const buffer = new Uint8Array(BUFFER_SIZE);
    for (;;) {
      // What is there already takes no promise.
      const result = files.take() ?? (await found.next()).value;
      if (result === undefined) return;
      if (!result.ok) {
        onFailure(result.error.path ?? root, result);
        continue;
      }
      const { path, isFile, stat } = result.value;
      if (!isFile) continue;
      const one = stat.ok ? await hashFile(ctx, path, buffer) : stat;
      if (one.ok) hashed.push({ path, ...one.value });
      else onFailure(path, one);
    }
  }

  await Promise.all(Array.from({ length: inFlight }, hashNext));
  return hashed;
}

/** Hashes a file, to its end wherever its size says that is. */
async function hashFile(
  ctx: IoContext,
  path: Path,
  buffer: Uint8Array<ArrayBuffer>,
): Task<Result<Omit<Hashed, "path">>> {
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
): Task<Result<Omit<Hashed, "path">>> {
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

function bytesOf(path: Path): Uint8Array {
  return typeof path === "string" ? new TextEncoder().encode(path) : path;
}

/** Orders paths by their bytes, as sort(1) does with LC_ALL=C. */
function compare(one: Hashed, other: Hashed): number {
  const [left, right] = [bytesOf(one.path), bytesOf(other.path)];
  const length = Math.min(left.length, right.length);
  for (let i = 0; i < length; i++) {
    if (left[i] !== right[i]) return left[i]! - right[i]!;
  }
  return left.length - right.length;
}

const ESCAPES: Record<number, string> = { 10: "\\n", 13: "\\r", 92: "\\\\" };

/** The line of sha256sum(1): with a backslash before it if the path has
 * escapes. */
function lineOf({ path, hash }: Hashed): Uint8Array {
  const escaped = [...bytesOf(path)].flatMap((byte) =>
    byte in ESCAPES ? [...bytesOf(ESCAPES[byte]!)] : [byte]
  );
  const isEscaped = escaped.length > bytesOf(path).length;
  const head = bytesOf(`${isEscaped ? "\\" : ""}${hash}  `);
  return Uint8Array.of(...head, ...escaped, 10);
}

const { root, inFlight, skip, summary } = readArguments({
  command: "deno task hash",
  about: "Prints the SHA-256 of each file of a tree, as sha256sum does.",
  operands: "FOLDER",
  options: {
    "in-flight": {
      value: "N",
      default: "128",
      help: "files that are read at a time",
    },
    skip: { value: "REGEXP", help: "paths to leave out, with all below them" },
    summary: { help: "print files, bytes and seconds instead" },
  },
}, (values, operands) => {
  const [root, ...more] = operands;
  if (root === undefined || more.length > 0) {
    throw new TypeError("it takes one folder");
  }
  return {
    root,
    inFlight: wholeNumber("--in-flight", values["in-flight"], 1, 4096),
    skip: values.skip === undefined ? [] : [new RegExp(values.skip)],
    summary: values.summary,
  };
});

const startMs = performance.now();
using ctx = new IoContext();
const hashed = await hashTree(ctx, root, { inFlight, skip }, (path, failed) => {
  const shown = new TextDecoder().decode(bytesOf(path));
  console.error(`${shown}: ${failed.error.message}`);
  Deno.exitCode = 1;
});
if (summary) {
  const bytes = hashed.reduce((sum, it) => sum + it.bytes, 0);
  const seconds = (performance.now() - startMs) / 1000;
  console.log(JSON.stringify({ files: hashed.length, bytes, seconds }));
} else {
  const lines = await new Blob(
    hashed.sort(compare).map((it) => lineOf(it) as Uint8Array<ArrayBuffer>),
  ).bytes();
  if (lines.length > 0) {
    const written = await asyncWriteExact(ctx, STDOUT, lines, 0);
    // Who reads it may have enough, as head(1).
    if (!written.ok && written.error.code !== "EPIPE") {
      console.error(`Cannot write the list: ${written.error.message}`);
      Deno.exitCode = 1;
    }
  }
}
