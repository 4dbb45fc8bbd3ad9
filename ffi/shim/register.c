/*
 * register.c - registered files: the kernel finds them by their place, without
 * a look into the table of fds. It tells waiters.c of those that are eventfds.
 * A file that the ring opens into a place of its own is never one.
 */
#include "internal.h"

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
