/*
 * opcodes_test.c - tests of kio_sqe() and of the rows of opcodes.c: the bytes
 * of each SQE against those that liburing's own functions make of it. Where
 * liburing 2.3 has none they are spelled out.
 */
#include "harness.h"
#include "masks.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* Flags and registers that liburing 2.3 does not name. */
#define NO_CLOEXEC 1
#define FUTEX2_SIZE_U32 2

/* Some arguments, none like another. */
#define FD 33
#define FD2 34
#define LEN 1001
#define OFF 70000000001ULL

static char data[2000], more[200];
static struct iovec vectors[3];
static struct msghdr message;
/* a struct open_how */
static uint64_t how[3];

static bool seen[256];

/* Takes back the SQE that was queued last, as it would be submitted. */
static struct io_uring_sqe made(struct kio *k, int ret)
{
	struct io_uring_sqe sqe;

	CHECK(ret == 0 && k->in_flight == 1);
	sqe = *unsubmitted(k, 0);
	CHECK(sqe.user_data == 77);
	sqe.user_data = 0;
	k->ring.sq.sqe_tail--;
	k->in_flight--;
	seen[sqe.opcode] = true;
	return sqe;
}

static void check_same(const struct io_uring_sqe *want,
		       const struct io_uring_sqe *got)
{
	const uint8_t *a = (const void *)want, *b = (const void *)got;

	for (size_t i = 0; i < sizeof(*want); i++)
		if (a[i] != b[i])
			fprintf(stderr, "%s: byte %zu is %#x, not %#x\n",
				opcodes[want->opcode].name, i, b[i], a[i]);
	CHECK(!memcmp(want, got, sizeof(*want)));
}

/* What CALL of kio_sqe() queues is what PREP makes of `sqe`. */
#define GOLDEN(CALL, PREP)                                       \
	do {                                                     \
		struct io_uring_sqe want = { 0 }, *sqe = &want;  \
		struct io_uring_sqe got = made(k, CALL);         \
                                                                 \
		PREP;                                            \
		check_same(&want, &got);                         \
	} while (0)

/* The same, of bytes that are spelled out. */
#define SPELLED(CALL, ...) \
	GOLDEN(CALL, *sqe = ((struct io_uring_sqe){ __VA_ARGS__ }))

/* kio_sqe() and kio_sqe2() with the id of made(). */
#define SQE(OP, ...) kio_sqe(k, 77, OP, __VA_ARGS__)
#define SQE2(OP, ...) kio_sqe2(k, 77, OP, __VA_ARGS__)
#define SQE3(OP, ...) kio_sqe3(k, 77, OP, __VA_ARGS__)

#define PTR(P) ((uint64_t)(uintptr_t)(P))

