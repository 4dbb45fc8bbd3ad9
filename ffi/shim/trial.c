/*
 * trial.c - tries whether the kernel signals a ring's eventfd in time.
 */
#include "internal.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

/* Tells whether a byte in the pipe makes the eventfd of the ring readable by the
 * time that write(2) returns. */
static bool is_signalled(struct io_uring *ring, int event_fd, const int fds[2])
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	eventfd_t value;

	if (!sqe || io_uring_register_eventfd(ring, event_fd))
		return false;
	io_uring_prep_poll_add(sqe, fds[0], POLLIN);
	return io_uring_submit(ring) == 1 && write(fds[1], "x", 1) == 1 &&
	       eventfd_read(event_fd, &value) == 0;
}

static bool try_ring(uint32_t flags, const int fds[2])
{
	struct io_uring_params params = { .flags = flags };
	int event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct io_uring ring;
	bool works = false;

	if (event_fd < 0)
		return false;
	if (!seam_ring_init(1, &ring, &params)) {
		works = is_signalled(&ring, event_fd, fds);
		io_uring_queue_exit(&ring);
	}
	close(event_fd);
	return works;
}

/*
 * Tells whether a ring with these flags, DEFER_TASKRUN among them, is fit for a
 * thread that sleeps on its eventfd. Since the fix of CVE-2026-80920 the kernel
 * puts a signal off that comes from the wake-up of a socket or pipe, and Linux
 * 6.12.117, for one, loses all but the first.
 * It is tried until it has worked once; what was not seen to work is not used.
 */
bool wakes_at_once(uint32_t flags)
{
	static atomic_bool works;
	int fds[2];

	if (works || pipe2(fds, O_CLOEXEC))
		return works;
	works = seam_wakes() && try_ring(flags, fds);
	close(fds[0]);
	close(fds[1]);
	return works;
}
