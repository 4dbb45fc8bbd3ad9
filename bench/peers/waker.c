/*
 * waker PORT WAKES PAUSE_US --pid PID
 *
 * Wakes an idle echo server on 127.0.0.1: sends 8 bytes after each pause, which
 * is PAUSE_US on average and between half and three halves of it (0: no pause),
 * and takes the time until they are back. One clock measures both ends. This side
 * spins for the reply, so that the time has no wake-up of this program in it.
 * Prints one line of JSON.
 */
#define _GNU_SOURCE
#include "client.h"
#include "histogram.h"
#include "server_cpu.h"
#include <sys/socket.h>

/* A runtime compiles what is hot: each server gets this many at a short pause
 * before, and some at its own. */
#define WARM_UP_WAKES 2000
#define WARM_UP_PAUSE_NS 200000
#define SETTLING_WAKES 5

static struct histogram latency;

static void spin_for_reply(int fd, uint64_t stamp_ns)
{
	uint64_t reply = 0;
	size_t received = 0;

	while (received < sizeof(reply)) {
		ssize_t result = recv(fd, (char *)&reply + received,
				      sizeof(reply) - received, MSG_DONTWAIT);

		if (result == 0)
			die("Cannot go on: the server closed the connection");
		if (result > 0) {
			received += (size_t)result;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			check_libc(-1, "receive from the server");
		if (clock_ns(CLOCK_MONOTONIC) - stamp_ns >
		    SILENCE_MAX_S * NS_PER_S)
			die("Cannot go on: the server does not answer");
	}
	if (reply != stamp_ns)
		die("Cannot trust the server: it sent back other bytes");
}

/* One wake-up after a pause; gives the round trip. */
static uint64_t wake(int fd, uint32_t *random_state, uint64_t pause_ns)
{
	uint64_t ns = pause_ns / 2 +
		      random_next(random_state) % (pause_ns ? pause_ns : 1);
	struct timespec pause = {
		.tv_sec = (time_t)(ns / NS_PER_S),
		.tv_nsec = (long)(ns % NS_PER_S),
	};

	if (pause_ns)
		nanosleep(&pause, NULL);
	uint64_t stamp_ns = clock_ns(CLOCK_MONOTONIC);
	ssize_t sent = send(fd, &stamp_ns, sizeof(stamp_ns), MSG_NOSIGNAL);
	if (sent != sizeof(stamp_ns))
		die("Cannot send to the server: %s", strerror(errno));
	spin_for_reply(fd, stamp_ns);
	return clock_ns(CLOCK_MONOTONIC) - stamp_ns;
}

int main(int argc, char **argv)
{
	uint32_t random_state = 1;

	if (argc != 6 || strcmp(argv[4], "--pid") != 0)
		die("Usage: waker PORT WAKES PAUSE_US --pid PID");
	unsigned wakes = (unsigned)number_argument(argv[2], "WAKES");
	uint64_t pause_ns = number_argument(argv[3], "PAUSE_US") * 1000;
	pid_t server = (pid_t)number_argument(argv[5], "PID");
	if (wakes < 1)
		die("Cannot measure: WAKES must be at least 1");
	int fd = connect_to((unsigned)number_argument(argv[1], "PORT"));

	for (unsigned i = 0; i < WARM_UP_WAKES; i++)
		wake(fd, &random_state, WARM_UP_PAUSE_NS);
	for (unsigned i = 0; i < SETTLING_WAKES; i++)
		wake(fd, &random_state, pause_ns);
	struct server_cpu cpu_from = server_cpu_read(server);
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
	for (unsigned i = 0; i < wakes; i++)
		histogram_add(&latency, wake(fd, &random_state, pause_ns));
	uint64_t end_ns = clock_ns(CLOCK_MONOTONIC);
	struct server_cpu cpu_to = server_cpu_read(server);

	printf("{\"wakes\":%u,\"perS\":%.1f,\"p50Us\":%.3f,\"p99Us\":%.3f,"
	       "\"cpuUsPerWake\":%.3f}\n",
	       wakes, (double)wakes * NS_PER_S / (double)(end_ns - start_ns),
	       histogram_us(&latency, 0.5),
	       histogram_us(&latency, 0.99),
	       server_cpu_total_us(&cpu_from, &cpu_to) / wakes);
	return 0;
}
