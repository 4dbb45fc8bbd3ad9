/*
 * close_test.c - tests of links that are queued again, and of closes that are
 * cancelled: their fds are closed all the same.
 */
#include "harness.h"

#include <fcntl.h>
#include <sys/socket.h>

/* Queues a receive and a write to a pipe as a chain; gives its copies out. */
static void chain_begin(struct kio *k, int from, char *byte, int to,
			struct io_uring_sqe *copies)
{
	kio_chain(k, true);
	CHECK(kio_recv(k, 1, from, byte, 1, 0) == 0);
	CHECK(kio_write(k, 2, to, "w", 1, 0) == 0);
	kio_chain_copy(k, copies, 2);
	kio_chain(k, false);
	CHECK(step_at_once(k) == 0);
}

TEST(take_back_ends_a_chain_that_can_be_queued_again)
{
	struct kio *k = context_open(8);
	struct io_uring_sqe copies[3] = { 0 };
	struct completion completions[3];
	int32_t sockets[2];
	int pipe_fds[2];
	char byte = 0;

	CHECK(kio_socket_pair(SOCK_STREAM, sockets) == 0);
	CHECK(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0);
	chain_begin(k, sockets[0], &byte, pipe_fds[1], copies);
	CHECK(copies[0].opcode == IORING_OP_RECV && copies[0].user_data == 1);
	CHECK(copies[1].opcode == IORING_OP_WRITE && copies[1].user_data == 2);
	/* As many as were asked for, and none of them linked yet. */
	CHECK(copies[2].user_data == 0 && copies[2].opcode == 0);
	CHECK(!(copies[0].flags & IOSQE_IO_LINK));
	for (int round = 0; round < 3; round++) {
		uint64_t answer = UD_INTERNAL | UD_TAKE_BACK | 1;

		CHECK(kio_take_back(k, 1) == 0);
		collect(k, completions, 3);
		CHECK(result_for(completions, 3, answer) == 0);
		CHECK(result_for(completions, 3, 1) == -ECANCELED);
		CHECK(result_for(completions, 3, 2) == -ECANCELED);
		CHECK(k->in_flight == 0);
		kio_chain(k, true);
		CHECK(kio_again(k, &copies[0]) == 0);
		CHECK(kio_again(k, &copies[1]) == 0);
		kio_chain(k, false);
		CHECK(step_at_once(k) == 0);
		CHECK(k->in_flight == 2);
		CHECK(bytes_in(pipe_fds[0]) == -EAGAIN);
	}
	CHECK(send(sockets[1], "x", 1, 0) == 1);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == 1 && byte == 'x');
	CHECK(result_for(completions, 2, 2) == 1);
	CHECK(bytes_in(pipe_fds[0]) == 1);
	context_close(k);
	guard_fire();
}

TEST(take_back_of_what_is_over_says_so)
{
	struct kio *k = context_open(8);
	struct io_uring_sqe copies[2];
	struct completion completions[3];
	int32_t sockets[2];
	int pipe_fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, sockets) == 0);
	CHECK(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0);
	chain_begin(k, sockets[0], &byte, pipe_fds[1], copies);
	CHECK(send(sockets[1], "x", 1, 0) == 1);
	CHECK(kio_take_back(k, 7) == 0);
	collect(k, completions, 3);
	CHECK(result_for(completions, 3, UD_INTERNAL | UD_TAKE_BACK | 7) ==
	      -ENOENT);
	CHECK(result_for(completions, 3, 1) == 1);
	CHECK(result_for(completions, 3, 2) == 1);
	context_close(k);
	guard_fire();
}

TEST(again_without_room_keeps_the_operation_out)
{
	struct kio *k = context_open(2);
	struct io_uring_sqe copies[2] = { 0 };
	struct completion completions[2];
	int fd = temporary_file(), pipe_fds[2];

	CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
	CHECK(write(pipe_fds[1], "x", 1) == 1);
	kio_chain(k, true);
	CHECK(queue_fsync(k, 1, fd) == 0);
	CHECK(kio_close(k, 2, fd) == 0);
	kio_chain_copy(k, copies, 2);
	k->ring.sq.sqe_tail -= 2;
	k->in_flight = 0;
	kio_chain(k, true);
	CHECK(queue_poll(k, 3, fd, POLLIN, 0) == 0);
	CHECK(queue_poll(k, 4, pipe_fds[0], POLLIN, 0) == 0);
	CHECK(kio_again(k, &copies[0]) == -E2BIG);
	/* Its fd is the caller's: what is queued before it is for it. */
	CHECK(kio_again(k, &copies[1]) == -E2BIG);
	CHECK(fcntl(fd, F_GETFD) >= 0);
	kio_chain(k, false);
	CHECK(k->in_flight == 2);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 3) == POLLIN);
	CHECK(result_for(completions, 2, 4) == POLLIN);
	CHECK(fcntl(fd, F_GETFD) >= 0);
	kio_fd_close(fd);
	context_close(k);
	guard_fire();
}

