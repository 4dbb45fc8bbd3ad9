/*
 * zero_copy.c - sends whose memory the kernel still uses after their result. A
 * notification ends them: when the peer has acknowledged the data, or the
 * connection is gone. A peer that does not read puts that off for ever, so the
 * end of a context resets the connections that are left.
 */
#include "internal.h"

#include <sys/socket.h>

/* Tells a socket from others that have its fd later; 0 if it is none. */
static uint64_t socket_cookie(int fd)
{
	uint64_t cookie = 0;
	socklen_t length = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0)
		return 0;
	return cookie;
}

void zero_copy_begin(struct kio *k, uint64_t id, int fd)
{
	uint64_t cookie = socket_cookie(fd);
	struct zero_copy *sends;

	if (!cookie)
		return;
	sends = grown_for(k->zero_copies, &k->zero_copy_slots, id,
			  sizeof(*sends));
	/* it cannot be reset then */
	if (!sends)
		return;
	k->zero_copies = sends;
	sends[(uint32_t)id] = (struct zero_copy){ id, cookie, fd };
	k->zero_copy_count++;
}

void zero_copy_end(struct kio *k, uint64_t id)
{
	struct zero_copy *send;

	if ((uint32_t)id >= k->zero_copy_slots)
		return;
	send = &k->zero_copies[(uint32_t)id];
	if (send->id != id || !send->cookie)
		return;
	send->cookie = 0;
	k->zero_copy_count--;
}

/*
 * Resets the connections of the zero-copy sends that are in flight: the kernel
 * then drops the data, and lets go of the memory. A socket whose fd was closed
 * is left alone, as the kernel itself gives up on it after some minutes.
 */
void kio_zero_copy_reset(struct kio *k)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	for (uint32_t i = 0; k->zero_copy_count && i < k->zero_copy_slots;
	     i++) {
		const struct zero_copy *send = &k->zero_copies[i];

		if (!send->cookie || socket_cookie(send->fd) != send->cookie)
			continue;
		connect(send->fd, &none, sizeof(none));
	}
}