static void check_files_by_fd(struct kio *k)
{
	GOLDEN(SQE(IORING_OP_NOP, -1, NULL, 0, 0, 0, 0),
	       io_uring_prep_nop(sqe));
	GOLDEN(SQE(IORING_OP_READ, FD, data, 7, LEN, OFF, 0),
	       io_uring_prep_read(sqe, FD, data + 7, LEN, OFF));
	GOLDEN(SQE(IORING_OP_WRITE, FD, data, 0, LEN, -1, 0),
	       io_uring_prep_write(sqe, FD, data, LEN, (uint64_t)-1));
	GOLDEN(SQE(IORING_OP_READV, FD, vectors, 0, 3, OFF, 0),
	       io_uring_prep_readv(sqe, FD, vectors, 3, OFF));
	GOLDEN(SQE(IORING_OP_WRITEV, FD, vectors, 0, 3, OFF, 5),
	       io_uring_prep_writev2(sqe, FD, vectors, 3, OFF, 5));
	GOLDEN(SQE2(IORING_OP_READ_FIXED, FD, data, 0, LEN, NULL, OFF, 0, 0, 9),
	       io_uring_prep_read_fixed(sqe, FD, data, LEN, OFF, 9));
	GOLDEN(SQE2(IORING_OP_WRITE_FIXED, FD, data, 0, LEN, NULL, OFF, 0, 0,
		    9),
	       io_uring_prep_write_fixed(sqe, FD, data, LEN, OFF, 9));
	SPELLED(SQE2(KIO_OP_READ_MULTISHOT | IOSQE_BUFFER_SELECT << 8, FD, NULL,
		     0, LEN, NULL, -1, 0, 0, 9),
		.opcode = KIO_OP_READ_MULTISHOT, .flags = IOSQE_BUFFER_SELECT,
		.fd = FD, .len = LEN, .off = (uint64_t)-1, .buf_group = 9);
	GOLDEN(SQE(IORING_OP_FSYNC, FD, NULL, 0, 0, 0, IORING_FSYNC_DATASYNC),
	       io_uring_prep_fsync(sqe, FD, IORING_FSYNC_DATASYNC));
	GOLDEN(SQE(IORING_OP_SYNC_FILE_RANGE, FD, NULL, 0, LEN, OFF, 3),
	       io_uring_prep_sync_file_range(sqe, FD, LEN, OFF, 3));
	GOLDEN(SQE(IORING_OP_FALLOCATE, FD, NULL, 1 << 20, 3, OFF, 0),
	       io_uring_prep_fallocate(sqe, FD, 3, OFF, 1 << 20));
	SPELLED(SQE(KIO_OP_FTRUNCATE, FD, NULL, 0, 0, OFF, 0),
		.opcode = KIO_OP_FTRUNCATE, .fd = FD, .off = OFF);
	GOLDEN(SQE(IORING_OP_FADVISE, FD, NULL, 0, LEN, OFF, 4),
	       io_uring_prep_fadvise(sqe, FD, OFF, LEN, 4));
	GOLDEN(SQE(IORING_OP_MADVISE, -1, data, 0, LEN, 0, 4),
	       io_uring_prep_madvise(sqe, data, LEN, 4));
	GOLDEN(SQE2(IORING_OP_SPLICE, FD, NULL, OFF, LEN, NULL, -1, 2, FD2, 0),
	       io_uring_prep_splice(sqe, FD2, OFF, FD, -1, LEN, 2));
	GOLDEN(SQE2(IORING_OP_TEE, FD, NULL, 0, LEN, NULL, 0, 2, FD2, 0),
	       io_uring_prep_tee(sqe, FD2, FD, LEN, 2));
	GOLDEN(SQE2(IORING_OP_FSETXATTR, FD, "user.a", 0, LEN, more, 0, 1, 0,
		    0),
	       io_uring_prep_fsetxattr(sqe, FD, "user.a", more, 1, LEN));
	GOLDEN(SQE2(IORING_OP_FGETXATTR, FD, "user.a", 0, LEN, more, 0, 0, 0,
		    0),
	       io_uring_prep_fgetxattr(sqe, FD, "user.a", more, LEN));
	SPELLED(SQE(KIO_OP_FIXED_FD_INSTALL | IOSQE_FIXED_FILE << 8, 5, NULL, 0,
		    0, 0, NO_CLOEXEC),
		.opcode = KIO_OP_FIXED_FD_INSTALL, .flags = IOSQE_FIXED_FILE,
		.fd = 5, .rw_flags = NO_CLOEXEC);
}

