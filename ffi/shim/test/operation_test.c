/*
 * operation_test.c - tests of files and sockets, and calls without a ring.
 */
#include "harness.h"
#include "masks.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

TEST(offsets_are_plain_or_current)
{
	struct kio *k = context_open(8);
	int fd = temporary_file();

	CHECK(kio_write(k, 1, fd, "ab", 2, 100) == 0);
	CHECK(result_of_one(k, 1) == 2);
	CHECK(lseek(fd, 0, SEEK_CUR) == 0);
	CHECK(kio_write(k, 2, fd, "cd", 2, -1) == 0);
	CHECK(result_of_one(k, 2) == 2);
	CHECK(lseek(fd, 0, SEEK_CUR) == 2);
	CHECK(lseek(fd, 0, SEEK_DATA) == 0);
	CHECK(lseek(fd, 0, SEEK_END) == 102);
	context_close(k);
	guard_fire();
}

TEST(registered_files_are_named_by_index)
{
	struct kio *k = context_open(8);
	int32_t files[2] = { -1, temporary_file() };
	int32_t other = temporary_file();
	char bytes[2];

	CHECK(kio_files_unregister(k) == -ENXIO);
	CHECK(kio_files_register(k, files, 2) == 0);
	CHECK(kio_sqe(k, 1, IORING_OP_WRITE | IOSQE_FIXED_FILE << 8, 1, "ab", 0,
		      2, 0, 0) == 0);
	CHECK(result_of_one(k, 1) == 2);
	CHECK(pread(files[1], bytes, 2, 0) == 2 && bytes[1] == 'b');
	CHECK(kio_sqe(k, 2, IORING_OP_READ | IOSQE_FIXED_FILE << 8, 0, bytes, 0,
		      2, 0, 0) == 0);
	CHECK(result_of_one(k, 2) == -EBADF);
	CHECK(kio_files_update(k, 0, &other, 1) == 1);
	CHECK(kio_sqe(k, 3, IORING_OP_READ | IOSQE_FIXED_FILE << 8, 0, bytes, 0,
		      2, 0, 0) == 0);
	CHECK(result_of_one(k, 3) == 0);
	CHECK(kio_files_unregister(k) == 0);
	context_close(k);
	guard_fire();
}

static int queue_ftruncate(struct kio *k, double id, int fd, double length)
{
	return kio_sqe(k, id, KIO_OP_FTRUNCATE, fd, NULL, 0, 0, length, 0);
}

TEST(ftruncate_works_on_kernels_without_the_operation)
{
	struct kio *k = context_open(8);
	int fd = temporary_file();

	CHECK(queue_ftruncate(k, 1, fd, 10) == 0);
	CHECK(result_of_one(k, 1) == 0);
	CHECK(lseek(fd, 0, SEEK_END) == 10);
	context_close(k);

	mask_hide("FTRUNCATE");
	k = context_open(8);
	CHECK(queue_ftruncate(k, 2, fd, 20) == 0);
	CHECK(result_of_one(k, 2) == 0);
	CHECK(lseek(fd, 0, SEEK_END) == 20);
	CHECK(queue_ftruncate(k, 3, -1, 20) == -EBADF);
	CHECK(k->in_flight == 0);
	kio_chain(k, true);
	CHECK(queue_ftruncate(k, 4, fd, 30) == -EOPNOTSUPP);
	CHECK(queue_fsync(k, 5, fd) == -ECANCELED);
	kio_chain(k, false);
	CHECK(lseek(fd, 0, SEEK_END) == 20);
	context_close(k);
	guard_fire();
}

TEST(accept_tells_the_address_and_sets_cloexec)
{
	struct kio *k = context_open(8);
	struct sockaddr_in address, own;
	struct sockaddr_storage peer;
	socklen_t length = sizeof(peer);
	int listener = listener_open(&address);
	int client = kio_socket(AF_INET, SOCK_STREAM);
	struct completion completions[2];
	int fd;

	CHECK(kio_sqe(k, 1, IORING_OP_CONNECT, client, &address, 0, 0,
		      sizeof(address), 0) == 0);
	CHECK(kio_sqe2(k, 2 | UD_MAKES_FD, IORING_OP_ACCEPT, listener, &peer, 0,
		       0, &length, 0, 0, 0, 0) == 0);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == 0);
	fd = result_for(completions, 2, 2 | UD_MAKES_FD);
	CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(kio_socket_name(client, false, &own) == sizeof(own));
	CHECK(length == sizeof(own));
	CHECK(memcmp(&peer, &own, sizeof(own)) == 0);
	context_close(k);
	guard_fire();
}

