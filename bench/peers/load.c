/*
 * load PORT CONNECTIONS SIZE SECONDS --pid PID [udp | --heap]
 *
 * Keeps one request in flight on each connection to 127.0.0.1, and compares
 * every byte that comes back. Prints one line of JSON about the counted window,
 * with the CPU time the server PID used in it. With --heap the server gets
 * SIGUSR2 at both ends of the window: see heap_signal.mjs.
 *
 * A request must cost less here than at the server, or the benchmark measures
 * this program. A multishot receive is clearly cheaper than one receive a
 * reply, and a send without a completion than one with it. Fixed files and a
 * registered ring changed nothing beyond noise. Waking up for every single
 * reply wastes this program's core, and the server pays for each wake-up. So
 * with many connections it sleeps until an eighth of the replies is there.
 */
#define _GNU_SOURCE
#include "buffers.h"
#include "client.h"
#include "histogram.h"
#include "server_cpu.h"
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 4096
#define SIZE_MIN 8 /* the number of the request travels in the first 8 bytes */
#define SIZE_MAX_BYTES (1 << 20)
#define RING_ENTRIES 2048
#define HEAP_PAUSE_US 500000

/* The tag in the low bit of user_data; the connection's index is above it. */
enum { TAG_RECV = 0, TAG_SEND = 1 };

struct connection {
	int fd;
	uint32_t received;
	uint64_t sent_at_ns;
	uint64_t sent_at_reply;
	uint64_t request;
	char *message;
};

static struct io_uring ring;
static struct buffers buffers;
static struct connection *connections;
static unsigned connection_count;
static uint32_t size;
static uint64_t requests;
static uint64_t replies; /* those of the warm-up, too */
/* Connections without a reply so far: the server has perhaps not accepted them. */
static unsigned unanswered;
static struct histogram latency;
/* Replies to others between a request and its own: it is fair to all if as many
 * as there are connections. In place of ns. */
static struct histogram overtaken;

/* Denser towards the end: a chart has 1 - p on a logarithmic axis. */
static const double percentiles[] = {
	50, 60, 70, 80, 85, 90, 93, 95, 97, 98, 99, 99.3, 99.5, 99.7, 99.8, 99.9,
};

static void arm_receive(unsigned index)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	prep_receive_many(sqe, connections[index].fd);
	sqe->user_data = (uint64_t)index << 1 | TAG_RECV;
}

static void send_request(unsigned index, uint64_t now_ns)
{
	struct connection *connection = &connections[index];
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	connection->request++;
	memcpy(connection->message, &connection->request, SIZE_MIN);
	connection->received = 0;
	connection->sent_at_ns = now_ns;
	connection->sent_at_reply = replies;
	/* WAITALL: a silent send could not tell that it was cut short. */
	io_uring_prep_send(sqe, connection->fd, connection->message, size,
			   MSG_WAITALL | MSG_NOSIGNAL);
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = (uint64_t)index << 1 | TAG_SEND;
}

static void take_bytes(unsigned index, const char *bytes, uint32_t length,
		       uint64_t now_ns)
{
	struct connection *connection = &connections[index];

	if (length > size - connection->received)
		die("Cannot trust the server: it sent more than it got");
	if (memcmp(bytes, connection->message + connection->received, length))
		die("Cannot trust the server: it sent back other bytes");
	connection->received += length;
	if (connection->received < size)
		return;
	histogram_add(&latency, now_ns - connection->sent_at_ns);
	histogram_add(&overtaken, (replies++ - connection->sent_at_reply)
					  << HISTOGRAM_SHIFT);
	requests++;
	unanswered -= connection->request == 1;
	send_request(index, now_ns);
}

static void complete(const struct io_uring_cqe *cqe, uint64_t now_ns)
{
	unsigned index = (unsigned)(cqe->user_data >> 1);

	if ((cqe->user_data & 1) == TAG_SEND) {
		check(cqe->res, "send to the server");
		return;
	}
	if (cqe->res == 0)
		die("Cannot go on: the server closed connection %u", index);
	if (cqe->res == -ENOBUFS) {
		arm_receive(index);
		return;
	}
	check(cqe->res, "receive from the server");
	if (!(cqe->flags & IORING_CQE_F_MORE))
		arm_receive(index);

	unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	take_bytes(index, buffers_at(&buffers, id), (uint32_t)cqe->res, now_ns);
	buffers_return(&buffers, id);
}

/* Submits, waits for replies and handles them; gives the time it woke up. */
static uint64_t step(void)
{
	struct __kernel_timespec timeout = { .tv_sec = SILENCE_MAX_S };
	unsigned wanted = connection_count < 8 ? 1 : connection_count / 8;
	struct io_uring_cqe *cqe;
	unsigned head;
	unsigned count = 0;

	int result = io_uring_submit_and_wait_timeout(&ring, &cqe, wanted,
						      &timeout, NULL);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	if (result == -ETIME)
		die("Cannot go on: %u of %u connections are not answered",
		    connection_count - io_uring_cq_ready(&ring),
		    connection_count);
	if (result != -EINTR)
		check(result, "wait for replies");
	io_uring_for_each_cqe(&ring, head, cqe)
	{
		count++;
		complete(cqe, now_ns);
	}
	buffers_publish(&buffers);
	io_uring_cq_advance(&ring, count);
	return now_ns;
}

