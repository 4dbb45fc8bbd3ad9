/**
 * Copies a file, with several reads and writes in flight at a time.
 *
 *     deno task copy SOURCE TARGET [--queue-depth 8] [--block-size 256K] [--quiet]
 *
 * The source is read to its end, wherever its size says that is: it may grow or
 * shrink meanwhile, and files in /proc have a size of 0. The copy has its
 * permission bits and its holes. It takes the name TARGET when it is complete and
 * durable, in one step: whoever opens that sees the old file or the new one, and
 * a copy that fails or is interrupted changes nothing. Exits with 0, with 1 after an error,
 * with 2 for wrong arguments, and with 128 + N after a signal.
 */
import {
  asyncClose,
  asyncFdatasync,
  asyncFstat,
  asyncFsync,
  asyncFtruncate,
  asyncOpen,
  asyncRead,
  asyncReadExact,
  asyncRename,
  asyncUnlink,
  asyncWriteExact,
  type Failure,
  type FileStat,
  type FileType,
  IoContext,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  O_WRONLY,
  type Result,
  type Task,
} from "@kio/kio";
import { Buffer } from "node:buffer";
import { dirname } from "node:path";
import { readArguments, wholeNumber } from "./command_line.ts";
import { LiveLine, minutesOf } from "./terminal.ts";

/** File systems keep holes in multiples of this. */
const PAGE = 4096;
const ZEROS = new Uint8Array(PAGE);
const MIB = 2 ** 20;
/** Bytes that are on their way to the disk at a time, at least. */
const SYNC_SIZE = 32 * MIB;
const MEMORY_MAX = 1024 * MIB;
const DEPTH_MAX = 1024;
/** Between two lines of progress, where there is no terminal. */
const LOG_EVERY_MS = 10_000;
/** Has a file open by its name only; see open(2). */
const O_PATH = 0o10000000;
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/** Options of a copy. */
interface CopyOptions {
  /** One for each request in flight. */
  buffers: Uint8Array[];
  /** Leave out pages of zeros: the target has holes there. */
  sparse: boolean;
  signal: AbortSignal;
  onProgress: (bytes: number) => void;
}

/**
 * Copies a file to an empty one, and makes that durable. The disk starts with
 * that while the rest is copied; left to the end, it takes as long again.
 *
 * @param size Up to there several blocks are copied at a time. It may be wrong.
 * @returns The bytes of the copy.
 */
async function copyFile(
  ctx: IoContext,
  source: number,
  target: number,
  size: number,
  { buffers, sparse, signal, onProgress }: CopyOptions,
): Task<Result<number>> {
  let next = 0;
  let end = size;
  let unsynced = 0;
  let syncing: Task<void> | undefined;
  let failure: Failure | undefined;

  async function copyBlocks(buffer: Uint8Array): Task<void> {
    while (next < end && failure === undefined) {
      const at = next;
      const block = buffer.subarray(0, end - at);
      next += block.length;
      const read = await asyncReadExact(ctx, source, block, at, { signal });
      if (read.ok) {
        await write(block, at, sparse);
      } else if (read.error.code === "ENODATA") {
        // An earlier read may have gone beyond this; the end is cut off later.
        const data = block.subarray(0, read.error.bytesTransferred);
        end = Math.min(end, at + data.length);
        await write(data, at, sparse);
      } else failure ??= read;
      if (unsynced >= SYNC_SIZE) syncing ??= sync();
    }
  }

  /** Only a read of nothing is the end. */
  async function copyRest(buffer: Uint8Array): Task<void> {
    while (failure === undefined) {
      const read = await asyncRead(ctx, source, buffer, end)
        .withSignal(signal);
      if (!read.ok) failure = read;
      else if (read.value === 0) return;
      else {
        // With its zeros: something else may have been written there.
        await write(buffer.subarray(0, read.value), end, false);
        end += read.value;
      }
    }
  }

  async function sync(): Task<void> {
    unsynced = 0;
    const synced = await asyncFdatasync(ctx, target).withSignal(signal);
    // The system tells of an error once: the last one may know of none.
    if (!synced.ok) failure ??= synced;
    syncing = undefined;
  }

  async function write(
    block: Uint8Array,
    at: number,
    leaveHoles: boolean,
  ): Task<void> {
    let left = block.length;
    const parts = leaveHoles ? dataOf(block) : left === 0 ? [] : [[0, block]];
    for (const [offset, data] of parts as Iterable<Part>) {
      const to = at + offset;
      const written = await asyncWriteExact(ctx, target, data, to, { signal });
      const bytes = written.ok
        ? data.length
        : written.error.bytesTransferred ?? 0;
      left -= bytes;
      onProgress(bytes);
      if (written.ok) continue;
      failure ??= written;
      return;
    }
    onProgress(left);
    unsynced += block.length;
  }

  await Promise.all(buffers.map(copyBlocks));
  await copyRest(buffers[0]!);
  await syncing;
  if (failure !== undefined) return failure;
  // The file may end with a hole, or before the bytes that were read first.
  const sized = await asyncFtruncate(ctx, target, end);
  if (!sized.ok) return sized;
  const synced = await asyncFdatasync(ctx, target).withSignal(signal);
  return synced.ok ? { ok: true, value: end } : synced;
}

