/*
 * echo_multishot: echo_liburing with multishot receives. The kernel picks the
 * buffer from a ring, and gets it back when it is sent.
 *
 * One request at a time is in flight on a connection, so one send is, and each
 * connection has one buffer at most: with as many as connections it never waits
 * for one.
 *
 * Usage: echo_multishot BUFFERS SIZE
 */
#define _GNU_SOURCE
#include "buffers.h"
#include "server.h"
#include <unistd.h>

#define RING_ENTRIES 1024

/* The low bits of user_data: the fd of a receive, the buffer of a send. */
enum { TAG_ACCEPT = 0, TAG_RECV = 1, TAG_SEND = 2, TAG_BITS = 2 };

static struct io_uring ring;
static struct buffers buffers;

static uint64_t tagged(unsigned number, unsigned tag)
{
	return (uint64_t)number << TAG_BITS | tag;
}

static void arm_receive(unsigned fd)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	prep_receive_many(sqe, (int)fd);
	sqe->user_data = tagged(fd, TAG_RECV);
}

/* One that fails says nothing: the receive of that connection ends too. */
static void queue_send(unsigned fd, unsigned buffer, unsigned length)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	io_uring_prep_send(sqe, (int)fd, buffers_at(&buffers, buffer), length,
			   MSG_WAITALL | MSG_NOSIGNAL);
	sqe->user_data = tagged(buffer, TAG_SEND);
}

static void received(unsigned fd, const struct io_uring_cqe *cqe)
{
	if (cqe->res == -ENOBUFS) {
		/* They are back, and this step publishes them. */
		arm_receive(fd);
		return;
	}
	if (cqe->res <= 0) {
		close((int)fd);
		return;
	}
	queue_send(fd, cqe->flags >> IORING_CQE_BUFFER_SHIFT,
		   (unsigned)cqe->res);
	if (!(cqe->flags & IORING_CQE_F_MORE))
		arm_receive(fd);
}

static void complete(const struct io_uring_cqe *cqe, int listener)
{
	unsigned number = (unsigned)(cqe->user_data >> TAG_BITS);

	switch (cqe->user_data & ((1 << TAG_BITS) - 1)) {
	case TAG_ACCEPT:
		arm_receive((unsigned)check(cqe->res, "accept"));
		queue_accept(&ring, listener);
		break;
	case TAG_RECV:
		received(number, cqe);
		break;
	case TAG_SEND:
		buffers_return(&buffers, number);
		break;
	}
}

int main(int argc, char **argv)
{
	in_port_t port = 0;

	if (argc != 3)
		die("Usage: echo_multishot BUFFERS SIZE");
	raise_fd_limit();
	ring_init(&ring, RING_ENTRIES, RING_ENTRIES * 2);
	buffers_init(&buffers, &ring,
		     (unsigned)number_argument(argv[1], "BUFFERS"),
		     (unsigned)number_argument(argv[2], "SIZE"));
	int listener = listen_on(&port, ANY_CPU);
	tell_port(port);
	queue_accept(&ring, listener);

	for (;;) {
		buffers_publish(&buffers);
		ring_step(&ring, listener, complete);
	}
}
