/**
 * The kernel's numbers: flags of open(2), poll(2), recv(2), fallocate(2) and
 * others. They are the same on x86_64 and aarch64 except for those that differ
 * here.
 *
 * @module
 */

const isArm = Deno.build.arch === "aarch64";

/** Open for reading only; see open(2). */
export const O_RDONLY = 0;
/** Open for writing only. */
export const O_WRONLY = 1;
/** Open for reading and writing. */
export const O_RDWR = 2;
/** Create the file if there is none. */
export const O_CREAT = 0o100;
/** With `O_CREAT`: fail with EEXIST if there is one. */
export const O_EXCL = 0o200;
/** Empty the file. */
export const O_TRUNC = 0o1000;
/** Each write goes to the end of the file, whatever its offset. */
export const O_APPEND = 0o2000;
/** Fail with EAGAIN instead of waiting, on a pipe, a socket or a terminal. */
export const O_NONBLOCK = 0o4000;
/** Each write is durable, with the metadata that is needed to read it. */
export const O_DSYNC = 0o10000;
/** Each write is durable, with all metadata. */
export const O_SYNC = 0o4010000;
/** Past the page cache: buffer, offset and length must be aligned, as memory
 * of `IoContext.allocate()` is. */
export const O_DIRECT: number = isArm ? 0o200000 : 0o40000;
/** Fail with ENOTDIR if it is no directory. */
export const O_DIRECTORY: number = isArm ? 0o40000 : 0o200000;
/** Fail with ELOOP if it is a symbolic link. */
export const O_NOFOLLOW: number = isArm ? 0o100000 : 0o400000;
/** A file without a name in the directory given, gone when it is closed. */
export const O_TMPFILE: number = 0o20000000 | O_DIRECTORY;

/** The write is durable, with the metadata that is needed to read it; see
 * pwritev2(2). Of earlier writes it says nothing. */
export const RWF_DSYNC = 0x2;
/** The write is durable, with all metadata. */
export const RWF_SYNC = 0x4;
/** Fail with EAGAIN instead of waiting for the disk, a lock or a stream. */
export const RWF_NOWAIT = 0x8;
/** The write goes to the end of the file, whatever its offset. */
export const RWF_APPEND = 0x10;

/** There is something to read; see poll(2). */
export const POLLIN = 0x1;
/** There is urgent data. */
export const POLLPRI = 0x2;
/** Writing does not block. */
export const POLLOUT = 0x4;
/** An error; reported without being asked for. */
export const POLLERR = 0x8;
/** The peer is gone; reported without being asked for. */
export const POLLHUP = 0x10;
/** The peer has shut down its sending side. */
export const POLLRDHUP = 0x2000;

/** Urgent data; see recv(2) and send(2). */
export const MSG_OOB = 0x1;
/** Receive without taking it out of the queue. */
export const MSG_PEEK = 0x2;
/** Some control data did not fit; `ReceivedMessage.flags` may have it. */
export const MSG_CTRUNC = 0x8;
/** Report the real length of a datagram that did not fit. */
export const MSG_TRUNC = 0x20;
/** Fail with EAGAIN instead of waiting. */
export const MSG_DONTWAIT = 0x40;
/** Wait until the buffer is full (receiving) or all is sent. */
export const MSG_WAITALL = 0x100;
/** More is to follow: do not send a small packet yet. */
export const MSG_MORE = 0x8000;

/** Keep the size of the file; see fallocate(2). */
export const FALLOC_FL_KEEP_SIZE = 0x1;
/** Give the space of the range back; needs `FALLOC_FL_KEEP_SIZE`. */
export const FALLOC_FL_PUNCH_HOLE = 0x2;
/** Make the range read as zeros. */
export const FALLOC_FL_ZERO_RANGE = 0x10;