static void check_files_by_path(struct kio *k)
{
	GOLDEN(SQE(IORING_OP_OPENAT, FD, "/a", 0, 0600, 0, O_RDWR),
	       io_uring_prep_openat(sqe, FD, "/a", O_RDWR | O_CLOEXEC, 0600));
	GOLDEN(SQE2(IORING_OP_OPENAT, FD, "/a", 0, 0600, NULL, 0, O_RDWR, 3, 0),
	       io_uring_prep_openat_direct(sqe, FD, "/a", O_RDWR, 0600, 2));
	GOLDEN(SQE2(IORING_OP_OPENAT, FD, "/a", 0, 0, NULL, 0, 0,
		    IORING_FILE_INDEX_ALLOC, 0),
	       io_uring_prep_openat_direct(sqe, FD, "/a", 0, 0,
					   IORING_FILE_INDEX_ALLOC - 1));
	GOLDEN(SQE2(IORING_OP_OPENAT2, FD, "/a", 0, sizeof(how), &how, 0, 0, 0,
		    0),
	       io_uring_prep_rw(IORING_OP_OPENAT2, sqe, FD, "/a", sizeof(how),
				PTR(&how)));
	GOLDEN(SQE2(IORING_OP_STATX, FD, "/a", 0, 0x7ff, more, 0,
		    AT_SYMLINK_NOFOLLOW, 0, 0),
	       io_uring_prep_statx(sqe, FD, "/a", AT_SYMLINK_NOFOLLOW, 0x7ff,
				   (struct statx *)more));
	GOLDEN(SQE2(IORING_OP_RENAMEAT, FD, "/a", 0, FD2, "/b", 0, 1, 0, 0),
	       io_uring_prep_renameat(sqe, FD, "/a", FD2, "/b", 1));
	GOLDEN(SQE(IORING_OP_UNLINKAT, FD, "/a", 0, 0, 0, AT_REMOVEDIR),
	       io_uring_prep_unlinkat(sqe, FD, "/a", AT_REMOVEDIR));
	GOLDEN(SQE(IORING_OP_MKDIRAT, AT_FDCWD, "/a", 0, 0700, 0, 0),
	       io_uring_prep_mkdirat(sqe, AT_FDCWD, "/a", 0700));
	GOLDEN(SQE2(IORING_OP_LINKAT, FD, "/a", 0, (uint32_t)AT_FDCWD, "/b", 0,
		    AT_SYMLINK_FOLLOW, 0, 0),
	       io_uring_prep_linkat(sqe, FD, "/a", AT_FDCWD, "/b",
				    AT_SYMLINK_FOLLOW));
	GOLDEN(SQE2(IORING_OP_SYMLINKAT, FD, "/a", 0, 0, "/b", 0, 0, 0, 0),
	       io_uring_prep_symlinkat(sqe, "/a", FD, "/b"));
	GOLDEN(SQE3(IORING_OP_SETXATTR, 0, "user.a", 0, LEN, more, 0, 2, 0, 0,
		    "/a", 0),
	       io_uring_prep_setxattr(sqe, "user.a", more, "/a", 2, LEN));
	GOLDEN(SQE3(IORING_OP_GETXATTR, 0, "user.a", 0, LEN, more, 0, 0, 0, 0,
		    "/a", 0),
	       io_uring_prep_getxattr(sqe, "user.a", more, "/a", LEN));
}

