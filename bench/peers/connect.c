/*
 * connect PORT CONNECTIONS SECONDS --pid PID
 *
 * Keeps so many connects to 127.0.0.1 under way: each connects, waits until the
 * server closes the connection, resets it (so that no port is left in
 * TIME_WAIT) and begins again. Prints one line of JSON about the counted
 * window, with the CPU time that the server PID used in it. The latency is that
 * from the connect to the server's close.
 */
#define _GNU_SOURCE
#include "client.h"
#include "histogram.h"
#include "server_cpu.h"
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define RING_ENTRIES 2048

static struct io_uring ring;
static struct client {
	int fd;
	uint64_t started_ns;
	char byte;
} clients[CONNECTIONS_MAX];
static struct sockaddr_in server_address = { .sin_family = AF_INET };
static uint64_t accepted;
static struct histogram latency;

/* A connect, and behind it a receive that ends with the server's close. */
static void begin(struct client *client)
{
	struct linger reset = { .l_onoff = 1 };
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	client->started_ns = clock_ns(CLOCK_MONOTONIC);
	client->fd = check_libc(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
				"make a socket");
	setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	io_uring_prep_connect(sqe, client->fd,
			      (struct sockaddr *)&server_address,
			      sizeof(server_address));
	sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = (uintptr_t)client;
	sqe = ring_sqe(&ring);
	io_uring_prep_recv(sqe, client->fd, &client->byte, 1, 0);
	sqe->user_data = (uintptr_t)client;
}

static uint64_t step(void)
{
	struct __kernel_timespec timeout = { .tv_sec = SILENCE_MAX_S };
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;
	int result = io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &timeout,
						      NULL);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	if (result == -ETIME)
		die("Cannot go on: the server accepts no connection");
	if (result != -EINTR)
		check(result, "wait for the server");
	io_uring_for_each_cqe(&ring, head, cqe)
	{
		struct client *client = (void *)(uintptr_t)cqe->user_data;

		count++;
		if (check(cqe->res, "connect to the server") > 0)
			die("Cannot trust the server: it sends bytes");
		close(client->fd);
		histogram_add(&latency, now_ns - client->started_ns);
		accepted++;
		begin(client);
	}
	io_uring_cq_advance(&ring, count);
	return now_ns;
}

static void run_until(uint64_t end_ns)
{
	while (step() < end_ns)
		;
}

static void measure(pid_t server, double seconds)
{
	run_until(clock_ns(CLOCK_MONOTONIC) + WARM_UP_NS);
	histogram_clear(&latency);
	accepted = 0;
	struct server_cpu cpu_from = server_cpu_read(server);
	uint64_t own_from_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t from_ns = clock_ns(CLOCK_MONOTONIC);
	run_until(from_ns + (uint64_t)(seconds * (double)NS_PER_S));
	double elapsed_ns = (double)(clock_ns(CLOCK_MONOTONIC) - from_ns);
	double own_ns =
		(double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own_from_ns);
	struct server_cpu cpu_to = server_cpu_read(server);
	double user_us = server_cpu_user_us(&cpu_from, &cpu_to);

	if (accepted == 0)
		die("Cannot measure: no connection within %g s", seconds);
	printf("{\"requests\":%llu,\"reqPerS\":%.1f,\"cpuUtil\":%.4f,"
	       "\"serverCpuUserUs\":%.1f,\"serverCpuSystemUs\":%.1f,"
	       "\"p50Us\":%.3f,\"p99Us\":%.3f}\n",
	       (unsigned long long)accepted,
	       (double)accepted * (double)NS_PER_S / elapsed_ns,
	       own_ns / elapsed_ns, user_us,
	       server_cpu_total_us(&cpu_from, &cpu_to) - user_us,
	       histogram_us(&latency, 0.5), histogram_us(&latency, 0.99));
}

int main(int argc, char **argv)
{
	if (argc != 6 || strcmp(argv[4], "--pid") != 0)
		die("Usage: connect PORT CONNECTIONS SECONDS --pid PID");
	unsigned count = (unsigned)number_argument(argv[2], "CONNECTIONS");

	if (count < 1 || count > CONNECTIONS_MAX)
		die("Cannot connect: CONNECTIONS must be 1 to %d",
		    CONNECTIONS_MAX);
	server_address.sin_port =
		htons((uint16_t)number_argument(argv[1], "PORT"));
	server_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ring_init(&ring, RING_ENTRIES, RING_ENTRIES * 2);
	for (unsigned i = 0; i < count; i++)
		begin(&clients[i]);
	measure((pid_t)number_argument(argv[5], "PID"),
		number_argument(argv[3], "SECONDS"));
	return 0;
}
