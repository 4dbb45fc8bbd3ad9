/*
 * sqe.c - fills SQEs: the two brackets that every operation is queued between,
 * and the operations themselves. What is queued reaches the kernel with the
 * next step of driver.c, or when the queue is full. The hot functions of the
 * shim are here, with the brackets, so that they are one piece of code.
 */
#include "internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

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
	ret = sqe_begin(k, &sqe);
	if (ret)
		return ret;
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

static uint64_t offset_of(const struct kio *k, double offset)
{
	if (offset != offset)
		return k->wide_offset;
	return offset < 0 ? UINT64_MAX : (uint64_t)offset;
}

/* ---- operations -------------------------------------------------------- */

/* at: where in the buffer; a transfer goes on there without a new view. */

void kio_wide_offset(struct kio *k, uint64_t offset)
{
	k->wide_offset = offset;
}

int kio_read(struct kio *k, double id, int fd, void *buffer, double at,
	     uint32_t length, double offset, uint32_t flags)
{
	QUEUE(k, id, flags,
	      io_uring_prep_read(sqe, fd, (char *)buffer + (size_t)at, length,
				 offset_of(k, offset)));
}

int kio_write(struct kio *k, double id, int fd, const void *buffer, double at,
	      uint32_t length, double offset, uint32_t flags)
{
	QUEUE(k, id, flags,
	      io_uring_prep_write(sqe, fd, (const char *)buffer + (size_t)at,
				  length, offset_of(k, offset)));
}

int kio_readv(struct kio *k, double id, int fd, const void *vectors,
	      uint32_t count, double offset)
{
	QUEUE(k, id, 0,
	      io_uring_prep_readv(sqe, fd, vectors, count,
				  offset_of(k, offset)));
}

int kio_writev(struct kio *k, double id, int fd, const void *vectors,
	       uint32_t count, double offset)
{
	QUEUE(k, id, 0,
	      io_uring_prep_writev(sqe, fd, vectors, count,
				   offset_of(k, offset)));
}

int kio_open(struct kio *k, double id, const char *path, int flags,
	     uint32_t mode)
{
	QUEUE(k, id, 0,
	      io_uring_prep_openat(sqe, AT_FDCWD, path, flags | O_CLOEXEC,
				   mode));
}

/* how: a struct open_how */
int kio_openat2(struct kio *k, double id, int directory, const char *path,
		void *how)
{
	QUEUE(k, id, 0, io_uring_prep_openat2(sqe, directory, path, how));
}

/* stat: room for a struct statx */
int kio_fstat(struct kio *k, double id, int fd, void *stat)
{
	QUEUE(k, id, 0,
	      io_uring_prep_statx(sqe, fd, "", AT_EMPTY_PATH,
				  STATX_BASIC_STATS, stat));
}

int kio_rename(struct kio *k, double id, const char *from, const char *to,
	       uint32_t flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_renameat(sqe, AT_FDCWD, from, AT_FDCWD, to, flags));
}

int kio_unlink(struct kio *k, double id, const char *path, int flags)
{
	QUEUE(k, id, 0, io_uring_prep_unlinkat(sqe, AT_FDCWD, path, flags));
}

/* An offset below 0 is the file's own position, the only one a pipe has. */
int kio_splice(struct kio *k, double id, int from, double from_offset, int to,
	       double to_offset, uint32_t length, uint32_t flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_splice(sqe, from, (int64_t)from_offset, to,
				   (int64_t)to_offset, length, flags));
}

int kio_fsync(struct kio *k, double id, int fd, uint32_t flags)
{
	QUEUE(k, id, 0, io_uring_prep_fsync(sqe, fd, flags));
}

int kio_fallocate(struct kio *k, double id, int fd, int mode, double offset,
		  double length)
{
	QUEUE(k, id, 0,
	      io_uring_prep_fallocate(sqe, fd, mode,
				      (off_t)offset_of(k, offset),
				      (off_t)length));
}

/*
 * Before Linux 6.9 the call itself is made here and a NOP brings its result
 * through the ring; in a chain that would be out of order, so it is refused.
 */
