import type { FileStat, FileType } from "../lib/ops/file_stat.ts";

/** The type in a mode of stat(2). */
const TYPE_BITS: Readonly<Record<FileType, number>> = {
  file: 0o100000,
  directory: 0o040000,
  symlink: 0o120000,
  socket: 0o140000,
  pipe: 0o010000,
  block: 0o060000,
  character: 0o020000,
  anonymous: 0,
};

/** The unit of `blocks`, whatever the file system. */
const BLOCK_SIZE = 512;

/** The farthest time of a Date. */
const TIME_MS_MAX = 8.64e15;

/** Gives the facts about a file in the shape that Deno has for them. */
export function fileInfo(stat: FileStat): Deno.FileInfo {
  const { type, birthMs } = stat;
  return {
    isFile: type === "file",
    isDirectory: type === "directory",
    isSymlink: type === "symlink",
    isBlockDevice: type === "block",
    isCharDevice: type === "character",
    isFifo: type === "pipe",
    isSocket: type === "socket",
    size: stat.size,
    mtime: new Date(stat.modifiedMs),
    atime: new Date(stat.accessedMs),
    birthtime: birthMs === undefined ? null : new Date(birthMs),
    ctime: new Date(stat.changedMs),
    dev: deviceOf(stat.device),
    ino: Number(stat.inode),
    mode: stat.mode | TYPE_BITS[type],
    nlink: stat.links,
    uid: stat.uid,
    gid: stat.gid,
    rdev: deviceOf(stat.rdev),
    blksize: stat.blockSize,
    blocks: stat.allocated / BLOCK_SIZE,
  };
}

/** Packs a device as makedev(3) does. */
function deviceOf(device: number): number {
  const major = Math.floor(device / 2 ** 32);
  const minor = device % 2 ** 32;
  return Number(
    BigInt(major & ~0xfff) << 32n | BigInt(major & 0xfff) << 8n |
      BigInt(minor & ~0xff) << 12n | BigInt(minor & 0xff),
  );
}

/** Gives a time in nanoseconds since 1970. */
export function nanoseconds(time: number | Date): bigint {
  const ms = typeof time === "number" ? time * 1e3 : time?.getTime?.() ?? NaN;
  if (Number.isFinite(ms) && Math.abs(ms) <= TIME_MS_MAX) {
    return BigInt(Math.round(ms * 1e3)) * 1000n;
  }
  throw new RangeError(
    `Cannot set the times of a file: expected a date or seconds since 1970, got ${
      String(time)
    }`,
  );
}