/* Sets or gets an option by a socket command. */
static int queue_option(struct kio *k, double id, int fd, uint32_t command,
			uint64_t level, uint64_t name, void *value,
			int32_t length)
{
	return kio_sqe3(k, id, IORING_OP_URING_CMD, fd, NULL,
			(double)(level | name << 32), 0, NULL, command, 0,
			length, 0, value, 0);
}

static void bind_listen_and_set_options(struct kio *k, bool in_ring)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	int fd = kio_socket(AF_INET, SOCK_STREAM);
	/* and the length behind it */
	int value[2] = { 1, 0 };

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(queue_option(k, 1, fd, KIO_SETSOCKOPT, SOL_SOCKET, SO_KEEPALIVE,
			   value, sizeof(int)) == 0);
	CHECK(result_of_one(k, 1) == 0);
	CHECK(kio_option_get(fd, SOL_SOCKET, SO_KEEPALIVE) == 1);
	value[0] = 0;
	CHECK(queue_option(k, 2, fd, KIO_GETSOCKOPT, SOL_SOCKET, SO_KEEPALIVE,
			   value, sizeof(int)) == 0);
	CHECK(result_of_one(k, 2) == (in_ring ? (int)sizeof(int) : 0));
	CHECK(value[0] == 1 && value[1] == (in_ring ? 0 : (int)sizeof(int)));
	/* of a level that the ring does not read */
	CHECK(queue_option(k, 3, fd, KIO_GETSOCKOPT, IPPROTO_TCP, TCP_NODELAY,
			   value, sizeof(int)) == 0);
	CHECK(result_of_one(k, 3) == 0);
	CHECK(value[0] == 0 && value[1] == (int)sizeof(int));
	CHECK(kio_sqe(k, 4, KIO_OP_BIND, fd, &address, 0, 0, sizeof(address),
		      0) == 0);
	CHECK(result_of_one(k, 4) == 0);
	CHECK(kio_sqe(k, 5, KIO_OP_LISTEN, fd, NULL, 0, 5, 0, 0) == 0);
	CHECK(result_of_one(k, 5) == 0);
	CHECK(kio_option_get(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1);
	CHECK(k->in_flight == 0);
}

TEST(sockets_are_set_up_on_kernels_without_the_operations)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct kio *k = context_open(8);
	int value[2] = { 1 };

	bind_listen_and_set_options(k, has_socket_commands());
	context_close(k);

	mask_hide("FTRUNCATE");
	k = context_open(8);
	CHECK(!k->has[KIO_OP_BIND] && !k->has[KIO_OP_LISTEN]);
	k->has[IORING_OP_URING_CMD] = false;
	bind_listen_and_set_options(k, false);
	CHECK(kio_sqe(k, 1, KIO_OP_BIND, -1, &address, 0, 0, sizeof(address),
		      0) == -EBADF);
	CHECK(kio_sqe(k, 2, KIO_OP_LISTEN, -1, NULL, 0, 5, 0, 0) == -EBADF);
	for (uint32_t id = KIO_GETSOCKOPT; id <= KIO_SETSOCKOPT; id++)
		CHECK(queue_option(k, id, -1, id, SOL_SOCKET, SO_TYPE, value,
				   sizeof(int)) == -EBADF);
	CHECK(kio_sqe(k, 5, KIO_OP_LISTEN | IOSQE_FIXED_FILE << 8, 0, NULL, 0,
		      5, 0, 0) == -EOPNOTSUPP);
	kio_chain(k, true);
	CHECK(kio_sqe(k, 3, KIO_OP_LISTEN, 0, NULL, 0, 5, 0, 0) == -EOPNOTSUPP);
	CHECK(queue_fsync(k, 4, 0) == -ECANCELED);
	kio_chain(k, false);
	CHECK(k->in_flight == 0);
	context_close(k);
	guard_fire();
}

