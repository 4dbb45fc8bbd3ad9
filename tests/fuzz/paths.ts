/** The fuzzer's operations on paths: names come and go in no order, so most
 * results are legal; values are what they must be. */
import { assert, assertEquals } from "@std/assert";
import {
  asyncClose,
  asyncFadvise,
  asyncGetxattr,
  asyncLink,
  asyncLstat,
  asyncMkdir,
  asyncOpen,
  asyncPipe,
  asyncReadlink,
  asyncSetxattr,
  asyncStat,
  asyncSymlink,
  asyncSyncFileRange,
  asyncTee,
  asyncUnlink,
  AT_REMOVEDIR,
  type IoContext,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  type PipeFds,
  POSIX_FADV_WILLNEED,
  SPLICE_F_NONBLOCK,
  type UringOp,
} from "@kio/kio";
import { value } from "../support.ts";
import type { Action, Kind } from "./actions.ts";

/** The kinds of actions that are done here. */
export const PATH_KINDS = [
  "stat",
  "mkdir",
  "mkdirs",
  "rmdir",
  "hardLink",
  "symlink",
  "readlink",
  "getxattr",
  "setxattr",
  "advise",
  "tee",
] as const;
export type PathKind = typeof PATH_KINDS[number];

export function isPathKind(kind: Kind): kind is PathKind {
  return (PATH_KINDS as readonly string[]).includes(kind);
}

/** Every pair of these is a path. */
const NAMES = ["a", "b", "\xfc"];
const ATTRIBUTE = "user.kio";
/** Values of one length only: a write of another does not fit beside it. */
const VALUE_MAX = 1500;

/** Errors by what has the names just then. */
const CODES = ["ENOENT", "ENOTDIR", "EEXIST", "EISDIR", "ENOTEMPTY", "ELOOP"];

/** An operation, the errors that it may have, and a look at its value. */
export interface Started<T> {
  op: UringOp<T>;
  codes: readonly string[];
  check: (value: T) => void;
}

export class Paths {
  readonly #root: string;
  #dir = -1;
  #file = -1;
  #pipe: PipeFds = { readFd: -1, writeFd: -1, size: 0 };

  constructor(root: string) {
    this.#root = root;
  }

  async open(ctx: IoContext): Promise<void> {
    value(await asyncMkdir(ctx, this.#root, { recursive: true }));
    const flags = O_RDONLY | O_DIRECTORY;
    this.#dir = value(await asyncOpen(ctx, this.#root, flags));
    this.#file = value(await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR));
    this.#pipe = value(await asyncPipe(ctx));
  }

  async close(ctx: IoContext): Promise<void> {
    const inner = NAMES.flatMap((outer) =>
      NAMES.map((name) => `${outer}/${name}`)
    );
    for (const path of [...inner, ...NAMES]) {
      await asyncUnlink(ctx, path, { dir: this.#dir });
      await asyncUnlink(ctx, path, { dir: this.#dir, flags: AT_REMOVEDIR });
    }
    value(await asyncUnlink(ctx, this.#root, AT_REMOVEDIR));
    const { readFd, writeFd } = this.#pipe;
    for (const fd of [this.#dir, this.#file, readFd, writeFd]) {
      value(await asyncClose(ctx, fd));
    }
  }

  /** Starts what an action says. `source` is a pipe to tee from. */
  start(
    ctx: IoContext,
    { actor, size }: Action,
    kind: PathKind,
    source: number,
  ): Started<unknown> {
    const dir = this.#dir;
    const outer = NAMES[actor % NAMES.length]!;
    const inner = NAMES[size % NAMES.length]!;
    const text = actor % 2 === 0 ? outer : `${outer}/${inner}`;
    const path = size % 2 === 0 ? text : new TextEncoder().encode(text);
    const plain = (op: UringOp<unknown>): Started<unknown> => ({
      op,
      codes: CODES,
      check: () => {},
    });
    switch (kind) {
      case "stat": {
        const look = actor % 3 === 0 ? asyncLstat : asyncStat;
        return this.#checked(look(ctx, path, { dir }), ({ type }) => {
          const types = ["file", "directory", "symlink"];
          assert(types.includes(type), `a file that is a ${type}`);
        });
      }
      case "mkdir":
        return plain(asyncMkdir(ctx, path, { dir }));
      case "mkdirs":
        return plain(asyncMkdir(ctx, path, { dir, recursive: true }));
      case "rmdir":
        return plain(asyncUnlink(ctx, path, {
          dir,
          flags: actor % 3 === 0 ? 0 : AT_REMOVEDIR,
        }));
      case "hardLink": {
        const links = { dir, flags: 0 };
        const op = asyncLink(ctx, path, inner, links);
        return { ...plain(op), codes: [...CODES, "EPERM", "EMLINK"] };
      }
      case "symlink":
        return plain(asyncSymlink(ctx, inner, path, { dir }));
      case "readlink": {
        const op = asyncReadlink(ctx, path, { dir });
        const checked = this.#checked(op, (target) => {
          assert(NAMES.includes(target as string), `leads to ${target}`);
        });
        return { ...checked, codes: [...CODES, "EINVAL"] };
      }
      case "setxattr": {
        const length = size % VALUE_MAX;
        const bytes = new Uint8Array(length).fill(length);
        const target = size % 2 === 0 ? this.#file : this.#filePath;
        const op = asyncSetxattr(ctx, target, ATTRIBUTE, bytes);
        return { ...plain(op), codes: ["EOPNOTSUPP", "ENOSPC"] };
      }
      case "getxattr": {
        const target = size % 2 === 0 ? this.#file : this.#filePath;
        const op = asyncGetxattr(ctx, target, ATTRIBUTE);
        const checked = this.#checked(op, (bytes) => {
          const { length } = bytes;
          const whole = new Uint8Array(length).fill(length);
          assertEquals(bytes, whole, "half an attribute");
        });
        return { ...checked, codes: ["EOPNOTSUPP", "ENODATA"] };
      }
      case "advise":
        return plain(
          size % 2 === 0
            ? asyncFadvise(ctx, this.#file, 0, size, POSIX_FADV_WILLNEED)
            : asyncSyncFileRange(ctx, this.#file, 0, size),
        );
      case "tee": {
        const flags = SPLICE_F_NONBLOCK;
        const op = asyncTee(ctx, source, this.#pipe.writeFd, size, { flags });
        const checked = this.#checked(op, (count) => {
          // 0: a splice of another action has emptied the pipe meanwhile.
          assert(count >= 0 && count <= size, `${count} bytes`);
        });
        return { ...checked, codes: ["EAGAIN"] };
      }
    }
  }

  get #filePath(): string {
    return `/proc/self/fd/${this.#file}`;
  }

  #checked<T>(op: UringOp<T>, check: (value: T) => void): Started<unknown> {
    return { op, codes: CODES, check: check as (value: unknown) => void };
  }
}
