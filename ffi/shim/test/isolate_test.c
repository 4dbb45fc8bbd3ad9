/*
 * isolate_test.c - tests of what ends with an isolate: the guard, fds, memory.
 */
#include "harness.h"
#include "masks.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

TEST(guard_is_armed_once_an_isolate)
{
	guard_arm();
	guard_arm();
	CHECK(hooks_added == 1);
	guard_fire();
}

TEST(guard_by_library_ends_its_own_isolate)
{
	int fds = count_fds();
	int32_t status = 0;
	char path[64];
	int fd = kio_guard_file();
	void *guard;
	void (*arm)(void *);

	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	guard = dlopen(path, RTLD_NOW);
	CHECK(guard);
	*(void **)&arm = dlsym(guard, "kio_guard_arm");
	CHECK(arm);
	arm(kio_guarded());
	CHECK(kio_guarded() == isolate);
	CHECK(close(fd) == 0);
	CHECK(kio_context_open(8, 32, 8, 8, true, NULL, &status));
	CHECK(dlclose(guard) == 0);
	CHECK(isolate == NULL);
	CHECK(count_fds() == fds);
}

TEST(pipe_ends_with_the_isolate)
{
	int fds = count_fds();
	int32_t pipe[2];

	guard_arm();
	CHECK(kio_pipe(pipe, 4096) == 4096);
	CHECK(count_fds() == fds + 2);
	guard_fire();
	CHECK(count_fds() == fds);
}

TEST(guard_takes_buffers_back_from_the_kernel)
{
	int fds_before = count_fds();
	struct kio *k = context_open(8);
	int32_t fds[2];
	char buffer[8] = "intact";

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_recv(k, 1, fds[0], buffer, sizeof(buffer), 0) == 0);
	CHECK(step_at_once(k) == 0);
	guard_fire();
	CHECK(write(fds[1], "kernel", 6) == 6);
	usleep(10000);
	CHECK(strcmp(buffer, "intact") == 0);
	CHECK(bytes_in(fds[0]) == 6);
	CHECK(count_fds() == fds_before + 2);
	CHECK(isolate == NULL);
}

TEST(guard_waits_for_what_cannot_be_cancelled)
{
	static char data[32 << 20], buffer[32 << 20];
	struct kio *k = context_open(8);
	int fd = temporary_file();

	memset(data, 'x', sizeof(data));
	CHECK(write(fd, data, sizeof(data)) == sizeof(data));
	/* To a thread of the kernel, which is not stopped in the middle. */
	CHECK(kio_sqe(k, 1, IORING_OP_READ | IOSQE_ASYNC << 8, fd, buffer, 0,
		      sizeof(buffer), 0, 0) == 0);
	CHECK(enter(k, 0, 0, 0) == 1);
	while (buffer[0] != 'x')
		atomic_signal_fence(memory_order_seq_cst);
	guard_fire();
	CHECK(buffer[sizeof(buffer) - 1] == 'x');
}

TEST(guard_drops_what_was_not_submitted)
{
	struct kio *k = context_open(8);
	int fds[2];

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	CHECK(kio_write(k, 1, fds[1], "a", 1, 0) == 0);
	CHECK(result_of_one(k, 1) == 1);
	CHECK(kio_write(k, 2, fds[1], "b", 1, 0) == 0);
	kio_chain(k, true);
	CHECK(kio_write(k, 3, fds[1], "c", 1, 0) == 0);
	CHECK(kio_write(k, 4, fds[1], "d", 1, 0) == 0);
	guard_fire();
	CHECK(bytes_in(fds[0]) == 1);
}

