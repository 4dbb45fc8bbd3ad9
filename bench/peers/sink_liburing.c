/*
 * sink_liburing single|multishot
 *
 * Receives and drops. When a client has ended it tells it how many bytes came.
 * "single" receives into 64 KiB of the connection's own, "multishot" into 64
 * such buffers that the kernel picks from.
 */
#define _GNU_SOURCE
#include "buffers.h"
#include "server.h"
#include <unistd.h>

#define RING_ENTRIES 256
#define BUFFER_BYTES (64 << 10)
#define BUFFERS 64

struct connection {
	int fd;
	uint64_t received;
	char *buffer;
};

static struct io_uring ring;
static struct buffers buffers;
static bool is_multishot;

static void queue_receive(struct connection *connection)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	if (is_multishot)
		prep_receive_many(sqe, connection->fd);
	else
		io_uring_prep_recv(sqe, connection->fd, connection->buffer,
				   BUFFER_BYTES, 0);
	io_uring_sqe_set_data(sqe, connection);
}

static void accepted(int fd)
{
	struct connection *connection = allocate(sizeof(*connection));

	connection->fd = fd;
	if (!is_multishot)
		connection->buffer = allocate(BUFFER_BYTES);
	queue_receive(connection);
}

static void received(struct connection *connection,
		     const struct io_uring_cqe *cqe)
{
	if (cqe->res > 0) {
		connection->received += (uint64_t)cqe->res;
		if (is_multishot)
			buffers_return(&buffers,
				       cqe->flags >> IORING_CQE_BUFFER_SHIFT);
	} else if (cqe->res == 0) {
		check_libc((int)send(connection->fd, &connection->received,
				     sizeof(connection->received),
				     MSG_NOSIGNAL),
			   "tell the client");
		close(connection->fd);
		return;
	} else if (cqe->res != -ENOBUFS)
		check(cqe->res, "receive");
	if (!(cqe->flags & IORING_CQE_F_MORE))
		queue_receive(connection);
}

static void complete(const struct io_uring_cqe *cqe, int listener)
{
	struct connection *connection = io_uring_cqe_get_data(cqe);

	if (connection != NULL) {
		received(connection, cqe);
		return;
	}
	accepted(check(cqe->res, "accept"));
	queue_accept(&ring, listener);
}

int main(int argc, char **argv)
{
	in_port_t port = 0;

	is_multishot = argc == 2 && strcmp(argv[1], "multishot") == 0;
	if (argc != 2 || (!is_multishot && strcmp(argv[1], "single") != 0))
		die("Usage: sink_liburing single|multishot");
	ring_init(&ring, RING_ENTRIES, RING_ENTRIES * 2);
	if (is_multishot)
		buffers_init(&buffers, &ring, BUFFERS, BUFFER_BYTES);
	int listener = listen_on(&port, ANY_CPU);
	tell_port(port);
	queue_accept(&ring, listener);

	for (;;) {
		if (is_multishot)
			buffers_publish(&buffers);
		ring_step(&ring, listener, complete);
	}
}
