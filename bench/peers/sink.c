/*
 * sink PORT SECONDS BYTES --pid PID
 *
 * Receives from a server on 127.0.0.1 that sends BYTES on each connection, one
 * connection after the other. Drops the bytes without a copy. Prints one line
 * of JSON, with the CPU time the server PID used.
 */
#define _GNU_SOURCE
#include "client.h"
#include "server_cpu.h"
#include <sys/socket.h>

#define PIECE (1 << 20)

static char buffer[PIECE];

/* All that one connection brings. */
static uint64_t receive_all(unsigned port)
{
	uint64_t total = 0;
	int fd = connect_to(port);

	for (;;) {
		ssize_t count = recv(fd, buffer, PIECE, MSG_TRUNC);

		check_libc((int)count, "receive from the server");
		if (count == 0)
			break;
		total += (uint64_t)count;
	}
	close(fd);
	return total;
}

int main(int argc, char **argv)
{
	if (argc != 6 || strcmp(argv[4], "--pid") != 0)
		die("Usage: sink PORT SECONDS BYTES --pid PID");
	unsigned port = (unsigned)number_argument(argv[1], "PORT");
	double seconds = number_argument(argv[2], "SECONDS");
	uint64_t bytes = (uint64_t)number_argument(argv[3], "BYTES");
	pid_t server = (pid_t)number_argument(argv[5], "PID");
	uint64_t total = 0;

	if (receive_all(port) != bytes)
		die("Cannot trust the server: another number of bytes came");
	struct server_cpu cpu_from = server_cpu_read(server);
	uint64_t from_ns = clock_ns(CLOCK_MONOTONIC), to_ns;

	do {
		if (receive_all(port) != bytes)
			die("Cannot trust the server: it sent not all");
		total += bytes;
		to_ns = clock_ns(CLOCK_MONOTONIC);
	} while ((double)(to_ns - from_ns) < seconds * NS_PER_S);
	struct server_cpu cpu_to = server_cpu_read(server);

	printf("{\"gbPerS\":%.4f,\"gb\":%.4f,\"cpuMsPerGb\":%.3f}\n",
	       (double)total / (double)(to_ns - from_ns),
	       (double)(total + bytes) / 1e9,
	       server_cpu_total_us(&cpu_from, &cpu_to) / 1e3 /
		       ((double)total / 1e9));
	return 0;
}
