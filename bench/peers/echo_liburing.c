/*
 * echo_liburing: the yardstick. Plain liburing as one would write it by hand:
 * one-shot accept, receive into the connection's own buffer, send, repeat,
 * with one io_uring_enter for each batch of completions.
 *
 * Prints "listening PORT" and serves until it is killed. With a number of
 * threads each has a ring of its own, and accepts on the one listener; with
 * "incoming-cpu" each stays on a CPU and has a listener for what arrives there.
 *
 * Usage: echo_liburing [THREADS [incoming-cpu]]
 *
 * Tried and left out, since they moved the CPU time a request by no more than
 * the noise: POLL_FIRST on the receive, a silent send linked to the next
 * receive, a registered ring.
 */
#define _GNU_SOURCE
#include "server.h"
#include <pthread.h>
#include <unistd.h>

#define RING_ENTRIES 1024
#define BUFFER_BYTES 16384

/* The low bits of user_data, which an aligned pointer leaves free. */
enum { TAG_ACCEPT = 0, TAG_RECV = 1, TAG_SEND = 2, TAG_MASK = 3 };

struct connection {
	int fd;
	uint32_t sent;
	uint32_t length;
	char buffer[BUFFER_BYTES];
};

struct worker {
	int cpu; /* the one it stays on, or ANY_CPU */
	int listener;
};

static __thread struct io_uring ring;

static void queue_receive(struct connection *connection)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	io_uring_prep_recv(sqe, connection->fd, connection->buffer,
			   BUFFER_BYTES, 0);
	sqe->user_data = (uintptr_t)connection | TAG_RECV;
}

static void queue_send(struct connection *connection)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	io_uring_prep_send(sqe, connection->fd,
			   connection->buffer + connection->sent,
			   connection->length - connection->sent,
			   MSG_NOSIGNAL);
	sqe->user_data = (uintptr_t)connection | TAG_SEND;
}

static void hang_up(struct connection *connection)
{
	close(connection->fd);
	free(connection);
}

static void accepted(int fd)
{
	struct connection *connection = malloc(sizeof(*connection));

	if (connection == NULL)
		die("Cannot serve another connection: out of memory");
	connection->fd = fd;
	queue_receive(connection);
}

static void received(struct connection *connection, int result)
{
	if (result <= 0) {
		hang_up(connection);
		return;
	}
	connection->sent = 0;
	connection->length = (uint32_t)result;
	queue_send(connection);
}

static void sent(struct connection *connection, int result)
{
	if (result < 0) {
		hang_up(connection);
		return;
	}
	connection->sent += (uint32_t)result;
	if (connection->sent < connection->length)
		queue_send(connection);
	else
		queue_receive(connection);
}

static void complete(const struct io_uring_cqe *cqe, int listener)
{
	void *pointer = (void *)(uintptr_t)(cqe->user_data & ~TAG_MASK);

	switch (cqe->user_data & TAG_MASK) {
	case TAG_ACCEPT:
		accepted(check(cqe->res, "accept"));
		queue_accept(&ring, listener);
		break;
	case TAG_RECV:
		received(pointer, cqe->res);
		break;
	case TAG_SEND:
		sent(pointer, cqe->res);
		break;
	}
}

static void *serve(void *argument)
{
	const struct worker *worker = argument;
	int listener = worker->listener;

	if (worker->cpu != ANY_CPU)
		stay_on(worker->cpu);
	ring_init(&ring, RING_ENTRIES, RING_ENTRIES * 2);
	queue_accept(&ring, listener);

	for (;;)
		ring_step(&ring, listener, complete);
	return NULL;
}

/* The CPU of the index-th worker: of those that the process may use. */
static int cpu_of(unsigned index)
{
	cpu_set_t cpus;
	int cpu = 0;

	check_libc(sched_getaffinity(0, sizeof(cpus), &cpus), "list CPUs");
	index %= (unsigned)CPU_COUNT(&cpus);
	while (!CPU_ISSET(cpu, &cpus) || index-- > 0)
		cpu++;
	return cpu;
}

int main(int argc, char **argv)
{
	unsigned threads =
		argc > 1 ? (unsigned)number_argument(argv[1], "THREADS") : 1;
	bool by_cpu = argc > 2 && strcmp(argv[2], "incoming-cpu") == 0;
	in_port_t port = 0;
	struct worker *workers = calloc(threads, sizeof(*workers));

	if (workers == NULL)
		die("Cannot serve: out of memory, or no THREADS");
	for (unsigned i = 0; i < threads; i++) {
		workers[i].cpu = by_cpu ? cpu_of(i) : ANY_CPU;
		workers[i].listener = by_cpu || i == 0 ?
					      listen_on(&port, workers[i].cpu) :
					      workers[0].listener;
	}
	raise_fd_limit();
	tell_port(port);
	for (unsigned i = 1; i < threads; i++) {
		pthread_t thread;
		int error =
			pthread_create(&thread, NULL, serve, &workers[i]);

		if (error)
			die("Cannot start a thread: %s", strerror(error));
	}
	serve(&workers[0]);
}
