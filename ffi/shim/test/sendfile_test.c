/*
 * sendfile_test.c - tests of what this thread sends of the page cache. Those
 * that send need Linux 6.5, and a file system below /tmp that can read without
 * waiting: ext4, XFS, btrfs.
 */
#include "harness.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define SIZE (2 << 20)

/* A file of SIZE bytes that is on the disk and in the page cache, and a socket
 * to be sent to. */
struct sender {
	struct kio *k;
	int file;
	int32_t sockets[2];
	char *bytes;
	bool able;
};

static struct sender sender_open(void)
{
	struct sender s = { .k = context_open(8), .file = temporary_file() };
	uint64_t range[2] = { 0, 4096 }, state[5];
	char byte;
	struct iovec one = { &byte, 1 };

	s.bytes = malloc(SIZE);
	for (int i = 0; i < SIZE; i++)
		s.bytes[i] = (char)(i * 7 + i / 4096);
	CHECK(write(s.file, s.bytes, SIZE) == SIZE && fsync(s.file) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM | SOCK_NONBLOCK, s.sockets) == 0);
	s.able = syscall(SYS_preadv2, s.file, &one, 1, 0L, 0L, RWF_NOWAIT) == 1 &&
		 syscall(451, s.file, range, state, 0) == 0;
	return s;
}

static int send_part(struct sender *s, double offset, uint32_t count)
{
	return kio_sendfile(s->k, s->file, offset, count, s->sockets[0], NULL, 0);
}

/* Sends a page that is not in the page cache. The kernel may keep it there for a
 * while though it is asked to drop it, and the look itself may read it. */
static int send_dropped(struct sender *s, off_t offset)
{
	char got[4096];
	int sent = 1;

	for (int i = 0; i < 100 && sent > 0; i++) {
		CHECK(posix_fadvise(s->file, 0, 0, POSIX_FADV_DONTNEED) == 0);
		sent = send_part(s, (double)offset, sizeof(got));
		CHECK(sent <= 0 ||
		      read(s->sockets[1], got, sizeof(got)) == sent);
	}
	return sent;
}

static void sender_close(struct sender *s)
{
	free(s->bytes);
	context_close(s->k);
	guard_fire();
}

TEST(sendfile_sends_a_part_that_is_in_the_page_cache)
{
	struct sender s = sender_open();
	char got[5000];

	if (!s.able)
		return sender_close(&s);
	CHECK(send_part(&s, 4090, 5000) == 5000);
	CHECK(read(s.sockets[1], got, sizeof(got)) == 5000);
	CHECK(memcmp(got, s.bytes + 4090, 5000) == 0);
	CHECK(bytes_in(s.sockets[1]) == -EAGAIN);
	sender_close(&s);
}

TEST(sendfile_sends_a_head_first)
{
	struct sender s = sender_open();
	int to = s.sockets[0];
	char got[9000];
	int sent;

	if (!s.able)
		return sender_close(&s);
	CHECK(kio_sendfile(s.k, s.file, 10, 5000, to, "head", 4) == 5004);
	CHECK(read(s.sockets[1], got, sizeof(got)) == 5004);
	CHECK(memcmp(got, "head", 4) == 0);
	CHECK(memcmp(got + 4, s.bytes + 10, 5000) == 0);
	/* no byte of it where the ring has to send the file */
	CHECK(kio_sendfile(s.k, s.file, SIZE, 1, to, "head", 4) == 0);
	CHECK(bytes_in(s.sockets[1]) == -EAGAIN);
	/* nor of the file before all of it */
	sent = kio_sendfile(s.k, s.file, 0, 100, to, s.bytes, SIZE);
	CHECK(sent > 0 && sent < SIZE);
	CHECK(kio_sendfile(s.k, s.file, 0, 100, to, s.bytes, SIZE) == -EAGAIN);
	sender_close(&s);
}

TEST(sendfile_tells_what_the_socket_has_taken)
{
	struct sender s = sender_open();
	static char got[SIZE];
	int sent = send_part(&s, 0, SIZE), at = 0, count;

	if (!s.able)
		return sender_close(&s);
	CHECK(sent > 0 && sent < SIZE / 2);
	CHECK(send_part(&s, sent, (uint32_t)(SIZE - sent)) == -EAGAIN);
	while (at < sent) {
		count = (int)read(s.sockets[1], got + at, SIZE);
		CHECK(count > 0);
		at += count;
	}
	CHECK(at == sent && memcmp(got, s.bytes, (size_t)sent) == 0);
	sender_close(&s);
}

