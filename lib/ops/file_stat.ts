/** Facts about a file, from a struct statx. */
import {
  STAT_ACCESSED_AT,
  STAT_ATTRIBUTES_AT,
  STAT_ATTRIBUTES_MASK_AT,
  STAT_BIRTH_AT,
  STAT_BLOCK_SIZE_AT,
  STAT_BLOCKS_AT,
  STAT_CHANGED_AT,
  STAT_DEVICE_AT,
  STAT_FILE_SIZE_AT,
  STAT_GID_AT,
  STAT_INODE_AT,
  STAT_LINKS_AT,
  STAT_MASK_AT,
  STAT_MODE_AT,
  STAT_MODIFIED_AT,
  STAT_MOUNT_ID_AT,
  STAT_RDEV_AT,
  STAT_UID_AT,
  STATX_BASIC_STATS,
  STATX_BTIME,
  STATX_MNT_ID,
} from "./layout.ts";

/** The unit of `stx_blocks`, whatever the file system. */
const BLOCK_SIZE = 512;
const MODE_PERMISSIONS = 0o7777;
/** By the upper four bits of a mode, which are a d_type as well. */
export const TYPES: readonly FileType[] = Object.assign([], {
  0: "anonymous",
  1: "pipe",
  2: "character",
  4: "directory",
  6: "block",
  8: "file",
  10: "symlink",
  12: "socket",
});

/** The kind of a file; `"anonymous"` is what has none: an eventfd, an epoll, a
 * ring. */
export type FileType =
  | "file"
  | "directory"
  | "symlink"
  | "socket"
  | "pipe"
  | "block"
  | "character"
  | "anonymous";

/** Facts about a file, as statx(2) gives them. */
export interface FileStat {
  /** The kind of the file. */
  type: FileType;
  /** Permissions, with the set-user-ID, set-group-ID and sticky bits. */
  mode: number;
  /** Bytes, rounded beyond 2^53; for a symbolic link the length of the path that
   * it has. */
  size: number;
  /** Bytes that are allocated: fewer than `size` if there are holes. */
  allocated: number;
  /** Bytes that the file system likes to have read or written at a time. */
  blockSize: number;
  /** When it was read last, in milliseconds since 1970; mounts with `noatime`
   * or `relatime` do not note each time. */
  accessedMs: number;
  /** When its content was changed last, in milliseconds since 1970. */
  modifiedMs: number;
  /** When its content, name, owner or permissions were changed last, in
   * milliseconds since 1970. */
  changedMs: number;
  /** When it was made, in milliseconds since 1970; undefined where the file
   * system does not know. */
  birthMs: number | undefined;
  /** Its number in its file system. */
  inode: bigint;
  /** The file system: major and minor number as `major * 2^32 + minor`. */
  device: number;
  /** The device that a `"block"` or `"character"` file stands for, in the same
   * form; else 0. */
  rdev: number;
  /** The mount that it is in: the first number of its line in
   * /proc/self/mountinfo. */
  mountId: number;
  /** How many names it has. */
  links: number;
  /** The user that owns it. */
  uid: number;
  /** The group that owns it. */
  gid: number;
  /** `STATX_ATTR_IMMUTABLE` and others, with `|`: those that the file system
   * knows of and that the file has. */
  attributes: number;
}

/** Facts about a file, with its times in nanoseconds as well. */
export interface FileStatNs extends FileStat {
  /** `accessedMs` in nanoseconds. */
  accessedNs: bigint;
  /** `modifiedMs` in nanoseconds. */
  modifiedNs: bigint;
  /** `changedMs` in nanoseconds. */
  changedNs: bigint;
  /** `birthMs` in nanoseconds. */
  birthNs: bigint | undefined;
}

/** The facts that a look asks for. */
export const STAT_FIELDS = STATX_BASIC_STATS | STATX_BTIME | STATX_MNT_ID;

/** Reads the struct statx that memory begins with. */
export function decodeStat(
  { buffer }: Uint8Array,
  nanoseconds: boolean,
): FileStat | FileStatNs {
  const view = new DataView(buffer);
  const inode = view.getBigUint64(STAT_INODE_AT, true);
  const stat = statAt(new Uint32Array(buffer), 0, inode);
  if (!nanoseconds) return stat;
  return {
    ...stat,
    accessedNs: nanosecondsAt(view, STAT_ACCESSED_AT),
    modifiedNs: nanosecondsAt(view, STAT_MODIFIED_AT),
    changedNs: nanosecondsAt(view, STAT_CHANGED_AT),
    birthNs: stat.birthMs === undefined
      ? undefined
      : nanosecondsAt(view, STAT_BIRTH_AT),
  };
}

/**
 * Reads one of many structs statx. A tree has so many that most are read by code
 * which V8 has not compiled yet: so there are no closures, and no bigint is made
 * twice.
 *
 * @param words The memory.
 * @param at Where it begins: the number of the word.
 * @param inode Its inode.
 */
export function statAt(
  words: Uint32Array,
  at: number,
  inode: bigint,
): FileStat {
  const mode = words[at + STAT_MODE_AT / 4]! & 0xffff;
  const attributes = words[at + STAT_ATTRIBUTES_AT / 4]! &
    words[at + STAT_ATTRIBUTES_MASK_AT / 4]!;
  const hasBirth = (words[at + STAT_MASK_AT / 4]! & STATX_BTIME) !== 0;
  return {
    type: TYPES[mode >> 12]!,
    mode: mode & MODE_PERMISSIONS,
    size: numberAt(words, at + STAT_FILE_SIZE_AT / 4),
    allocated: numberAt(words, at + STAT_BLOCKS_AT / 4) * BLOCK_SIZE,
    blockSize: words[at + STAT_BLOCK_SIZE_AT / 4]!,
    accessedMs: millisecondsAt(words, at + STAT_ACCESSED_AT / 4),
    modifiedMs: millisecondsAt(words, at + STAT_MODIFIED_AT / 4),
    changedMs: millisecondsAt(words, at + STAT_CHANGED_AT / 4),
    birthMs: hasBirth
      ? millisecondsAt(words, at + STAT_BIRTH_AT / 4)
      : undefined,
    inode,
    device: deviceAt(words, at + STAT_DEVICE_AT / 4),
    rdev: deviceAt(words, at + STAT_RDEV_AT / 4),
    mountId: numberAt(words, at + STAT_MOUNT_ID_AT / 4),
    links: words[at + STAT_LINKS_AT / 4]!,
    uid: words[at + STAT_UID_AT / 4]!,
    gid: words[at + STAT_GID_AT / 4]!,
    attributes: attributes >>> 0,
  };
}

/** Not by way of a bigint, which takes three times as long. */
function numberAt(words: Uint32Array, at: number): number {
  return words[at + 1]! * 2 ** 32 + words[at]!;
}

function deviceAt(words: Uint32Array, at: number): number {
  return words[at]! * 2 ** 32 + words[at + 1]!;
}

/** Before 1970 the seconds are negative; the nanoseconds never are. */
function millisecondsAt(words: Uint32Array, at: number): number {
  const seconds = (words[at + 1]! | 0) * 2 ** 32 + words[at]!;
  return seconds * 1e3 + Math.floor(words[at + 2]! / 1e6);
}

function nanosecondsAt(view: DataView, at: number): bigint {
  return view.getBigInt64(at, true) * 1_000_000_000n +
    BigInt(view.getUint32(at + 8, true));
}
