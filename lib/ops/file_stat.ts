/** Facts about a file, from a struct statx. */
import {
  S_IFMT,
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
const TYPES: ReadonlyMap<number, FileType> = new Map([
  [0o100000, "file"],
  [0o040000, "directory"],
  [0o120000, "symlink"],
  [0o140000, "socket"],
  [0o010000, "pipe"],
  [0o060000, "block"],
  [0o020000, "character"],
  [0, "anonymous"],
]);

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

/** Reads the struct statx at a place of memory. */
export function decodeStat(
  view: DataView,
  start: number,
  nanoseconds: boolean,
): FileStat | FileStatNs {
  const int = (at: number) => view.getUint32(start + at, true);
  // Not by way of a bigint, which takes three times as long.
  const number = (at: number) => int(at + 4) * 2 ** 32 + int(at);
  const device = (at: number) => int(at) * 2 ** 32 + int(at + 4);
  const time = (at: number) => millisecondsAt(view, start + at);
  const mode = view.getUint16(start + STAT_MODE_AT, true);
  const hasBirth = (int(STAT_MASK_AT) & STATX_BTIME) !== 0;
  const stat = {
    type: TYPES.get(mode & S_IFMT)!,
    mode: mode & MODE_PERMISSIONS,
    size: number(STAT_FILE_SIZE_AT),
    allocated: number(STAT_BLOCKS_AT) * BLOCK_SIZE,
    blockSize: int(STAT_BLOCK_SIZE_AT),
    accessedMs: time(STAT_ACCESSED_AT),
    modifiedMs: time(STAT_MODIFIED_AT),
    changedMs: time(STAT_CHANGED_AT),
    birthMs: hasBirth ? time(STAT_BIRTH_AT) : undefined,
    inode: view.getBigUint64(start + STAT_INODE_AT, true),
    device: device(STAT_DEVICE_AT),
    rdev: device(STAT_RDEV_AT),
    mountId: number(STAT_MOUNT_ID_AT),
    links: int(STAT_LINKS_AT),
    uid: int(STAT_UID_AT),
    gid: int(STAT_GID_AT),
    attributes: (int(STAT_ATTRIBUTES_AT) & int(STAT_ATTRIBUTES_MASK_AT)) >>> 0,
  };
  if (!nanoseconds) return stat;
  const exact = (at: number) => nanosecondsAt(view, start + at);
  return {
    ...stat,
    accessedNs: exact(STAT_ACCESSED_AT),
    modifiedNs: exact(STAT_MODIFIED_AT),
    changedNs: exact(STAT_CHANGED_AT),
    birthNs: hasBirth ? exact(STAT_BIRTH_AT) : undefined,
  };
}

/** Before 1970 the seconds are negative; the nanoseconds never are. */
function millisecondsAt(view: DataView, at: number): number {
  const seconds = view.getInt32(at + 4, true) * 2 ** 32 +
    view.getUint32(at, true);
  return seconds * 1e3 + Math.floor(view.getUint32(at + 8, true) / 1e6);
}

function nanosecondsAt(view: DataView, at: number): bigint {
  return view.getBigInt64(at, true) * 1_000_000_000n +
    BigInt(view.getUint32(at + 8, true));
}