TEST(guard_closes_an_fd_that_nobody_will_hear_of)
{
	struct kio *k = context_open(8);
	struct sockaddr_in address;
	int listener = listener_open(&address);
	int client = kio_socket(AF_INET, SOCK_STREAM);
	int fds = count_fds();

	CHECK(connect(client, (struct sockaddr *)&address, sizeof(address)) ==
	      0);
	CHECK(kio_sqe(k, 1 | UD_MAKES_FD, IORING_OP_ACCEPT, listener, NULL, 0, 0,
		      0, 0) == 0);
	CHECK(enter(k, 0, 0, IORING_ENTER_GETEVENTS) == 1);
	CHECK(count_fds() == fds + 1);
	guard_fire();
	/* Less the ring and its eventfd. */
	CHECK(count_fds() == fds - 2);
	CHECK(bytes_in(client) == 0);
}

/* Sends a byte with two fds, which are closed here. */
static void send_two_fds(int to)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct iovec one = { .iov_base = "x", .iov_len = 1 };
	struct msghdr message = { .msg_iov = &one,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);
	int fds[2];

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	*part = (struct cmsghdr){ .cmsg_len = CMSG_LEN(sizeof(fds)),
				  .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS };
	memcpy(CMSG_DATA(part), fds, sizeof(fds));
	CHECK(sendmsg(to, &message, 0) == 1);
	close(fds[0]);
	close(fds[1]);
}

#define ROOM CMSG_SPACE(2 * sizeof(int))

TEST(guard_closes_the_fds_of_a_message)
{
	struct kio *k = context_open(8);
	static char message[MSG_VECTORS + sizeof(struct iovec)];
	static char control[ROOM], byte;
	int fds[2], before;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	kio_vector_set((void *)(message + MSG_VECTORS), 0, &byte, 1);
	before = count_fds();
	for (int i = 0; i < 2; i++) {
		struct completion completion;

		kio_message_init(message, 0, 1, control, ROOM);
		CHECK(kio_sqe(k, 1, IORING_OP_RECVMSG, fds[0], message, 0, 1,
			      0, 0) == 0);
		send_two_fds(fds[1]);
		CHECK(k->receiving_count == 1);
		if (i)
			break;
		/* this one is taken, and its fds are the taker's */
		collect(k, &completion, 1);
		CHECK(completion.result == 1 && k->receiving_count == 0);
		CHECK(count_fds() == before + 2);
	}
	CHECK(enter(k, 0, 0, IORING_ENTER_GETEVENTS) == 1);
	CHECK(count_fds() == before + 4);
	guard_fire();
	/* less the ring and its eventfd */
	CHECK(count_fds() == before + 2 - 2);
}

TEST(guard_closes_the_fds_of_messages_in_buffers)
{
	NEEDS(BUFFER_RING);
	enum { COUNT = 4, SIZE = 256 };
	static char message[MSG_VECTORS], control[ROOM], memory[COUNT * SIZE];
	static int32_t returned[COUNT + 1];
	struct kio *k = context_open(8);
	int group = kio_pool_open(k, memory, COUNT, SIZE, returned);
	uint32_t op = IORING_OP_RECVMSG | IOSQE_BUFFER_SELECT << 8 |
		      IORING_RECV_MULTISHOT << 16;
	int fds[2], before;

	CHECK(group >= 0);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) == 0);
	kio_message_init(message, 128, 0, control, ROOM);
	CHECK(kio_sqe2(k, 1, op, fds[0], message, 0, 1, NULL, 0, 0, 0,
		       (uint32_t)group) == 0);
	before = count_fds();
	CHECK(enter(k, 0, 0, IORING_ENTER_GETEVENTS) == 1);
	for (int i = 0; i < 3; i++)
		send_two_fds(fds[1]);
	CHECK(enter(k, 0, 0, IORING_ENTER_GETEVENTS) == 0);
	CHECK(count_fds() == before + 6);
	guard_fire();
	CHECK(count_fds() == before - 2);
}

TEST(guard_cancels_a_chain_to_its_end)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char bytes[3];

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	kio_chain(k, true);
	for (int i = 0; i < 3; i++)
		CHECK(kio_recv(k, i, fds[0], &bytes[i], 1, 0) == 0);
	kio_chain(k, false);
	CHECK(step_at_once(k) == 0);
	CHECK(k->in_flight == 3);
	guard_fire();
	CHECK(isolate == NULL);
}

