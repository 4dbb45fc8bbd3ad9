/*
 * sqe.c - fills SQEs: the two brackets that every operation is queued between,
 * and the operations themselves. What is queued reaches the kernel with the
 * next step of driver.c, or when the queue is full. The hot functions of the
 * shim are here, with the brackets, so that they are one piece of code.
 */
#include "internal.h"

#include <fcntl.h>
#include <sys/socket.h>

int sqe_begin(struct kio *k, struct io_uring_sqe **sqe)
{
	if (k->chain_refused)
		return -ECANCELED;
	while (!(*sqe = io_uring_get_sqe(&k->ring))) {
		int ret;

		if (k->chain_length == k->ring.sq.ring_entries)
			return -E2BIG;
		ret = enter(k, k->chain_length, 0, 0);
		if (ret < 0 && ret != -EINTR) {
			k->chain_refused = k->chaining;
			return ret;
		}
	}
	if (k->chaining) {
		if (k->chain_last)
			k->chain_last->flags |= IOSQE_IO_LINK;
		k->chain_last = *sqe;
		k->chain_length++;
	}
	return 0;
}

int sqe_end(struct kio *k, struct io_uring_sqe *sqe, double id, uint32_t flags)
{
	sqe->user_data = (uint64_t)id;
	sqe->flags |= (uint8_t)flags;
	waiter_begin(&k->waiters, sqe);
	if (k->chaining)
		k->chain_copies[k->chain_length - 1] = *sqe;
	seam_watch(k, sqe);
	seam_operation(k, sqe);
	k->in_flight++;
	return 0;
}

/* One operation: PREP fills `sqe`, ID is its user_data. */
#define QUEUE(K, ID, FLAGS, PREP)                        \
	do {                                             \
		struct io_uring_sqe *sqe;                \
		int ret = sqe_begin(K, &sqe);            \
		if (ret)                                 \
			return ret;                      \
		PREP;                                    \
		return sqe_end(K, sqe, ID, FLAGS);       \
	} while (0)

/* ---- any operation of opcodes.c ------------------------------------------- */

/* The flags of an SQE that leave it one completion, and a place of its own. */
#define FLAGS_ALLOWED \
	(IOSQE_FIXED_FILE | IOSQE_ASYNC | IOSQE_BUFFER_SELECT)

static uint64_t field_of(const void *base, double value)
{
	return value < 0 ? UINT64_MAX :
			   (uint64_t)(uintptr_t)base + (uint64_t)value;
}

#define DONE 1

/*
 * Does an operation by its system call if the ring lacks it: DONE, or the error.
 * 0: the ring has it. In a chain it would be out of order, and a direct
 * descriptor has no fd that a system call takes: both are refused.
 */
static int at_once(struct kio *k, const struct opcode *row,
		   const struct io_uring_sqe *sqe)
{
	int ret;

	if (is_in_ring(k, sqe))
		return 0;
	if (k->chain_refused)
		return -ECANCELED;
	if (k->chaining || sqe->flags & IOSQE_FIXED_FILE) {
		k->chain_refused = k->chaining;
		return -EOPNOTSUPP;
	}
	if (k->refused[sqe->opcode])
		return -EACCES;
	ret = row->at_once(sqe);
	return ret < 0 ? ret : DONE;
}

