import { loadShim } from "../ffi/load.ts";
import {
  type BufferLike,
  checkBoolean,
  checkDir,
  checkInteger,
  checkPart,
  checkPath,
  type Fd,
  type Path,
} from "../lib/check.ts";
import {
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
} from "../lib/constants.ts";
import { ECANCELED } from "../lib/errno.ts";
import { ringOf } from "../lib/internal.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncFsync } from "../lib/ops/file.ts";
import { asyncOpen, asyncRename, type DirOptions } from "../lib/ops/path.ts";
import { OPEN, WRITE_EXACT } from "../lib/ops/table.ts";
import { shownPath } from "../lib/path_text.ts";
import { DONE, failure, type Result } from "../lib/result.ts";
import { type BoundOptions, Bounds } from "../lib/ring/bounds.ts";
import type { Ring } from "../lib/ring/Ring.ts";
import type { UringOp } from "../lib/UringOp.ts";
import { asyncWriteExact } from "./write_exact.ts";

const VERB = "write";
const SLASH = 0x2f;

/** Options of `writeFile()`. */
export interface WriteFileOptions extends DirOptions, BoundOptions {
  /** Permissions of a file that is created, less the umask: 0 to 0o7777.
   * @default {0o644} */
  mode?: number | undefined;
  /** Replaces the file as a whole: whoever opens it finds the old content or the
   * new one, after a power cut too.
   * @default {false} */
  atomic?: boolean | undefined;
  /** The new content survives a power cut, once the promise is resolved.
   * @default {false} */
  durable?: boolean | undefined;
}

/**
 * Writes a whole file: openat(2) with `O_CREAT` and `O_TRUNC`, pwrite(2),
 * close(2).
 *
 * With `atomic: true` it writes a new file in the same directory, syncs it, and
 * gives it the name by renameat2(2). So the file is a new one: `mode`, owner and
 * links are not those of the old one. A symbolic link or a device is replaced
 * itself. With `durable: true` it syncs the file, and the directory for its name.
 *
 * A failure leaves no fd and no file of another name. Without `atomic` the
 * content is then unknown. With it the file is the old one, or, if syncing the
 * directory has failed, the old one or the new one.
 *
 * @param ctx The context.
 * @param path The path, absolute or relative to `dir`.
 * @param data The content: text, or bytes, which must be neither transferred nor
 * changed until the promise is resolved. An array of buffers is written one after
 * the other.
 * @param options `atomic`, `durable`, `mode` and the directory; `timeoutMs` and
 * `signal` for the whole.
 * @returns `ENOENT`, `EACCES`, `EISDIR`, `ENOSPC`, `EDQUOT`, `EIO`, `ETIMEDOUT`,
 * `ECANCELED` …
 * @throws {RangeError} (as a rejection) If `dir`, `mode` or `timeoutMs` is out of
 * range.
 * @throws {TypeError} (as a rejection) If `path` is neither a string nor a
 * Uint8Array or has a NUL, `data` is neither text nor bytes, an option has the
 * wrong type, or the context is closed.
 *
 * @example A file of settings
 * ```ts
 * import { asyncUnlink, IoContext, readTextFile, unwrap, writeFile } from "@kio/kio";
 * import { assertEquals } from "@std/assert";
 *
 * using ctx = new IoContext();
 * const path = `/tmp/kio-${crypto.randomUUID()}`;
 * const options = { atomic: true, durable: true };
 * unwrap(await writeFile(ctx, path, '{ "answer": 42 }\n', options));
 * assertEquals(unwrap(await readTextFile(ctx, path)), '{ "answer": 42 }\n');
 * await asyncUnlink(ctx, path).orThrow();
 * ```
 */
export async function writeFile(
  ctx: IoContext,
  path: Path,
  data: string | BufferLike | readonly BufferLike[],
  options: WriteFileOptions = {},
): Promise<Result<void>> {
  using bounds = new Bounds(options, VERB);
  const { dir, mode = 0o644, atomic = false, durable = false } = options;
  checkBoolean(atomic, "atomic", VERB);
  checkBoolean(durable, "durable", VERB);
  checkInteger(mode, 0o7777, "mode", VERB);
  checkDir(dir, OPEN);
  const name = checkPath(path, OPEN).slice(0, -1);
  const content = contentOf(data);
  const ring = ringOf(ctx, OPEN);
  ring.checkOpen(OPEN.verb);
  const place: Place = { ctx, ring, bounds, dir, mode };
  const written =
    await (atomic
      ? replace(place, name, content)
      : write(place, name, O_TRUNC, content, durable));
  const result = written.ok && durable
    ? await sync(place, folderOf(name))
    : written;
  if (result.ok) return DONE;
  return failure(result.error.errno, `${VERB} ${shownPath(path)}`);
}

