/*
 * step_test.c - tests of steps: completions, waits, the event loop.
 */
#include "harness.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

TEST(step_reports_user_data_and_result)
{
	const double id = 4503599627370496.0 + 77 * 4294967296.0 + 4294967295.0;
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte = 0;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_send(k, id, fds[0], "abc", 3, 0) == 0);
	CHECK(k->in_flight == 1);
	CHECK(result_of_one(k, (uint64_t)id) == 3);
	CHECK(kio_recv(k, 2, fds[1], &byte, 1, 0) == 0);
	CHECK(result_of_one(k, 2) == 1 && byte == 'a');
	context_close(k);
	guard_fire();
}

TEST(step_needs_no_array_of_the_queue)
{
	struct kio *k = context_open(2);

	/* as newer versions of liburing have it, since Linux 6.6 */
	k->ring.sq.array = NULL;
	for (int i = 0; i < 5; i++) {
		CHECK(queue_fsync(k, 7 + i, -1) == 0);
		CHECK(result_of_one(k, 7 + i) == -EBADF);
	}
	context_close(k);
	guard_fire();
}

TEST(step_with_nothing_to_do_returns_at_once)
{
	struct kio *k = context_open(8);

	CHECK(step_at_once(k) == 0);
	context_close(k);
	guard_fire();
}

TEST(read_goes_beyond_4_gib_of_a_buffer)
{
	const size_t at = (1ULL << 32) + 5;
	struct kio *k = context_open(8);
	int fd = temporary_file();
	char *buffer = mmap(NULL, at + 1, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(buffer != MAP_FAILED);
	CHECK(write(fd, "x", 1) == 1);
	CHECK(kio_sqe(k, 1, IORING_OP_READ, fd, buffer, (double)at, 1, 0, 0) ==
	      0);
	CHECK(result_of_one(k, 1) == 1);
	CHECK(buffer[at] == 'x' && buffer[5] == 0);
	munmap(buffer, at + 1);
	context_close(k);
	guard_fire();
}

TEST(step_waits_for_a_while)
{
	struct kio *k = context_open(8);
	int32_t out[4];

	/* Also when the end of the wait before is near. */
	for (int i = 0; i < 100; i++) {
		double start_ms = kio_now_ms();

		CHECK(kio_step(k, out, 1, true) == 0);
		CHECK(kio_now_ms() - start_ms >= WAIT_MS / 2);
	}
	context_close(k);
	guard_fire();
}

TEST(arm_ends_a_wait_that_is_left)
{
	struct kio *k = context_open(8);
	struct pollfd event = { .fd = k->event_fd, .events = POLLIN };
	int fds[2];
	char byte;

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	/* A slow machine may take longer than its timeout. */
	for (int i = 0; i < 1000 && !k->wait_armed; i++) {
		CHECK(write(fds[1], "a", 1) == 1);
		CHECK(kio_read(k, 1, fds[0], &byte, 1, 0) == 0);
		CHECK(result_of_one(k, 1) == 1);
	}
	CHECK(k->wait_armed);
	while (!kio_arm(k, 0))
		CHECK(step_at_once(k) == 0);
	CHECK(!k->wait_armed);
	CHECK(poll(&event, 1, 20) == 0);
	context_close(k);
	guard_fire();
}

/* A context in an event loop, which watches a pipe as well. */
struct loop {
	struct kio *k;
	int fd;
	int pipe[2];
};

static struct loop loop_open(void)
{
	struct loop loop = { .k = context_open(8),
			     .fd = epoll_create1(EPOLL_CLOEXEC) };
	/* as Deno has it: edge-triggered, and for more than reading */
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.u64 = 0x123456789abcdef0,
	};
	int event_fd = loop.k->event_fd;

	CHECK(pipe2(loop.pipe, O_CLOEXEC) == 0);
	CHECK(epoll_ctl(loop.fd, EPOLL_CTL_ADD, event_fd, &event) == 0);
	CHECK(epoll_wait(loop.fd, &event, 1, 0) == 1);
	event.events = EPOLLIN;
	CHECK(epoll_ctl(loop.fd, EPOLL_CTL_ADD, loop.pipe[0], &event) == 0);
	kio_loop_find(loop.k);
	CHECK(loop.k->loop_fd == loop.fd);
	return loop;
}