TEST(sendfile_leaves_what_waits_for_the_disk_to_the_ring)
{
	struct sender s = sender_open();
	char byte;

	if (!s.able)
		return sender_close(&s);
	/* two pages that are read one by one, and a hole between them */
	CHECK(posix_fadvise(s.file, 0, 0, POSIX_FADV_RANDOM) == 0);
	CHECK(send_dropped(&s, 65536) == 0);
	CHECK(pread(s.file, &byte, 1, 65536) == 1);
	CHECK(pread(s.file, &byte, 1, 131072) == 1);
	CHECK(send_part(&s, 65536, 69632) == 0);
	CHECK(send_part(&s, 65536, 4096) == 4096);
	CHECK(send_part(&s, 131072, 4096) == 4096);
	sender_close(&s);
}

TEST(sendfile_leaves_the_end_of_the_file_to_the_ring)
{
	struct sender s = sender_open();

	if (!s.able)
		return sender_close(&s);
	CHECK(send_part(&s, SIZE - 10, 11) == 0);
	CHECK(send_part(&s, SIZE, 1) == 0);
	CHECK(send_part(&s, SIZE - 10, 10) == 10);
	sender_close(&s);
}

TEST(sendfile_leaves_files_that_cannot_be_read_without_waiting_to_the_ring)
{
	struct sender s = sender_open();
	int memory = memfd_create("memory", MFD_CLOEXEC);

	CHECK(write(memory, s.bytes, 100) == 100);
	CHECK(kio_sendfile(s.k, memory, 0, 100, s.sockets[0], NULL, 0) == 0);
	CHECK(fcntl(s.file, F_SETFL, O_DIRECT) == 0);
	CHECK(send_part(&s, 0, 4096) == 0);
	close(memory);
	sender_close(&s);
}

TEST(sendfile_never_waits_for_a_socket)
{
	struct sender s = sender_open();

	if (!s.able)
		return sender_close(&s);
	CHECK(kio_nonblocking_set(s.sockets[0], false) == 0);
	CHECK(send_part(&s, 0, 100) == 100);
	CHECK(fcntl(s.sockets[0], F_GETFL) & O_NONBLOCK);
	/* nor does the ring, where it has to do it */
	CHECK(kio_nonblocking_set(s.sockets[0], false) == 0);
	CHECK(send_part(&s, SIZE, 1) == 0);
	CHECK(fcntl(s.sockets[0], F_GETFL) & O_NONBLOCK);
	sender_close(&s);
}

TEST(sendfile_leaves_all_but_stream_sockets_to_the_ring)
{
	struct sender s = sender_open();
	int32_t pipe[2], packets[2];

	CHECK(kio_pipe(pipe, 4096) > 0);
	CHECK(kio_nonblocking_set(pipe[1], false) == 0);
	CHECK(kio_sendfile(s.k, s.file, 0, 100, pipe[1], NULL, 0) == 0);
	CHECK(!(fcntl(pipe[1], F_GETFL) & O_NONBLOCK));
	CHECK(kio_socket_pair(SOCK_SEQPACKET, packets) == 0);
	CHECK(kio_sendfile(s.k, s.file, 0, 100, packets[0], NULL, 0) == 0);
	CHECK(fcntl(packets[0], F_GETFL) & O_NONBLOCK);
	for (int i = 0; i < 2; i++) {
		close(pipe[i]);
		close(packets[i]);
	}
	sender_close(&s);
}

TEST(sendfile_tells_errors)
{
	struct sender s = sender_open();

	if (!s.able)
		return sender_close(&s);
	signal(SIGPIPE, SIG_IGN);
	close(s.sockets[1]);
	CHECK(send_part(&s, 0, 100) == -EPIPE);
	/* those of the file are the ring's to tell */
	CHECK(kio_sendfile(s.k, 4000, 0, 100, s.sockets[0], NULL, 0) == 0);
	CHECK(kio_sendfile(s.k, s.file, 0, 100, 4000, NULL, 0) == 0);
	sender_close(&s);
}