/** Facts that all steps of a whole need. */
interface Place {
  readonly ctx: IoContext;
  readonly ring: Ring;
  readonly bounds: Bounds;
  readonly dir: Fd | undefined;
  readonly mode: number;
}

/** Starts the next step, unless the context was closed since the last one. */
async function step<T>(
  { ring, bounds }: Place,
  start: () => UringOp<T>,
): Promise<Result<T>> {
  return ring.closing ? failure(ECANCELED, VERB) : await bounds.of(start());
}

/** Writes another file, and gives it the name. */
async function replace(
  place: Place,
  name: Uint8Array,
  content: readonly BufferLike[],
): Promise<Result<void>> {
  const { ctx, dir } = place;
  const other = temporaryIn(folderOf(name));
  let isLeft = true;
  try {
    const written = await write(place, other, O_EXCL, content, true);
    if (!written.ok) return written;
    const renamed = await step(
      place,
      () => asyncRename(ctx, other, name, { dir, toDir: dir }),
    );
    isLeft = !renamed.ok;
    return renamed;
  } finally {
    // By the thread: the context may be closed, or the time be over.
    if (isLeft) {
      loadShim().kio_unlink(checkDir(dir, OPEN), checkPath(other, OPEN));
    }
  }
}

function write(
  place: Place,
  path: Uint8Array,
  flag: number,
  content: readonly BufferLike[],
  syncs: boolean,
): Promise<Result<void>> {
  const { ctx } = place;
  return within(place, path, O_WRONLY | O_CREAT | flag, async (fd) => {
    if (content.length > 0) {
      const written = await step(
        place,
        () => asyncWriteExact(ctx, fd, content),
      );
      if (!written.ok) return written;
    }
    return syncs ? await step(place, () => asyncFsync(ctx, fd)) : DONE;
  });
}

/** Makes the names in a directory durable. */
function sync(place: Place, folder: Uint8Array): Promise<Result<void>> {
  const { ctx } = place;
  return within(
    place,
    folder,
    O_RDONLY | O_DIRECTORY,
    (fd) => step(place, () => asyncFsync(ctx, fd)),
  );
}

/** Does something with a file, and closes it. */
async function within(
  place: Place,
  path: Uint8Array,
  flags: number,
  body: (fd: number) => Promise<Result<void>>,
): Promise<Result<void>> {
  const { ctx, dir, mode } = place;
  const opened = await step(
    place,
    () => asyncOpen(ctx, path, flags, { dir, mode }),
  );
  if (!opened.ok) return opened;
  const fd = opened.value;
  const shim = loadShim();
  shim.kio_fd_own(fd);
  let status = 0;
  let result: Result<void>;
  try {
    result = await body(fd);
  } finally {
    status = shim.kio_fd_close(fd);
  }
  // Some file systems tell only now that there was no room.
  return result.ok && status < 0 ? failure(-status, VERB) : result;
}

/** Gives the data as buffers, without those that are empty. */
function contentOf(
  data: string | BufferLike | readonly BufferLike[],
): BufferLike[] {
  if (typeof data === "string") data = new TextEncoder().encode(data);
  const buffers: readonly BufferLike[] = Array.isArray(data)
    ? [...data]
    : [data as BufferLike];
  return buffers.filter((it) => checkPart(it, WRITE_EXACT) > 0);
}

/** Gives the directory of a path. */
function folderOf(path: Uint8Array): Uint8Array {
  const at = path.lastIndexOf(SLASH);
  if (at < 0) return new TextEncoder().encode(".");
  return path.subarray(0, Math.max(at, 1));
}

/** Gives the path of a file that is not there yet. */
function temporaryIn(folder: Uint8Array): Uint8Array {
  const name = new TextEncoder().encode(`/.kio-${crypto.randomUUID()}`);
  const path = new Uint8Array(folder.length + name.length);
  path.set(folder);
  path.set(name, folder.length);
  return path;
}
