/*
 * chain.c - operations that run one after the other. It has chains of links,
 * copies of their SQEs (to queue them once more), and the chain of splices that
 * sends a file. A chain reaches the kernel whole, or not at all.
 */
#include "internal.h"

#include <fcntl.h>
#include <string.h>

void kio_chain(struct kio *k, bool on)
{
	k->chaining = on;
	k->chain_refused = false;
	k->chain_length = 0;
	k->chain_last = NULL;
	seam_chain(k);
}

/* Copies the SQEs of the first links of the chain, 64 bytes each. */
void kio_chain_copy(const struct kio *k, void *copies, uint32_t count)
{
	memcpy(copies, k->chain_copies,
	       count * sizeof(*k->chain_copies));
}

/*
 * Queues a copy of an operation that is complete. The caller has kept the
 * memory that it points to. A close goes to kio_close() instead.
 */
int kio_again(struct kio *k, const struct io_uring_sqe *copy)
{
	bool closes = copy->opcode == IORING_OP_CLOSE;
	struct io_uring_sqe *sqe;
	int ret = sqe_begin(k, &sqe);

	if (ret)
		return ret;
	if (closes) {
		kio_fd_disown(copy->fd);
		closing_begin(k, copy->user_data, copy->fd);
	}
	if (copy->opcode == IORING_OP_RECVMSG)
		receiving_begin(k, copy->user_data, copy);
	*sqe = *copy;
	return sqe_end(k, sqe, (double)copy->user_data, 0);
}

/*
 * Pumps bytes out of a file, through a pipe, into another file: a chain of
 * splices that is one operation. A pipe that holds `held` bytes is emptied
 * first. Then it is filled and emptied by turns, as often as steps allow: up to
 * `size` bytes at a time and `left` in all.
 *
 * Only the step that ends the chain posts a completion, with its number in
 * user_data. It is the last if all went well, or the first that failed or was
 * short.
 */
int kio_pump(struct kio *k, double id, int file, double offset, double left,
	     int pipe_read, int pipe_write, uint32_t held, int to,
	     uint32_t size, uint32_t steps)
{
	uint32_t entries = k->ring.sq.ring_entries, step = 0, length = held;
	struct io_uring_sqe *sqe = NULL;
	int ret = 0;

	kio_chain(k, true);
	for (; step < steps && step < entries && (length || left > 0); step++) {
		ret = sqe_begin(k, &sqe);
		if (ret)
			break;
		if (length) {
			left -= held ? 0 : length;
			held = 0;
			io_uring_prep_splice(sqe, pipe_read, -1, to, -1, length,
					     SPLICE_F_NONBLOCK |
						     (left > 0 ? SPLICE_F_MORE :
								 0));
			length = 0;
		} else {
			length = left < size ? (uint32_t)left : size;
			io_uring_prep_splice(sqe, file, (int64_t)offset,
					     pipe_write, -1, length,
					     SPLICE_F_NONBLOCK);
			offset += length;
		}
		sqe->user_data = (uint64_t)id | (uint64_t)step << UD_STEP_SHIFT;
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		seam_operation(k, sqe);
		if (seam_ends_chain(k))
			break;
	}
	if (ret)
		/* none of it was submitted: a chain stays whole */
		k->ring.sq.sqe_tail -= k->chain_length;
	else
		sqe->flags &= (uint8_t)~IOSQE_CQE_SKIP_SUCCESS;
	kio_chain(k, false);
	k->in_flight += !ret;
	return ret;
}