static void loop_close(struct loop *loop)
{
	close(loop->fd);
	close(loop->pipe[0]);
	close(loop->pipe[1]);
	context_close(loop->k);
	guard_fire();
}

TEST(loop_is_not_ready_after_its_turn)
{
	struct loop loop = loop_open();
	struct kio *k = loop.k;
	struct epoll_event event;
	uint64_t value;

	CHECK(!kio_loop_is_ready(k));
	kio_wake_self(k);
	CHECK(kio_loop_is_ready(k));
	CHECK(epoll_wait(loop.fd, &event, 1, 0) == 1);
	CHECK(event.data.u64 == 0x123456789abcdef0);
	CHECK(read(k->event_fd, &value, sizeof(value)) == sizeof(value));
	CHECK(!kio_loop_is_ready(k));
	loop_close(&loop);
}

TEST(step_does_not_wait_while_the_loop_is_ready)
{
	struct loop loop = loop_open();
	struct kio *k = loop.k;
	int32_t out[4];
	uint64_t entries;

	CHECK(write(loop.pipe[1], "a", 1) == 1);
	/* the timeout has not come, and nothing was tried again and again */
	entries = k->entries;
	CHECK(kio_step(k, out, 1, true) == 0);
	CHECK(k->wait_armed && !k->loop_armed);
	CHECK(k->entries == entries + 1);
	CHECK(kio_loop_is_ready(k));
	kio_loop_forget(k);
	CHECK(!kio_loop_is_ready(k));
	loop_close(&loop);
}

TEST(arm_ends_the_poll_of_the_loop)
{
	struct loop loop = loop_open();
	struct kio *k = loop.k;
	int32_t out[4];

	do
		CHECK(kio_step(k, out, 1, true) == 0);
	while (k->wait_armed);
	CHECK(k->loop_armed);
	while (!kio_arm(k, 0))
		CHECK(step_at_once(k) == 0);
	CHECK(!k->loop_armed);
	/* else the eventfd would tell the loop, and that the ring, and so on */
	CHECK(write(loop.pipe[1], "b", 1) == 1);
	CHECK(!is_readable(k->event_fd));
	loop_close(&loop);
}

/* Waits for 20 ms at most; gives the time that it took. */
static double wait_20_ms(struct kio *k, int *count)
{
	double start_ms = kio_now_ms(), now_ms = 0;
	int32_t out[4];

	*count = kio_wait(k, out, 1, start_ms + 20, &now_ms);
	CHECK(now_ms >= start_ms);
	return now_ms - start_ms;
}

TEST(wait_ends_at_its_time)
{
	struct loop loop = loop_open();
	int count;

	CHECK(kio_loop_watch(loop.k));
	for (int i = 0; i < 5; i++)
		CHECK(wait_20_ms(loop.k, &count) >= 20 && count == 0);
	CHECK(loop.k->loop_armed);
	loop_close(&loop);
}

TEST(wait_is_shortened)
{
	struct loop loop = loop_open();
	struct kio *k = loop.k;
	double now_ms, start_ms = kio_now_ms();
	int fds[2];
	int32_t out[4];
	char byte;

	CHECK(kio_loop_watch(k));
	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	CHECK(write(fds[1], "a", 1) == 1);
	CHECK(kio_read(k, 1, fds[0], &byte, 1, 0) == 0);
	CHECK(kio_wait(k, out, 1, start_ms + 30000, &now_ms) == 1);
	/* The timeout that is left would come far too late. */
	CHECK(k->wait_armed);
	CHECK(kio_wait(k, out, 1, now_ms + 5, &now_ms) == 0);
	CHECK(now_ms - start_ms < 15000);
	/* And a bounded wait of a step, such as those of a close, is short. */
	CHECK(kio_read(k, 1, fds[0], &byte, 1, 0) == 0);
	CHECK(write(fds[1], "a", 1) == 1);
	CHECK(kio_wait(k, out, 1, kio_now_ms() + 30000, &now_ms) == 1);
	CHECK(kio_step(k, out, 1, true) == 0);
	CHECK(kio_now_ms() - now_ms < 15000);
	close(fds[0]);
	close(fds[1]);
	loop_close(&loop);
}

