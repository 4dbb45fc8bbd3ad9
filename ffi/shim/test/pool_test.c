/*
 * pool_test.c - tests of pools of buffers.
 */
#include "harness.h"
#include "masks.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define COUNT 2
#define SIZE 8

static char memory[COUNT * SIZE];
static int32_t returned[COUNT + 1];

static int open_pool(struct kio *k)
{
	memset(returned, 0, sizeof(returned));
	return kio_pool_open(k, memory, COUNT, SIZE, returned);
}

/* Queues a multishot receive. */
static void queue_receive(struct kio *k, int fd, int group)
{
	uint32_t op = IORING_OP_RECV | IOSQE_BUFFER_SELECT << 8 |
		      IORING_RECV_MULTISHOT << 16;

	CHECK(kio_sqe2(k, 1, op, fd, NULL, 0, 0, NULL, 0, 0, 0,
		       (uint32_t)group) == 0);
}

/* Steps until there is a completion: its result, and its flags. */
static int32_t received(struct kio *k, uint32_t *flags)
{
	int32_t out[4];

	while (kio_step(k, out, 1, true) != 1)
		;
	*flags = (uint32_t)out[3];
	return out[2];
}

TEST(pool_fills_buffers_that_were_given_back)
{
	NEEDS(BUFFER_RING);
	struct kio *k = context_open(8);
	int fds[2], group = open_pool(k);
	uint32_t flags;

	CHECK(group >= 0);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	queue_receive(k, fds[0], group);
	for (char i = 0; i < 20; i++) {
		uint32_t id;

		CHECK(write(fds[1], &i, 1) == 1);
		CHECK(received(k, &flags) == 1);
		CHECK(flags & IORING_CQE_F_BUFFER);
		id = flags >> IORING_CQE_BUFFER_SHIFT;
		CHECK(id < COUNT && memory[id * SIZE] == i);
		returned[++returned[0]] = (int32_t)id;
		/* Or the next write(2) finds one, and the look behind it none. */
		CHECK(step_at_once(k) == 0);
	}
	close(fds[1]);
	CHECK(received(k, &flags) == 0 && !(flags & IORING_CQE_F_MORE));
	close(fds[0]);
	context_close(k);
	guard_fire();
}

TEST(pool_without_buffers_ends_the_receive)
{
	NEEDS(BUFFER_RING);
	struct kio *k = context_open(8);
	int fds[2], group = open_pool(k);
	uint32_t flags;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	CHECK(write(fds[1], "0123456789abcdefg", 17) == 17);
	queue_receive(k, fds[0], group);
	CHECK(received(k, &flags) == SIZE);
	CHECK(received(k, &flags) == SIZE);
	CHECK(received(k, &flags) == -ENOBUFS && !(flags & IORING_CQE_F_MORE));
	returned[++returned[0]] = 1;
	queue_receive(k, fds[0], group);
	CHECK(received(k, &flags) == 1);
	CHECK(flags >> IORING_CQE_BUFFER_SHIFT == 1 && memory[SIZE] == 'g');
	close(fds[1]);
	/* the end needs a buffer too, though it does not use one */
	while (flags & IORING_CQE_F_MORE)
		received(k, &flags);
	close(fds[0]);
	context_close(k);
	guard_fire();
}

TEST(pipe_has_nowait_takes_nothing)
{
	int fds[2], socket_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char byte = 0;
	bool has;

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	has = kio_pipe_has_nowait(fds[0]);
	/* Linux 6.1 has none, and no reads that need it */
	CHECK(has || kio_trial(KIO_TRIAL_READ) == 0);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(kio_pipe_has_nowait(fds[0]) == has);
	close(fds[1]);
	CHECK(read(fds[0], &byte, 1) == 1 && byte == 'x');
	CHECK(kio_pipe_has_nowait(fds[0]) == has);
	CHECK(!kio_pipe_has_nowait(socket_fd));
	CHECK(!kio_pipe_has_nowait(-1));
	close(fds[0]);
	close(socket_fd);
}

TEST(pools_have_numbers_of_their_own)
{
	NEEDS(BUFFER_RING);
	struct kio *k = context_open(8);
	uint32_t first = (uint32_t)open_pool(k);

	CHECK(open_pool(k) == (int)first + 1);
	CHECK(open_pool(k) == (int)first + 2);
	kio_pool_close(k, first + 1);
	CHECK(open_pool(k) == (int)first + 1);
	kio_pool_close(k, first);
	kio_pool_close(k, first + 2);
	CHECK(open_pool(k) == (int)first);
	context_close(k);
	guard_fire();
}

TEST(guard_takes_pools_back)
{
	NEEDS(BUFFER_RING);
	struct kio *k = context_open(8);
	int fds[2], group = open_pool(k);

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	queue_receive(k, fds[0], group);
	CHECK(step_at_once(k) == 0);
	guard_fire();
	CHECK(write(fds[1], "late", 4) == 4);
	CHECK(memory[0] != 'l' && memory[SIZE] != 'l');
	CHECK(recv(fds[0], memory, 4, 0) == 4);
	close(fds[0]);
	close(fds[1]);
}

/* One that pours does not keep a step from coming back. */
TEST(step_ends_after_many_of_one_multishot)
{
	NEEDS(BUFFER_RING);
	static char many[1000];
	static int32_t ids[1001];
	struct kio *k = context_open(8);
	int32_t out[4 * 1000];
	int fds[2], count, group;

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	group = kio_pool_open(k, many, 1000, 1, ids);
	CHECK(group >= 0);
	CHECK(write(fds[1], many, 1000) == 1000);
	queue_receive(k, fds[0], group);
	do
		count = kio_step(k, out, 1000, true);
	while (count == 0);
	CHECK(count > 0 && count < 100);
	guard_fire();
	close(fds[0]);
	close(fds[1]);
}
