/*
 * datagrams HOST SIZE SECONDS [zc]
 *
 * Sends datagrams to a place that takes none, 16 in flight: by IORING_OP_SEND,
 * or without a copy. Prints the CPU time of a MiB as a line of JSON.
 */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define DEPTH 16
#define SIZE_MAX_BYTES 65000

static char data[SIZE_MAX_BYTES];

static void send_one(struct io_uring *ring, int fd, size_t size, bool zero_copy)
{
	struct io_uring_sqe *sqe = ring_sqe(ring);

	if (zero_copy)
		io_uring_prep_send_zc(sqe, fd, data, size, 0, 0);
	else
		io_uring_prep_send(sqe, fd, data, size, 0);
}

/* Takes over what is complete, and sends as much again; returns how much. */
static unsigned turn(struct io_uring *ring, int fd, size_t size, bool zero_copy)
{
	unsigned head, seen = 0, sent = 0;
	struct io_uring_cqe *cqe;

	check(io_uring_submit_and_wait(ring, 1), "wait");
	io_uring_for_each_cqe(ring, head, cqe) {
		seen++;
		check(zero_copy && !(cqe->flags & IORING_CQE_F_MORE) ? 0 :
								      cqe->res,
		      "send");
		/* the buffer is free */
		sent += !(cqe->flags & IORING_CQE_F_MORE);
	}
	io_uring_cq_advance(ring, seen);
	for (unsigned i = 0; i < sent; i++)
		send_one(ring, fd, size, zero_copy);
	return sent;
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
	uint64_t start_ns, end_ns, cpu_ns = 0, count = 0;
	bool zero_copy = argc > 4;
	struct io_uring ring;
	size_t size;
	int fd;

	if (argc < 4 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1)
		die("Usage: datagrams HOST SIZE SECONDS [zc]");
	size = (size_t)number_argument(argv[2], "SIZE");
	if (size > SIZE_MAX_BYTES)
		die("Cannot send more than %d bytes", SIZE_MAX_BYTES);
	memset(data, 1, sizeof(data));
	fd = check_libc(socket(AF_INET, SOCK_DGRAM, 0), "open a socket");
	check_libc(connect(fd, (struct sockaddr *)&to, sizeof(to)), "connect");
	ring_init(&ring, 256, 1024);
	for (int i = 0; i < DEPTH; i++)
		send_one(&ring, fd, size, zero_copy);
	start_ns = clock_ns(CLOCK_MONOTONIC) + WARM_UP_NS;
	end_ns = start_ns +
		 (uint64_t)(number_argument(argv[3], "SECONDS") * NS_PER_S);
	while (clock_ns(CLOCK_MONOTONIC) < end_ns) {
		count += turn(&ring, fd, size, zero_copy);
		if (!cpu_ns && clock_ns(CLOCK_MONOTONIC) >= start_ns) {
			cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
			count = 0;
		}
	}
	cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns;
	printf("{\"cpuUsPerMib\":%.2f}\n",
	       (double)cpu_ns / NS_PER_US /
		       ((double)(count * size) / (1 << 20)));
	return 0;
}
