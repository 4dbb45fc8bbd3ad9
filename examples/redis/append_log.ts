/**
 * The append-only file: the changes, as the requests that repeat them. A line
 * before each part of it has the length of the part and a checksum. Redis reads
 * such lines as comments, and the file as one of its own.
 */
import {
  asyncFdatasync,
  asyncFsync,
  asyncFtruncate,
  asyncOpen,
  asyncRead,
  asyncReadExact,
  asyncSleep,
  asyncWriteExact,
  BufferedReader,
  CURRENT_POSITION,
  File,
  type IoContext,
  type IoError,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  type Task,
  type UringOp,
  writeFile,
} from "@kio/kio";
import { Buffer } from "node:buffer";
import { dirname } from "node:path";
import { crc32 } from "node:zlib";
import { REQUEST_MAX, RequestFinder, textOf } from "./request.ts";
import { encode } from "./store.ts";

/** When the log is made durable: before each answer, each second, or when the
 * system likes to. */
export type Sync = "always" | "everysec" | "no";

/** Characters of a part, beyond which the next command begins another. */
const PART_SIZE = 1024 * 1024;
/** A command may be longer as several requests than as one. */
const PART_MAX = PART_SIZE + 8 * REQUEST_MAX;
const MARK = "#KIO:";
const HEAD = /^#KIO:(\d{1,8}):([0-9a-f]{8})\r$/;
/** Longest wait for a group to grow. */
const GATHER_MS_MAX = 5;
/** A crash leaves no more behind: the rest is something else. */
const TORN_MAX = 64 * 1024 * 1024;

/** The log cannot be used, or not any more. */
export class LogError extends Error {}

/** Changes that are written together. */
class Group {
  readonly parts: string[] = [];
  part = "";
  readonly undos: (() => void)[] = [];
  /** Those who asked when they are settled. */
  waiting = 0;
  /** Its error; undefined once it is written. */
  readonly settled = Promise.withResolvers<IoError | undefined>();

  get isEmpty(): boolean {
    return this.undos.length === 0;
  }
}

/** A log that is open, and the only writer of its file. */
export class AppendLog {
  readonly #ctx: IoContext;
  readonly #file: File;
  readonly #isDurable: boolean;
  readonly #onBroken: (error: IoError) => void;
  #end: number;
  #next = new Group();
  #writing: Group | undefined;
  #isWriting = false;
  /** The wait for clients that are about to ask for changes, too. */
  #gathering: UringOp<void> | undefined;
  /** Clients that had asked for changes when the last group was settled. */
  #clients = 0;
  /** The time that it took. */
  #groupMs = 0;
  #isDirty = false;
  #syncing: Promise<void> | undefined;

  private constructor(
    ctx: IoContext,
    file: File,
    sync: Sync,
    end: number,
    onBroken: (error: IoError) => void,
  ) {
    this.#ctx = ctx;
    this.#file = file;
    this.#isDurable = sync === "always";
    this.#end = end;
    this.#onBroken = onBroken;
  }

  /**
   * Opens the log, and cuts off what a crash has left behind its last whole
   * part.
   *
   * @param replay Called with the arguments of each request.
   * @param onBroken Called if it is unknown what the disk has: the server must
   * end, and say nothing more.
   * @throws {Error} If the file cannot be read or is no log.
   */
  static async open(
    ctx: IoContext,
    path: string,
    sync: Sync,
    replay: (args: string[]) => void,
    onBroken: (error: IoError) => void,
  ): Task<AppendLog> {
    const opened = await File.open(ctx, path, O_RDWR | O_CREAT, {
      mode: 0o600,
    });
    if (!opened.ok) throw new LogError(opened.error.message);
    const file = opened.value;
    if (!(await file.stat()).isFile) {
      await file.close();
      throw new LogError(`${path} is no regular file`);
    }
    if (!await file.tryLock()) throw new LogError(`${path} is in use`);
    const end = await recover(ctx, file, path, replay);
    await asyncFdatasync(ctx, file).orThrow();
    // A new file is there after a crash only if its folder is.
    const flags = O_RDONLY | O_DIRECTORY;
    const folder = await asyncOpen(ctx, dirname(path), flags).orThrow();
    await using owner = new File(ctx, folder);
    await asyncFsync(ctx, owner).orThrow();
    return new AppendLog(ctx, file, sync, end, onBroken);
  }

  /** Adds a change, which counts once `settled()` says so. */
  add(request: string, undo: () => void): void {
    this.#next.part += request;
    this.#next.undos.push(undo);
  }

  /** Ends a command: it is in the file as a whole, or not at all. */
  endCommand(): void {
    const group = this.#next;
    if (group.part.length < PART_SIZE) return;
    group.parts.push(group.part);
    group.part = "";
  }

  /** True if there are changes that are not settled. Who has read since they were
   * made has read them. */
  get isPending(): boolean {
    return this.#isWriting || !this.#next.isEmpty;
  }

