/**
 * Reading directories by threads of the shim, a batch of entries at a time.
 */
import type { Shim } from "../../ffi/load.ts";
import type { Path } from "../check.ts";
import { decodePath, shownPath } from "../path_text.ts";
import { failure, type Result, success } from "../result.ts";
import type { Ring } from "../ring/Ring.ts";
import { type FileStat, type FileType, statAt, TYPES } from "./file_stat.ts";

/** An entry of a directory. It has the members of `Deno.DirEntry`. */
export interface DirEntry {
  /** The name; if it is no UTF-8, for people to read, in the escapes of C. */
  name: string;
  /** The bytes of a name that is no UTF-8, as a path; else undefined. */
  bytes: Uint8Array | undefined;
  /** The kind of the file; `"unknown"` if the file system does not tell, and
   * statx(2) failed: the entry has gone, or may not be looked at. */
  type: FileType | "unknown";
  /** It is a regular file. */
  isFile: boolean;
  /** It is a directory. */
  isDirectory: boolean;
  /** It is a symbolic link. */
  isSymlink: boolean;
  /** Its number in its file system; without `stat` that of the directory below
   * the mount, if something is mounted there. */
  inode: bigint;
  /** Facts about it, or the error of the look: `ENOENT` if it has gone since.
   * Undefined without the option `stat`. */
  stat: Result<FileStat> | undefined;
}

/** Flags of kio_folder_begin(), see ffi/shim/kio.h. */
export const FOLDER_STAT = 1;
export const FOLDER_FOLLOW = 2;
export const FOLDER_SELF = 4;
export const FOLDER_NOFOLLOW = 8;

/** A batch: see kio_folder_take(). */
const FOLDER_STAT_SIZE = 160;
const FOLDER_STAT_ERRNO = 152;
const FOLDER_BATCH_SIZE = 263622;

/** The head of a batch, from kio_folder_take(): id, status, number of entries,
 * bytes of their names, device. */
type Head = [number, number, number, number, number];

/** A d_type. */
const DT_DIR = 4;
/** Types of entries by d_type: 0 is DT_UNKNOWN. */
const ENTRY_TYPES: readonly DirEntry["type"][] = Object.assign(
  Array(16).fill("unknown"),
  TYPES,
  { 0: "unknown" },
);

/** A batch: entries of a directory that came together. Each is decoded when it
 * is asked for, so that few of them are in the memory at a time. */
export class Batch {
  /** 1: there is more, by `more()`. 0: that was the end. Else a negative
   * errno. */
  readonly status: number;
  /** Its entries. With FOLDER_SELF the first of the first batch is the directory
   * itself. */
  readonly count: number;
  /** With FOLDER_SELF: the file system of the directory. */
  readonly device: number;
  readonly #inodes: BigUint64Array;
  readonly #stats: Uint32Array | null;
  readonly #types: Uint8Array;
  readonly #text: Uint8Array;
  #names: readonly Path[] | null = null;

