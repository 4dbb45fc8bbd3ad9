/*
 * sendfile.c - sends parts of a file to a socket by sendfile(2). In the ring a
 * splice goes to a thread of the kernel, and each link of a chain to the next
 * one. Where neither the disk nor the socket makes it wait, this thread makes
 * the call.
 */
#include "internal.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* cachestat(2), Linux 6.5: newer than some headers. */
#define CACHESTAT 451
struct cache_range {
	uint64_t offset, length;
};
struct cache_state {
	uint64_t pages, dirty, writeback, evicted, recently_evicted;
};

/*
 * Tells whether a part of a file is in the page cache, so that nothing waits
 * for a disk. One byte read without waiting tells that the file system can do
 * that, that the part does not end behind the file, and that its last page was
 * read. The kernel counts the pages before that for users who may write to the
 * file. A page may go before it is sent, as one of a program's code may.
 */
static bool is_cached(int file, off_t offset, uint32_t length)
{
	off_t page_size = sysconf(_SC_PAGESIZE), last = offset + length - 1;
	struct cache_range range = { (uint64_t)offset, length };
	struct cache_state state;
	char byte;
	struct iovec one = { &byte, 1 };

	if (syscall(SYS_preadv2, file, &one, 1, last, 0L, RWF_NOWAIT) != 1)
		return false;
	if (syscall(CACHESTAT, file, &range, &state, 0) < 0)
		return false;
	return state.pages ==
	       (uint64_t)(last / page_size - offset / page_size + 1);
}

/*
 * Sends a head of `head_length` bytes, and up to `count` bytes of a file, to a
 * stream socket, if those of the file are in the page cache. The head waits for
 * them, to share their packet. Any socket is non-blocking from then on. Returns
 * how many bytes the socket has taken; -EAGAIN if it takes none now; 0 if the
 * ring has to do it; or another negative errno.
 */
int kio_sendfile(struct kio *k, int file, double offset, uint32_t count, int to,
		 const char *head, uint32_t head_length)
{
	off_t at = (off_t)offset;
	int type = kio_option_get(to, SOL_SOCKET, SO_TYPE);
	int flags, sent, begun = 0;

	if (type < 0)
		return 0;
	/* Who shares the socket may have made it one that waits. */
	if (kio_nonblocking_set(to, true) < 0)
		return 0;
	/* O_DIRECT goes to the disk, whatever the page cache has. */
	flags = fcntl(file, F_GETFL);
	if (type != SOCK_STREAM || flags < 0 || flags & O_DIRECT)
		return 0;
	if (!is_cached(file, at, count))
		return 0;
	if (head_length) {
		begun = result_of((int)send(to, head, head_length,
					    MSG_MORE | MSG_NOSIGNAL));
		if (begun != (int)head_length)
			return begun == -EINTR ? -EAGAIN : begun;
	}
	sent = seam_splice(k, file, to, &count);
	if (!sent)
		sent = result_of((int)sendfile(to, file, &at, count));
	/* A failure behind the head comes again with the next call. */
	if (begun)
		return begun + (sent > 0 ? sent : 0);
	return sent == -EINTR ? -EAGAIN : sent;
}
