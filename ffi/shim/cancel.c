/*
 * cancel.c - takes operations back. One that has not been submitted becomes one
 * that fails; for the others the kernel is asked. A cancel is a request, and
 * the completion of the operation is the truth. So only a cancel that has found
 * nothing is reported, as it may have come too early.
 */
#include "internal.h"

static int queue_cancel(struct kio *k, uint64_t target, uint32_t flags,
			uint64_t user_data)
{
	struct io_uring_sqe *sqe;
	int ret = sqe_begin(k, &sqe);

	if (ret)
		return ret;
	io_uring_prep_cancel64(sqe, target, (int)flags);
	sqe->user_data = user_data;
	if (!(user_data & UD_TAKE_BACK))
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	return 0;
}

struct io_uring_sqe *unsubmitted(const struct kio *k, uint32_t i)
{
	const struct io_uring_sq *sq = &k->ring.sq;

	if (i >= sq->sqe_tail - sq->sqe_head)
		return NULL;
	return &sq->sqes[(sq->sqe_tail - 1 - i) & sq->ring_mask];
}

/*
 * Keeps an operation that has not been submitted from running. It becomes a
 * read of no file. That fails, and ends a chain that it is a link of.
 */
bool kio_retract(struct kio *k, double id)
{
	struct io_uring_sqe *sqe;

	for (uint32_t i = 0; (sqe = unsubmitted(k, i)); i++) {
		uint8_t flags = sqe->flags &
				(IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);

		if (sqe->user_data != (uint64_t)id)
			continue;
		io_uring_prep_read(sqe, -1, NULL, 0, 0);
		sqe->flags |= flags;
		return true;
	}
	return false;
}

/* Asks the kernel to cancel one operation. */
int kio_cancel(struct kio *k, double id)
{
	return queue_cancel(k, (uint64_t)id, 0, UD_INTERNAL | (uint64_t)id);
}

/*
 * Submits the cancels on a socket that is about to be shut down. What waits on
 * it then hears of the cancel and not of the end. With DEFER_TASKRUN the kernel
 * deals with neither before the next step, which submits first. An error is
 * left to that step, too.
 */
void kio_cancels_submit(struct kio *k)
{
	if (!(k->ring.flags & IORING_SETUP_DEFER_TASKRUN))
		enter(k, 0, 0, 0);
}

/*
 * Cancels an operation that was not given up, to queue it again. The kernel's
 * answer is reported whatever it is. -ENOENT: it goes on, or is complete.
 */
int kio_take_back(struct kio *k, double id)
{
	return queue_cancel(k, (uint64_t)id, 0,
			    UD_INTERNAL | UD_TAKE_BACK | (uint64_t)id);
}

int kio_cancel_all(struct kio *k)
{
	return queue_cancel(k, 0,
			    IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
			    UD_IGNORED);
}
