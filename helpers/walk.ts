import { checkBounds, checkDir, checkPath, type Path } from "../lib/check.ts";
import { EAGAIN, ELOOP } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import type { FileStat } from "../lib/ops/file_stat.ts";
import {
  type Batch,
  type DirEntry,
  type Folder,
  FOLDER_SELF,
  readFolder,
} from "../lib/ops/folder.ts";
import { READ_DIR, WALK } from "../lib/ops/table.ts";
import { shownPath } from "../lib/path_text.ts";
import {
  DONE,
  type Failure,
  pathFailure,
  type Result,
  success,
} from "../lib/result.ts";
import { bound } from "../lib/ring/bounds.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import type { UringStream } from "../lib/UringStream.ts";
import { ResultStream } from "./result_stream.ts";
import { Filter, type WalkOptions } from "./walk_filter.ts";
import { joined, nameOf, prefixOf } from "./walk_path.ts";

/** An entry of a tree. */
export interface WalkEntry extends DirEntry {
  /** The path: that of the root, and the names below it, with `/` between. It is
   * bytes if one of them is no UTF-8. */
  path: Path;
  /** How many directories below the root: 0 for the root itself. */
  depth: number;
}

/**
 * Walks a tree of directories by getdents64(2): gives the root and all that is
 * below it, as `find` does.
 *
 * Threads of the library read many directories at a time, as for `readDir()`.
 * An entry comes after the directory that it is in. Entries of one directory
 * come as from `readDir()`. The order of directories among each other is not
 * defined: sort by `path` if it matters.
 *
 * It goes on after an error: a directory that vanishes meanwhile, or that must
 * not be read, is a result with `error.path`. With `orThrow()` the first error
 * ends the loop. A directory that was replaced by a symbolic link meanwhile is
 * not followed. Its parents are not looked at again: who may write to the tree
 * can lead the walk elsewhere by them.
 *
 * With `followSymlinks` an entry is the file that a link leads to, unless it
 * leads nowhere. A link to a directory that its own path goes through gives
 * `ELOOP` and is not followed again, by device and inode.
 *
 * @param ctx The context.
 * @param root The directory, absolute or relative to `dir`; a symbolic link is
 * followed. `dir` must stay open until the end. Without `dir` a relative path
 * starts from the current directory of the moment.
 * @param options What to give, and how deep to go; `stat` to look at each entry;
 * `timeoutMs` and `signal` for the whole stream.
 * @returns The entries. Errors with `error.path`, after which it goes on: those
 * of `readDir()`, `ELOOP`. Its last result is an error if it was ended:
 * `ECANCELED`, `ETIMEDOUT`.
 * @throws {RangeError} If a number is out of range.
 * @throws {TypeError} If `root` is neither a string nor a Uint8Array or has a
 * NUL, an option has the wrong type, or the context is closed.
 *
 * @example Bytes of all modules, and what could not be read
 * ```ts
 * import { IoContext, walk } from "@kio/kio";
 *
 * using ctx = new IoContext();
 * let bytes = 0;
 * const skip = [/\/node_modules$/, /\/\.git$/];
 * for await (const found of walk(ctx, ".", { exts: [".ts"], skip, stat: true })) {
 *   if (!found.ok) console.error(found.error.path, found.error.code);
 *   else if (found.value.stat.ok) bytes += found.value.stat.value.size;
 * }
 * console.log(bytes);
 * ```
 */
export function walk(
  ctx: IoContext,
  root: Path,
  options: WalkOptions & { stat: true },
): UringStream<WalkEntry & { stat: Result<FileStat> }>;
/**
 * Walks a tree of directories by getdents64(2).
 *
 * @param ctx The context.
 * @param root The directory, absolute or relative to `dir`.
 * @param options What to give, and how deep to go.
 * @returns The entries.
 */
export function walk(
  ctx: IoContext,
  root: Path,
  options?: WalkOptions,
): UringStream<WalkEntry>;
export function walk(
  ctx: IoContext,
  root: Path,
  options: WalkOptions = {},
): UringStream<WalkEntry> {
  const ring = ringOf(ctx, WALK);
  checkBounds(options, WALK.verb);
  const base = checkDir(options.dir, WALK);
  checkPath(root, WALK);
  const filter = new Filter(options);
  const stream = new Tree(ring, base, filter, `walk ${shownPath(root)}`);
  stream.begin(typeof root === "string" ? root : root.slice());
  bound(stream, options);
  return stream;
}

/** Directories that are read at a time: enough for all threads, and for some
 * whose batches wait to be decoded. */
const FOLDERS_MAX = 64;

/** A directory of a tree: one to be read, or one that is read. */
class Node {
  readonly path: Path;
  readonly depth: number;
  /** The directory that it was found in, if links are followed: a path of them
   * may be a circle. */
  readonly parent: Node | null;
  folder: Folder | null = null;
  /** Which directory it is, once it is open, if that was asked for. */
  device = 0;
  inode = 0n;
  isOpen = false;

  constructor(path: Path, depth: number, parent: Node | null) {
    this.path = path;
    this.depth = depth;
    this.parent = parent;
  }

  /** It is one of those that its path goes through. */
  get isLoop(): boolean {
    for (let above = this.parent; above !== null; above = above.parent) {
      const isSame = above.inode === this.inode &&
        above.device === this.device;
      if (isSame) return true;
    }
    return false;
  }

  failure(errno: number): Failure {
    const action = `${READ_DIR.verb} ${shownPath(this.path)}`;
    return pathFailure(errno, this.path, action);
  }
}

