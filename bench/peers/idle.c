/*
 * idle PORT CONNECTIONS --pid PID [--heap]
 *
 * Opens connections to an echo server on 127.0.0.1, has 64 bytes echoed on each,
 * and leaves them idle. Prints one line of JSON: the memory (RSS) that the
 * server PID has got for each. Some connections before are not counted: they
 * find the code of the server and its pools.
 *
 * With --heap the server gets SIGUSR2 before and after, and collects its
 * garbage: see heap_signal.mjs.
 */
#define _GNU_SOURCE
#include "client.h"
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define BYTES 64
#define UNCOUNTED 500
/* One address has too few ports on some machines. */
#define PER_ADDRESS 4096
/* A collection takes some milliseconds; what it freed is unmapped after it. */
#define REST_US 1000000

static void open_connection(unsigned port, unsigned index)
{
	/* 127.0.0.2 and on. */
	uint32_t source = INADDR_LOOPBACK + 1 + index / PER_ADDRESS;
	int fd = connect_by(SOCK_STREAM, source, port);
	/* Ends by a reset: it leaves nothing behind (TIME_WAIT). */
	struct linger linger = { .l_onoff = 1 };
	struct timeval timeout = { .tv_sec = SILENCE_MAX_S };
	char request[BYTES], reply[BYTES] = { 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	for (unsigned i = 0; i < BYTES; i++)
		request[i] = (char)(index + i);
	check_libc((int)send(fd, request, BYTES, MSG_NOSIGNAL),
		   "send to the server");
	check_libc((int)recv(fd, reply, BYTES, MSG_WAITALL),
		   "receive from the server");
	if (memcmp(request, reply, BYTES) != 0)
		die("Cannot trust the server: it sent back other bytes");
}

static double resident_bytes(pid_t server, bool has_heap)
{
	char path[64], line[256];
	unsigned long kib = 0;

	if (has_heap)
		check_libc(kill(server, SIGUSR2), "signal the server");
	usleep(REST_US);
	/* The figure of /proc/PID/status may be behind by some pages. */
	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)server);
	FILE *file = fopen(path, "r");
	if (file == NULL)
		die("Cannot open %s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Rss: %lu kB", &kib) == 1)
			break;
	fclose(file);
	if (kib == 0)
		die("Cannot read %s: unknown format", path);
	return (double)kib * 1024;
}

int main(int argc, char **argv)
{
	bool has_heap = argc == 6 && strcmp(argv[5], "--heap") == 0;

	if (argc != 5 + has_heap || strcmp(argv[3], "--pid") != 0)
		die("Usage: idle PORT CONNECTIONS --pid PID [--heap]");
	unsigned port = (unsigned)number_argument(argv[1], "PORT");
	unsigned count = (unsigned)number_argument(argv[2], "CONNECTIONS");
	pid_t server = (pid_t)number_argument(argv[4], "PID");

	raise_fd_limit();
	for (unsigned i = 0; i < UNCOUNTED; i++)
		open_connection(port, i);
	double before = resident_bytes(server, has_heap);
	for (unsigned i = 0; i < count; i++)
		open_connection(port, UNCOUNTED + i);
	double after = resident_bytes(server, has_heap);
	printf("{\"connections\":%u,\"rssBytes\":%.1f}\n", count,
	       (after - before) / count);
	return 0;
}
