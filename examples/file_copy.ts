/**
 * Copies a file, with several reads and writes in flight at a time.
 *
 *     deno task copy SOURCE TARGET [--queue-depth 8] [--block-size 256K] [--quiet]
 *
 * The copy has the size that the source had at the start, its permission bits
 * and its holes. It takes the name TARGET when it is complete and durable, in
 * one step: whoever opens that sees the old file or the new one, and a copy that
 * fails or is interrupted changes nothing. Exits with 0, with 1 after an error,
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
  type FileStat,
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
import { parseArgs } from "node:util";

/** What file systems keep holes in multiples of. */
const PAGE = 4096;
const ZEROS = new Uint8Array(PAGE);
const MIB = 2 ** 20;
/** Bytes that are on their way to the disk at a time, at least. */
const SYNC_SIZE = 32 * MIB;
const MEMORY_MAX = 1024 * MIB;
const SIGNALS = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 } as const;

/** How a copy is made. */
interface CopyOptions {
  /** One for each request in flight. */
  buffers: Uint8Array[];
  /** Leave out pages of zeros: the target has holes there. */
  sparse: boolean;
  signal: AbortSignal;
  onProgress: (bytes: number) => void;
}

/**
 * Copies the first `size` bytes of a file to an empty one, and makes them
 * durable. The disk starts with that while the rest is copied; left to the end,
 * it takes as long again.
 */
async function copyFile(
  ctx: IoContext,
  source: number,
  target: number,
  size: number,
  { buffers, sparse, signal, onProgress }: CopyOptions,
): Task<Result<void>> {
  let next = 0;
  let unsynced = 0;
  let syncing: Task<void> | undefined;
  let failure: Result<void> | undefined;

  async function copyBlocks(buffer: Uint8Array): Task<void> {
    while (next < size && failure === undefined) {
      const at = next;
      const block = buffer.subarray(0, size - at);
      next += block.length;
      const read = await asyncReadExact(ctx, source, block, at, { signal });
      if (!read.ok) failure ??= read;
      else if (sparse) await write(dataOf(block), at);
      else await write([[0, block]], at);
      onProgress(block.length);
      unsynced += block.length;
      if (unsynced >= SYNC_SIZE) syncing ??= sync();
    }
  }

  async function sync(): Task<void> {
    unsynced = 0;
    const synced = await asyncFdatasync(ctx, target).withSignal(signal);
    // The system tells of an error once: the last one may know of none.
    if (!synced.ok) failure ??= synced;
    syncing = undefined;
  }

  async function write(parts: Iterable<Part>, at: number): Task<void> {
    for (const [offset, data] of parts) {
      const to = at + offset;
      const written = await asyncWriteExact(ctx, target, data, to, { signal });
      if (!written.ok) failure ??= written;
    }
  }

  await Promise.all(buffers.map(copyBlocks));
  await syncing;
  if (failure !== undefined) return failure;
  // It may end with a hole.
  const sized = await asyncFtruncate(ctx, target, size);
  return sized.ok ? asyncFdatasync(ctx, target).withSignal(signal) : sized;
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

/** The file at the source's name, if it is one that can be copied. */
async function openSource(ctx: IoContext, path: string): Task<number> {
  // A FIFO would make one wait otherwise.
  const flags = O_RDONLY | O_NONBLOCK;
  const fd = need(await asyncOpen(ctx, path, flags), `open ${path}`);
  const { type } = need(await asyncFstat(ctx, fd), `stat ${path}`);
  if (type === "file") return fd;
  throw new Failed(`Cannot copy ${path}: it is a ${type}, not a file`);
}

/** Fails if what has the target's name is not to be replaced. */
async function checkTarget(
  ctx: IoContext,
  path: string,
  source: FileStat,
): Task<void> {
  const opened = await asyncOpen(
    ctx,
    path,
    O_RDONLY | O_NONBLOCK | O_NOFOLLOW,
  );
  if (!opened.ok && opened.error.code === "ENOENT") return;
  if (!opened.ok && opened.error.code === "ELOOP") {
    throw new Failed(
      `Cannot replace ${path}: it is a symbolic link; name the file itself`,
    );
  }
  const fd = need(opened, `replace ${path}`);
  const target = need(await asyncFstat(ctx, fd), `stat ${path}`);
  await asyncClose(ctx, fd);
  if (target.type !== "file") {
    throw new Failed(`Cannot replace ${path}: it is a ${target.type}`);
  }
  if (target.inode === source.inode && target.device === source.device) {
    throw new Failed(
      `Cannot copy ${path}: source and target are the same file`,
    );
  }
}

/** Copies `source` to `target`; gives what was copied. */
async function copy(
  ctx: IoContext,
  { source, target, depth, blockSize }: Request,
  signal: AbortSignal,
  onSize: (size: number) => CopyOptions["onProgress"],
): Task<void> {
  const from = await openSource(ctx, source);
  const stat = need(await asyncFstat(ctx, from), `stat ${source}`);
  const { size, allocated, mode } = stat;
  await checkTarget(ctx, target, stat);
  const folder = dirname(target);
  // Short enough for any name; nobody else has it.
  const temporary = `${folder}/.kio-${crypto.randomUUID()}`;
  const flags = O_WRONLY | O_CREAT | O_EXCL;
  const to = need(
    await asyncOpen(ctx, temporary, flags, mode & 0o777),
    `create a file in ${folder}`,
  );
  let isDone = false;
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
      onProgress: onSize(size),
    });
    signal.throwIfAborted();
    if (!copied.ok && copied.error.code === "ENODATA") {
      throw new Failed(
        `Cannot copy ${source}: it has become shorter meanwhile`,
      );
    }
    need(copied, `copy ${source} to ${target}`);
    need(await asyncClose(ctx, to), `write ${target}`);
    need(await asyncRename(ctx, temporary, target), `replace ${target}`);
    isDone = true;
    await syncFolder(ctx, folder);
    await tellIfGrown(ctx, source, from, size);
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

