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

#endif
