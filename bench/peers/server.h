/* What the servers in C have in common. */
#ifndef KIO_BENCH_SERVER_H
#define KIO_BENCH_SERVER_H

#include "common.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#define BACKLOG 4096
#define ANY_CPU (-1)

/* Port 0 is any; the number that it comes to is written back. */
static inline int listen_on(in_port_t *port, int cpu)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = *port,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	int one = 1;
	int fd = check_libc(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
			    "make a socket");

	/* Accepted sockets inherit it. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (cpu != ANY_CPU) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
		check_libc(setsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu,
				      sizeof(cpu)),
			   "set SO_INCOMING_CPU");
	}
	check_libc(bind(fd, (struct sockaddr *)&address, length), "bind");
	check_libc(listen(fd, BACKLOG), "listen");
	check_libc(getsockname(fd, (struct sockaddr *)&address, &length),
		   "read the port");
	*port = address.sin_port;
	return fd;
}

/* Tells the runner that the server is there. */
static inline void tell_port(in_port_t port)
{
	printf("listening %u\n", ntohs(port));
	fflush(stdout);
}

/* Its completion has 0 as user_data. */
static inline void queue_accept(struct io_uring *ring, int listener)
{
	struct io_uring_sqe *sqe = ring_sqe(ring);

	io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	sqe->user_data = 0;
}

/* Submits, waits for completions, and handles them. */
static inline void ring_step(struct io_uring *ring, int listener,
			     void (*complete)(const struct io_uring_cqe *cqe,
					      int listener))
{
	struct io_uring_cqe *cqe;
	unsigned head;
	unsigned count = 0;
	int result = io_uring_submit_and_wait(ring, 1);

	if (result != -EINTR)
		check(result, "wait for completions");
	io_uring_for_each_cqe(ring, head, cqe)
	{
		count++;
		complete(cqe, listener);
	}
	io_uring_cq_advance(ring, count);
}

#endif