static void run_until(uint64_t end_ns)
{
	while (step() < end_ns)
		;
}

static void connect_all(int type, unsigned port)
{
	char *messages = allocate((size_t)connection_count * size);

	connections = allocate(connection_count * sizeof(*connections));
	for (unsigned i = 0; i < connection_count; i++) {
		connections[i].fd = connect_by(type, INADDR_LOOPBACK, port);
		connections[i].message = messages + (size_t)i * size;
		for (uint32_t k = 0; k < size; k++)
			connections[i].message[k] = (char)(i * 31 + k * 7);
	}
}

/* The server counts its heap: it has a moment for that before it is killed. */
static void signal_heap(pid_t server, useconds_t pause_us)
{
	check_libc(kill(server, SIGUSR2), "signal the server");
	usleep(pause_us);
}

static void measure(pid_t server, double seconds, bool has_heap)
{
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);

	unanswered = connection_count;
	for (unsigned i = 0; i < connection_count; i++) {
		arm_receive(i);
		send_request(i, start_ns);
	}
	run_until(start_ns + WARM_UP_NS);
	while (unanswered > 0)
		step();

	if (has_heap)
		signal_heap(server, 0);
	histogram_clear(&latency);
	histogram_clear(&overtaken);
	requests = 0;
	struct server_cpu cpu_from = server_cpu_read(server);
	uint64_t own_from_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t from_ns = clock_ns(CLOCK_MONOTONIC);
	run_until(from_ns + (uint64_t)(seconds * (double)NS_PER_S));
	double elapsed_ns = (double)(clock_ns(CLOCK_MONOTONIC) - from_ns);
	double own_ns =
		(double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own_from_ns);
	struct server_cpu cpu_to = server_cpu_read(server);
	if (has_heap)
		signal_heap(server, HEAP_PAUSE_US);

	if (requests == 0)
		die("Cannot measure: no reply within %g s", seconds);
	double user_us = server_cpu_user_us(&cpu_from, &cpu_to);
	printf("{\"requests\":%llu,\"seconds\":%.6f,\"reqPerS\":%.1f,"
	       "\"cpuUtil\":%.4f,"
	       "\"serverCpuUserUs\":%.1f,\"serverCpuSystemUs\":%.1f,"
	       "\"overtakenP99\":%u",
	       (unsigned long long)requests, elapsed_ns / (double)NS_PER_S,
	       (double)requests * (double)NS_PER_S / elapsed_ns,
	       own_ns / elapsed_ns, user_us,
	       server_cpu_total_us(&cpu_from, &cpu_to) - user_us,
	       histogram_bucket(&overtaken, 0.99));
	for (unsigned i = 0; i < sizeof(percentiles) / sizeof(*percentiles);
	     i++)
		printf(",\"p%gUs\":%.3f", percentiles[i],
		       histogram_us(&latency, percentiles[i] / 100));
	printf("}\n");
}

int main(int argc, char **argv)
{
	int type = argc == 8 && strcmp(argv[7], "udp") == 0 ? SOCK_DGRAM :
							      SOCK_STREAM;
	bool has_heap = argc == 8 && strcmp(argv[7], "--heap") == 0;

	if (argc != 7 + (type == SOCK_DGRAM || has_heap) ||
	    strcmp(argv[5], "--pid") != 0)
		die("Usage: load PORT CONNECTIONS SIZE SECONDS --pid PID "
		    "[udp | --heap]");
	connection_count = (unsigned)number_argument(argv[2], "CONNECTIONS");
	size = (uint32_t)number_argument(argv[3], "SIZE");
	if (connection_count < 1 || connection_count > CONNECTIONS_MAX)
		die("Cannot load: CONNECTIONS must be 1 to %d",
		    CONNECTIONS_MAX);
	if (size < SIZE_MIN || size > SIZE_MAX_BYTES)
		die("Cannot load: SIZE must be %d to %d", SIZE_MIN,
		    SIZE_MAX_BYTES);

	unsigned buffer_count = 64;
	while (buffer_count < connection_count * 2)
		buffer_count *= 2;
	ring_init(&ring, RING_ENTRIES, CONNECTIONS_MAX * 2);
	buffers_init(&buffers, &ring, buffer_count, size);
	connect_all(type, (unsigned)number_argument(argv[1], "PORT"));
	measure((pid_t)number_argument(argv[6], "PID"),
		number_argument(argv[4], "SECONDS"), has_heap);
	return 0;
}