  /** Waits until all changes are written, or their failure has undone them. */
  settled(): Promise<IoError | undefined> {
    const group = this.#next.isEmpty ? this.#writing : this.#next;
    if (group === undefined) return Promise.resolve(undefined);
    group.waiting++;
    if (group.waiting >= this.#clients) this.#gathering?.cancel();
    if (!this.#isWriting) void this.#write();
    return group.settled.promise;
  }

  async #write(): Task<void> {
    this.#isWriting = true;
    for (;;) {
      await this.#gather();
      const group = this.#next;
      if (group.isEmpty) break;
      this.#writing = group;
      this.#next = new Group();
      const startMs = performance.now();
      const data = bytesOf(group);
      const durable = this.#isDurable;
      const written = await asyncWriteExact(
        ...[this.#ctx, this.#file, data, this.#end] as const,
        { durable },
      );
      this.#groupMs = performance.now() - startMs;
      this.#clients = group.waiting + this.#next.waiting;
      if (written.ok) {
        this.#end += written.value;
        this.#isDirty = !durable;
        group.settled.resolve(undefined);
      } else if (!await this.#takeBack(group, data, written.error)) return;
      this.#writing = undefined;
    }
    this.#isWriting = false;
  }

  /** Lets the next group grow. A sync takes as long for all clients as for one,
   * and one that is late waits for two: so it waits for those of the last group,
   * no longer than that took. */
  async #gather(): Task<void> {
    // What else comes in this turn goes with it.
    await Promise.resolve();
    const { isEmpty, waiting } = this.#next;
    if (isEmpty || !this.#isDurable || waiting >= this.#clients) return;
    const pauseMs = Math.min(this.#groupMs, GATHER_MS_MAX);
    this.#gathering = asyncSleep(this.#ctx, pauseMs);
    await this.#gathering;
    this.#gathering = undefined;
  }

  /** Undoes changes that could not be written; false if the disk may have them
   * all the same. */
  async #takeBack(
    group: Group,
    data: Uint8Array[],
    error: IoError,
  ): Task<boolean> {
    const size = data.reduce((sum, { length }) => sum + length, 0);
    const isSyncLost = error.bytesTransferred === size;
    if (isSyncLost || !await this.#cut()) {
      this.#onBroken(error);
      return false;
    }
    // Those that came meanwhile build upon them.
    for (const failed of [this.#next, group]) {
      for (const undo of failed.undos.reverse()) undo();
      failed.settled.resolve(error);
    }
    this.#next = new Group();
    return true;
  }

  /** Cuts off what is not whole, for good. */
  async #cut(): Task<boolean> {
    const cut = await asyncFtruncate(this.#ctx, this.#file, this.#end);
    return cut.ok && (await asyncFdatasync(this.#ctx, this.#file)).ok;
  }

  /** Makes durable what is written, unless that is under way. */
  sync(): Promise<void> {
    return this.#syncing ??= this.#sync().finally(() =>
      this.#syncing = undefined
    );
  }

  async #sync(): Promise<void> {
    if (!this.#isDirty) return;
    this.#isDirty = false;
    const synced = await asyncFdatasync(this.#ctx, this.#file);
    if (!synced.ok) this.#onBroken(synced.error);
  }

  /** Writes and syncs what there is, and closes the file. */
  async close(): Promise<void> {
    await this.settled();
    // One that is under way may have begun before the last write.
    await this.#syncing;
    await this.sync();
    await this.#file.close();
  }
}

function bytesOf({ parts, part }: Group): Uint8Array[] {
  const all = part === "" ? parts : [...parts, part];
  return all.flatMap((text) => {
    const data = Buffer.allocUnsafeSlow(text.length);
    encode(text, data);
    return [Buffer.from(headOf(data)), data];
  });
}

function headOf(data: Uint8Array): string {
  return `${MARK}${data.length}:${sumOf(data)}\r\n`;
}

function sumOf(data: Uint8Array): string {
  return crc32(data).toString(16).padStart(8, "0");
}

/** Replays the whole parts, and cuts off the rest. Returns the end. */
async function recover(
  ctx: IoContext,
  file: File,
  path: string,
  replay: (args: string[]) => void,
): Task<number> {
  const reader = new BufferedReader(
    { recv: (buffer) => asyncRead(ctx, file, buffer, CURRENT_POSITION) },
    { sizeMax: PART_MAX },
  );
  let end = 0;
  for (;;) {
    const line = await reader.until("\n", { max: 64 });
    const [, length, sum] = HEAD.exec(line.ok ? textOf(line.value) : "") ?? [];
    if (length === undefined) break;
    const part = await reader.exactly(Number(length));
    if (!part.ok || sumOf(part.value) !== sum) break;
    replayPart(part.value, replay);
    end += headOf(part.value).length + part.value.length;
  }
  const { size } = await file.stat();
  if (size === end) return end;
  if (size - end > TORN_MAX) {
    throw new LogError(`${path} is no log of this server from byte ${end} on`);
  }
  const torn = new Uint8Array(size - end);
  await asyncReadExact(ctx, file, torn, end).orThrow();
  const start = textOf(torn.subarray(0, MARK.length));
  if (end === 0 && !MARK.startsWith(start)) {
    throw new LogError(`${path} is no log of this server`);
  }
  // It may be worth a look, if it was no crash.
  await writeFile(ctx, `${path}.torn`, torn, { durable: true });
  await asyncFtruncate(ctx, file, end).orThrow();
  console.error(`cut ${torn.length} bytes off ${path}; ${path}.torn has them`);
  return end;
}

function replayPart(bytes: Uint8Array, replay: (args: string[]) => void): void {
  const finder = new RequestFinder();
  const text = textOf(bytes);
  for (let at = 0; at < bytes.length;) {
    const end = finder.find(bytes, at);
    if (end === 0) throw new LogError("a request in it does not end");
    replay(finder.take(text, at));
    at = end;
  }
}
