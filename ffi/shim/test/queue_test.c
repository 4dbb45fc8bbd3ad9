/*
 * queue_test.c - tests of the submission queue, chains and cancelling.
 */
#include "harness.h"

#include <fcntl.h>
#include <sys/socket.h>

TEST(full_queue_submits_by_itself)
{
	struct kio *k = context_open(4);
	struct completion completions[11];
	int fd = temporary_file();

	for (int i = 0; i < 11; i++)
		CHECK(kio_write(k, i, fd, "x", 1, i) == 0);
	CHECK(k->in_flight == 11);
	collect(k, completions, 11);
	for (int i = 0; i < 11; i++)
		CHECK(result_for(completions, 11, i) == 1);
	CHECK(lseek(fd, 0, SEEK_END) == 11);
	context_close(k);
	guard_fire();
}

TEST(chain_runs_in_order_and_links_no_stranger)
{
	struct kio *k = context_open(8);
	struct completion completions[4];
	int fd = temporary_file();
	char byte;

	CHECK(kio_write(k, 1, fd, "x", 1, 0) == 0);
	kio_chain(k, true);
	CHECK(kio_read(k, 2, -1, &byte, 1, 0) == 0);
	CHECK(kio_write(k, 3, fd, "y", 1, 1) == 0);
	kio_chain(k, false);
	CHECK(kio_write(k, 4, fd, "z", 1, 2) == 0);
	collect(k, completions, 4);
	CHECK(result_for(completions, 4, 1) == 1);
	CHECK(result_for(completions, 4, 2) == -EBADF);
	CHECK(result_for(completions, 4, 3) == -ECANCELED);
	CHECK(result_for(completions, 4, 4) == 1);
	context_close(k);
	guard_fire();
}

TEST(submit_max_bounds_what_an_entry_hands_over)
{
	struct kio *k = context_open(8);
	int32_t out[4 * 5];
	char byte;

	k->submit_max = 2;
	for (int i = 0; i < 5; i++)
		CHECK(kio_read(k, i, -1, &byte, 1, 0) == 0);
	CHECK(kio_step(k, out, 5, false) == 5);
	CHECK(k->submissions == 5 && k->entries == 3);
	context_close(k);
	guard_fire();
}

TEST(submit_max_leaves_a_chain_whole)
{
	struct kio *k = context_open(8);
	struct completion completions[4];
	char byte;

	k->submit_max = 1;
	CHECK(kio_read(k, 1, -1, &byte, 1, 0) == 0);
	kio_chain(k, true);
	CHECK(kio_read(k, 2, -1, &byte, 1, 0) == 0);
	CHECK(kio_read(k, 3, -1, &byte, 1, 0) == 0);
	kio_chain(k, false);
	CHECK(kio_read(k, 4, -1, &byte, 1, 0) == 0);
	collect(k, completions, 4);
	for (int i = 1; i <= 4; i++)
		CHECK(result_for(completions, 4, i) ==
		      (i == 3 ? -ECANCELED : -EBADF));
	context_close(k);
	guard_fire();
}

/* The queue is full in the middle of the chain: what is before it goes first. */
TEST(chain_across_a_full_queue_stays_whole)
{
	struct kio *k = context_open(4);
	struct completion completions[6];
	int fds[2];
	char byte;

	CHECK(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
	CHECK(kio_write(k, 1, fds[1], "a", 1, 0) == 0);
	CHECK(kio_write(k, 2, fds[1], "b", 1, 0) == 0);
	kio_chain(k, true);
	CHECK(kio_write(k, 3, fds[1], "c", 1, 0) == 0);
	CHECK(kio_read(k, 4, -1, &byte, 1, 0) == 0);
	CHECK(bytes_in(fds[0]) == -EAGAIN);
	CHECK(kio_write(k, 5, fds[1], "d", 1, 0) == 0);
	CHECK(bytes_in(fds[0]) == 2);
	CHECK(kio_write(k, 6, fds[1], "e", 1, 0) == 0);
	kio_chain(k, false);
	collect(k, completions, 6);
	CHECK(result_for(completions, 6, 1) == 1);
	CHECK(result_for(completions, 6, 2) == 1);
	CHECK(result_for(completions, 6, 3) == 1);
	CHECK(result_for(completions, 6, 4) == -EBADF);
	CHECK(result_for(completions, 6, 5) == -ECANCELED);
	CHECK(result_for(completions, 6, 6) == -ECANCELED);
	CHECK(bytes_in(fds[0]) == 1);
	context_close(k);
	guard_fire();
}

TEST(chain_longer_than_the_queue_is_refused)
{
	struct kio *k = context_open(4);
	struct completion completions[4];
	int fd = temporary_file();

	kio_chain(k, true);
	for (int i = 0; i < 4; i++)
		CHECK(queue_fsync(k, i, fd) == 0);
	CHECK(queue_fsync(k, 4, fd) == -E2BIG);
	CHECK(k->in_flight == 4);
	kio_chain(k, false);
	collect(k, completions, 4);
	for (int i = 0; i < 4; i++)
		CHECK(result_for(completions, 4, i) == 0);
	context_close(k);
	guard_fire();
}

/* The kernel takes nothing, so the first has no place: nor does the second. */
TEST(chain_without_its_first_does_not_happen)
{
	struct kio *k = context_open(1);
	struct completion completions[2];
	int fd = temporary_file(), ring = k->ring.enter_ring_fd;

	CHECK(queue_fsync(k, 1, fd) == 0);
	kio_chain(k, true);
	k->ring.enter_ring_fd = -1;
	CHECK(queue_fsync(k, 2, fd) < 0);
	k->ring.enter_ring_fd = ring;
	CHECK(kio_write(k, 3, fd, "x", 1, 0) == -ECANCELED);
	kio_chain(k, false);
	CHECK(kio_write(k, 4, fd, "x", 1, 0) == 0);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == 0);
	CHECK(result_for(completions, 2, 4) == 1);
	context_close(k);
	guard_fire();
}

