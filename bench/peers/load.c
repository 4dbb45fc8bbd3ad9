/*
 * load PORT CONNECTIONS SIZE SECONDS --pid PID [udp]
 *
 * Keeps one request in flight on each connection to 127.0.0.1, and compares
 * every byte that comes back. Prints one line of JSON about the counted window,
 * with the CPU time the server PID used in it.
 *
 * A request must cost less here than at the server, or the benchmark measures
 * this program. A multishot receive is clearly cheaper than one receive a
 * reply, and a send without a completion than one with it. Fixed files and a
 * registered ring changed nothing beyond noise. Waking up for every single
 * reply wastes this program's core, and the server pays for each wake-up. So
 * with many connections it sleeps until an eighth of the replies is there.
 */
#define _GNU_SOURCE
#include "client.h"
#include "histogram.h"
#include "server_cpu.h"
#include <sys/mman.h>
#include <sys/socket.h>

#define CONNECTIONS_MAX 4096
#define SIZE_MIN 8 /* the number of the request travels in the first 8 bytes */
#define SIZE_MAX_BYTES (1 << 20)
#define RING_ENTRIES 2048
#define BUFFER_GROUP 0

/* The tag in the low bit of user_data; the connection's index is above it. */
enum { TAG_RECV = 0, TAG_SEND = 1 };

struct connection {
	int fd;
	uint32_t received;
	uint64_t sent_at_ns;
	uint64_t request;
	char *message;
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffer_ring;
static unsigned buffer_count;
static char *buffers;
static struct connection *connections;
static unsigned connection_count;
static uint32_t size;
static uint64_t requests;
static struct histogram latency;

/* Denser towards the end: a chart has 1 - p on a logarithmic axis. */
static const double percentiles[] = {
	50, 60, 70, 80, 85, 90, 93, 95, 97, 98, 99, 99.3, 99.5, 99.7, 99.8, 99.9,
};

static void *allocate(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);

	if (memory == MAP_FAILED)
		die("Cannot allocate %zu bytes: %s", bytes, strerror(errno));
	return memory;
}

/* liburing 2.3 registers a buffer ring but does not set one up. */
static void provide_buffers(void)
{
	buffer_count = 64;
	while (buffer_count < connection_count * 2)
		buffer_count *= 2;
	buffers = allocate((size_t)buffer_count * size);
	buffer_ring = allocate(buffer_count * sizeof(struct io_uring_buf));

	struct io_uring_buf_reg registration = {
		.ring_addr = (uintptr_t)buffer_ring,
		.ring_entries = buffer_count,
		.bgid = BUFFER_GROUP,
	};
	check(io_uring_register_buf_ring(&ring, &registration, 0),
	      "register the buffer ring");
	io_uring_buf_ring_init(buffer_ring);
	for (unsigned i = 0; i < buffer_count; i++)
		io_uring_buf_ring_add(buffer_ring, buffers + (size_t)i * size,
				      size, (unsigned short)i,
				      io_uring_buf_ring_mask(buffer_count),
				      (int)i);
	io_uring_buf_ring_advance(buffer_ring, (int)buffer_count);
}

static void arm_receive(unsigned index)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	io_uring_prep_recv_multishot(sqe, connections[index].fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUFFER_GROUP;
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
	requests++;
	send_request(index, now_ns);
}

/* Gives 1 when a buffer went back to its ring (not yet published), else 0. */
static int complete(const struct io_uring_cqe *cqe, int returned,
		    uint64_t now_ns)
{
	unsigned index = (unsigned)(cqe->user_data >> 1);

	if ((cqe->user_data & 1) == TAG_SEND) {
		check(cqe->res, "send to the server");
		return 0;
	}
	if (cqe->res == 0)
		die("Cannot go on: the server closed connection %u", index);
	if (cqe->res == -ENOBUFS) {
		arm_receive(index);
		return 0;
	}
	check(cqe->res, "receive from the server");
	if (!(cqe->flags & IORING_CQE_F_MORE))
		arm_receive(index);

	unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	char *buffer = buffers + (size_t)id * size;
	take_bytes(index, buffer, (uint32_t)cqe->res, now_ns);
	io_uring_buf_ring_add(buffer_ring, buffer, size, (unsigned short)id,
			      io_uring_buf_ring_mask(buffer_count), returned);
	return 1;
}

/* Submits, waits for replies and handles them; gives the time it woke up. */
static uint64_t step(void)
{
	struct __kernel_timespec timeout = { .tv_sec = SILENCE_MAX_S };
	unsigned wanted = connection_count < 8 ? 1 : connection_count / 8;
	struct io_uring_cqe *cqe;
	unsigned head;
	unsigned count = 0;
	int returned = 0;

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
		returned += complete(cqe, returned, now_ns);
	}
	io_uring_buf_ring_advance(buffer_ring, returned);
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
		connections[i].fd = connect_by(type, port);
		connections[i].message = messages + (size_t)i * size;
		for (uint32_t k = 0; k < size; k++)
			connections[i].message[k] = (char)(i * 31 + k * 7);
	}
}

static void measure(pid_t server, double seconds)
{
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);

	for (unsigned i = 0; i < connection_count; i++) {
		arm_receive(i);
		send_request(i, start_ns);
	}
	run_until(start_ns + WARM_UP_NS);

	histogram_clear(&latency);
	requests = 0;
	struct server_cpu cpu_from = server_cpu_read(server);
	uint64_t own_from_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	uint64_t from_ns = clock_ns(CLOCK_MONOTONIC);
	run_until(from_ns + (uint64_t)(seconds * (double)NS_PER_S));
	double elapsed_ns = (double)(clock_ns(CLOCK_MONOTONIC) - from_ns);
	double own_ns =
		(double)(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - own_from_ns);
	struct server_cpu cpu_to = server_cpu_read(server);

	if (requests == 0)
		die("Cannot measure: no reply within %g s", seconds);
	double user_us = server_cpu_user_us(&cpu_from, &cpu_to);
	printf("{\"requests\":%llu,\"seconds\":%.6f,\"reqPerS\":%.1f,"
	       "\"cpuUtil\":%.4f,"
	       "\"serverCpuUserUs\":%.1f,\"serverCpuSystemUs\":%.1f",
	       (unsigned long long)requests, elapsed_ns / (double)NS_PER_S,
	       (double)requests * (double)NS_PER_S / elapsed_ns,
	       own_ns / elapsed_ns, user_us,
	       server_cpu_total_us(&cpu_from, &cpu_to) - user_us);
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

	if (argc != (type == SOCK_DGRAM ? 8 : 7) ||
	    strcmp(argv[5], "--pid") != 0)
		die("Usage: load PORT CONNECTIONS SIZE SECONDS --pid PID [udp]");
	connection_count = (unsigned)number_argument(argv[2], "CONNECTIONS");
	size = (uint32_t)number_argument(argv[3], "SIZE");
	if (connection_count < 1 || connection_count > CONNECTIONS_MAX)
		die("Cannot load: CONNECTIONS must be 1 to %d",
		    CONNECTIONS_MAX);
	if (size < SIZE_MIN || size > SIZE_MAX_BYTES)
		die("Cannot load: SIZE must be %d to %d", SIZE_MIN,
		    SIZE_MAX_BYTES);

	ring_init(&ring, RING_ENTRIES, CONNECTIONS_MAX * 2);
	provide_buffers();
	connect_all(type, (unsigned)number_argument(argv[1], "PORT"));
	measure((pid_t)number_argument(argv[6], "PID"),
		number_argument(argv[4], "SECONDS"));
	return 0;
}