/* A link starts after everything was cancelled, and waits for ever. */
TEST(guard_cancels_what_has_started_since)
{
	static char data[32 << 20], buffer[32 << 20];
	struct kio *k = context_open(8);
	int fd = temporary_file();
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	memset(data, 'x', sizeof(data));
	CHECK(write(fd, data, sizeof(data)) == sizeof(data));
	kio_chain(k, true);
	CHECK(kio_sqe(k, 1, IORING_OP_READ | IOSQE_ASYNC << 8, fd, buffer, 0,
		      sizeof(buffer), 0, 0) == 0);
	CHECK(kio_recv(k, 2, fds[0], &byte, 1, 0) == 0);
	kio_chain(k, false);
	CHECK(enter(k, 0, 0, 0) == 2);
	while (buffer[0] != 'x')
		atomic_signal_fence(memory_order_seq_cst);
	guard_fire();
	CHECK(buffer[sizeof(buffer) - 1] == 'x');
}

TEST(guard_ignores_the_end_of_another_isolate)
{
	struct kio *k = context_open(8);
	int other;

	cleanup_hook(&other);
	CHECK(isolate && isolate->contexts == k);
	context_close(k);
	guard_fire();
}

TEST(guard_closes_what_the_isolate_owns)
{
	int owned[2], released[2], closed[2], closed_at_once[2], life[2];
	struct kio *k = context_open(8);
	int fds = count_fds();

	CHECK(kio_socket_pair(SOCK_STREAM, owned) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, released) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, closed) == 0);
	CHECK(pipe2(life, O_CLOEXEC) == 0);
	CHECK(kio_life_begin(life[1]) == 0);
	close(life[1]);
	kio_fd_own(owned[0]);
	kio_fd_own(released[0]);
	kio_fd_disown(released[0]);
	/* Closed by an operation: its number is somebody else's from then on. */
	kio_fd_own(closed[0]);
	CHECK(kio_close(k, 1, closed[0]) == 0);
	CHECK(result_of_one(k, 1) == 0);
	CHECK(dup(released[1]) == closed[0]);
	CHECK(kio_socket_pair(SOCK_STREAM, closed_at_once) == 0);
	kio_fd_own(closed_at_once[0]);
	CHECK(kio_fd_close(closed_at_once[0]) == 0);
	CHECK(dup(released[1]) == closed_at_once[0]);
	/* What cannot be an fd is nobody's. */
	kio_fd_own(-1);
	kio_fd_own(0x7fffffff);
	kio_fd_disown(0x7fffffff);
	kio_fd_own(100000);
	guard_fire();
	CHECK(bytes_in(owned[1]) == 0);
	/* a ring, its eventfd, one of a pair */
	CHECK(fcntl(released[0], F_GETFD) >= 0);
	CHECK(fcntl(closed[0], F_GETFD) >= 0);
	CHECK(fcntl(closed_at_once[0], F_GETFD) >= 0);
	CHECK(bytes_in(life[0]) == 0);
	CHECK(count_fds() == fds - 2 + 8);
}

static bool is_mapped(const void *address)
{
	unsigned char residency;

	return mincore((void *)(uintptr_t)address, 1, &residency) == 0;
}

TEST(memory_is_zeroed_and_aligned_and_goes_away)
{
	char *first, *second;

	guard_arm();
	first = kio_memory_map(5000);
	second = kio_memory_map(5000);
	CHECK(first && second && (uintptr_t)first % 4096 == 0);
	for (int i = 0; i < 5000; i++)
		CHECK(first[i] == 0);
	memset(first, 1, 5000);
	kio_memory_unmap(first);
	CHECK(!is_mapped(first) && is_mapped(second));
	guard_fire();
	CHECK(!is_mapped(second));
}

TEST(memory_that_is_not_there_is_null)
{
	guard_arm();
	CHECK(kio_memory_map(1e15) == NULL);
	CHECK(isolate->mappings == NULL);
	guard_fire();
}
