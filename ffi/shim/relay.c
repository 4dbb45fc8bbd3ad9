/*
 * relay.c - moves bytes from one socket to another by splice(2), through a
 * pipe. In the ring each splice would go to a thread of the kernel. Between
 * non-blocking sockets it never waits, so this thread makes the call.
 */
#include "internal.h"

#include <fcntl.h>

/* A splice that does not wait. */
static int splice_now(struct kio *k, int from, int to, uint32_t length)
{
	int ret = seam_splice(k, from, to, &length);

	if (ret)
		return ret;
	return result_of((int)splice(from, NULL, to, NULL, length,
				     SPLICE_F_NONBLOCK));
}

/*
 * Fills the pipe of `size` bytes once, unless it holds bytes from before, and
 * empties it. counts[0]: bytes in the pipe; counts[1]: bytes that `to` has
 * taken. Returns the event to wait for, POLLIN of `from` or POLLOUT of `to`; 0
 * at the end of `from`; or a negative errno.
 */
int kio_relay(struct kio *k, int from, int to, int pipe_read, int pipe_write,
	      uint32_t size, uint32_t *counts)
{
	int ret;

	counts[1] = 0;
	if (!counts[0]) {
		ret = splice_now(k, from, pipe_write, size);
		if (ret <= 0)
			return ret == -EAGAIN || ret == -EINTR ? POLLIN : ret;
		counts[0] = (uint32_t)ret;
	}
	while (counts[0]) {
		ret = splice_now(k, pipe_read, to, counts[0]);
		if (ret <= 0)
			return ret == -EAGAIN || ret == -EINTR ? POLLOUT : ret;
		counts[0] -= (uint32_t)ret;
		counts[1] += (uint32_t)ret;
	}
	return POLLIN;
}
