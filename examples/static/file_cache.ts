import {
  asyncClose,
  asyncFstat,
  asyncOpen,
  asyncReadExact,
  type FileStat,
  type IoContext,
  O_NONBLOCK,
  O_RDONLY,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  type Task,
} from "@kio/kio";
import { extname } from "node:path";
import type { Status } from "./request.ts";
import { headOf } from "./response.ts";

/** Files up to this size are kept in memory, with their answer before them;
 * larger ones are kept open, for sendfile. */
const BODY_MAX = 64 * 1024;
const FILES_MAX = 512;
/** An entry is believed for that long before the file is looked at again. */
const VALID_MS = 1000;
/** A file without requests stays open for that long. */
const UNUSED_MS = 10_000;

/** No symbolic links: they could lead to hidden files. */
const RESOLVE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;

const TYPES: Record<string, string> = {
  ".css": "text/css; charset=utf-8",
  ".csv": "text/csv; charset=utf-8",
  ".gif": "image/gif",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".jpeg": "image/jpeg",
  ".jpg": "image/jpeg",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".md": "text/markdown; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".mp3": "audio/mpeg",
  ".mp4": "video/mp4",
  ".pdf": "application/pdf",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webm": "video/webm",
  ".webp": "image/webp",
  ".woff2": "font/woff2",
  ".xml": "application/xml",
};

/** A file that can be served. */
export interface ServedFile {
  stat: FileStat;
  etag: string;
  lastModified: string;
  type: string;
  /** The answer to a plain request: head and body, of a large file the head. */
  answer: Uint8Array;
  /** The content of a small file, at the end of `answer`. */
  body: Uint8Array | undefined;
  /** A large one; -1 for a small one. */
  fd: number;
  /** Transfers that use the fd. */
  users: number;
  validUntilMs: number;
}

/** The target of a path. A request for a folder must end with a slash. */
export type Found = ServedFile | Status | "folder";

/** The files that were asked for last. */
export class FileCache {
  readonly #ctx: IoContext;
  readonly #root: number;
  /** In the order in which they were looked at. */
  readonly #files = new Map<string, ServedFile>();
  readonly #lookups = new Map<string, Task<Found>>();
  #nowMs = performance.now();

  /** @param root The fd of a folder: nothing outside of it is ever opened. */
  constructor(ctx: IoContext, root: number) {
    this.#ctx = ctx;
    this.#root = root;
  }

  /** Gives a file that was looked at within the last `VALID_MS`. */
  known(path: string): ServedFile | undefined {
    const file = this.#files.get(path);
    return file !== undefined && file.validUntilMs > this.#nowMs
      ? file
      : undefined;
  }

  /** Looks at the file; one look for all that ask meanwhile. */
  lookUp(path: string): Task<Found> {
    let lookup = this.#lookups.get(path);
    if (lookup === undefined) {
      lookup = this.#look(path).finally(() => this.#lookups.delete(path));
      this.#lookups.set(path, lookup);
    }
    return lookup;
  }

  /** Sets the clock, and lets go of files without requests. */
  tick(nowMs: number): void {
    this.#nowMs = nowMs;
    for (const [path, file] of this.#files) {
      if (file.validUntilMs > nowMs - UNUSED_MS) break;
      this.#drop(path, file);
    }
  }

  /** Begins a transfer of a large file; false if it was let go of already. */
  acquire(file: ServedFile): boolean {
    if (file.users < 0) return false;
    file.users++;
    return true;
  }

  /** Ends a transfer. */
  release(file: ServedFile): void {
    file.users--;
    if (file.users < 0) this.#close(file.fd);
  }

  async #look(path: string): Task<Found> {
    const opened = await asyncOpen(
      this.#ctx,
      path,
      // It may be a FIFO, which would make one wait.
      O_RDONLY | O_NONBLOCK,
      { dir: this.#root, resolve: RESOLVE },
    );
    const before = this.#files.get(path);
    if (!opened.ok) {
      if (before !== undefined) this.#drop(path, before);
      return statusOf(opened.error.code);
    }
    const fd = opened.value;
    const found = await this.#examine(path, fd);
    if (before !== undefined) this.#drop(path, before);
    if (typeof found !== "object") {
      this.#close(fd);
      return found;
    }
    if (found.fd !== fd) this.#close(fd);
    this.#files.set(path, found);
    if (this.#files.size > FILES_MAX) {
      for (const oldest of this.#files.entries().take(1)) this.#drop(...oldest);
    }
    return found;
  }

  /** Examines an open file. From here on the path means nothing: the fd is
   * served. */
  async #examine(path: string, fd: number): Task<Found> {
    const examined = await asyncFstat(this.#ctx, fd);
    if (!examined.ok) return 500;
    const stat = examined.value;
    if (stat.type === "directory") return "folder";
    if (stat.type !== "file") return 404;
    const seconds = Math.floor(stat.modifiedMs / 1000);
    const lastModified = new Date(seconds * 1000).toUTCString();
    const etag = `"${stat.inode.toString(36)}-${stat.size.toString(36)}-${
      stat.modifiedMs.toString(36)
    }"`;
    const type = TYPES[extname(path).toLowerCase()] ??
      "application/octet-stream";
    const file: ServedFile = {
      stat,
      etag,
      lastModified,
      type,
      answer: headOf(200, { type, length: stat.size, etag, lastModified }),
      body: undefined,
      fd: -1,
      users: 0,
      validUntilMs: this.#nowMs + VALID_MS,
    };
    if (stat.size > BODY_MAX) {
      file.fd = fd;
      return file;
    }
    const head = file.answer;
    file.answer = new Uint8Array(head.length + stat.size);
    file.answer.set(head);
    file.body = file.answer.subarray(head.length);
    if (stat.size === 0) return file;
    const read = await asyncReadExact(this.#ctx, fd, file.body);
    // It has become shorter, or the disk is broken.
    return read.ok ? file : 500;
  }

  /** Forgets a file; transfers go on. */
  #drop(path: string, file: ServedFile): void {
    if (this.#files.get(path) === file) this.#files.delete(path);
    if (file.fd < 0) return;
    // The last one to release it closes it.
    if (file.users === 0) this.#close(file.fd);
    file.users--;
  }

  #close(fd: number): void {
    void asyncClose(this.#ctx, fd);
  }
}

function statusOf(code: string): Status {
  switch (code) {
    case "ENOENT":
    case "ENOTDIR":
    case "ENAMETOOLONG":
    case "ELOOP":
    case "EXDEV":
    // A file that no program can open: a socket, a device without a driver.
    case "ENXIO":
      return 404;
    case "EACCES":
    case "EPERM":
      return 403;
    case "EMFILE":
    case "ENFILE":
    case "ENOMEM":
      return 503;
    default:
      return 500;
  }
}