  /** `bytes` is memory of its own: see kio_folder_take(). */
  constructor(
    [, status, count, , device]: Head,
    { buffer }: Uint8Array<ArrayBuffer>,
    hasStats: boolean,
  ) {
    this.status = status;
    this.count = count;
    this.device = device;
    this.#inodes = new BigUint64Array(buffer, 0, count);
    const statsAt = 8 * count;
    this.#stats = hasStats
      ? new Uint32Array(buffer, statsAt, FOLDER_STAT_SIZE / 4 * count)
      : null;
    const typesAt = statsAt + (this.#stats?.byteLength ?? 0);
    this.#types = new Uint8Array(buffer, typesAt, count);
    this.#text = new Uint8Array(buffer, typesAt + count);
  }

  /** Gives the next directory from `index` on; -1: there is none. */
  directoryFrom(index: number): number {
    return this.#types.indexOf(DT_DIR, index);
  }

  inodeAt(index: number): bigint {
    return this.#inodes[index]!;
  }

  typeAt(index: number): DirEntry["type"] {
    return ENTRY_TYPES[this.#types[index]!]!;
  }

  /** Gives a name: bytes if it is no UTF-8. */
  nameAt(index: number): Path {
    return (this.#names ??= namesIn(this.#text))[index]!;
  }

  statAt(index: number): Result<FileStat> | undefined {
    const stats = this.#stats;
    if (stats === null) return undefined;
    const at = FOLDER_STAT_SIZE / 4 * index;
    const errno = -(stats[at + FOLDER_STAT_ERRNO / 4]! | 0);
    return errno === 0
      ? success(statAt(stats, at, this.inodeAt(index)))
      : failure(errno, `stat ${shownPath(this.nameAt(index))}`);
  }

  entryAt(index: number): DirEntry {
    const given = this.nameAt(index);
    const type = this.typeAt(index);
    return {
      name: shownPath(given),
      bytes: typeof given === "string" ? undefined : given,
      type,
      isFile: type === "file",
      isDirectory: type === "directory",
      isSymlink: type === "symlink",
      inode: this.inodeAt(index),
      stat: this.statAt(index),
    };
  }
}

/** A directory that is being read. */
export interface Folder {
  /** Has the next batch read. Returns false if the system has no thread, or
   * the directory was given up. */
  more(): boolean;
  /** Gives it up before its end: no batch comes any more. */
  end(): void;
}

const readersOfRings = new WeakMap<Ring, Readers>();

/**
 * Has a directory read by a thread of the shim. `take` gets its first batch, and
 * after each `more()` the next. Returns null if the system has no thread.
 *
 * @param base The directory that a relative path starts from; may be closed
 * after the call.
 * @param path The path, with its NUL.
 * @param flags FOLDER_STAT and others.
 */
export function readFolder(
  ring: Ring,
  base: number,
  path: Uint8Array<ArrayBuffer>,
  flags: number,
  take: (batch: Batch) => void,
): Folder | null {
  let readers = readersOfRings.get(ring);
  if (readers === undefined) {
    readers = new Readers(ring);
    readersOfRings.set(ring, readers);
  }
  return readers.begin(base, path, flags, take);
}

/** One that waits for a batch. */
interface Reader {
  readonly hasStats: boolean;
  readonly take: (batch: Batch) => void;
}

/** The directories of a ring that are being read, by their ids. */
class Readers {
  readonly #shim: Shim;
  readonly #ring: Deno.PointerObject;
  readonly #byId = new Map<number, Reader>();
  #lastId = 0;
  readonly #head = new Float64Array(5);
  readonly #batch = new Uint8Array(FOLDER_BATCH_SIZE);

  constructor({ shim, handle, onAnswer }: Ring) {
    this.#shim = shim;
    this.#ring = handle;
    onAnswer.push(() => this.#takeBatches());
  }

  begin(
    base: number,
    path: Uint8Array<ArrayBuffer>,
    flags: number,
    take: (batch: Batch) => void,
  ): Folder | null {
    const shim = this.#shim;
    const id = ++this.#lastId;
    const handle = shim.kio_folder_begin(this.#ring, id, base, path, flags);
    if (handle === null) return null;
    this.#byId.set(id, { take, hasStats: (flags & FOLDER_STAT) !== 0 });
    return {
      // Behind its last batch, or its end, the shim has let go of it.
      more: () => this.#byId.has(id) && shim.kio_folder_more(handle) === 0,
      end: () => {
        if (this.#byId.delete(id)) shim.kio_folder_end(handle);
      },
    };
  }

  #takeBatches(): void {
    const head = this.#head;
    while (this.#shim.kio_folder_take(this.#ring, head, this.#batch)) {
      const [id, status, count, namesSize] = head as unknown as Head;
      const { take, hasStats } = this.#byId.get(id)!;
      if (status <= 0) this.#byId.delete(id);
      const size = count * (9 + (hasStats ? FOLDER_STAT_SIZE : 0)) + namesSize;
      const bytes = this.#batch.slice(0, size);
      take(new Batch(head as unknown as Head, bytes, hasStats));
    }
  }
}

/** Splits names, each of which ends with a NUL. */
function namesIn(bytes: Uint8Array): Path[] {
  const all = decodePath(bytes);
  if (typeof all === "string") return all.split("\0");
  const names: Path[] = [];
  for (let start = 0, end; start < bytes.length; start = end + 1) {
    end = bytes.indexOf(0, start);
    names.push(decodePath(bytes.subarray(start, end)));
  }
  return names;
}