/* A close that is queued again is the kernel's, not the isolate's. */
TEST(again_of_a_close_takes_the_fd_from_the_isolate)
{
	struct kio *k = context_open(8);
	struct io_uring_sqe copies[2];
	struct completion completions[3];
	int32_t sockets[2], doomed[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, sockets) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, doomed) == 0);
	kio_chain(k, true);
	CHECK(kio_recv(k, 1, sockets[0], &byte, 1, 0) == 0);
	CHECK(kio_close(k, 2, doomed[0]) == 0);
	kio_chain_copy(k, copies, 2);
	kio_chain(k, false);
	CHECK(step_at_once(k) == 0);
	CHECK(kio_take_back(k, 1) == 0);
	collect(k, completions, 3);
	CHECK(k->closing_count == 0);
	/* as lib/ring/chain.ts keeps it */
	kio_fd_own(doomed[0]);
	kio_chain(k, true);
	CHECK(kio_again(k, &copies[0]) == 0);
	CHECK(kio_again(k, &copies[1]) == 0);
	kio_chain(k, false);
	CHECK(send(sockets[1], "x", 1, 0) == 1);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 2) == 0);
	CHECK(k->closing_count == 0);
	CHECK(dup(sockets[1]) == doomed[0]);
	guard_fire();
	CHECK(fcntl(doomed[0], F_GETFD) >= 0);
}

/* Links that wait behind another when the isolate ends. */
TEST(guard_closes_for_a_close_that_never_ran)
{
	/* the last is beyond what there is room for at first */
	const double slots[] = { 2, 3, 200 };
	struct kio *k = context_open(8);
	int32_t silent[2], doomed[3][2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, silent) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(kio_socket_pair(SOCK_STREAM, doomed[i]) == 0);
	kio_chain(k, true);
	CHECK(kio_recv(k, 1, silent[0], &byte, 1, 0) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(kio_close(k, slots[i], doomed[i][0]) == 0);
	kio_chain(k, false);
	CHECK(step_at_once(k) == 0);
	CHECK(k->in_flight == 4 && k->closing_count == 3);
	for (int i = 0; i < 3; i++)
		CHECK(bytes_in(doomed[i][1]) == -EAGAIN);
	guard_fire();
	for (int i = 0; i < 3; i++)
		CHECK(bytes_in(doomed[i][1]) == 0);
}

/* A number that was closed may be another's when the isolate ends. */
TEST(guard_closes_nothing_for_a_close_that_ran)
{
	struct kio *k = context_open(8);
	int32_t silent[2], doomed[2], waiting[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, silent) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, doomed) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, waiting) == 0);
	CHECK(kio_close(k, 1, doomed[0]) == 0);
	CHECK(result_of_one(k, 1) == 0);
	CHECK(dup(silent[1]) == doomed[0]);
	/* Of the same slot, and cancelled, while another close waits. */
	kio_chain(k, true);
	CHECK(kio_recv(k, 1, silent[0], &byte, 1, 0) == 0);
	CHECK(kio_close(k, 3, waiting[0]) == 0);
	kio_chain(k, false);
	CHECK(kio_close(k, 2, doomed[1]) == 0);
	CHECK(enter(k, 0, 0, 0) == 3);
	CHECK(dup(silent[1]) == doomed[1]);
	guard_fire();
	CHECK(bytes_in(waiting[1]) == 0);
	CHECK(fcntl(doomed[0], F_GETFD) >= 0);
	CHECK(fcntl(doomed[1], F_GETFD) >= 0);
}

TEST(a_place_is_closed_and_is_no_fd)
{
	struct kio *k = context_open(8);
	int before = count_fds();

	CHECK(kio_place_close(k, 1, 0) == 0);
	CHECK(result_of_one(k, 1) == -ENXIO);
	CHECK(kio_place_free(k, 0) == -ENXIO);
	CHECK(kio_files_reserve(k, 2) == 0);
	CHECK(kio_files_reserve(k, 2) == -EBUSY);
	for (int round = 0; round < 3; round++) {
		/* any place that is free; CLOEXEC would be refused */
		CHECK(kio_sqe2(k, 2, IORING_OP_OPENAT, AT_FDCWD, "/dev/null", 0,
			       0, NULL, 0, O_RDWR, -1, 0) == 0);
		CHECK(result_of_one(k, 2) == 0);
		CHECK(kio_sqe(k, 3, IORING_OP_WRITE | IOSQE_FIXED_FILE << 8, 0,
			      "x", 0, 1, 0, 0) == 0);
		CHECK(result_of_one(k, 3) == 1);
		if (round == 0) {
			CHECK(kio_place_free(k, 0) == 0);
		} else {
			CHECK(kio_place_close(k, 4, 0) == 0);
			CHECK(result_of_one(k, 4) == 0);
		}
		CHECK(kio_place_close(k, 4, 0) == 0);
		CHECK(result_of_one(k, 4) == -EBADF);
	}
	CHECK(count_fds() == before);
	context_close(k);
	guard_fire();
}

TEST(guard_leaves_the_fd_that_the_close_of_a_place_has)
{
	struct kio *k = context_open(8);

	CHECK(fcntl(0, F_GETFD) >= 0);
	CHECK(kio_files_reserve(k, 2) == 0);
	CHECK(kio_place_close(k, 1, 1) == 0);
	guard_fire();
	CHECK(fcntl(0, F_GETFD) >= 0);
}