static void check_sockets(struct kio *k)
{
	struct sockaddr *address = (struct sockaddr *)more;
	socklen_t *length = (socklen_t *)data;

	GOLDEN(SQE(IORING_OP_SOCKET, AF_INET6, NULL, 0, 6, SOCK_STREAM, 0),
	       io_uring_prep_socket(sqe, AF_INET6, SOCK_STREAM | SOCK_CLOEXEC,
				    6, 0));
	GOLDEN(SQE2(IORING_OP_SOCKET, AF_INET6, NULL, 0, 6, NULL, SOCK_STREAM,
		    0, 3, 0),
	       io_uring_prep_socket_direct(sqe, AF_INET6, SOCK_STREAM, 6, 2,
					   0));
	SPELLED(SQE(KIO_OP_BIND, FD, address, 0, 0, 28, 0),
		.opcode = KIO_OP_BIND, .fd = FD, .addr = PTR(address),
		.addr2 = 28);
	SPELLED(SQE(KIO_OP_LISTEN, FD, NULL, 0, 128, 0, 0),
		.opcode = KIO_OP_LISTEN, .fd = FD, .len = 128);
	GOLDEN(SQE2(IORING_OP_ACCEPT, FD, address, 0, 0, length, 0,
		    SOCK_NONBLOCK, 0, 0),
	       io_uring_prep_accept(sqe, FD, address, length,
				    SOCK_NONBLOCK | SOCK_CLOEXEC));
	GOLDEN(SQE(IORING_OP_ACCEPT | IORING_ACCEPT_MULTISHOT << 16, FD, NULL,
		   0, 0, 0, 0),
	       io_uring_prep_multishot_accept(sqe, FD, NULL, NULL,
					      SOCK_CLOEXEC));
	GOLDEN(SQE2(IORING_OP_ACCEPT, FD, NULL, 0, 0, NULL, 0, 0, 3, 0),
	       io_uring_prep_accept_direct(sqe, FD, NULL, NULL, 0, 2));
	GOLDEN(SQE(IORING_OP_CONNECT, FD, address, 0, 0, 16, 0),
	       io_uring_prep_connect(sqe, FD, address, 16));
	GOLDEN(SQE(IORING_OP_SHUTDOWN, FD, NULL, 0, SHUT_WR, 0, 0),
	       io_uring_prep_shutdown(sqe, FD, SHUT_WR));
	GOLDEN(SQE(IORING_OP_RECV, FD, data, 9, LEN, 0, MSG_WAITALL),
	       io_uring_prep_recv(sqe, FD, data + 9, LEN, MSG_WAITALL));
	GOLDEN(SQE2(IORING_OP_RECV | IOSQE_BUFFER_SELECT << 8 |
			    IORING_RECV_MULTISHOT << 16,
		    FD, NULL, 0, 0, NULL, 0, 0, 0, 9),
	       io_uring_prep_recv_multishot(sqe, FD, NULL, 0, 0);
	       want.flags = IOSQE_BUFFER_SELECT; want.buf_group = 9);
	GOLDEN(SQE(IORING_OP_SEND, FD, data, 9, LEN, 0, MSG_WAITALL),
	       io_uring_prep_send(sqe, FD, data + 9, LEN,
				  MSG_WAITALL | MSG_NOSIGNAL));
	GOLDEN(SQE2(IORING_OP_SEND, FD, data, 0, LEN, address, 0, 0, 16, 0),
	       io_uring_prep_send(sqe, FD, data, LEN, MSG_NOSIGNAL);
	       io_uring_prep_send_set_addr(sqe, address, 16));
	GOLDEN(SQE2(IORING_OP_SEND_ZC | IORING_RECVSEND_FIXED_BUF << 16, FD,
		    data, 0, LEN, NULL, 0, 0, 0, 9),
	       io_uring_prep_send_zc_fixed(sqe, FD, data, LEN, MSG_NOSIGNAL, 0,
					   9));
	GOLDEN(SQE(IORING_OP_RECVMSG, FD, &message, 0, 1, 0, MSG_PEEK),
	       io_uring_prep_recvmsg(sqe, FD, &message,
				     MSG_PEEK | MSG_CMSG_CLOEXEC));
	GOLDEN(SQE(IORING_OP_SENDMSG, FD, &message, 0, 1, 0, 0),
	       io_uring_prep_sendmsg(sqe, FD, &message, MSG_NOSIGNAL));
	GOLDEN(SQE(IORING_OP_SENDMSG_ZC, FD, &message, 0, 1, 0, 0),
	       io_uring_prep_sendmsg_zc(sqe, FD, &message, MSG_NOSIGNAL));
	if (has_socket_commands())
		SPELLED(SQE3(IORING_OP_URING_CMD, FD, NULL,
			     SOL_SOCKET + 0x1p32 * SO_KEEPALIVE, 0, NULL,
			     KIO_SETSOCKOPT, 0, 4, 0, data, 8),
			.opcode = IORING_OP_URING_CMD, .fd = FD,
			.addr = SOL_SOCKET | (uint64_t)SO_KEEPALIVE << 32,
			.off = KIO_SETSOCKOPT, .file_index = 4,
			.addr3 = PTR(data + 8));
	seen[IORING_OP_URING_CMD] = true;
	SPELLED(SQE(KIO_OP_PIPE, 0, data, 0, 0, 0, O_NONBLOCK),
		.opcode = KIO_OP_PIPE, .addr = PTR(data),
		.rw_flags = O_NONBLOCK | O_CLOEXEC);
	SPELLED(SQE2(KIO_OP_PIPE, 0, data, 0, 0, NULL, 0, O_NONBLOCK,
		     IORING_FILE_INDEX_ALLOC, 0),
		.opcode = KIO_OP_PIPE, .addr = PTR(data),
		.rw_flags = O_NONBLOCK,
		.file_index = IORING_FILE_INDEX_ALLOC);
}

