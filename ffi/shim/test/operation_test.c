/*
 * operation_test.c - tests of files and sockets, and calls without a ring.
 */
#include "harness.h"
#include "masks.h"

#include <fcntl.h>
#include <netinet/in.h>
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

TEST(ftruncate_works_on_kernels_without_the_operation)
{
	struct kio *k = context_open(8);
	int fd = temporary_file();

	CHECK(kio_ftruncate(k, 1, fd, 10, 0) == 0);
	CHECK(result_of_one(k, 1) == 0);
	CHECK(lseek(fd, 0, SEEK_END) == 10);
	context_close(k);

	mask_hide("FTRUNCATE");
	k = context_open(8);
	CHECK(kio_ftruncate(k, 2, fd, 20, 0) == 0);
	CHECK(result_of_one(k, 2) == 0);
	CHECK(lseek(fd, 0, SEEK_END) == 20);
	CHECK(kio_ftruncate(k, 3, -1, 20, 0) == -EBADF);
	CHECK(k->in_flight == 0);
	kio_chain(k, true);
	CHECK(kio_ftruncate(k, 4, fd, 30, 0) == -EOPNOTSUPP);
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