class Tree extends ResultStream<WalkEntry> {
  readonly #ring: Ring;
  readonly #base: number;
  readonly #filter: Filter;
  /** Directories that wait; the last is the next. */
  readonly #waiting: Node[] = [];
  readonly #reading = new Set<Node>();
  /** Those of them that have more, and wait for room. */
  readonly #pausing: Node[] = [];

  constructor(ring: Ring, base: number, filter: Filter, action: string) {
    super(ring, WALK, action);
    this.#ring = ring;
    this.#base = base;
    this.#filter = filter;
  }

  begin(root: Path): void {
    if (!this.#filter.skips(root)) this.#waiting.push(new Node(root, 0, null));
    this.goOn();
  }

  protected goOn(): void {
    for (const node of this.#pausing.splice(0)) this.#more(node);
    while (
      this.#waiting.length > 0 && this.#reading.size < FOLDERS_MAX &&
      !this.isFull
    ) this.#read(this.#waiting.pop()!);
    if (this.#waiting.length === 0 && this.#reading.size === 0) {
      this.finish(DONE);
    }
  }

  protected stop(): void {
    for (const { folder } of this.#reading) folder!.end();
    this.#reading.clear();
    this.#waiting.length = 0;
    this.#pausing.length = 0;
  }

  #read(node: Node): void {
    node.folder = readFolder(
      this.#ring,
      this.#base,
      checkPath(node.path, READ_DIR),
      this.#filter.flagsFor(node.depth),
      (batch) => this.#take(node, batch),
    );
    if (node.folder === null) this.push(1, () => node.failure(EAGAIN));
    else this.#reading.add(node);
  }

  #more(node: Node): void {
    if (this.isFull) this.#pausing.push(node);
    else if (!node.folder!.more()) this.#leave(node, node.failure(EAGAIN));
  }

  #take(node: Node, batch: Batch): void {
    const { count, device, status } = batch;
    let start = 0;
    if (!node.isOpen && count > 0) {
      node.isOpen = true;
      if (this.#filter.flagsFor(node.depth) & FOLDER_SELF) {
        start = 1;
        node.device = device;
        node.inode = batch.inodeAt(0);
        if (node.isLoop) return this.#leave(node, node.failure(ELOOP));
        if (node.depth === 0) {
          this.#giveRoot(node.path, batch.entryAt(0));
          if (this.#filter.maxDepth === 0) return this.#leave(node);
        }
      }
    }
    this.#give(node, batch, start);
    this.#enter(node, batch, start);
    if (status > 0) this.#more(node);
    else this.#leave(node, status < 0 ? node.failure(-status) : undefined);
  }

  #giveRoot(path: Path, self: DirEntry): void {
    if (!this.#filter.wants(self.type, path)) return;
    const entry = { path, depth: 0, ...self, ...nameOf(path) };
    this.push(1, () => success(entry));
  }

  /** Gives the entries of a batch from `start` on. */
  #give(node: Node, batch: Batch, start: number): void {
    const depth = node.depth + 1;
    const prefix = prefixOf(node.path);
    const make = (index: number) =>
      success(entryOf(batch, index, prefix, depth));
    if (this.#filter.wantsAll) {
      this.push(batch.count - start, (index) => make(start + index));
      return;
    }
    const wanted: number[] = [];
    for (let index = start; index < batch.count; index++) {
      const path = joined(prefix, batch.nameAt(index));
      if (this.#filter.wants(batch.typeAt(index), path)) wanted.push(index);
    }
    if (2 * wanted.length >= batch.count) {
      this.push(wanted.length, (index) => make(wanted[index]!));
      return;
    }
    // A queue of a few entries of each batch shall not keep all batches.
    this.#giveMade(wanted.map(make));
  }

  /** A function of its own: a closure beside one that has the batch keeps it. */
  #giveMade(results: readonly Result<WalkEntry>[]): void {
    this.push(results.length, (index) => results[index]!);
  }

  /** Has the directories of a batch read, from `start` on. */
  #enter(node: Node, batch: Batch, start: number): void {
    const { maxDepth, followSymlinks } = this.#filter;
    const depth = node.depth + 1;
    if (depth >= maxDepth) return;
    const prefix = prefixOf(node.path);
    const parent = followSymlinks ? node : null;
    for (
      let index = start;
      (index = batch.directoryFrom(index)) >= 0;
      index++
    ) {
      const path = joined(prefix, batch.nameAt(index));
      if (this.#filter.skips(path)) continue;
      this.#waiting.push(new Node(path, depth, parent));
    }
  }

  /** Is done with a directory. */
  #leave(node: Node, failure?: Failure): void {
    this.#reading.delete(node);
    node.folder!.end();
    if (failure !== undefined) this.push(1, () => failure);
    this.goOn();
  }
}

/** Decodes an entry of a batch. */
function entryOf(
  batch: Batch,
  index: number,
  prefix: Path,
  depth: number,
): WalkEntry {
  const given = batch.nameAt(index);
  const type = batch.typeAt(index);
  // Not by spreading a DirEntry, which takes three times as long.
  return {
    path: joined(prefix, given),
    depth,
    name: shownPath(given),
    bytes: typeof given === "string" ? undefined : given,
    type,
    isFile: type === "file",
    isDirectory: type === "directory",
    isSymlink: type === "symlink",
    inode: batch.inodeAt(index),
    stat: batch.statAt(index),
  };
}