/* What is in the queue is for the fd, and not for the next of that number. */
TEST(close_that_does_not_fit_is_left_to_the_caller)
{
	struct kio *k = context_open(1);
	struct completion completions[1];
	int fd = temporary_file();

	kio_chain(k, true);
	CHECK(kio_write(k, 1, fd, "x", 1, 0) == 0);
	CHECK(kio_close(k, 2, fd) == -E2BIG);
	kio_chain(k, false);
	CHECK(fcntl(fd, F_GETFD) >= 0);
	collect(k, completions, 1);
	CHECK(result_for(completions, 1, 1) == 1);
	CHECK(fcntl(fd, F_GETFD) >= 0);
	kio_fd_close(fd);

	/* nobody closes it any more */
	fd = temporary_file();
	kio_chain(k, true);
	CHECK(kio_write(k, 1, fd, "x", 1, 0) == 0);
	CHECK(kio_close(k, 2, fd) == -E2BIG);
	guard_fire();
	CHECK(fcntl(fd, F_GETFD) == -1);
}

TEST(retract_keeps_an_operation_from_happening)
{
	struct kio *k = context_open(8);
	struct completion completions[2];
	int fd = temporary_file();

	CHECK(kio_write(k, 1, fd, "x", 1, 0) == 0);
	CHECK(kio_write(k, 2, fd, "y", 1, 7) == 0);
	CHECK(kio_retract(k, 2));
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == 1);
	CHECK(result_for(completions, 2, 2) == -EBADF);
	CHECK(lseek(fd, 0, SEEK_END) == 1);
	CHECK(k->in_flight == 0);
	context_close(k);
	guard_fire();
}

TEST(cancel_of_the_first_link_stops_the_chain)
{
	struct kio *k = context_open(8);
	struct completion completions[2];
	int fd = temporary_file();
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	kio_chain(k, true);
	CHECK(kio_recv(k, 1, fds[0], &byte, 1, 0) == 0);
	CHECK(kio_write(k, 2, fd, "x", 1, 0) == 0);
	kio_chain(k, false);
	CHECK(kio_cancel(k, 1) == 0);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == -ECANCELED);
	CHECK(result_for(completions, 2, 2) == -ECANCELED);
	CHECK(lseek(fd, 0, SEEK_END) == 0);
	context_close(k);
	guard_fire();
}

TEST(cancel_within_a_chain_cancels_what_follows)
{
	struct kio *k = context_open(8);
	struct completion completions[3];
	int fd = temporary_file();
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	kio_chain(k, true);
	CHECK(kio_write(k, 1, fd, "x", 1, 0) == 0);
	CHECK(kio_recv(k, 2, fds[0], &byte, 1, 0) == 0);
	CHECK(kio_write(k, 3, fd, "y", 1, 1) == 0);
	kio_chain(k, false);
	CHECK(kio_cancel(k, 2) == 0);
	for (int collected = 0; collected < 3;) {
		int32_t out[4 * 4];
		int got = kio_step(k, out, 4, true);

		CHECK(got >= 0);
		for (int32_t *at = out; at < out + 4 * got; at += 4) {
			if (at[1]) {
				/* It came before the chain got that far. */
				CHECK(at[1] == 1 << 30 && at[0] == 2);
				CHECK(kio_cancel(k, 2) == 0);
				continue;
			}
			completions[collected].user_data = (uint64_t)at[0];
			completions[collected++].result = at[2];
		}
	}
	CHECK(result_for(completions, 3, 1) == 1);
	/* EINTR: the cancel has met it at work, without DEFER_TASKRUN */
	CHECK(result_for(completions, 3, 2) == -ECANCELED ||
	      result_for(completions, 3, 2) == -EINTR);
	CHECK(result_for(completions, 3, 3) == -ECANCELED);
	CHECK(lseek(fd, 0, SEEK_END) == 1);
	context_close(k);
	guard_fire();
}