static inline __attribute__((always_inline)) int
queue_fields(struct kio *k, double id, uint32_t op, int fd, uint64_t addr,
	     uint32_t len, uint64_t off, uint32_t op_flags, uint32_t extra,
	     uint32_t buf, uint64_t addr3)
{
	const struct opcode *row = &opcodes[op & 0xff];
	struct io_uring_sqe *sqe;
	int ret;

	if (!row->name || row->own || (op >> 8 & 0xff & ~FLAGS_ALLOWED)) {
		k->chain_refused = k->chaining;
		/* no error of the kernel's: its row was forgotten */
		return row->name && !row->own ? -EINVAL : -ENOSYS;
	}
	op_flags |= row->force;
	if (row->wide) {
		off += extra;
		extra = 0;
	} else if (row->cloexec && !extra) {
		if (row->cloexec == CLOEXEC_IN_OFF)
			off |= O_CLOEXEC;
		else
			op_flags |= O_CLOEXEC;
	}
	if (row->at_once) {
		ret = at_once(k, row, &(struct io_uring_sqe){
			.opcode = (uint8_t)op,
			.flags = (uint8_t)(op >> 8),
			.fd = fd,
			.off = off,
			.addr = addr,
			.len = len,
			.file_index = extra,
			.addr3 = addr3,
		});
		if (ret < 0)
			return ret;
		if (ret == DONE)
			QUEUE(k, id, 0, io_uring_prep_nop(sqe));
	}
	ret = sqe_begin(k, &sqe);
	if (ret)
		return ret;
	*sqe = (struct io_uring_sqe){
		.opcode = seam_opcode((uint8_t)op),
		.ioprio = (uint16_t)(op >> 16),
		.fd = fd,
		.off = off,
		.addr = addr,
		.len = len,
		.rw_flags = (int)op_flags,
		.buf_index = (uint16_t)buf,
		.file_index = extra,
		.addr3 = addr3,
	};
	if (row->notifies && !(op >> 8 & IOSQE_FIXED_FILE))
		zero_copy_begin(k, (uint64_t)id, fd);
	if (sqe->opcode == IORING_OP_RECVMSG)
		receiving_begin(k, (uint64_t)id, sqe);
	return sqe_end(k, sqe, id, op >> 8 & 0xff);
}

int kio_sqe(struct kio *k, double id, uint32_t op, int fd, const void *addr,
	    double at, uint32_t len, double off, uint32_t op_flags)
{
	return queue_fields(k, id, op, fd, field_of(addr, at), len,
			    field_of(NULL, off), op_flags, 0, 0, 0);
}

int kio_sqe2(struct kio *k, double id, uint32_t op, int fd, const void *addr,
	     double at, uint32_t len, const void *addr2, double off,
	     uint32_t op_flags, int32_t extra, uint32_t buf)
{
	return queue_fields(k, id, op, fd, field_of(addr, at), len,
			    field_of(addr2, off), op_flags, (uint32_t)extra,
			    buf, 0);
}

int kio_sqe3(struct kio *k, double id, uint32_t op, int fd, const void *addr,
	     double at, uint32_t len, const void *addr2, double off,
	     uint32_t op_flags, int32_t extra, uint32_t buf, const void *addr3,
	     double at3)
{
	return queue_fields(k, id, op, fd, field_of(addr, at), len,
			    field_of(addr2, off), op_flags, (uint32_t)extra,
			    buf, field_of(addr3, at3));
}

/* ---- operations -------------------------------------------------------- */

/* The hot four have no more parameters than they need. */

int kio_read(struct kio *k, double id, int fd, void *buffer, uint32_t length,
	     double offset)
{
	QUEUE(k, id, 0,
	      io_uring_prep_read(sqe, fd, buffer, length,
				 field_of(NULL, offset)));
}

int kio_write(struct kio *k, double id, int fd, const void *buffer,
	      uint32_t length, double offset)
{
	QUEUE(k, id, 0,
	      io_uring_prep_write(sqe, fd, buffer, length,
				  field_of(NULL, offset)));
}

int kio_recv(struct kio *k, double id, int fd, void *buffer, uint32_t length,
	     int flags)
{
	QUEUE(k, id, 0, io_uring_prep_recv(sqe, fd, buffer, length, flags));
}

/* Deno ignores SIGPIPE, other hosts may not. */
int kio_send(struct kio *k, double id, int fd, const void *buffer,
	     uint32_t length, int flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_send(sqe, fd, buffer, length,
				 flags | MSG_NOSIGNAL));
}

/* Ends a poll, and nothing else that has its id by now. */
int kio_poll_end(struct kio *k, double id)
{
	struct io_uring_sqe *sqe;
	int ret = sqe_begin(k, &sqe);

	if (ret)
		return ret;
	io_uring_prep_poll_remove(sqe, (uint64_t)id);
	ignore(sqe);
	return 0;
}

int kio_msg_ring(struct kio *k, double id, int target_ring_fd, int result,
		 double user_data)
{
	QUEUE(k, id, 0,
	      io_uring_prep_msg_ring(sqe, target_ring_fd, (uint32_t)result,
				     UD_MESSAGE | (uint64_t)user_data, 0));
}