/** A part of a block, and where it is. */
type Part = [offset: number, data: Uint8Array];

/** The parts of a block that hold something else than pages of zeros. */
function* dataOf(block: Uint8Array): Iterable<Part> {
  let start = -1;
  for (let at = 0; at < block.length; at += PAGE) {
    const page = block.subarray(at, at + PAGE);
    // memcmp(3): 12 µs for a block of 256 KiB, 170 µs with a loop.
    const isData = Buffer.compare(page, ZEROS.subarray(0, page.length)) !== 0;
    if (isData && start < 0) start = at;
    if (isData || start < 0) continue;
    yield [start, block.subarray(start, at)];
    start = -1;
  }
  if (start >= 0) yield [start, block.subarray(start)];
}

// ---- names and errors -----------------------------------------------------------

/** The end of the program: what to print, and the exit code. */
class Failed extends Error {
  readonly code: number;

  constructor(message: string, code = 1) {
    super(message);
    this.code = code;
  }
}

/** The value of a result, without which the copy cannot go on. */
function need<T>(result: Result<T>, action: string): T {
  if (result.ok) return result.value;
  throw new Failed(`Cannot ${action}: ${result.error.message}`);
}

function nameOf(type: FileType): string {
  return type === "character" || type === "block" ? `${type} device` : type;
}

/** The file at the source's name, if it is one that can be copied. */
async function openSource(ctx: IoContext, path: string): Task<number> {
  // A FIFO would make one wait otherwise.
  const flags = O_RDONLY | O_NONBLOCK;
  const fd = need(await asyncOpen(ctx, path, flags), `open ${path}`);
  const { type } = need(await asyncFstat(ctx, fd), `stat ${path}`);
  if (type === "file") return fd;
  throw new Failed(`Cannot copy ${path}: it is a ${nameOf(type)}, not a file`);
}

/** Fails if the copy must not replace the file with the target's name. */
async function checkTarget(
  ctx: IoContext,
  path: string,
  source: FileStat,
): Task<void> {
  // It may be one that this user cannot read, and is replaced nevertheless.
  const opened = await asyncOpen(ctx, path, O_PATH | O_NOFOLLOW);
  if (!opened.ok && opened.error.code === "ENOENT") return;
  const fd = need(opened, `replace ${path}`);
  const target = need(await asyncFstat(ctx, fd), `stat ${path}`);
  await asyncClose(ctx, fd);
  if (target.type === "symlink") {
    throw new Failed(
      `Cannot replace ${path}: it is a symbolic link; name the file itself`,
    );
  }
  if (target.type !== "file") {
    throw new Failed(`Cannot replace ${path}: it is a ${nameOf(target.type)}`);
  }
  if (target.inode === source.inode && target.device === source.device) {
    throw new Failed(
      `Cannot copy ${path}: source and target are the same file`,
    );
  }
}

/** Copies `source` to `target`; gives its bytes. */
async function copy(
  ctx: IoContext,
  { source, target, depth, blockSize }: Request,
  signal: AbortSignal,
  onSize: (size: number) => CopyOptions["onProgress"],
): Task<number> {
  const from = await openSource(ctx, source);
  const stat = need(await asyncFstat(ctx, from), `stat ${source}`);
  const { size, allocated, mode } = stat;
  await checkTarget(ctx, target, stat);
  const folder = dirname(target);
  // Short enough for any file system, and unique.
  const temporary = `${folder}/.kio-${crypto.randomUUID()}`;
  const flags = O_WRONLY | O_CREAT | O_EXCL;
  const to = need(
    await asyncOpen(ctx, temporary, flags, mode & 0o777),
    `create a file in ${folder}`,
  );
  let isDone = false;
  let bytes = 0;
  const show = onSize(size);
  try {
    const memory = ctx.allocate(depth * blockSize);
    const copied = await copyFile(ctx, from, to, size, {
      buffers: Array.from(
        { length: depth },
        (_, i) => memory.subarray(i * blockSize, (i + 1) * blockSize),
      ),
      // io_uring cannot ask where the holes are (SEEK_DATA); whether there are
      // some is known, so that other files are not searched for zeros.
      sparse: allocated < size,
      signal,
      onProgress: (count) => {
        bytes += count;
        show(count);
      },
    });
    signal.throwIfAborted();
    if (!copied.ok) {
      // Report the bytes of the whole copy, not of the block.
      const why = copied.error.message.replace(/, after \d+ bytes$/, "");
      throw new Failed(
        `Cannot copy ${source} to ${target}: ${why}, after ${
          inUnits(bytes)
        } of ${inUnits(size)}`,
      );
    }
    need(await asyncClose(ctx, to), `write ${target}`);
    need(await asyncRename(ctx, temporary, target), `replace ${target}`);
    isDone = true;
    await syncFolder(ctx, folder);
    return copied.value;
  } finally {
    if (!isDone) await asyncUnlink(ctx, temporary);
  }
}