int kio_ftruncate(struct kio *k, double id, int fd, int64_t length)
{
	if (!k->ring_ftruncate) {
		if (k->chaining) {
			k->chain_refused = true;
			return -EOPNOTSUPP;
		}
		if (ftruncate(fd, length) < 0)
			return -errno;
		QUEUE(k, id, 0, io_uring_prep_nop(sqe));
	}
	QUEUE(k, id, 0,
	      io_uring_prep_rw(seam_opcode(KIO_OP_FTRUNCATE), sqe, fd,
			       NULL, 0, (uint64_t)length));
}

/* address: room for a struct sockaddr_storage and a socklen_t, or NULL. */
int kio_accept(struct kio *k, double id, int fd, void *address)
{
	socklen_t *length = NULL;

	if (address) {
		length = (socklen_t *)((char *)address +
				       sizeof(struct sockaddr_storage));
		*length = sizeof(struct sockaddr_storage);
	}
	QUEUE(k, id, 0,
	      io_uring_prep_accept(sqe, fd, address, length, SOCK_CLOEXEC));
}

int kio_connect(struct kio *k, double id, int fd, const void *address,
		uint32_t length)
{
	QUEUE(k, id, 0, io_uring_prep_connect(sqe, fd, address, length));
}

/*
 * Tries once more to connect a unix socket whose listener had no room, else
 * looks again after a pause, which grows. The kernel has nothing to poll for
 * that: the ring itself would try 128 times in a row and give up. A blocking
 * socket is not tried: it has waited as long as its SO_SNDTIMEO says.
 */
int kio_connect_again(struct kio *k, double id, int fd, const void *address,
		      uint32_t length, uint32_t attempt)
{
	/* copied when it is submitted */
	static struct __kernel_timespec pauses[] = {
		{ .tv_nsec = 1000000 },  { .tv_nsec = 2000000 },
		{ .tv_nsec = 4000000 },	 { .tv_nsec = 8000000 },
		{ .tv_nsec = 16000000 }, { .tv_nsec = 32000000 },
	};
	uint32_t last = sizeof(pauses) / sizeof(*pauses) - 1;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	if (!(flags & O_NONBLOCK))
		return -EAGAIN;
	if (!connect(fd, address, length))
		QUEUE(k, id, 0, io_uring_prep_nop(sqe));
	if (errno != EAGAIN)
		return -errno;
	QUEUE(k, id, 0,
	      io_uring_prep_timeout(
		      sqe, &pauses[attempt < last ? attempt : last], 0, 0));
}

int kio_recv(struct kio *k, double id, int fd, void *buffer, double at,
	     uint32_t length, int flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_recv(sqe, fd, (char *)buffer + (size_t)at, length,
				 flags));
}

/* Deno ignores SIGPIPE, other hosts may not. */
int kio_send(struct kio *k, double id, int fd, const void *buffer, double at,
	     uint32_t length, int flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_send(sqe, fd, (const char *)buffer + (size_t)at,
				 length, flags | MSG_NOSIGNAL));
}

int kio_recvmsg(struct kio *k, double id, int fd, void *message, uint32_t flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_recvmsg(sqe, fd, message,
				    flags | MSG_CMSG_CLOEXEC));
}

int kio_sendmsg(struct kio *k, double id, int fd, const void *message,
		uint32_t flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_sendmsg(sqe, fd, message, flags | MSG_NOSIGNAL));
}

int kio_poll(struct kio *k, double id, int fd, uint32_t events, uint32_t flags)
{
	QUEUE(k, id, flags, io_uring_prep_poll_add(sqe, fd, events));
}

/*
 * Polls until kio_poll_end(), with a completion for each change. A poll that is
 * over with the first event cannot wait for POLLOUT once the peer has shut down
 * its sending side: io_uring always adds POLLRDHUP, which is there from then on.
 */
int kio_poll_changes(struct kio *k, double id, int fd, uint32_t events,
		     uint32_t flags)
{
	QUEUE(k, id, flags, io_uring_prep_poll_multishot(sqe, fd, events));
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

int kio_shutdown(struct kio *k, double id, int fd, int how)
{
	QUEUE(k, id, 0, io_uring_prep_shutdown(sqe, fd, how));
}

int kio_msg_ring(struct kio *k, double id, int target_ring_fd, int result,
		 double user_data)
{
	QUEUE(k, id, 0,
	      io_uring_prep_msg_ring(sqe, target_ring_fd, (uint32_t)result,
				     UD_MESSAGE | (uint64_t)user_data, 0));
}