TEST(wait_ends_when_the_loop_has_something)
{
	struct loop loop = loop_open();
	struct kio *k = loop.k;
	struct epoll_event event;
	double now_ms;
	int32_t out[4];
	int count;

	CHECK(kio_loop_watch(k));
	CHECK(write(loop.pipe[1], "a", 1) == 1);
	CHECK(kio_wait(k, out, 1, kio_now_ms() + 30000, &now_ms) == 0);
	CHECK(!k->loop_armed);
	CHECK(wait_20_ms(k, &count) < 20 && count == 0);
	loop_close(&loop);

	/* The loop takes its event before the wait, and has not dealt with it. */
	loop = loop_open();
	k = loop.k;
	CHECK(kio_loop_watch(k));
	CHECK(write(loop.pipe[1], "a", 1) == 1);
	CHECK(epoll_wait(loop.fd, &event, 1, 0) == 1);
	CHECK(read(loop.pipe[0], out, 1) == 1);
	CHECK(!kio_loop_is_ready(k));
	CHECK(kio_wait(k, out, 1, kio_now_ms() + 30000, &now_ms) == 0);
	CHECK(!k->loop_armed);
	loop_close(&loop);
}

TEST(wait_without_a_watch_does_not_sleep)
{
	struct kio *k = context_open(8);
	int count;

	CHECK(!kio_loop_watch(k));
	CHECK(wait_20_ms(k, &count) < 20 && count == 0);
	context_close(k);
	guard_fire();
}

TEST(step_fills_no_more_than_its_capacity)
{
	struct kio *k = context_open(16);
	int fd = temporary_file();
	int32_t out[4 * 5];

	for (int i = 0; i < 10; i++)
		CHECK(queue_fsync(k, i, fd) == 0);
	for (int left = 10; left > 0;) {
		int got;

		out[4 * 4] = -12345;
		got = kio_step(k, out, 4, true);
		CHECK(got >= 0 && got <= 4);
		CHECK(out[4 * 4] == -12345);
		left -= got;
		CHECK(k->in_flight == (uint32_t)left);
	}
	context_close(k);
	guard_fire();
}

TEST(step_loses_nothing_when_the_cq_overflows)
{
	struct kio *k = context_open(2);
	struct completion completions[100];
	int fd = temporary_file();
	char byte;

	for (int i = 0; i < 100; i++)
		CHECK(kio_read(k, i, fd, &byte, 1, 0) == 0);
	collect(k, completions, 100);
	for (int i = 0; i < 100; i++)
		CHECK(result_for(completions, 100, i) == 0);
	context_close(k);
	guard_fire();
}

TEST(step_fetches_an_overflow_without_being_asked_to_wait)
{
	struct kio *k = context_open(2);
	int fd = temporary_file(), count = 0, fresh;
	char byte;

	for (int i = 0; i < 100; i++)
		CHECK(kio_read(k, i, fd, &byte, 1, 0) == 0);
	while ((fresh = step_at_once(k)) > 0)
		count += fresh;
	CHECK(count == 100);
	context_close(k);
	guard_fire();
}

/*
 * The kernel raises the flag after it has queued the work. When that work is
 * run in between, the flag stays up with nothing behind it until other work
 * comes, which may be never.
 */
TEST(step_ends_though_the_taskrun_flag_is_stale)
{
	struct kio *k = context_open(8);
	int fd = temporary_file();

	CHECK(queue_fsync(k, 1, fd) == 0);
	*k->ring.sq.kflags |= IORING_SQ_TASKRUN;
	CHECK(result_of_one(k, 1) == 0);
	*k->ring.sq.kflags |= IORING_SQ_TASKRUN;
	CHECK(step_at_once(k) == 0);
	context_close(k);
	guard_fire();
}
