/* A ring of buffers that the kernel picks from. */
#ifndef KIO_BENCH_BUFFERS_H
#define KIO_BENCH_BUFFERS_H

#include "common.h"

#define BUFFERS_GROUP 0

struct buffers {
	struct io_uring_buf_ring *ring;
	char *memory;
	unsigned count; /* a power of two */
	unsigned size;
	int returned; /* how many the kernel does not know of yet */
};

static inline char *buffers_at(const struct buffers *buffers, unsigned id)
{
	return buffers->memory + (size_t)id * buffers->size;
}

static inline void buffers_return(struct buffers *buffers, unsigned id)
{
	io_uring_buf_ring_add(buffers->ring, buffers_at(buffers, id),
			      buffers->size, (unsigned short)id,
			      io_uring_buf_ring_mask(buffers->count),
			      buffers->returned++);
}

static inline void buffers_publish(struct buffers *buffers)
{
	io_uring_buf_ring_advance(buffers->ring, buffers->returned);
	buffers->returned = 0;
}

/* liburing 2.3 registers a buffer ring but does not set one up. */
static inline void buffers_init(struct buffers *buffers, struct io_uring *ring,
				unsigned count, unsigned size)
{
	*buffers = (struct buffers){
		.ring = allocate(count * sizeof(struct io_uring_buf)),
		.memory = allocate((size_t)count * size),
		.count = count,
		.size = size,
	};
	struct io_uring_buf_reg registration = {
		.ring_addr = (uintptr_t)buffers->ring,
		.ring_entries = count,
		.bgid = BUFFERS_GROUP,
	};
	check(io_uring_register_buf_ring(ring, &registration, 0),
	      "register the buffer ring");
	io_uring_buf_ring_init(buffers->ring);
	for (unsigned id = 0; id < count; id++)
		buffers_return(buffers, id);
	buffers_publish(buffers);
}

static inline void prep_receive_many(struct io_uring_sqe *sqe, int fd)
{
	io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUFFERS_GROUP;
}

#endif
