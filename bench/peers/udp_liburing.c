/*
 * udp_liburing: the yardstick of datagrams. One receive in flight, and a slot
 * for each answer, with one io_uring_enter for each batch of completions.
 *
 * Prints "listening PORT" and answers until it is killed.
 */
#define _GNU_SOURCE
#include "common.h"
#include <netinet/in.h>
#include <sys/socket.h>

#define RING_ENTRIES 256
#define SLOTS 128
#define BUFFER_BYTES 2048

/* A datagram that is received, and sent back. */
struct slot {
	struct msghdr message;
	struct iovec vector;
	struct sockaddr_storage from;
	struct slot *next;
	bool sending;
	char buffer[BUFFER_BYTES];
};

static struct io_uring ring;
static struct slot slots[SLOTS];
static struct slot *unused;
static bool receiving;
static int fd;

static void receive(void)
{
	struct slot *slot = unused;

	if (receiving || !slot)
		return;
	receiving = true;
	unused = slot->next;
	slot->sending = false;
	slot->vector = (struct iovec){ slot->buffer, BUFFER_BYTES };
	slot->message = (struct msghdr){
		.msg_name = &slot->from,
		.msg_namelen = sizeof(slot->from),
		.msg_iov = &slot->vector,
		.msg_iovlen = 1,
	};
	struct io_uring_sqe *sqe = ring_sqe(&ring);
	io_uring_prep_recvmsg(sqe, fd, &slot->message, 0);
	io_uring_sqe_set_data(sqe, slot);
}

static void complete(const struct io_uring_cqe *cqe)
{
	struct slot *slot = io_uring_cqe_get_data(cqe);

	if (slot->sending) {
		check(cqe->res, "send");
		slot->next = unused;
		unused = slot;
		return;
	}
	check(cqe->res, "receive");
	receiving = false;
	slot->sending = true;
	slot->vector.iov_len = (size_t)cqe->res;
	struct io_uring_sqe *sqe = ring_sqe(&ring);
	io_uring_prep_sendmsg(sqe, fd, &slot->message, 0);
	io_uring_sqe_set_data(sqe, slot);
}

int main(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t length = sizeof(address);

	fd = check_libc(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0),
			"make a socket");
	check_libc(bind(fd, (struct sockaddr *)&address, sizeof(address)),
		   "bind");
	getsockname(fd, (struct sockaddr *)&address, &length);
	ring_init(&ring, RING_ENTRIES, 4 * RING_ENTRIES);
	for (int i = 0; i < SLOTS; i++) {
		slots[i].next = unused;
		unused = &slots[i];
	}
	printf("listening %d\n", ntohs(address.sin_port));
	fflush(stdout);
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, count = 0;

		receive();
		int result = io_uring_submit_and_wait(&ring, 1);
		if (result != -EINTR)
			check(result, "wait");
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			count++;
			complete(cqe);
		}
		io_uring_cq_advance(&ring, count);
	}
}
