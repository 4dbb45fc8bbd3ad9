/*
 * register.c - registered files: the kernel finds them by their place, without
 * a look into the table of fds. It tells waiters.c of those that are eventfds.
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
