/*
 * mailbox_test.c - tests of messages and fds from thread to thread.
 */
#include "harness.h"
#include "masks.h"

#include <fcntl.h>
#include <sys/socket.h>

TEST(message_carries_53_bits_and_a_result)
{
	const uint64_t user_data = (1ULL << 53) - 1;
	struct kio *from = context_open(8);
	struct kio *to = context_open(8);
	struct completion completion;

	CHECK(kio_msg_ring(from, 1, kio_ring_fd(to), -7, (double)user_data) ==
	      0);
	CHECK(result_of_one(from, 1) == 0);
	collect(to, &completion, 1);
	CHECK(completion.user_data == (UD_MESSAGE | user_data));
	CHECK(completion.result == -7);
	CHECK(to->in_flight == 0);
	context_close(to);
	context_close(from);
	guard_fire();
}

TEST(message_wakes_a_ring_that_sleeps)
{
	struct kio *from = context_open(8);
	struct kio *to = context_open(8);
	struct completion completion;

	fall_asleep(to, 0);
	CHECK(kio_msg_ring(from, 1, kio_ring_fd(to), 0, 2) == 0);
	CHECK(result_of_one(from, 1) == 0);
	CHECK(is_readable(to->event_fd));
	collect(to, &completion, 1);
	CHECK(completion.user_data == (UD_MESSAGE | 2));
	context_close(to);
	context_close(from);
	guard_fire();
}

/* Whether the kernel has the call, or one below 6.13 is played. */
static void check_ring_message(void)
{
	struct kio *to = context_open(2);
	struct completion completions[COMPLETIONS_MAX];
	int no_ring = temporary_file();
	int fds = count_fds();
	int ring_fd = kio_ring_fd(to);

	fall_asleep(to, 0);
	CHECK(kio_ring_message(ring_fd, -7, 9007199254740991.0) == 0);
	CHECK(is_readable(to->event_fd));
	collect(to, completions, 1);
	CHECK(completions[0].user_data == (UD_MESSAGE | ((1ULL << 53) - 1)));
	CHECK(completions[0].result == -7);

	/* more than the completion queue has room for */
	for (int i = 0; i < 100; i++)
		CHECK(kio_ring_message(ring_fd, i, i) == 0);
	collect(to, completions, 100);
	for (int i = 0; i < 100; i++)
		CHECK(completions[i].result == i &&
		      completions[i].user_data == (UD_MESSAGE | (unsigned)i));

	CHECK(kio_ring_message(no_ring, 0, 0) == -EBADFD);
	CHECK(kio_ring_message(4000, 0, 0) == -EBADF);
	CHECK(count_fds() == fds);
	close(no_ring);
	context_close(to);
	CHECK(kio_ring_message(ring_fd, 0, 0) == -EBADF);
	guard_fire();
}

TEST(ring_message_needs_no_ring)
{
	check_ring_message();
}

TEST(ring_message_works_on_kernels_without_the_call)
{
	mask_hide("SYNC_MSG_RING");
	check_ring_message();
}

TEST(fd_that_was_handed_over_does_not_end_with_its_sender)
{
	struct isolate *sender, *receiver;
	struct kio *to;
	int fds[2];

	context_open(2);
	sender = isolate;
	isolate = NULL;
	to = context_open(2);
	receiver = isolate;
	isolate = sender;
	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	kio_fd_own(fds[0]);
	CHECK(kio_fd_send(kio_ring_fd(to), fds[0], 0) == 0);
	sender->end(sender);
	CHECK(bytes_in(fds[1]) == -EAGAIN);
	isolate = receiver;
	receiver->end(receiver);
	CHECK(bytes_in(fds[1]) == 0);
}

TEST(fd_is_handed_over_with_its_tag)
{
	struct kio *to = context_open(2);
	struct completion completion;
	int fds[2];
	double tag = 0;

	CHECK(kio_fd_take(to, &tag) == -1);
	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	fall_asleep(to, 0);
	CHECK(kio_fd_send(kio_ring_fd(to), fds[0], 7) == 0);
	CHECK(is_readable(to->event_fd));
	collect(to, &completion, 1);
	CHECK(completion.user_data == UD_INBOX);
	/* Told once for all that are there. */
	CHECK(kio_fd_send(kio_ring_fd(to), fds[1], 9007199254740991.0) == 0);
	CHECK(step_at_once(to) == 0);
	CHECK(kio_fd_take(to, &tag) == fds[0] && tag == 7);
	CHECK(kio_fd_take(to, &tag) == fds[1] && tag == 9007199254740991.0);
	CHECK(kio_fd_take(to, &tag) == -1);
	CHECK(kio_fd_send(kio_ring_fd(to), 4000, 0) == -EBADF);
	CHECK(kio_fd_send(fds[0], fds[1], 0) == -EBADFD);
	context_close(to);
	guard_fire();
	CHECK(fcntl(fds[0], F_GETFD) < 0);
}

TEST(fd_that_is_not_taken_is_closed)
{
	struct kio *to = context_open(2);
	struct kio *dead = context_open(2);
	int dead_fd = kio_ring_fd(dead);
	int left[2], right[2];

	CHECK(kio_socket_pair(SOCK_STREAM, left) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, right) == 0);
	CHECK(kio_fd_send(kio_ring_fd(to), left[0], 0) == 0);
	CHECK(kio_fd_send(dead_fd, right[0], 0) == 0);
	context_close(dead);
	CHECK(bytes_in(right[1]) == 0);
	CHECK(kio_fd_send(dead_fd, left[1], 0) == -EBADFD);
	guard_fire();
	CHECK(bytes_in(left[1]) == 0);
}
