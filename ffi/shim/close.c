/*
 * close.c - closes an fd through the ring. The caller has given the fd up, so
 * it is closed whatever happens to the operation. It may find no place in the
 * queue, or its chain or isolate may end before it.
 */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

void close_late(struct kio *k, int fd)
{
	struct parcel *parcel = malloc(sizeof(*parcel));

	if (!parcel) {
		close(fd);
		return;
	}
	*parcel = (struct parcel){ .next = k->late, .fd = fd };
	k->late = parcel;
}

void *grown_for(void *rows, uint32_t *count, uint64_t id, size_t size)
{
	uint32_t slot = (uint32_t)id, slots = slot + slot / 2 + 8;

	if (slot < *count)
		return rows;
	rows = reallocarray(rows, slots, size);
	if (rows) {
		memset((char *)rows + *count * size, 0,
		       (slots - *count) * size);
		*count = slots;
	}
	return rows;
}

void closing_begin(struct kio *k, uint64_t id, int fd)
{
	struct closing *closings = grown_for(k->closings, &k->closing_slots,
					     id, sizeof(*closings));

	if (!closings)
		return;
	k->closings = closings;
	closings[(uint32_t)id] =
		(struct closing){ .id = id, .fd_plus_one = fd + 1 };
	k->closing_count++;
}

int closing_end(struct kio *k, uint64_t id)
{
	struct closing *closing;
	int fd;

	if ((uint32_t)id >= k->closing_slots)
		return -1;
	closing = &k->closings[(uint32_t)id];
	if (closing->id != id)
		return -1;
	fd = closing->fd_plus_one - 1;
	k->closing_count -= fd >= 0;
	closing->fd_plus_one = 0;
	return fd;
}

int kio_close(struct kio *k, double id, int fd)
{
	struct io_uring_sqe *sqe;
	int ret = sqe_begin(k, &sqe);

	if (ret && k->chaining) {
		/* The caller closes it, when the links before it are over. */
		kio_fd_own(fd);
		return ret;
	}
	kio_fd_disown(fd);
	if (ret) {
		close_late(k, fd);
		return ret;
	}
	closing_begin(k, (uint64_t)id, fd);
	io_uring_prep_close(sqe, fd);
	return sqe_end(k, sqe, id, 0);
}

/*
 * Closes the file at a place that the ring has opened it into. The fd must be 0
 * and IOSQE_FIXED_FILE clear: the kernel refuses anything else. If the isolate
 * ends before, the file goes with the ring.
 */
int kio_place_close(struct kio *k, double id, uint32_t place)
{
	struct io_uring_sqe *sqe;
	int ret = sqe_begin(k, &sqe);

	if (ret)
		return ret;
	io_uring_prep_close(sqe, 0);
	sqe->file_index = place + 1;
	return sqe_end(k, sqe, id, 0);
}
