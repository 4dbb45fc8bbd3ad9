/*
 * waiters.c - operations on files whose event may come from within a signal of
 * another eventfd: eventfds, epoll instances and rings. Such an event may leave
 * the ring's own eventfd silent, so a second ring polls these files while the
 * thread sleeps. waiters.h has the part that runs for each operation.
 */
#include "internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool waiters_grow(struct waiters *waiters, uint32_t slot)
{
	uint32_t count = waiters->slots ? waiters->slots : 64;
	struct waiter *by_slot;
	uint32_t *fresh;

	while (count <= slot)
		count *= 2;
	fresh = realloc(waiters->fresh, count * sizeof(*fresh));
	if (fresh)
		waiters->fresh = fresh;
	by_slot = realloc(waiters->by_slot, count * sizeof(*by_slot));
	if (by_slot)
		waiters->by_slot = by_slot;
	if (!fresh || !by_slot)
		return false;
	memset(by_slot + waiters->slots, 0,
	       (count - waiters->slots) * sizeof(*by_slot));
	waiters->slots = count;
	return true;
}

static struct io_uring_sqe *waiters_sqe(struct waiters *waiters)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&waiters->ring);

	if (sqe)
		return sqe;
	return io_uring_submit(&waiters->ring) < 0 ?
		       NULL :
		       io_uring_get_sqe(&waiters->ring);
}

void waiter_unpoll(struct waiters *waiters, uint64_t id)
{
	struct io_uring_sqe *sqe = waiters_sqe(waiters);

	if (sqe) {
		io_uring_prep_poll_remove(sqe, id);
		ignore(sqe);
	}
}
/* Tells whether a file has no type: an eventfd, an epoll instance, a ring. */
static bool is_anonymous(int fd)
{
	struct stat stat;

	return !fstat(fd, &stat) && !(stat.st_mode & S_IFMT);
}

void waiters_updated(struct kio *k, uint32_t place, const int32_t *fds,
		     uint32_t count)
{
	struct waiters *waiters = &k->waiters;

	for (uint32_t i = 0; i < count; i++) {
		int32_t *copy = &waiters->registered[place + i];

		if (*copy >= 0)
			close(*copy);
		*copy = -1;
		if (fds[i] >= 0 && is_anonymous(fds[i]))
			*copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
	}
}

int waiters_registered(struct kio *k, const int32_t *fds, uint32_t count)
{
	struct waiters *waiters = &k->waiters;

	waiters->registered = malloc(count * sizeof(*fds));
	if (!waiters->registered) {
		io_uring_unregister_files(&k->ring);
		return -ENOMEM;
	}
	memset(waiters->registered, -1, count * sizeof(*fds));
	waiters->registered_count = count;
	waiters_updated(k, 0, fds, count);
	return 0;
}

void waiters_unregistered(struct kio *k)
{
	struct waiters *waiters = &k->waiters;

	for (uint32_t i = 0; i < waiters->registered_count; i++)
		if (waiters->registered[i] >= 0)
			close(waiters->registered[i]);
	free(waiters->registered);
	waiters->registered = NULL;
	waiters->registered_count = 0;
}

static bool waiters_open(struct kio *k)
{
	struct io_uring_params params = { .flags = IORING_SETUP_COOP_TASKRUN };
	struct waiters *waiters = &k->waiters;
	int ret;

	if (waiters->open)
		return true;
	ret = io_uring_queue_init_params(16, &waiters->ring, &params);
	if (ret == -EINVAL)
		ret = io_uring_queue_init(16, &waiters->ring, 0);
	if (ret)
		return false;
	if (io_uring_register_eventfd(&waiters->ring, k->event_fd)) {
		io_uring_queue_exit(&waiters->ring);
		return false;
	}
	io_uring_cq_eventfd_toggle(&waiters->ring, false);
	return waiters->open = true;
}

bool waiters_poll(struct kio *k)
{
	struct waiters *waiters = &k->waiters;
	struct io_uring_sqe *sqe;

	while (waiters->fresh_count > 0) {
		struct waiter *waiter =
			&waiters->by_slot
				 [waiters->fresh[waiters->fresh_count - 1]];

		if (waiter->pending && is_anonymous(waiter->fd)) {
			if (!waiters_open(k) || !(sqe = waiters_sqe(waiters)))
				return false;
			/* by changes: a file that is ready all along ends
			 * no sleep */
			io_uring_prep_poll_multishot(sqe, waiter->fd,
						     waiter->events);
			sqe->user_data = waiter->id;
			waiter->polled = true;
		}
		waiter->fresh = false;
		waiters->fresh_count--;
	}
	if (waiters->open) {
		/* First: the entry into the kernel that follows sees the
		 * files that are ready now. */
		if (io_uring_submit(&waiters->ring) < 0)
			return false;
		io_uring_cq_eventfd_toggle(&waiters->ring, true);
	}
	return !waiters->blind;
}

void waiters_rest(struct kio *k)
{
	struct waiters *waiters = &k->waiters;
	struct io_uring_cqe *cqe;
	uint32_t head, count = 0;

	if (!waiters->open)
		return;
	io_uring_cq_eventfd_toggle(&waiters->ring, false);
	io_uring_for_each_cqe(&waiters->ring, head, cqe) {
		struct waiter *waiter = waiter_of(waiters, cqe->user_data);

		count++;
		if (!waiter || cqe->flags & IORING_CQE_F_MORE || cqe->res < 0 ||
		    waiter->fresh)
			continue;
		waiter->polled = false;
		waiter->fresh = true;
		waiters->fresh[waiters->fresh_count++] =
			(uint32_t)cqe->user_data;
	}
	io_uring_cq_advance(&waiters->ring, count);
}

void waiters_close(struct kio *k)
{
	if (k->waiters.open)
		io_uring_queue_exit(&k->waiters.ring);
	waiters_unregistered(k);
	free(k->waiters.by_slot);
	free(k->waiters.fresh);
}