TEST(socket_commands_are_believed_when_they_were_tried)
{
	mask_hide("FTRUNCATE");
	CHECK(!has_socket_commands());
}

TEST(message_of_several_buffers_arrives)
{
	struct kio *k = context_open(8);
	char out[MSG_VECTORS + 2 * sizeof(struct iovec)] __attribute__((
		aligned(8))) = { 0 };
	char in[sizeof(out)] __attribute__((aligned(8))) = { 0 };
	char head[3], tail[8];
	struct completion completions[2];
	int32_t fds[2];

	CHECK(kio_socket_pair(SOCK_SEQPACKET, fds) == 0);
	kio_vector_set((struct iovec *)(out + MSG_VECTORS), 0, "abc", 3);
	kio_vector_set((struct iovec *)(out + MSG_VECTORS), 1, "de", 2);
	kio_message_init(out, 0, 2, NULL, 0);
	kio_vector_set((struct iovec *)(in + MSG_VECTORS), 0, head, 3);
	kio_vector_set((struct iovec *)(in + MSG_VECTORS), 1, tail, 8);
	kio_message_init(in, 128, 2, NULL, 0);
	CHECK(kio_sqe(k, 1, IORING_OP_SENDMSG, fds[0], out, 0, 1, 0, 0) == 0);
	CHECK(kio_sqe(k, 2, IORING_OP_RECVMSG, fds[1], in, 0, 1, 0, 0) == 0);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == 5);
	CHECK(result_for(completions, 2, 2) == 5);
	CHECK(memcmp(head, "abc", 3) == 0 && memcmp(tail, "de", 2) == 0);
	CHECK(((struct msghdr *)in)->msg_namelen == 0);
	context_close(k);
	guard_fire();
}

TEST(message_advances_over_its_buffers_and_within_one)
{
	char message[MSG_VECTORS + 4 * sizeof(struct iovec)] __attribute__((
		aligned(8))) = { 0 };
	struct iovec *vectors = (struct iovec *)(message + MSG_VECTORS);
	const struct msghdr *header = (struct msghdr *)message;
	char data[] = "abcdefghij";

	for (uint32_t bytes = 0; bytes < 10; bytes++) {
		kio_vector_set(vectors, 0, data, 3);
		kio_vector_set(vectors, 1, NULL, 0);
		kio_vector_set(vectors, 2, data + 3, 4);
		kio_vector_set(vectors, 3, data + 7, 3);
		kio_message_init(message, 0, 4, NULL, 0);
		kio_message_advance(message, bytes);
		CHECK(header->msg_iov->iov_base == data + bytes);
		CHECK(header->msg_iovlen == (bytes < 3 ? 4 : bytes < 7 ? 2 : 1));
		CHECK(header->msg_iov->iov_len ==
		      (bytes < 3 ? 3 : bytes < 7 ? 7 : 10) - bytes);
	}
}

/* Has another process listen at an address; its first byte says how that went. */
static pid_t listen_elsewhere(const struct sockaddr_in *address, int *status)
{
	int32_t fds[2];
	pid_t child;

	CHECK(pipe(fds) == 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		int fd = kio_socket(AF_INET, SOCK_STREAM);
		int ret = kio_listen(fd, address, sizeof(*address), 16);

		/* also when this test fails */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		CHECK(write(fds[1], &ret, sizeof(ret)) == sizeof(ret));
		pause();
	}
	CHECK(read(fds[0], status, sizeof(*status)) == sizeof(*status));
	return child;
}

static int listen_here(const struct sockaddr_in *address)
{
	int fd = kio_socket(AF_INET, SOCK_STREAM);
	int ret = kio_listen(fd, address, sizeof(*address), 16);

	if (ret < 0)
		kio_fd_close(fd);
	return ret < 0 ? ret : fd;
}

