/*
 * message COUNT SENDER_CPU RECEIVER_CPU
 *
 * Measures the least cost of a message to a sleeping thread on this machine.
 * It writes to an eventfd on one core, COUNT times at intervals of 1 to 3 ms. A
 * thread on the same or another core waits for it by epoll. The time is from
 * before the write to after epoll_wait() has returned. Prints one line of JSON.
 */
#define _GNU_SOURCE
#include "common.h"
#include "histogram.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WARM_UP_MESSAGES 100

static int event_fd, receiver_cpu;
static _Atomic uint64_t arrived_ns;
static struct histogram latency;

static void *receive(void *argument)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll_fd = check_libc(epoll_create1(EPOLL_CLOEXEC), "make an epoll");

	stay_on(receiver_cpu);
	check_libc(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, event_fd, &event),
		   "watch the eventfd");
	for (;;) {
		eventfd_t count;

		if (epoll_wait(epoll_fd, &event, 1, -1) != 1)
			continue;
		uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);
		check_libc(eventfd_read(event_fd, &count), "read the eventfd");
		arrived_ns = now_ns;
	}
	return argument;
}

static void pause_ms(long ms)
{
	struct timespec pause = { .tv_nsec = ms * 1000000 };

	nanosleep(&pause, NULL);
}

/* One message; gives the time it took. */
static uint64_t send_message(void)
{
	arrived_ns = 0;
	uint64_t sent_ns = clock_ns(CLOCK_MONOTONIC);
	check_libc(eventfd_write(event_fd, 1), "write to the eventfd");
	while (arrived_ns == 0)
		pause_ms(1);
	return arrived_ns - sent_ns;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		die("Usage: message COUNT SENDER_CPU RECEIVER_CPU");
	long count = (long)number_argument(argv[1], "COUNT");
	int sender_cpu = (int)number_argument(argv[2], "SENDER_CPU");
	receiver_cpu = (int)number_argument(argv[3], "RECEIVER_CPU");
	pthread_t thread;

	event_fd = check_libc(eventfd(0, EFD_CLOEXEC), "make an eventfd");
	stay_on(sender_cpu);
	int error = pthread_create(&thread, NULL, receive, NULL);
	if (error)
		die("Cannot start a thread: %s", strerror(error));
	for (long i = -WARM_UP_MESSAGES; i < count; i++) {
		uint64_t took_ns = send_message();

		if (i >= 0)
			histogram_add(&latency, took_ns);
		pause_ms(1 + (i + WARM_UP_MESSAGES) % 3);
	}
	printf("{\"p50Us\":%.3f,\"p99Us\":%.3f}\n", histogram_us(&latency, 0.5),
	       histogram_us(&latency, 0.99));
	return 0;
}
