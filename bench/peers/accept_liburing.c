/*
 * accept_liburing [multishot]: the yardstick of accepting. It closes each
 * connection by the ring as soon as it has it. Prints "listening PORT" and
 * serves until it is killed.
 */
#define _GNU_SOURCE
#include "common.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define RING_ENTRIES 1024
#define BACKLOG 4096

enum { TAG_ACCEPT = 0, TAG_CLOSE = 1 };

static struct io_uring ring;
static bool multishot;

static int listen_on(in_port_t *port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	int one = 1;
	int fd = check_libc(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
			    "make a socket");

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	check_libc(bind(fd, (struct sockaddr *)&address, length), "bind");
	check_libc(listen(fd, BACKLOG), "listen");
	check_libc(getsockname(fd, (struct sockaddr *)&address, &length),
		   "read the port");
	*port = address.sin_port;
	return fd;
}

static void queue_accept(int listener)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	if (multishot)
		io_uring_prep_multishot_accept(sqe, listener, NULL, NULL,
					       SOCK_CLOEXEC);
	else
		io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	sqe->user_data = TAG_ACCEPT;
}

static void complete(const struct io_uring_cqe *cqe, int listener)
{
	struct io_uring_sqe *sqe;

	if (cqe->user_data == TAG_CLOSE) {
		check(cqe->res, "close");
		return;
	}
	check(cqe->res, "accept");
	sqe = ring_sqe(&ring);
	io_uring_prep_close(sqe, cqe->res);
	sqe->user_data = TAG_CLOSE;
	if (!(cqe->flags & IORING_CQE_F_MORE))
		queue_accept(listener);
}

int main(int argc, char **argv)
{
	in_port_t port;
	int listener = listen_on(&port);

	multishot = argc > 1 && strcmp(argv[1], "multishot") == 0;
	ring_init(&ring, RING_ENTRIES, RING_ENTRIES * 2);
	queue_accept(listener);
	printf("listening %u\n", ntohs(port));
	fflush(stdout);
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, count = 0;
		int result = io_uring_submit_and_wait(&ring, 1);

		if (result != -EINTR)
			check(result, "wait for completions");
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			count++;
			complete(cqe, listener);
		}
		io_uring_cq_advance(&ring, count);
	}
}