TEST(listen_shares_with_its_own_process_only)
{
	struct sockaddr_in address, other;
	int first = listener_open(&address), second, status;
	pid_t child;

	/* one that has not said that it shares */
	CHECK(listen_here(&address) == -EADDRINUSE);
	kio_fd_close(first);

	first = listen_here(&address);
	second = listen_here(&address);
	CHECK(first >= 0 && second >= 0);
	kio_fd_close(first);
	kio_fd_close(second);

	child = listen_elsewhere(&address, &status);
	CHECK(status == 0);
	CHECK(listen_here(&address) == -EADDRINUSE);
	other = address;
	other.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	CHECK(listen_here(&other) >= 0);
	CHECK(listen_here(&address) == -EADDRINUSE);
	CHECK(kill(child, SIGKILL) == 0);
	CHECK(waitpid(child, NULL, 0) == child);
	CHECK(listen_here(&address) >= 0);
}

TEST(socket_calls_return_negative_errnos)
{
	struct linger linger = { 1, 7 };
	struct sockaddr_storage address;
	int32_t fds[2];

	CHECK(kio_socket(-1, SOCK_STREAM) == -EAFNOSUPPORT);
	CHECK(kio_socket_bind(-1, &address, 0) == -EBADF);
	CHECK(kio_socket_listen(-1, 1) == -EBADF);
	CHECK(kio_listen(-1, &address, 0, 1) == -EBADF);
	CHECK(kio_socket_shutdown(-1, SHUT_RDWR) == -EBADF);
	CHECK(kio_socket_name(-1, true, &address) == -EBADF);
	CHECK(kio_option_set(-1, SOL_SOCKET, SO_REUSEADDR, 1) == -EBADF);
	CHECK(kio_option_get(-1, SOL_SOCKET, SO_REUSEADDR) == -EBADF);
	CHECK(kio_nonblocking_set(-1, true) == -EBADF);
	CHECK(kio_fd_close(-1) == -EBADF);
	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(fcntl(fds[0], F_GETFD) == FD_CLOEXEC);
	CHECK(kio_option_set(fds[0], SOL_SOCKET, SO_KEEPALIVE, 1) == 0);
	CHECK(kio_option_get(fds[0], SOL_SOCKET, SO_KEEPALIVE) == 1);
	CHECK(kio_option_set_bytes(fds[0], SOL_SOCKET, SO_LINGER, &linger,
				   sizeof(linger)) == 0);
	linger.l_linger = 0;
	CHECK(kio_option_get_bytes(fds[0], SOL_SOCKET, SO_LINGER, &linger,
				   sizeof(linger)) == sizeof(linger));
	CHECK(linger.l_onoff == 1 && linger.l_linger == 7);
	CHECK(kio_option_get_bytes(fds[0], SOL_SOCKET, SO_LINGER, &linger, 4) ==
	      4);
	CHECK(kio_option_get_bytes(-1, SOL_SOCKET, SO_LINGER, &linger, 4) ==
	      -EBADF);
	CHECK(kio_option_set_bytes(-1, SOL_SOCKET, SO_LINGER, &linger, 8) ==
	      -EBADF);
	CHECK(write(fds[0], "12345", 5) == 5);
	CHECK(kio_socket_queued(fds[1], false) == 5);
	CHECK(kio_socket_queued(fds[0], true) > 0);
	CHECK(kio_socket_queued(-1, true) == -EBADF);
	CHECK(kio_nonblocking_set(fds[0], true) == 0);
	CHECK(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	CHECK(kio_nonblocking_set(fds[0], false) == 0);
	CHECK(!(fcntl(fds[0], F_GETFL) & O_NONBLOCK));
}

TEST(thread_is_pinned_round_and_round)
{
	cpu_set_t all;
	double end_ms = kio_now_ms() + 10000;
	int count, first;

	CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
	count = CPU_COUNT(&all);
	/* Where the kernel counts in ticks, this thread may have had none yet. */
	while (kio_thread_cpu_ms(kio_thread_id()) == 0 && kio_now_ms() < end_ms)
		;
	CHECK(kio_thread_cpu_ms(kio_thread_id()) > 0);
	CHECK(kio_thread_cpu_ms(0x3fffff) < 0);
	first = kio_thread_pin((uint32_t)count);
	CHECK(first >= 0 && CPU_ISSET(first, &all));
	CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
	CHECK(CPU_COUNT(&all) == 1 && CPU_ISSET(first, &all));
}