/** What is written while it is copied, or by /proc while it is read. */
async function tellIfGrown(
  ctx: IoContext,
  path: string,
  fd: number,
  size: number,
): Task<void> {
  const read = await asyncRead(ctx, fd, new Uint8Array(1), size);
  if (!read.ok || read.value === 0) return;
  console.error(
    `${path} has more than the ${size} bytes that it had at the start; these were copied`,
  );
}

// ---- what the user sees and says ---------------------------------------------------

/** A line on a terminal that is written again and again. */
class Progress {
  readonly #startMs = performance.now();
  readonly #isShown: boolean;
  #size = 0;
  #done = 0;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(isShown: boolean) {
    this.#isShown = isShown;
  }

  start(size: number): (bytes: number) => void {
    this.#size = size;
    if (this.#isShown && Deno.stderr.isTerminal()) {
      this.#draw();
      this.#timer = setInterval(() => this.#draw(), 100);
    }
    return (bytes) => this.#done += bytes;
  }

  /** Takes the line away. */
  stop(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    write("\r\x1b[K");
  }

  summarize(): void {
    if (!this.#isShown) return;
    const seconds = this.#seconds;
    write(
      `copied ${inUnits(this.#size)} in ${seconds.toFixed(2)} s (${
        inUnits(this.#size / seconds)
      }/s)\n`,
    );
  }

  get #seconds(): number {
    return (performance.now() - this.#startMs) / 1000;
  }

  #draw(): void {
    const part = this.#size === 0 ? 1 : this.#done / this.#size;
    const rate = this.#done / this.#seconds;
    const left = rate === 0
      ? ""
      : `, ${inMinutes((this.#size - this.#done) / rate)} left`;
    const bar = "#".repeat(Math.floor(20 * part)).padEnd(20);
    write(
      `\r\x1b[K[${bar}] ${Math.floor(100 * part)} %, ${
        inUnits(this.#done)
      } of ${inUnits(this.#size)}, ${inUnits(rate)}/s${left}`,
    );
  }
}

function write(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}

function inUnits(bytes: number): string {
  for (const [unit, size] of Object.entries({ G: 2 ** 30, M: MIB, K: 1024 })) {
    if (bytes >= size) return `${(bytes / size).toFixed(1)} ${unit}iB`;
  }
  return `${Math.round(bytes)} B`;
}

function inMinutes(seconds: number): string {
  const whole = Math.ceil(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

interface Request {
  source: string;
  target: string;
  depth: number;
  blockSize: number;
  quiet: boolean;
}

function requestOf(args: string[]): Request {
  const options = {
    "queue-depth": { type: "string", default: "8" },
    "block-size": { type: "string", default: "256K" },
    quiet: { type: "boolean", default: false },
  } as const;
  try {
    const parsed = parseArgs({ args, options, allowPositionals: true });
    const [source, target, ...more] = parsed.positionals;
    if (source === undefined || target === undefined || more.length > 0) {
      throw new Error("expected the names of two files");
    }
    const depth = sizeOf("--queue-depth", parsed.values["queue-depth"], 1);
    const blockSize = sizeOf("--block-size", parsed.values["block-size"], PAGE);
    if (depth * blockSize > MEMORY_MAX) {
      throw new Error("queue depth times block size must not exceed 1G");
    }
    return { source, target, depth, blockSize, quiet: parsed.values.quiet };
  } catch (error) {
    throw new Failed(
      `${(error as Error).message}
usage: deno task copy SOURCE TARGET [--queue-depth 8] [--block-size 256K] [--quiet]`,
      2,
    );
  }
}

/** A number with a unit: "4096", "256K", "1M". */
function sizeOf(name: string, text: string, unit: number): number {
  const [, digits, letter = ""] = /^(\d{1,10})([KM])?$/.exec(text) ?? [];
  const value = Number(digits) * { "": 1, K: 1024, M: MIB }[letter]!;
  if (value > 0 && value % unit === 0) return value;
  throw new Error(`${name} must be a multiple of ${unit}, got "${text}"`);
}

async function main(): Task<void> {
  const request = requestOf(Deno.args);
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
  try {
    await copy(
      ctx,
      request,
      interruption.signal,
      (size) => progress.start(size),
    );
  } finally {
    progress.stop();
  }
  progress.summarize();
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
