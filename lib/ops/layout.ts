/**
 * The system's numbers that several modules need. The test of the layout
 * compares each with the C compiler's own.
 */

/** sizeof(struct sockaddr_storage). */
export const ADDRESS_SIZE = 128;

/** Parts of the block that kio_message_init() fills. */
export const MESSAGE_NAME_AT = 64;
export const MESSAGE_VECTORS_AT: number = MESSAGE_NAME_AT + ADDRESS_SIZE;

/** Parts of struct msghdr. */
export const MSG_NAMELEN_AT = 8;
export const MSG_CONTROLLEN_AT = 40;
export const MSG_FLAGS_AT = 48;

/** Set by the shim: fds that are received are not inherited. */
export const MSG_CMSG_CLOEXEC = 0x40000000;

/** Parts of struct io_uring_recvmsg_out, and its size: the name comes next. */
export const OUT_NAMELEN_AT = 0;
export const OUT_CONTROLLEN_AT = 4;
export const OUT_PAYLOADLEN_AT = 8;
export const OUT_FLAGS_AT = 12;
export const OUT_NAME_AT = 16;

/** A path is relative to the current directory. */
export const AT_FDCWD = -100;
/** Do not mount what a path names; stat(2) does not either. */
export const AT_NO_AUTOMOUNT = 0x800;

/** Bytes of a path, with its NUL; and the most that an attribute has. */
export const PATH_MAX = 4096;
export const XATTR_SIZE_MAX = 65536;

/** Of an fsync: data, and only the metadata that is needed to read it. */
export const IORING_FSYNC_DATASYNC = 1;

export const O_CLOEXEC = 0o2000000;
/** O_TMPFILE without O_DIRECTORY, which is a part of it. */
export const O_TMPFILE_BIT = 0o20000000;

/** sizeof(struct open_how) and its parts. */
export const HOW_SIZE = 24;
export const HOW_FLAGS_AT = 0;
export const HOW_MODE_AT = 8;
export const HOW_RESOLVE_AT = 16;

/** sizeof(struct statx), its parts, and the masks for what stat(2) has and for
 * the rest. */
export const STAT_SIZE = 256;
export const STAT_MASK_AT = 0;
export const STAT_BLOCK_SIZE_AT = 4;
export const STAT_ATTRIBUTES_AT = 8;
export const STAT_LINKS_AT = 16;
export const STAT_UID_AT = 20;
export const STAT_GID_AT = 24;
export const STAT_MODE_AT = 28;
export const STAT_INODE_AT = 32;
export const STAT_FILE_SIZE_AT = 40;
export const STAT_BLOCKS_AT = 48;
export const STAT_ATTRIBUTES_MASK_AT = 56;
export const STAT_ACCESSED_AT = 64;
export const STAT_BIRTH_AT = 80;
export const STAT_CHANGED_AT = 96;
export const STAT_MODIFIED_AT = 112;
export const STAT_RDEV_AT = 128;
export const STAT_DEVICE_AT = 136;
export const STAT_MOUNT_ID_AT = 144;
export const STATX_BASIC_STATS = 0x7ff;
export const STATX_BTIME = 0x800;
export const STATX_MNT_ID = 0x1000;

/** The part of a mode that is the type, and that of a directory. */
export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
