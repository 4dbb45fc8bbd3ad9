/* Connects the clients of the benchmark to a server. */
#ifndef KIO_BENCH_CLIENT_H
#define KIO_BENCH_CLIENT_H

#include "common.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* A server that is silent for longer has failed. */
#define SILENCE_MAX_S 3

/* Connects from an address, which lets the kernel choose the port. */
static inline int connect_by(int type, uint32_t source, unsigned port)
{
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(source),
	};
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	/* The send timeout bounds connect() as well. */
	struct timeval timeout = { .tv_sec = SILENCE_MAX_S };
	int one = 1;
	int fd = check_libc(socket(AF_INET, type | SOCK_CLOEXEC, 0),
			    "make a socket");

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (type == SOCK_STREAM)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
			   sizeof(one));
	/* Else bind() takes a port that no other connection may have. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	check_libc(bind(fd, (struct sockaddr *)&from, sizeof(from)), "bind");
	check_libc(connect(fd, (struct sockaddr *)&address, sizeof(address)),
		   "connect to the server");
	return fd;
}

static inline int connect_to(unsigned port)
{
	return connect_by(SOCK_STREAM, INADDR_LOOPBACK, port);
}

#endif
