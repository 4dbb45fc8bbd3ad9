/*
 * register.c - registered files and memory. The kernel finds files by their
 * place, without a look into the table of fds; waiters.c is told of those that
 * are eventfds. A file that the ring opens into a place of its own is never one.
 * The kernel keeps registered memory pinned, which saves each operation the walk
 * over its pages.
 */
#include "internal.h"

#include <sys/resource.h>
#include <sys/uio.h>

int kio_files_register(struct kio *k, const int32_t *fds, uint32_t count)
{
	int ret = io_uring_register_files(&k->ring, fds, count);

	return ret ? ret : waiters_registered(k, fds, count);
}

int kio_files_update(struct kio *k, uint32_t offset, const int32_t *fds,
		     uint32_t count)
{
	int ret = io_uring_register_files_update(&k->ring, offset, fds, count);

	if (ret > 0)
		waiters_updated(k, offset, fds, (uint32_t)ret);
	return ret;
}

int kio_files_unregister(struct kio *k)
{
	int ret = io_uring_unregister_files(&k->ring);

	if (!ret)
		waiters_unregistered(k);
	return ret;
}

/* Registers places without files, for files that the ring opens. */
int kio_files_reserve(struct kio *k, uint32_t count)
{
	return io_uring_register_files_sparse(&k->ring, count);
}

/* Empties a place that no operation uses, at once. */
int kio_place_free(struct kio *k, uint32_t place)
{
	const int32_t none = -1;
	int ret = io_uring_register_files_update(&k->ring, place, &none, 1);

	return ret < 0 ? ret : 0;
}

static int place_set(struct kio *k, uint32_t place, void *address, size_t size)
{
	struct iovec memory = { .iov_base = address, .iov_len = size };
	__u64 tag = 0;
	int ret = io_uring_register_buffers_update_tag(&k->ring, place,
						       &memory, &tag, 1);

	return ret < 0 ? ret : 0;
}

/* Gives the bytes that the user may lock in all; -1 for no limit. */
double kio_lock_limit(void)
{
	struct rlimit limit = { .rlim_cur = RLIM_INFINITY };

	getrlimit(RLIMIT_MEMLOCK, &limit);
	return limit.rlim_cur == RLIM_INFINITY ? -1 : (double)limit.rlim_cur;
}

/* Pins memory and gives it a place. The places are made for the first. */
int kio_memory_register(struct kio *k, uint32_t place, void *address,
			double size)
{
	int ret = 0;

	if (!k->has_places)
		ret = io_uring_register_buffers_sparse(&k->ring, KIO_PLACES);
	k->has_places |= !ret;
	return ret ? ret : place_set(k, place, address, (size_t)size);
}

/* Empties a place. The kernel lets go of the memory when no operation that has
 * begun uses it; one that has not would find the place empty. */
int kio_memory_unregister(struct kio *k, uint32_t place)
{
	return place_set(k, place, NULL, 0);
}