/** Makes the new name durable, as far as the file system does that. */
async function syncFolder(ctx: IoContext, path: string): Task<void> {
  const opened = await asyncOpen(ctx, path, O_RDONLY | O_DIRECTORY);
  if (!opened.ok) return;
  await asyncFsync(ctx, opened.value);
  await asyncClose(ctx, opened.value);
}

// ---- what the user sees and says ---------------------------------------------------

/** Says how far the copy is. */
class Progress {
  readonly #startMs = performance.now();
  readonly #live = new LiveLine(LOG_EVERY_MS);
  readonly #isShown: boolean;
  #size = 0;
  #done = 0;

  constructor(isShown: boolean) {
    this.#isShown = isShown;
  }

  start(size: number): (bytes: number) => void {
    this.#size = size;
    if (this.#isShown) this.#live.keep(() => this.#text());
    return (bytes) => this.#done += bytes;
  }

  stop(): void {
    this.#live[Symbol.dispose]();
  }

  summarize(bytes: number): void {
    if (!this.#isShown) return;
    const seconds = this.#seconds();
    console.error(
      `copied ${inUnits(bytes)} in ${seconds.toFixed(2)} s (${
        inUnits(bytes / seconds)
      }/s)`,
    );
  }

  #seconds(): number {
    return (performance.now() - this.#startMs) / 1000;
  }

  #text(): string {
    // More than all of it, if the file has grown.
    const part = Math.min(1, this.#done / (this.#size || 1));
    const rate = this.#done / this.#seconds();
    const left = rate === 0
      ? ""
      : `, ${minutesOf(Math.max(0, this.#size - this.#done) / rate)} left`;
    const bar = "#".repeat(Math.floor(20 * part)).padEnd(20);
    return `[${bar}] ${Math.floor(100 * part)} %, ${inUnits(this.#done)} of ${
      inUnits(this.#size)
    }, ${inUnits(rate)}/s${left}`;
  }
}

function inUnits(bytes: number): string {
  for (const [unit, size] of Object.entries({ G: 2 ** 30, M: MIB, K: 1024 })) {
    if (bytes >= size) return `${(bytes / size).toFixed(1)} ${unit}iB`;
  }
  return `${Math.round(bytes)} B`;
}

interface Request {
  source: string;
  target: string;
  depth: number;
  blockSize: number;
  quiet: boolean;
}

function readRequest(): Request {
  return readArguments({
    command: "deno task copy",
    about: "Copies a file, with several reads and writes in flight at a time.",
    operands: "SOURCE TARGET",
    options: {
      "queue-depth": {
        value: "N",
        default: "8",
        help: `blocks in flight, 1 to ${DEPTH_MAX}`,
      },
      "block-size": {
        value: "SIZE",
        default: "256K",
        help: "a multiple of 4K, as in 65536, 64K or 1M",
      },
      quiet: { help: "say nothing but what is wrong" },
    },
  }, ({ quiet, ...values }, operands) => {
    const [source, target] = operands;
    if (
      source === undefined || target === undefined || operands.length > 2
    ) {
      throw new TypeError("expected the names of two files");
    }
    const queueDepth = values["queue-depth"];
    const depth = wholeNumber("--queue-depth", queueDepth, 1, DEPTH_MAX);
    const blockSize = sizeOf("--block-size", values["block-size"]);
    if (depth * blockSize > MEMORY_MAX) {
      throw new RangeError("queue depth times block size must not exceed 1G");
    }
    return { source, target, depth, blockSize, quiet };
  });
}

/** A number of pages with a unit: "4096", "256K", "1M". */
function sizeOf(name: string, text: string): number {
  const [, digits, letter = ""] = /^(\d+)([KM])?$/.exec(text) ?? [];
  const value = Number(digits) * { "": 1, K: 1024, M: MIB }[letter]!;
  if (value > 0 && value <= MEMORY_MAX && value % PAGE === 0) return value;
  throw new RangeError(
    `${name} must be a multiple of 4K up to 1024M, got "${text}"`,
  );
}

async function main(): Task<void> {
  const request = readRequest();
  const interruption = new AbortController();
  for (const [name, number] of Object.entries(SIGNALS)) {
    Deno.addSignalListener(name as keyof typeof SIGNALS, () => {
      interruption.abort(new Failed("interrupted", 128 + number));
    });
  }
  // The mode of the copy is that of the source.
  Deno.umask(0);
  using ctx = new IoContext();
  const progress = new Progress(!request.quiet);
  let bytes: number;
  try {
    bytes = await copy(
      ctx,
      request,
      interruption.signal,
      (size) => progress.start(size),
    );
  } finally {
    progress.stop();
  }
  progress.summarize(bytes);
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Failed)) throw error;
  console.error(error.message);
  Deno.exitCode = error.code;
}
// Otherwise Deno takes itself apart first: 12 ms.
Deno.exit();