/** No more receiving; see shutdown(2). */
export const SHUT_RD = 0;
/** No more sending: the peer reads an end. */
export const SHUT_WR = 1;
/** No more receiving and no more sending. */
export const SHUT_RDWR = 2;

/** Nothing outside of the directory; see openat2(2). */
export const RESOLVE_BENEATH = 0x08;
/** The directory is the root that `..` and absolute paths end at. */
export const RESOLVE_IN_ROOT = 0x10;
/** No symbolic links at all. */
export const RESOLVE_NO_SYMLINKS = 0x04;
/** No magic links, such as those in /proc/self/fd. */
export const RESOLVE_NO_MAGICLINKS = 0x02;
/** No other file systems. */
export const RESOLVE_NO_XDEV = 0x01;

/** Fail with EEXIST if the new name is taken; see renameat2(2). */
export const RENAME_NOREPLACE = 0x1;
/** Swap the two files. */
export const RENAME_EXCHANGE = 0x2;
/** Remove a directory; see unlinkat(2). */
export const AT_REMOVEDIR = 0x200;
/** Give a name to what a symbolic link leads to; see linkat(2). */
export const AT_SYMLINK_FOLLOW = 0x400;
/** A symbolic link itself, not what it leads to; see fstatat(2). */
export const AT_SYMLINK_NOFOLLOW = 0x100;
/** With an empty path: what `dir` is an fd of. */
export const AT_EMPTY_PATH = 0x1000;

/** Compressed by the file system: in `FileStat.attributes`; see statx(2). */
export const STATX_ATTR_COMPRESSED = 0x4;
/** It cannot be changed, removed or renamed. */
export const STATX_ATTR_IMMUTABLE = 0x10;
/** It can only be appended to. */
export const STATX_ATTR_APPEND = 0x20;
/** It is left out of backups by dump(8). */
export const STATX_ATTR_NODUMP = 0x40;
/** It needs a key of the file system to be read. */
export const STATX_ATTR_ENCRYPTED = 0x800;
/** A file system is mounted when it is looked into. */
export const STATX_ATTR_AUTOMOUNT = 0x1000;
/** It is the root of a mount. */
export const STATX_ATTR_MOUNT_ROOT = 0x2000;
/** fs-verity protects its content. */
export const STATX_ATTR_VERITY = 0x100000;
/** Its content is memory, without the page cache. */
export const STATX_ATTR_DAX = 0x200000;

/** Fail with EEXIST if there is the attribute; see setxattr(2). */
export const XATTR_CREATE = 0x1;
/** Fail with ENODATA if there is no such attribute. */
export const XATTR_REPLACE = 0x2;

/** Nothing special, as at the start; see posix_fadvise(2). */
export const POSIX_FADV_NORMAL = 0;
/** It is read in no order: no reading ahead. */
export const POSIX_FADV_RANDOM = 1;
/** It is read from start to end: more reading ahead. */
export const POSIX_FADV_SEQUENTIAL = 2;
/** It is wanted soon: the kernel begins to read it into the page cache. */
export const POSIX_FADV_WILLNEED = 3;
/** It is not wanted any more: what is clean leaves the page cache. */
export const POSIX_FADV_DONTNEED = 4;
/** It is wanted once; Linux before 6.3 ignores it. */
export const POSIX_FADV_NOREUSE = 5;

/** Wait for writing that is under way; see sync_file_range(2). */
export const SYNC_FILE_RANGE_WAIT_BEFORE = 0x1;
/** Begin to write what is dirty. */
export const SYNC_FILE_RANGE_WRITE = 0x2;
/** Wait until it is written. */
export const SYNC_FILE_RANGE_WAIT_AFTER = 0x4;

/** Move pages instead of copying them, a hint; see splice(2). */
export const SPLICE_F_MOVE = 0x1;
/** Do not wait for the pipe. */
export const SPLICE_F_NONBLOCK = 0x2;
/** More is to follow: do not send a small packet yet. */
export const SPLICE_F_MORE = 0x4;
