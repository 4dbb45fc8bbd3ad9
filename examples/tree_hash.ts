/**
 * Prints the SHA-256 of each file of a tree, as `find -type f | sort | xargs
 * sha256sum` does, with many files in flight.
 *
 *     deno task hash FOLDER [--in-flight 128] [--workers 0] [--skip REGEXP]
 *         [--summary]
 *
 * Workers load their modules, which takes --allow-read.
 *
 * A file or a directory that cannot be read is named on the standard error
 * output, and the rest goes on. Exits with 0, with 1 if anything could not be
 * read, and with 2 for wrong arguments.
 */
import {
  asyncWriteExact,
  type Failure,
  IoContext,
  type Path,
  type Result,
  type Task,
  walk,
} from "@kio/kio";
import { readArguments, wholeNumber } from "./command_line.ts";
import {
  type FileHash,
  type FileList,
  hashFile,
  newBuffer,
} from "./hash_file.ts";

const STDOUT = 1;

const WORKER = new URL("tree_hash_worker.ts", import.meta.url);
/** Paths that a worker gets at a time: a message costs as much as some files. */
const FILES_A_LIST = 256;
/** So that a worker has enough to do until this thread, which reads in long
 * turns, looks at its messages again. */
const LISTS_A_WORKER = 4;

/** The hash of a file, and where it is. */
interface Hashed extends FileHash {
  path: Path;
}

/** Hashes the files below a root, in this thread and in workers. Gives what
 * cannot be read to `onFailure`. */
async function hashTree(
  ctx: IoContext,
  root: string,
  { inFlight, workers, skip }: {
    inFlight: number;
    workers: number;
    skip: RegExp[];
  },
  onFailure: (path: Path, failure: Failure) => void,
): Task<Hashed[]> {
  const options = { stat: true, includeDirs: false, skip } as const;
  const files = walk(ctx, root, options);
  const found = files[Symbol.asyncIterator]();
  const hashed: Hashed[] = [];

  async function nextFile(): Task<Path | undefined> {
    for (;;) {
      // Most are there already.
      const result = files.take() ?? (await found.next()).value;
      if (result === undefined) return undefined;
      if (!result.ok) onFailure(result.error.path ?? root, result);
      else if (result.value.isFile) {
        const { path, stat } = result.value;
        if (stat.ok) return path;
        onFailure(path, stat);
      }
    }
  }

  function add(path: Path, one: Result<FileHash>): void {
    if (!one.ok) return onFailure(path, one);
    const { hash, bytes } = one.value;
    hashed.push({ path, hash, bytes });
  }

  async function hashHere(): Task<void> {
    const buffer = newBuffer();
    for (let path; (path = await nextFile()) !== undefined;) {
      add(path, await hashFile(ctx, path, buffer));
    }
  }

  async function nextFiles(): Task<Path[]> {
    const paths: Path[] = [];
    while (paths.length < FILES_A_LIST) {
      const path = await nextFile();
      if (path === undefined) break;
      paths.push(path);
    }
    return paths;
  }

  async function hashInWorker(): Task<void> {
    const worker = new Worker(WORKER, { type: "module" });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sent: Path[][] = [];
    let lists = 0;

    async function sendNext(): Task<void> {
      lists++;
      const paths = await nextFiles();
      if (paths.length > 0) {
        sent.push(paths);
        worker.postMessage({ paths, inFlight } satisfies FileList);
      } else if (--lists === 0) resolve();
    }

    worker.onmessage = ({ data }: MessageEvent<Result<FileHash>[]>) => {
      const paths = sent.shift()!;
      data.forEach((one, i) => add(paths[i]!, one));
      lists--;
      void sendNext();
    };
    worker.onerror = (event) => {
      event.preventDefault();
      reject(event.error ?? new Error(event.message));
    };
    for (let i = 0; i < LISTS_A_WORKER; i++) void sendNext();
    await promise.finally(() => worker.terminate());
  }

  await Promise.all([
    ...Array.from({ length: workers }, hashInWorker),
    ...Array.from({ length: inFlight }, hashHere),
  ]);
  return hashed;
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

const { root, inFlight, workers, skip, summary } = readArguments({
  command: "deno task hash",
  about: "Prints the SHA-256 of each file of a tree, as sha256sum does.",
  operands: "FOLDER",
  options: {
    "in-flight": {
      value: "N",
      default: "128",
      help: "files that each thread reads at a time",
    },
    workers: {
      value: "N",
      default: "0",
      help: "threads that read and hash, beside the first",
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
    workers: wholeNumber("--workers", values.workers, 0, 64),
    skip: values.skip === undefined ? [] : [new RegExp(values.skip)],
    summary: values.summary,
  };
});

const startMs = performance.now();
using ctx = new IoContext();
const options = { inFlight, workers, skip };
const hashed = await hashTree(ctx, root, options, (path, failed) => {
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
