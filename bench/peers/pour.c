/*
 * pour PORT CONNECTIONS SECONDS --pid PID [--echo]
 *
 * Sends to a server on 127.0.0.1 as fast as it receives. Prints one line of
 * JSON, with the CPU time the server PID used. At the end the server tells how
 * many bytes have come, in 8 bytes (little endian), for each connection; with
 * --echo it sends all of them back.
 */
#define _GNU_SOURCE
#include "client.h"
#include "server_cpu.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define PIECE (256 << 10)

struct connection {
	int fd;
	_Atomic uint64_t sent;
	uint64_t received;
	uint64_t last; /* the last 8 bytes, if there were no more */
	pthread_t sender, receiver;
};

static struct connection connections[CONNECTIONS_MAX];
static unsigned connection_count;
static _Atomic bool is_over;

static void *pour(void *argument)
{
	struct connection *connection = argument;
	char *piece = allocate(PIECE);

	while (!is_over) {
		ssize_t sent = send(connection->fd, piece, PIECE, MSG_NOSIGNAL);

		check_libc((int)sent, "send to the server");
		connection->sent += (uint64_t)sent;
	}
	check_libc(shutdown(connection->fd, SHUT_WR), "end");
	return NULL;
}

static void *receive(void *argument)
{
	struct connection *connection = argument;
	char *piece = allocate(PIECE);

	for (;;) {
		ssize_t count = recv(connection->fd, piece, PIECE, 0);

		check_libc((int)count, "receive from the server");
		if (count == 0)
			return NULL;
		connection->received += (uint64_t)count;
		memcpy(&connection->last, piece, sizeof(connection->last));
	}
}

static uint64_t sent_by_all(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < connection_count; i++)
		sum += connections[i].sent;
	return sum;
}

static void start(unsigned port)
{
	for (unsigned i = 0; i < connection_count; i++) {
		struct connection *connection = &connections[i];

		connection->fd = connect_to(port);
		if (pthread_create(&connection->sender, NULL, pour,
				   connection) != 0 ||
		    pthread_create(&connection->receiver, NULL, receive,
				   connection) != 0)
			die("Cannot start a thread");
	}
}

static void finish(bool is_echo)
{
	is_over = true;
	for (unsigned i = 0; i < connection_count; i++) {
		struct connection *connection = &connections[i];

		pthread_join(connection->sender, NULL);
		pthread_join(connection->receiver, NULL);
		uint64_t told = is_echo ? connection->received :
					  connection->last;
		if (told != connection->sent)
			die("Cannot trust the server: %llu of %llu bytes came",
			    (unsigned long long)told,
			    (unsigned long long)connection->sent);
		close(connection->fd);
	}
}

int main(int argc, char **argv)
{
	bool is_echo = argc == 7 && strcmp(argv[6], "--echo") == 0;

	if (argc != 6 + is_echo || strcmp(argv[4], "--pid") != 0)
		die("Usage: pour PORT CONNECTIONS SECONDS --pid PID [--echo]");
	unsigned port = (unsigned)number_argument(argv[1], "PORT");
	double seconds = number_argument(argv[3], "SECONDS");
	pid_t server = (pid_t)number_argument(argv[5], "PID");
	connection_count = (unsigned)number_argument(argv[2], "CONNECTIONS");
	if (connection_count < 1 || connection_count > CONNECTIONS_MAX)
		die("Cannot pour: CONNECTIONS must be 1 to %d",
		    CONNECTIONS_MAX);

	start(port);
	usleep((useconds_t)(WARM_UP_NS / 1000));
	struct server_cpu cpu_from = server_cpu_read(server);
	uint64_t from_ns = clock_ns(CLOCK_MONOTONIC);
	double sent = -(double)sent_by_all();
	usleep((useconds_t)(seconds * 1e6));
	sent += (double)sent_by_all();
	double elapsed_ns = (double)(clock_ns(CLOCK_MONOTONIC) - from_ns);
	struct server_cpu cpu_to = server_cpu_read(server);
	finish(is_echo);

	double mib = sent / (1 << 20);
	if (mib == 0)
		die("Cannot measure: the server receives nothing");
	printf("{\"mibPerS\":%.2f,\"cpuUs\":%.3f,\"userUs\":%.3f}\n",
	       mib * (double)NS_PER_S / elapsed_ns,
	       server_cpu_total_us(&cpu_from, &cpu_to) / mib,
	       server_cpu_user_us(&cpu_from, &cpu_to) / mib);
	return 0;
}
