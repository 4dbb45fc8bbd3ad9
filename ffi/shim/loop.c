/*
 * loop.c - Deno's event loop, as far as the ring has to know of it: its epoll
 * instance can be polled itself, so a wait in the ring ends when the loop has
 * something to do. Deno does not tell which fd that is; /proc does.
 */
#include "internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

/* What /proc says of an epoll instance, and where one is looked for. */
#define EVENTPOLL "anon_inode:[eventpoll]"
#define LOOP_FD_MAX 4096

/* From now on the thread is not the loop's. */
void kio_loop_forget(struct kio *k)
{
	k->loop_fd = -1;
}

/* Whether the event loop has something to do: not while the ring waits for
 * just that. */
bool kio_loop_is_ready(const struct kio *k)
{
	struct pollfd loop = { .fd = k->loop_fd, .events = POLLIN };

	return k->loop_fd >= 0 && !k->loop_armed && poll(&loop, 1, 0) == 1;
}

/*
 * Whether an fd is an epoll instance that watches the eventfd. If so, it is
 * told to do that for EPOLLIN only: reading an eventfd makes it writable anew,
 * and the loop would have something to do each time.
 */
static bool watches_event_fd(const struct kio *k, int epoll_fd)
{
	struct epoll_event event;
	unsigned long long data;
	char path[64], line[256];
	bool found = false;
	FILE *info;
	int target;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll_fd);
	info = fopen(path, "re");
	while (info && !found && fgets(line, sizeof(line), info))
		found = sscanf(line, "tfd: %d events: %x data: %llx", &target,
			       &event.events, &data) == 3 &&
			target == k->event_fd;
	if (info)
		fclose(info);
	if (!found)
		return false;
	event.data.u64 = data;
	event.events &= ~(uint32_t)EPOLLOUT;
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
