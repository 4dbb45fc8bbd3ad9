/*
 * sleep_test.c - tests of sleeping and waking.
 */
#include "harness.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>

static void eventfd_write_one(int fd)
{
	uint64_t one = 1;

	CHECK(write(fd, &one, sizeof(one)) == sizeof(one));
}

/* An operation on an eventfd completes by a write while the thread sleeps. */
static void woken_by_a_write(struct kio *k, bool is_poll)
{
	struct pollfd event = { .fd = k->event_fd, .events = POLLIN };
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t value;

	CHECK(fd >= 0);
	CHECK((is_poll ? queue_poll(k, 1, fd, POLLIN, 0) :
			 kio_read(k, 1, fd, &value, 8, 0)) == 0);
	fall_asleep(k, 0);
	eventfd_write_one(fd);
	/* The kernel's late signal, once a ring, may be what comes first. */
	CHECK(poll(&event, 1, 10000) == 1);
	CHECK(kio_event_wait(k->event_fd) == 0);
	CHECK(result_of_one(k, 1) == (is_poll ? POLLIN : 8));
	close(fd);
}

TEST(an_eventfd_wakes_each_time)
{
	struct kio *k = context_open(8);

	for (int i = 0; i < 10; i++)
		woken_by_a_write(k, i % 2);
	context_close(k);
	guard_fire();
}

TEST(an_eventfd_is_not_trusted_where_no_fd_is_left)
{
	struct rlimit limit, low;
	struct kio *k = context_open(8);
	int fd;

	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	low = limit;
	fd = eventfd(0, EFD_CLOEXEC);
	CHECK(queue_poll(k, 1, fd, POLLIN, 0) == 0);
	/* the lowest that is free is refused */
	low.rlim_cur = (rlim_t)fd + 1;
	CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
	CHECK(kio_arm(k, 0) == 2 || (step_at_once(k) == 0 && kio_arm(k, 0) == 2));
	CHECK(step_at_once(k) == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	fall_asleep(k, 0);
	CHECK(k->waiters.open);
	eventfd_write_one(fd);
	CHECK(result_of_one(k, 1) == POLLIN);
	close(fd);
	context_close(k);
	guard_fire();
}

TEST(an_eventfd_is_watched_as_long_as_its_operation)
{
	struct kio *k = context_open(8);
	struct pollfd event = { .fd = k->event_fd, .events = POLLIN };
	int fd = eventfd(0, EFD_CLOEXEC);

	CHECK(queue_poll(k, 1, fd, POLLIN, 0) == 0);
	fall_asleep(k, 0);
	CHECK(kio_cancel(k, 1) == 0);
	CHECK(result_of_one(k, 1) == -ECANCELED);
	fall_asleep(k, 0);
	eventfd_write_one(fd);
	CHECK(poll(&event, 1, 20) == 0);
	close(fd);
	context_close(k);
	guard_fire();
}

/* A poll by changes of what is ready all along. */
TEST(an_eventfd_that_stays_readable_ends_no_sleep)
{
	struct kio *k = context_open(8);
	struct pollfd event = { .fd = k->event_fd, .events = POLLIN };
	int fd = eventfd(1, EFD_CLOEXEC);
	int32_t out[4];

	CHECK(queue_poll(k, 1, fd, POLLIN,
			 IORING_POLL_ADD_MULTI) == 0);
	CHECK(kio_step(k, out, 1, true) == 1 && out[3] & IORING_CQE_F_MORE);
	for (int i = 0; i < 3; i++) {
		fall_asleep(k, 0);
		CHECK(poll(&event, 1, 20) == 0);
		CHECK(step_at_once(k) == 0);
	}
	CHECK(kio_cancel(k, 1) == 0);
	CHECK(result_of_one(k, 1) == -ECANCELED);
	close(fd);
	context_close(k);
	guard_fire();
}

TEST(arm_makes_a_completion_readable_once)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte;

	receive_later(k, fds, &byte);
	fall_asleep(k, 0);
	CHECK(!is_readable(k->event_fd));
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(is_readable(k->event_fd));
	CHECK(kio_event_wait(k->event_fd) == 0);
	CHECK(result_of_one(k, 1) == 1);
	CHECK(!is_readable(k->event_fd));
	context_close(k);
	guard_fire();
}

TEST(step_switches_the_eventfd_off)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte;

	fall_asleep(k, 0);
	receive_later(k, fds, &byte);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(!is_readable(k->event_fd));
	CHECK(result_of_one(k, 1) == 1);
	context_close(k);
	guard_fire();
}

TEST(arm_refuses_to_sleep_over_a_completion)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte;

	receive_later(k, fds, &byte);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(kio_arm(k, 0) == 0);
	CHECK(!k->armed);
	CHECK(result_of_one(k, 1) == 1);
	context_close(k);
	guard_fire();
}

TEST(arm_sleeps_though_the_taskrun_flag_is_stale)
{
	struct kio *k = context_open(8);

	*k->ring.sq.kflags |= IORING_SQ_TASKRUN;
	fall_asleep(k, 0);
	context_close(k);
	guard_fire();
}

/* Sleeps for the eventfd; how long that took. */
static double sleep_ms(struct kio *k)
{
	double start_ms = kio_now_ms();

	CHECK(kio_event_wait(k->event_fd) == 0);
	return kio_now_ms() - start_ms;
}

TEST(timer_wakes_and_is_not_reported)
{
	struct kio *k = context_open(8);

	for (int i = 0; i < 2; i++) {
		double deadline_ms = kio_now_ms() + 20;

		fall_asleep(k, deadline_ms);
		CHECK(kio_event_wait(k->event_fd) == 0);
		CHECK(kio_now_ms() >= deadline_ms);
		CHECK(step_at_once(k) == 0);
		CHECK(!k->timer_armed);
	}
	CHECK(k->in_flight == 0);
	context_close(k);
	guard_fire();
}

TEST(timer_is_moved_to_an_earlier_deadline)
{
	struct kio *k = context_open(8);

	fall_asleep(k, kio_now_ms() + 60000);
	fall_asleep(k, kio_now_ms() + 20);
	CHECK(sleep_ms(k) < 10000);
	CHECK(step_at_once(k) == 0);
	CHECK(!k->timer_armed);
	context_close(k);
	guard_fire();
}

TEST(timer_is_left_alone_by_a_later_deadline)
{
	struct kio *k = context_open(8);
	double deadline_ms = kio_now_ms() + 500;

	fall_asleep(k, deadline_ms);
	fall_asleep(k, deadline_ms + 60000);
	CHECK(k->timer_deadline_ms == deadline_ms);
	CHECK(sleep_ms(k) < 10000);
	CHECK(step_at_once(k) == 0);
	context_close(k);
	guard_fire();
}

TEST(wake_makes_the_eventfd_readable)
{
	struct kio *k = context_open(8);

	kio_wake_self(k);
	kio_wake_self(k);
	CHECK(is_readable(k->event_fd));
	CHECK(kio_event_wait(k->event_fd) == 0);
	CHECK(!is_readable(k->event_fd));
	context_close(k);
	guard_fire();
}
