/**
 * The kernel's numbers: flags of open(2), poll(2), recv(2), fallocate(2),
 * options of sockets and others. They are the same on x86_64 and aarch64 except for those that differ
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
/** Receive an error and the head of the datagram that caused it. */
export const MSG_ERRQUEUE = 0x2000;
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

/** Unix sockets; see socket(2). */
export const AF_UNIX = 1;
/** IPv4. */
export const AF_INET = 2;
/** IPv6. */
export const AF_INET6 = 10;

/** A stream of bytes; see socket(2). */
export const SOCK_STREAM = 1;
/** Datagrams. */
export const SOCK_DGRAM = 2;
/** Records, in order. */
export const SOCK_SEQPACKET = 5;

/** The level of options of any socket; see socket(7). */
export const SOL_SOCKET = 1;
/** The level of options of IPv4; see ip(7). */
export const IPPROTO_IP = 0;
/** The level of options of TCP; see tcp(7). */
export const IPPROTO_TCP = 6;
/** The level of options of UDP; see udp(7). */
export const IPPROTO_UDP = 17;
/** The level of options of IPv6; see ipv6(7). */
export const IPPROTO_IPV6 = 41;

/** An address may be bound again; see socket(7). */
export const SO_REUSEADDR = 2;
/** Read only: `SOCK_STREAM` … */
export const SO_TYPE = 3;
/** Read only: the pending error, which reading clears. */
export const SO_ERROR = 4;
/** Datagrams may go to a broadcast address. */
export const SO_BROADCAST = 6;
/** Bytes of the send buffer. */
export const SO_SNDBUF = 7;
/** Bytes of the receive buffer. */
export const SO_RCVBUF = 8;
/** Probe a silent peer. */
export const SO_KEEPALIVE = 9;
/** The priority of packets on this machine. */
export const SO_PRIORITY = 12;
/** close(2) resets the connection, or waits: a struct linger. */
export const SO_LINGER = 13;
/** Several sockets share an address. */
export const SO_REUSEPORT = 15;
/** Read only: the struct ucred of the peer of a unix socket. */
export const SO_PEERCRED = 17;
/** Bytes that must be there before poll(2) tells of them. */
export const SO_RCVLOWAT = 18;
/** The name of the only interface that it uses. */
export const SO_BINDTODEVICE = 25;
/** Read only: 1 for a listener. */
export const SO_ACCEPTCONN = 30;
/** The mark of packets, for routes and firewalls; needs CAP_NET_ADMIN. */
export const SO_MARK = 36;
/** Read only: `IPPROTO_TCP` … */
export const SO_PROTOCOL = 38;
/** Read only: `AF_INET` … */
export const SO_DOMAIN = 39;
/** Microseconds to poll the network card for. */
export const SO_BUSY_POLL = 46;
/** The CPU that it takes connections of. */
export const SO_INCOMING_CPU = 49;

/** Send small segments at once; see tcp(7). */
export const TCP_NODELAY = 1;
/** Bytes of a segment at most. */
export const TCP_MAXSEG = 2;
/** Send full segments only. */
export const TCP_CORK = 3;
/** Seconds of silence before the first keep-alive probe. */
export const TCP_KEEPIDLE = 4;
/** Seconds between keep-alive probes. */
export const TCP_KEEPINTVL = 5;
/** Keep-alive probes without an answer that end the connection. */
export const TCP_KEEPCNT = 6;
/** Tries of a connect. */
export const TCP_SYNCNT = 7;
/** Seconds that a listener waits for the first data. */
export const TCP_DEFER_ACCEPT = 9;
/** Read only: a struct tcp_info. */
export const TCP_INFO = 11;
/** Acknowledge at once, for a while. */
export const TCP_QUICKACK = 12;
/** The name of the congestion control. */
export const TCP_CONGESTION = 13;
/** Milliseconds that sent data may stay without an answer. */
export const TCP_USER_TIMEOUT = 18;
/** Connections with data in their first packet that may wait. */
export const TCP_FASTOPEN = 23;
/** Bytes that are not sent yet, above which it is not writable. */
export const TCP_NOTSENT_LOWAT = 25;
/** connect(2) waits for the first data to send with it. */
export const TCP_FASTOPEN_CONNECT = 30;

/** The type of service of packets; see ip(7). */
export const IP_TOS = 1;
/** The hops of packets at most. */
export const IP_TTL = 2;
/** The discovery of the path's MTU: packets may be fragmented or not. */
export const IP_MTU_DISCOVER = 10;
/** Errors that come back are queued; `MSG_ERRQUEUE` receives them. */
export const IP_RECVERR = 11;
/** Read only: the MTU of the path, of a connected socket. */
export const IP_MTU = 14;
/** An address that this machine lacks may be bound. */
export const IP_FREEBIND = 15;
/** As `IP_FREEBIND`, for proxies; needs CAP_NET_ADMIN. */
export const IP_TRANSPARENT = 19;
/** The interface for multicast: a struct ip_mreqn. */
export const IP_MULTICAST_IF = 32;
/** The hops of multicast packets at most. */
export const IP_MULTICAST_TTL = 33;
/** This machine receives its own multicast packets. */
export const IP_MULTICAST_LOOP = 34;
/** Join a multicast group: a struct ip_mreqn. */
export const IP_ADD_MEMBERSHIP = 35;
/** Leave a multicast group. */
export const IP_DROP_MEMBERSHIP = 36;

/** The hops of packets at most; see ipv6(7). */
export const IPV6_UNICAST_HOPS = 16;
/** The number of the interface for multicast. */
export const IPV6_MULTICAST_IF = 17;
/** The hops of multicast packets at most. */
export const IPV6_MULTICAST_HOPS = 18;
/** This machine receives its own multicast packets. */
export const IPV6_MULTICAST_LOOP = 19;
/** Join a multicast group: a struct ipv6_mreq. */
export const IPV6_JOIN_GROUP = 20;
/** Leave a multicast group. */
export const IPV6_LEAVE_GROUP = 21;
/** The discovery of the path's MTU: packets may be fragmented or not. */
export const IPV6_MTU_DISCOVER = 23;
/** Read only: the MTU of the path, of a connected socket. */
export const IPV6_MTU = 24;
/** Errors that come back are queued, as by `IP_RECVERR`. */
export const IPV6_RECVERR = 25;
/** No IPv4. */
export const IPV6_V6ONLY = 26;
/** The traffic class of packets. */
export const IPV6_TCLASS = 67;

/** Bytes of each datagram that one send is cut into; see udp(7). */
export const UDP_SEGMENT = 103;
/** One receive gives several datagrams of one size. */
export const UDP_GRO = 104;
