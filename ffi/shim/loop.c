/*
 * loop.c - the epoll instance of Deno's event loop. The ring polls it, so that
 * a bounded wait ends when the loop has something to do. Deno does not tell its
 * fd; /proc does.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

/* The target of an epoll instance in /proc, and the fds that are searched. */
#define EVENTPOLL "anon_inode:[eventpoll]"
#define LOOP_FD_MAX 4096

/* Stops polling the loop: the thread does not go back to it. */
void kio_loop_forget(struct kio *k)
{
	k->loop_fd = -1;
}

/* Tells whether the event loop has something to do, but not while a poll of the
 * ring waits for that. */
bool kio_loop_is_ready(const struct kio *k)
{
	struct pollfd loop = { .fd = k->loop_fd, .events = POLLIN };

	return k->loop_fd >= 0 && !k->loop_armed && poll(&loop, 1, 0) == 1;
}

/*
 * Tells whether an fd is an epoll instance that watches the eventfd. If so, it
 * then watches it for EPOLLIN only. A read makes an eventfd writable anew, and
 * the loop would have something to do each time.
 */
static bool watches_event_fd(const struct kio *k, int epoll_fd)
{
	struct epoll_event event;
	unsigned long long data;
	uint32_t events;
	char path[64], line[256];
	bool found = false;
	FILE *info;
	int target;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll_fd);
	info = fopen(path, "re");
	while (info && !found && fgets(line, sizeof(line), info))
		found = sscanf(line, "tfd: %d events: %x data: %llx", &target,
			       &events, &data) == 3 &&
			target == k->event_fd;
	if (info)
		fclose(info);
	if (!found)
		return false;
	event.data.u64 = data;
	event.events = events & ~(uint32_t)EPOLLOUT;
	return !epoll_ctl(epoll_fd, EPOLL_CTL_MOD, k->event_fd, &event);
}

/*
 * Finds the epoll instance of the event loop, by the eventfd that it watches
 * from now on: it is one of the first fds of its thread. A wait in the ring
 * then ends when the loop has something to do.
 */
void kio_loop_find(struct kio *k)
{
	for (int fd = 0; fd < LOOP_FD_MAX && k->loop_fd < 0; fd++) {
		char target[32];
		int length = kio_fd_target(fd, target, sizeof(target));

		if (length == sizeof(EVENTPOLL) - 1 &&
		    !memcmp(target, EVENTPOLL, sizeof(EVENTPOLL) - 1) &&
		    watches_event_fd(k, fd))
			k->loop_fd = fd;
	}
}
