/*
 * mailbox.c - sends from thread to thread: messages to the ring of another
 * context, and fds, which wait in that context's memory. It has the list of the
 * contexts of all threads, and its lock.
 */
#include "internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* The contexts of all threads. */
static pthread_mutex_t contexts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kio *all_contexts;

void close_parcels(struct parcel **list)
{
	struct parcel *parcel;

	while ((parcel = *list)) {
		*list = parcel->next;
		close(parcel->fd);
		free(parcel);
	}
}

int message_without_ring(struct io_uring_sqe *message)
{
	return seam_register_message(message) < 0 ? -errno : 0;
}

/*
 * Sends a message to a ring of this process, without a ring of the caller's.
 * Before Linux 6.13 it makes one.
 */
static int ring_message(int ring_fd, int result, uint64_t user_data)
{
	struct io_uring_sqe message;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int ret;

	memset(&message, 0, sizeof(message));
	io_uring_prep_msg_ring(&message, ring_fd, (uint32_t)result, user_data,
			       0);
	ret = message_without_ring(&message);
	if (ret != -EINVAL)
		return ret;
	ret = io_uring_queue_init(1, &ring, 0);
	if (ret)
		return ret;
	*io_uring_get_sqe(&ring) = message;
	/* it got the number of a target that is not open: no message to itself */
	ret = ring.ring_fd == ring_fd ? -EBADF :
					io_uring_submit_and_wait(&ring, 1);
	if (ret >= 0)
		do
			ret = io_uring_wait_cqe(&ring, &cqe);
		while (ret == -EINTR);
	if (ret >= 0)
		ret = cqe->res;
	io_uring_queue_exit(&ring);
	return ret;
}

int kio_ring_message(int ring_fd, int result, double user_data)
{
	return ring_message(ring_fd, result, UD_MESSAGE | (uint64_t)user_data);
}

/* Finds the context of a ring; under contexts_lock. */
static struct kio *context_of(int ring_fd)
{
	struct kio *k = all_contexts;

	while (k && k->ring.ring_fd != ring_fd)
		k = k->next_of_all;
	return k;
}

void context_publish(struct kio *k)
{
	pthread_mutex_lock(&contexts_lock);
	k->next_of_all = all_contexts;
	all_contexts = k;
	pthread_mutex_unlock(&contexts_lock);
}

void context_withdraw(struct kio *k)
{
	struct kio **at = &all_contexts;

	pthread_mutex_lock(&contexts_lock);
	while (*at != k)
		at = &(*at)->next_of_all;
	*at = k->next_of_all;
	pthread_mutex_unlock(&contexts_lock);
}

/* Tells whether an fd is the ring of a context, of whatever thread. */
bool kio_fd_is_ring(int fd)
{
	bool is_ring;

	pthread_mutex_lock(&contexts_lock);
	is_ring = context_of(fd) != NULL;
	pthread_mutex_unlock(&contexts_lock);
	return is_ring;
}

/* Takes the first parcel out of an inbox; under contexts_lock. */
static struct parcel *parcel_take(struct kio *k)
{
	struct parcel *parcel = k->inbox;

	if (!parcel)
		return NULL;
	k->inbox = parcel->next;
	if (!k->inbox)
		k->inbox_end = &k->inbox;
	return parcel;
}

/*
 * Gives an fd to the context of another thread. It waits in the memory of that
 * context, not in its ring: if the thread dies before it has looked, a message
 * is lost, and the fd would be. The message only says that there is something.
 * The end of the context closes the fds that still wait. After an error the
 * caller still owns the fd.
 */
int kio_fd_send(int ring_fd, int fd, double tag)
{
	struct parcel *parcel = malloc(sizeof(*parcel));
	struct kio *to;
	int ret = -EBADFD;

	if (!parcel)
		return -ENOMEM;
	if (fcntl(fd, F_GETFD) < 0) {
		free(parcel);
		return -EBADF;
	}
	*parcel = (struct parcel){ .fd = fd, .tag = tag };
	pthread_mutex_lock(&contexts_lock);
	to = context_of(ring_fd);
	/*
	 * With something in the inbox the message is on its way already. It is
	 * sent under the lock: if it fails, no thread has taken the fd yet.
	 */
	if (to)
		ret = to->inbox ? 0 : ring_message(ring_fd, 0, UD_INBOX);
	if (!ret) {
		*to->inbox_end = parcel;
		to->inbox_end = &parcel->next;
	}
	pthread_mutex_unlock(&contexts_lock);
	if (ret)
		free(parcel);
	else
		kio_fd_disown(fd);
	return ret;
}

/*
 * Takes an fd that another thread has given, with its tag; -1 if there is none.
 * The isolate owns it: the fd ends with it, unless it gives the fd away.
 */
int kio_fd_take(struct kio *k, double *tag)
{
	struct parcel *parcel;
	int fd = -1;

	pthread_mutex_lock(&contexts_lock);
	parcel = parcel_take(k);
	pthread_mutex_unlock(&contexts_lock);
	if (parcel) {
		fd = parcel->fd;
		kio_fd_own(fd);
		*tag = parcel->tag;
		free(parcel);
	}
	return fd;
}