TEST(cancel_in_flight_is_told_by_the_operation_only)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte;

	receive_later(k, fds, &byte);
	CHECK(kio_cancel(k, 1) == 0);
	CHECK(k->in_flight == 1);
	CHECK(result_of_one(k, 1) == -ECANCELED);
	CHECK(step_at_once(k) == 0);
	context_close(k);
	guard_fire();
}

TEST(cancel_that_finds_nothing_is_reported)
{
	const uint64_t id = 5ULL << 32 | 9;
	struct kio *k = context_open(8);
	struct completion completion;

	CHECK(kio_cancel(k, (double)id) == 0);
	collect(k, &completion, 1);
	CHECK(completion.user_data == (UD_INTERNAL | id));
	CHECK(completion.result == -ENOENT);
	CHECK(k->in_flight == 0);
	context_close(k);
	guard_fire();
}

TEST(cancel_all_leaves_nothing_in_flight)
{
	struct kio *k = context_open(8);
	struct completion completions[3];
	int32_t fds[2];
	char bytes[2];

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_recv(k, 1, fds[0], &bytes[0], 1, 0) == 0);
	CHECK(kio_recv(k, 2, fds[1], &bytes[1], 1, 0) == 0);
	CHECK(queue_poll(k, 3, fds[0], POLLIN, 0) == 0);
	CHECK(step_at_once(k) == 0);
	CHECK(kio_cancel_all(k) == 0);
	collect(k, completions, 3);
	for (int i = 1; i <= 3; i++)
		CHECK(result_for(completions, 3, i) == -ECANCELED);
	CHECK(k->in_flight == 0);
	CHECK(step_at_once(k) == 0);
	context_close(k);
	guard_fire();
}

/* More than a batch of the ring, so that they come in parts. */
#define POLLS 2000

TEST(drain_of_thousands_asks_once)
{
	struct kio *k = context_open(64);
	uint64_t before, completed, timeouts;
	int32_t fds[2];

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	for (int i = 1; i <= POLLS; i++)
		CHECK(queue_poll(k, i, fds[0], POLLIN, 0) == 0);
	CHECK(step_at_once(k) == 0);
	CHECK(k->in_flight == POLLS);
	before = k->submissions;
	completed = k->completions;
	context_drain(k);
	CHECK(k->in_flight == 0);
	/* Each walks all that is pending. A wait whose timeout has come is
	 * followed by another, and it asks again if it was in vain. */
	timeouts = k->completions - completed - POLLS;
	CHECK(k->submissions - before <= 2 + 2 * timeouts);
	context_close(k);
	guard_fire();
}

TEST(poll_of_changes_waits_for_room)
{
	static char bytes[1 << 16];
	int32_t out[4 * COMPLETIONS_MAX];
	struct kio *k = context_open(8);
	struct completion completion;
	int32_t fds[2];
	int count;

	CHECK(kio_socket_pair(SOCK_STREAM | SOCK_NONBLOCK, fds) == 0);
	while (write(fds[0], bytes, sizeof(bytes)) > 0)
		;
	CHECK(shutdown(fds[1], SHUT_WR) == 0);
	CHECK(queue_poll(k, 1, fds[0], POLLOUT, 0) == 0);
	CHECK(result_of_one(k, 1) == POLLRDHUP);

	CHECK(queue_poll(k, 2, fds[0], POLLOUT,
			 IORING_POLL_ADD_MULTI) == 0);
	collect(k, &completion, 1);
	CHECK(completion.user_data == 2 && completion.result == POLLRDHUP);
	CHECK(step_at_once(k) == 0);
	while (read(fds[1], bytes, sizeof(bytes)) > 0)
		;
	/* without DEFER_TASKRUN it is told of each read that makes room */
	count = kio_step(k, out, COMPLETIONS_MAX, true);
	CHECK(count > 0);
	for (int32_t *at = out; at < out + 4 * count; at += 4)
		CHECK(at[0] == 2 && at[2] & POLLOUT);
	CHECK(k->in_flight == 1);
	CHECK(kio_poll_end(k, 2) == 0);
	CHECK(result_of_one(k, 2) == -ECANCELED);
	close(fds[0]);
	close(fds[1]);
	context_close(k);
	guard_fire();
}

TEST(poll_end_ends_nothing_but_polls)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte;

	receive_later(k, fds, &byte);
	CHECK(kio_poll_end(k, 1) == 0);
	CHECK(step_at_once(k) == 0);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(result_of_one(k, 1) == 1);
	close(fds[0]);
	close(fds[1]);
	context_close(k);
	guard_fire();
}
