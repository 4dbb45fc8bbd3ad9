/*
 * zero_copy_test.c - tests of sends whose memory the kernel uses after their
 * result. A peer that does not read keeps the notification away.
 */
#include "harness.h"
#include "masks.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* More than a socket takes in that nobody reads from. */
static char data[1 << 20];

/* A test of sends that the kernel has. */
#define NATIVE_TEST(NAME)                               \
	static void native_##NAME(void);                \
	TEST(NAME)                                      \
	{                                               \
		if (!mask_hides[MASK_SEND_ZC])          \
			native_##NAME();                \
	}                                               \
	static void native_##NAME(void)

/* fds[0] is the side to send from. */
static void connection_open(int fds[2])
{
	struct sockaddr_in address;
	int listener = listener_open(&address);

	fds[0] = kio_socket(AF_INET, SOCK_STREAM);
	CHECK(connect(fds[0], (struct sockaddr *)&address, sizeof(address)) ==
	      0);
	fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	CHECK(fds[1] >= 0);
	close(listener);
}

/* Sends, and takes the result; the notification has not come. */
static int send_unread(struct kio *k, int fd)
{
	int32_t out[4];

	CHECK(kio_sqe(k, 1, IORING_OP_SEND_ZC, fd, data, 0, sizeof(data), 0,
		      0) == 0);
	while (kio_step(k, out, 1, true) == 0)
		;
	CHECK(out[0] == 1 && out[2] > 0 && out[3] & IORING_CQE_F_MORE);
	CHECK(step_at_once(k) == 0);
	CHECK(k->in_flight == 1);
	return out[2];
}

static void read_all(int fd, int count)
{
	static char buffer[sizeof(data)];
	ssize_t got;

	/* The end of another ring, that of a trial, may interrupt a call. */
	for (int at = 0; at < count; at += (int)(got > 0 ? got : 0)) {
		got = recv(fd, buffer + at, (size_t)(count - at), 0);
		CHECK(got > 0 || (got < 0 && errno == EINTR));
	}
	CHECK(!memcmp(buffer, data, (size_t)count));
}

NATIVE_TEST(zero_copy_send_is_in_flight_until_its_notification)
{
	struct kio *k = context_open(8);
	int fds[2], count;
	int32_t out[4];

	connection_open(fds);
	count = send_unread(k, fds[0]);
	read_all(fds[1], count);
	while (kio_step(k, out, 1, true) == 0)
		;
	CHECK(out[0] == 1 && out[3] & IORING_CQE_F_NOTIF);
	CHECK(k->in_flight == 0 && k->zero_copy_count == 0);
	context_close(k);
	guard_fire();
}

struct reader {
	int fd, count;
	atomic_bool reads;
};

static void *read_later(void *argument)
{
	struct reader *reader = argument;

	usleep(100000);
	reader->reads = true;
	read_all(reader->fd, reader->count);
	return NULL;
}

NATIVE_TEST(guard_waits_for_a_notification)
{
	struct kio *k = context_open(8);
	struct reader reader = { 0 };
	pthread_t thread;
	int fds[2];

	memset(data, 'x', sizeof(data));
	connection_open(fds);
	reader.count = send_unread(k, fds[0]);
	reader.fd = fds[1];
	CHECK(pthread_create(&thread, NULL, read_later, &reader) == 0);
	guard_fire();
	CHECK(reader.reads);
	CHECK(pthread_join(thread, NULL) == 0);
}

NATIVE_TEST(guard_resets_a_connection_whose_peer_does_not_read)
{
	struct kio *k = context_open(8);
	int fds[2];
	ssize_t ret;

	connection_open(fds);
	send_unread(k, fds[0]);
	guard_fire();
	do
		ret = recv(fds[1], data, sizeof(data), 0);
	while (ret > 0);
	CHECK(ret < 0 && errno == ECONNRESET);
}

NATIVE_TEST(reset_leaves_a_socket_alone_that_has_the_fd_later)
{
	struct kio *k = context_open(8);
	int fds[2], others[2], count;
	int32_t out[4];

	connection_open(fds);
	connection_open(others);
	count = send_unread(k, fds[0]);
	CHECK(dup2(others[0], fds[0]) == fds[0]);
	kio_zero_copy_reset(k);
	CHECK(write(fds[0], "alive", 5) == 5);
	read_all(fds[1], count);
	while (kio_step(k, out, 1, true) == 0)
		;
	CHECK(recv(others[1], data, 5, MSG_WAITALL) == 5);
	context_close(k);
	guard_fire();
}

TEST(guard_drops_a_zero_copy_send_that_was_not_submitted)
{
	struct kio *k = context_open(8);
	int fds[2];

	connection_open(fds);
	CHECK(kio_sqe(k, 1, IORING_OP_SEND_ZC, fds[0], data, 0, sizeof(data),
		      0, 0) == 0);
	guard_fire();
	CHECK(bytes_in(fds[1]) == -EAGAIN);
}

TEST(memory_is_registered_at_a_place)
{
	struct kio *k = context_open(8);
	int fd = temporary_file();

	CHECK(write(fd, "hello", 5) == 5);
	CHECK(kio_memory_register(k, 3, data, sizeof(data)) == 0);
	CHECK(kio_memory_register(k, KIO_PLACES, data, 1) == -EINVAL);
	CHECK(kio_sqe2(k, 1, IORING_OP_READ_FIXED, fd, data + 8, 0, 5, NULL, 0,
		       0, 0, 3) == 0);
	CHECK(result_of_one(k, 1) == 5);
	CHECK(!memcmp(data + 8, "hello", 5));
	CHECK(kio_memory_unregister(k, 3) == 0);
	CHECK(kio_sqe2(k, 1, IORING_OP_READ_FIXED, fd, data, 0, 5, NULL, 0, 0,
		       0, 3) == 0);
	CHECK(result_of_one(k, 1) == -EFAULT);
	context_close(k);
	guard_fire();
}