static void check_waits(struct kio *k)
{
	struct epoll_event event = { .events = EPOLLIN };

	GOLDEN(SQE(IORING_OP_POLL_ADD, FD, NULL, 0, 0, 0, POLLIN | POLLRDHUP),
	       io_uring_prep_poll_add(sqe, FD, POLLIN | POLLRDHUP));
	GOLDEN(SQE(IORING_OP_POLL_ADD | IOSQE_FIXED_FILE << 8, 3, NULL, 0,
		   IORING_POLL_ADD_MULTI, 0, POLLOUT),
	       io_uring_prep_poll_multishot(sqe, 3, POLLOUT);
	       want.flags = IOSQE_FIXED_FILE);
	GOLDEN(SQE(IORING_OP_EPOLL_CTL, FD, &event, 0, EPOLL_CTL_ADD, FD2, 0),
	       io_uring_prep_epoll_ctl(sqe, FD, FD2, EPOLL_CTL_ADD, &event));
	SPELLED(SQE2(KIO_OP_WAITID, 4711, NULL, 0, P_PID, more, 0, 0,
		     WEXITED | WNOWAIT, 0),
		.opcode = KIO_OP_WAITID, .fd = 4711, .len = P_PID,
		.addr2 = PTR(more), .file_index = WEXITED | WNOWAIT);
	SPELLED(SQE3(KIO_OP_FUTEX_WAIT, FUTEX2_SIZE_U32, data, 4, 0, NULL, 17,
		     0, 0, 0, NULL, 4294967295.0),
		.opcode = KIO_OP_FUTEX_WAIT, .fd = FUTEX2_SIZE_U32,
		.addr = PTR(data + 4), .addr2 = 17, .addr3 = UINT32_MAX);
	SPELLED(SQE3(KIO_OP_FUTEX_WAKE, FUTEX2_SIZE_U32, data, 4, 0, NULL, 1, 0,
		     0, 0, NULL, 1),
		.opcode = KIO_OP_FUTEX_WAKE, .fd = FUTEX2_SIZE_U32,
		.addr = PTR(data + 4), .addr2 = 1, .addr3 = 1);
}

TEST(sqe_makes_the_bytes_of_liburing_of_each_row)
{
	struct kio *k;

	_Static_assert(sizeof(struct io_uring_sqe) == 64, "its size");
	/* or some are done at once, and others have no number */
	memset(mask_hides, 0, sizeof(mask_hides));
	k = context_open(8);
	memset(k->has, true, sizeof(k->has));
	check_files_by_fd(k);
	check_files_by_path(k);
	check_sockets(k);
	check_waits(k);
	for (int op = 0; op < 256; op++) {
		bool expected = opcodes[op].name && !opcodes[op].own;

		if (seen[op] != expected)
			fprintf(stderr, "operation %d: not compared\n", op);
		CHECK(seen[op] == expected);
	}
	context_close(k);
	guard_fire();
}

/* CALL of a hot function queues what kio_sqe() does, which needs a row. */
#define SAME(CALL, OTHER)                                  \
	do {                                               \
		struct io_uring_sqe want = made(k, OTHER); \
		struct io_uring_sqe got = made(k, CALL);   \
                                                           \
		check_same(&want, &got);                   \
	} while (0)

TEST(hot_functions_make_the_bytes_of_their_rows)
{
	struct kio *k = context_open(8);

	SAME(kio_read(k, 77, FD, data, LEN, OFF),
	     SQE(IORING_OP_READ, FD, data, 0, LEN, OFF, 0));
	SAME(kio_write(k, 77, FD, data, LEN, -1),
	     SQE(IORING_OP_WRITE, FD, data, 0, LEN, -1, 0));
	SAME(kio_recv(k, 77, FD, data, LEN, MSG_WAITALL),
	     SQE(IORING_OP_RECV, FD, data, 0, LEN, 0, MSG_WAITALL));
	SAME(kio_send(k, 77, FD, data, LEN, MSG_WAITALL),
	     SQE(IORING_OP_SEND, FD, data, 0, LEN, 0, MSG_WAITALL));
	context_close(k);
	guard_fire();
}

TEST(sqe_takes_an_offset_in_two_parts)
{
	const uint64_t offset = (1ULL << 62) + 0xfffffff1;
	struct kio *k = context_open(8);

	GOLDEN(SQE2(IORING_OP_READ, FD, data, 0, LEN, NULL, 0x1p62, 0,
		    (int32_t)0xfffffff1, 0),
	       io_uring_prep_read(sqe, FD, data, LEN, offset));
	GOLDEN(SQE2(IORING_OP_FALLOCATE, FD, NULL, 5, 0, NULL, 0x1p62, 0,
		    (int32_t)0xfffffff1, 0),
	       io_uring_prep_fallocate(sqe, FD, 0, (off_t)offset, 5));
	context_close(k);
	guard_fire();
}

