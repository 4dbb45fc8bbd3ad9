/*
 * sendfile PATH
 *
 * Sends the whole file to each client on 127.0.0.1 that connects, one after
 * the other, by sendfile(2).
 */
#define _GNU_SOURCE
#include "common.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);
	struct stat stat;
	int on = 1;

	if (argc != 2)
		die("Usage: sendfile PATH");
	int file = open(argv[1], O_RDONLY);
	check_libc(file, "open the file");
	check_libc(fstat(file, &stat), "stat the file");
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	check_libc(listener, "open a socket");
	check_libc(setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on,
			      sizeof(on)),
		   "set TCP_NODELAY");
	check_libc(bind(listener, (struct sockaddr *)&address, length), "bind");
	check_libc(listen(listener, 16), "listen");
	check_libc(getsockname(listener, (struct sockaddr *)&address, &length),
		   "get the port");
	printf("listening %d\n", ntohs(address.sin_port));
	fflush(stdout);
	for (;;) {
		off_t offset = 0;
		int client = accept(listener, NULL, NULL);

		check_libc(client, "accept");
		while (offset < stat.st_size &&
		       sendfile(client, file, &offset,
				(size_t)(stat.st_size - offset)) > 0)
			;
		close(client);
	}
}
