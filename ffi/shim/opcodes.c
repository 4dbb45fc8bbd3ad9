/*
 * opcodes.c - one row for each operation: the memory that its fields point to,
 * its forced flags, the event that it waits for, and how it may be short. The
 * shim, the faults and the watch over memory read these rows, and an operation
 * without one is refused: nothing can be forgotten. kio.h has the numbers that
 * liburing 2.3 lacks.
 */
#include "internal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* A struct statx, which musl before 1.2.5 does not have. */
#define STATX_BYTES 256

_Static_assert(SOCK_CLOEXEC == O_CLOEXEC, "one flag for both");

const struct opcode opcodes[256] = {
	[IORING_OP_NOP] = { .name = "nop" },

	/* files, by fd */
	[IORING_OP_READ] = { "read", .addr = LEN_BYTES, .waits = POLLIN,
			     .cut = CUT_ANY, .wide = true },
	[IORING_OP_WRITE] = { "write", .addr = LEN_BYTES, .waits = POLLOUT,
			      .cut = CUT_ANY, .wide = true },
	[IORING_OP_READV] = { "readv", .addr = VECTORS, .waits = POLLIN,
			      .cut = CUT_ANY, .wide = true },
	[IORING_OP_WRITEV] = { "writev", .addr = VECTORS, .waits = POLLOUT,
			       .cut = CUT_ANY, .wide = true },
	[IORING_OP_READ_FIXED] = { "read_fixed", .addr = LEN_BYTES,
				   .waits = POLLIN, .cut = CUT_ANY,
				   .wide = true,
				   .form_of = IORING_OP_READ },
	[IORING_OP_WRITE_FIXED] = { "write_fixed", .addr = LEN_BYTES,
				    .waits = POLLOUT, .cut = CUT_ANY,
				    .wide = true,
				    .form_of = IORING_OP_WRITE },
	[KIO_OP_READ_MULTISHOT] = { "read_multishot", .waits = POLLIN,
				    .wide = true,
				    .form_of = IORING_OP_READ },
	[IORING_OP_FSYNC] = { "fsync", .wide = true },
	[IORING_OP_SYNC_FILE_RANGE] = { "sync_file_range", .wide = true },
	[IORING_OP_FALLOCATE] = { "fallocate", .wide = true },
	[KIO_OP_FTRUNCATE] = { "ftruncate", .wide = true,
			       .at_once = ftruncate_at_once },
	[IORING_OP_FADVISE] = { "fadvise", .wide = true },
	[IORING_OP_MADVISE] = { "madvise", .addr = LEN_BYTES },
	[IORING_OP_SPLICE] = { "splice", .cut = CUT_ANY },
	[IORING_OP_TEE] = { "tee", .cut = CUT_ANY },
	[IORING_OP_CLOSE] = { "close", .own = true },
	[IORING_OP_FSETXATTR] = { "fsetxattr", .addr = PATH,
				  .addr2 = LEN_BYTES },
	[IORING_OP_FGETXATTR] = { "fgetxattr", .addr = PATH,
				  .addr2 = LEN_BYTES },
	[KIO_OP_FIXED_FD_INSTALL] = { .name = "fixed_fd_install" },

	/* files, by path */
	[IORING_OP_OPENAT] = { "open", .addr = PATH,
			       .cloexec = CLOEXEC_IN_FLAGS },
	[IORING_OP_OPENAT2] = { "openat2", .addr = PATH, .addr2 = LEN_BYTES },
	[IORING_OP_STATX] = { "statx", .addr = PATH,
			      .addr2 = SIZED(char[STATX_BYTES]) },
	[IORING_OP_RENAMEAT] = { "rename", .addr = PATH, .addr2 = PATH },
	[IORING_OP_UNLINKAT] = { "unlink", .addr = PATH },
	[IORING_OP_MKDIRAT] = { "mkdir", .addr = PATH },
	[IORING_OP_LINKAT] = { "link", .addr = PATH, .addr2 = PATH },
	[IORING_OP_SYMLINKAT] = { "symlink", .addr = PATH, .addr2 = PATH },
	[IORING_OP_SETXATTR] = { "setxattr", .addr = PATH, .addr2 = LEN_BYTES,
				 .addr3 = PATH },
	[IORING_OP_GETXATTR] = { "getxattr", .addr = PATH, .addr2 = LEN_BYTES,
				 .addr3 = PATH },

	/* sockets and pipes; Deno ignores SIGPIPE, other hosts may not */
	[IORING_OP_SOCKET] = { "socket", .cloexec = CLOEXEC_IN_OFF },
	[KIO_OP_BIND] = { "bind", .addr = OFF_BYTES, .at_once = bind_at_once },
	[KIO_OP_LISTEN] = { "listen", .at_once = listen_at_once },
	/* of its commands, those of sockets */
	[IORING_OP_URING_CMD] = { "uring_cmd", .addr3 = EXTRA_BYTES,
				  .at_once = option_at_once },
	[IORING_OP_ACCEPT] = { "accept",
			       .addr = SIZED(struct sockaddr_storage),
			       .addr2 = SIZED(socklen_t),
			       .cloexec = CLOEXEC_IN_FLAGS },
	[IORING_OP_CONNECT] = { "connect", .addr = OFF_BYTES },
	[IORING_OP_SHUTDOWN] = { .name = "shutdown" },
	[IORING_OP_RECV] = { "recv", .addr = LEN_BYTES, .cut = CUT_STREAM },
	[IORING_OP_SEND] = { "send", .addr = LEN_BYTES,
			     .addr2 = EXTRA_BYTES, .force = MSG_NOSIGNAL,
			     .cut = CUT_STREAM },
	[IORING_OP_SEND_ZC] = { "send_zc", .addr = LEN_BYTES,
				.addr2 = EXTRA_BYTES, .force = MSG_NOSIGNAL,
				.cut = CUT_STREAM, .notifies = true },
	[IORING_OP_RECVMSG] = { "recvmsg", .addr = MESSAGE,
				.force = MSG_CMSG_CLOEXEC, .cut = CUT_STREAM },
	[IORING_OP_SENDMSG] = { "sendmsg", .addr = MESSAGE,
				.force = MSG_NOSIGNAL, .cut = CUT_STREAM },
	[IORING_OP_SENDMSG_ZC] = { "sendmsg_zc", .addr = MESSAGE,
				   .force = MSG_NOSIGNAL, .cut = CUT_STREAM,
				   .notifies = true },
	[KIO_OP_PIPE] = { "pipe", .addr = SIZED(int[2]),
			  .cloexec = CLOEXEC_IN_FLAGS },

	/* events and time */
	[IORING_OP_POLL_ADD] = { "poll", .waits = AS_FLAGS_SAY },
	[IORING_OP_EPOLL_CTL] = { "epoll_ctl",
				  .addr = SIZED(struct epoll_event) },
	[KIO_OP_WAITID] = { "waitid", .addr2 = SIZED(siginfo_t) },
	[KIO_OP_FUTEX_WAIT] = { "futex_wait", .addr = SIZED(uint32_t) },
	[KIO_OP_FUTEX_WAKE] = { "futex_wake", .addr = SIZED(uint32_t) },
	[IORING_OP_TIMEOUT] = { "timeout", .own = true,
				.addr = SIZED(struct __kernel_timespec) },
	[IORING_OP_MSG_RING] = { "msg_ring", .own = true },
};
