/*
 * pump_test.c - tests of the chain of splices.
 */
#include "harness.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* A file of 8 bytes, a pipe, and a socket to be sent to. */
struct pump {
	struct kio *k;
	int file;
	int pipe[2];
	int32_t sockets[2];
};

static struct pump pump_open(uint32_t entries)
{
	struct pump p = { .k = context_open(entries),
			  .file = temporary_file() };

	CHECK(write(p.file, "abcdefgh", 8) == 8);
	CHECK(kio_pipe(p.pipe, 4096) == 4096);
	CHECK(kio_socket_pair(SOCK_STREAM | SOCK_NONBLOCK, p.sockets) == 0);
	return p;
}

/* The step that ended a pump of `left` bytes at `offset`, and its result. */
static uint32_t pump_end(struct pump *p, double offset, double left,
			 uint32_t held, uint32_t size, int32_t *result)
{
	struct completion completion;

	CHECK(kio_pump(p->k, 7, p->file, offset, left, p->pipe[0], p->pipe[1],
		       held, p->sockets[0], size, 9) == 0);
	CHECK(p->k->in_flight == 1);
	collect(p->k, &completion, 1);
	CHECK((completion.user_data & UINT32_MAX) == 7);
	CHECK(p->k->in_flight == 0 && step_at_once(p->k) == 0);
	*result = completion.result;
	return (uint32_t)(completion.user_data >> UD_STEP_SHIFT);
}

TEST(pump_completes_once_with_its_last_step)
{
	struct pump p = pump_open(32);
	char text[9] = "";
	int32_t result;

	/* Three rounds, of 3, 3 and 2 bytes. */
	CHECK(pump_end(&p, 0, 8, 0, 3, &result) == 5 && result == 2);
	CHECK(read(p.sockets[1], text, 8) == 8 && !strcmp(text, "abcdefgh"));
	context_close(p.k);
	guard_fire();
}

TEST(pump_empties_the_pipe_first)
{
	struct pump p = pump_open(32);
	char text[9] = "";
	int32_t result;

	CHECK(write(p.pipe[1], "xyz", 3) == 3);
	CHECK(pump_end(&p, 6, 2, 3, 4096, &result) == 2 && result == 2);
	CHECK(read(p.sockets[1], text, 8) == 5 && !strcmp(text, "xyzgh"));
	context_close(p.k);
	guard_fire();
}

TEST(pump_ends_where_it_is_short)
{
	struct pump p = pump_open(32);
	char text[9] = "";
	int32_t result;

	/* The file ends in the second round: the third never starts. */
	CHECK(pump_end(&p, 3, 15, 0, 4, &result) == 2 && result == 1);
	CHECK(read(p.sockets[1], text, 8) == 4 && !strcmp(text, "defg"));
	CHECK(pump_end(&p, 8, 14, 1, 4, &result) == 1 && result == 0);
	CHECK(read(p.sockets[1], text, 8) == 1 && text[0] == 'h');
	CHECK(bytes_in(p.pipe[0]) == -EAGAIN);
	context_close(p.k);
	guard_fire();
}

TEST(pump_fits_into_a_small_queue)
{
	struct pump p = pump_open(2);
	int32_t result;

	CHECK(queue_fsync(p.k, 1, p.file) == 0);
	CHECK(step_at_once(p.k) >= 0);
	while (p.k->in_flight)
		step_at_once(p.k);
	CHECK(pump_end(&p, 0, 8, 0, 3, &result) == 1 && result == 3);
	context_close(p.k);
	guard_fire();
}

TEST(pump_can_be_retracted)
{
	struct pump p = pump_open(32);
	struct completion completion;

	CHECK(kio_pump(p.k, 7, p.file, 0, 8, p.pipe[0], p.pipe[1], 0,
		       p.sockets[0], 3, 9) == 0);
	CHECK(kio_retract(p.k, 7));
	collect(p.k, &completion, 1);
	CHECK(completion.user_data == 7 && completion.result < 0);
	CHECK(p.k->in_flight == 0 && step_at_once(p.k) == 0);
	CHECK(bytes_in(p.pipe[0]) == -EAGAIN);
	CHECK(bytes_in(p.sockets[1]) == -EAGAIN);
	context_close(p.k);
	guard_fire();
}

/* Several SQEs, one operation: to wait for the others would be forever. */
TEST(guard_drops_a_pump_that_was_not_submitted)
{
	struct kio *k = context_open(16);
	int file = memfd_create("file", MFD_CLOEXEC);
	int fds[2], to[2];

	CHECK(write(file, "abcdef", 6) == 6);
	CHECK(pipe2(fds, O_CLOEXEC) == 0 && pipe2(to, O_CLOEXEC) == 0);
	CHECK(kio_pump(k, 1, file, 0, 6, fds[0], fds[1], 0, to[1], 2, 9) == 0);
	CHECK(k->in_flight == 1);
	guard_fire();
	CHECK(bytes_in(to[0]) == -EAGAIN && bytes_in(fds[0]) == -EAGAIN);
}