TEST(sqe_refuses_what_has_no_row_or_a_function_of_its_own)
{
	static const uint32_t refused[] = {
		IORING_OP_PROVIDE_BUFFERS,
		IORING_OP_REMOVE_BUFFERS,
		IORING_OP_ASYNC_CANCEL,
		200,
		255,
		IORING_OP_CLOSE,
		IORING_OP_MSG_RING,
		IORING_OP_TIMEOUT,
		IORING_OP_NOP | IOSQE_IO_LINK << 8,
		IORING_OP_NOP | IOSQE_IO_HARDLINK << 8,
		IORING_OP_NOP | IOSQE_IO_DRAIN << 8,
		IORING_OP_NOP | IOSQE_CQE_SKIP_SUCCESS << 8,
	};
	struct kio *k = context_open(8);

	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
		CHECK(SQE(refused[i], -1, NULL, 0, 0, 0, 0) ==
		      (refused[i] <= UINT8_MAX ? -ENOSYS : -EINVAL));
	CHECK(SQE(IORING_OP_NOP, -1, NULL, 0, 0, 0, 0) == 0);
	CHECK(result_of_one(k, 77) == 0);
	context_close(k);
	guard_fire();
}

TEST(sqe_that_is_refused_ends_its_chain)
{
	struct kio *k = context_open(8);

	kio_chain(k, true);
	CHECK(SQE(IORING_OP_NOP, -1, NULL, 0, 0, 0, 0) == 0);
	CHECK(SQE(IORING_OP_PROVIDE_BUFFERS, FD, NULL, 0, 0, 0, 0) == -ENOSYS);
	CHECK(SQE(IORING_OP_NOP, -1, NULL, 0, 0, 0, 0) == -ECANCELED);
	kio_chain(k, false);
	CHECK(result_of_one(k, 77) == 0);
	CHECK(SQE(IORING_OP_NOP, -1, NULL, 0, 0, 0, 0) == 0);
	CHECK(result_of_one(k, 77) == 0);
	context_close(k);
	guard_fire();
}

TEST(sqe_links_within_a_chain)
{
	struct kio *k = context_open(8);
	struct completion completions[2];
	int fds[2];

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	kio_chain(k, true);
	CHECK(kio_sqe(k, 1, IORING_OP_READ, -1, data, 0, 1, 0, 0) == 0);
	CHECK(kio_sqe(k, 2, IORING_OP_WRITE, fds[1], "a", 0, 1, -1, 0) == 0);
	kio_chain(k, false);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == -EBADF);
	CHECK(result_for(completions, 2, 2) == -ECANCELED);
	CHECK(bytes_in(fds[0]) == -EAGAIN);
	context_close(k);
	guard_fire();
}

TEST(sqe_submits_when_the_queue_is_full)
{
	struct kio *k = context_open(2);
	struct completion completions[5];

	for (int i = 0; i < 5; i++)
		CHECK(kio_sqe(k, i, IORING_OP_NOP, -1, NULL, 0, 0, 0, 0) == 0);
	collect(k, completions, 5);
	for (int i = 0; i < 5; i++)
		CHECK(result_for(completions, 5, (uint64_t)i) == 0);
	context_close(k);
	guard_fire();
}

TEST(sqe_of_what_the_kernel_lacks_is_completed_with_einval)
{
	struct kio *k;

	mask_hide("FTRUNCATE");
	k = context_open(8);
	CHECK(SQE(KIO_OP_FIXED_FD_INSTALL, FD, NULL, 0, 0, 0, 0) == 0);
	CHECK(result_of_one(k, 77) == -EINVAL);
	context_close(k);
	guard_fire();
}

TEST(sqe_makes_fds_that_are_not_inherited)
{
	struct kio *k = context_open(8);
	int fd;

	CHECK(SQE(IORING_OP_OPENAT, AT_FDCWD, "/", 0, 0, 0, O_PATH) == 0);
	fd = result_of_one(k, 77);
	CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(SQE(IORING_OP_SOCKET, AF_UNIX, NULL, 0, 0, SOCK_STREAM, 0) == 0);
	fd = result_of_one(k, 77);
	CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	context_close(k);
	guard_fire();
}

TEST(sqe_on_an_eventfd_wakes_the_thread)
{
	struct kio *k = context_open(8);
	uint64_t one = 1, count = 0;
	int fd = eventfd(0, EFD_CLOEXEC);

	CHECK(SQE(IORING_OP_READ, fd, &count, 0, sizeof(count), -1, 0) == 0);
	while (kio_arm(k, 0) != 1)
		CHECK(step_at_once(k) == 0);
	CHECK(k->waiters.by_slot[77].polled);
	CHECK(write(fd, &one, sizeof(one)) == sizeof(one));
	CHECK(kio_event_wait(k->event_fd) == 0);
	CHECK(result_of_one(k, 77) == sizeof(count) && count == 1);
	context_close(k);
	guard_fire();
}
