/*
 * relay_test.c - tests of the splices from socket to socket.
 */
#include "harness.h"

#include <string.h>
#include <sys/socket.h>

/* Two pairs of sockets, of which the inner ones are joined, and a pipe. */
struct joint {
	struct kio *k;
	int32_t in[2], out[2];
	int pipe[2];
	uint32_t counts[2];
};

static struct joint joint_open(void)
{
	struct joint j = { .k = context_open(8) };

	CHECK(kio_socket_pair(SOCK_STREAM | SOCK_NONBLOCK, j.in) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM | SOCK_NONBLOCK, j.out) == 0);
	CHECK(kio_pipe(j.pipe, 4096) == 4096);
	return j;
}

static int joint_relay(struct joint *j)
{
	return kio_relay(j->k, j->in[1], j->out[0], j->pipe[0], j->pipe[1],
			 4096, j->counts);
}

static void joint_close(struct joint *j)
{
	context_close(j->k);
	for (int i = 0; i < 2; i++) {
		close(j->in[i]);
		close(j->out[i]);
	}
	guard_fire();
}

TEST(relay_moves_what_is_there_and_tells_the_end)
{
	struct joint j = joint_open();
	char text[9] = "";

	CHECK(joint_relay(&j) == POLLIN && !j.counts[0] && !j.counts[1]);
	CHECK(write(j.in[0], "abcd", 4) == 4);
	CHECK(joint_relay(&j) == POLLIN && !j.counts[0] && j.counts[1] == 4);
	CHECK(read(j.out[1], text, 8) == 4 && !strcmp(text, "abcd"));
	CHECK(shutdown(j.in[0], SHUT_WR) == 0);
	CHECK(joint_relay(&j) == 0 && !j.counts[0] && !j.counts[1]);
	joint_close(&j);
}

TEST(relay_keeps_in_the_pipe_what_finds_no_room)
{
	struct joint j = joint_open();
	char bytes[4096] = { 0 };
	uint32_t held, sent = 500, moved = 0;
	int event;

	while (write(j.out[0], bytes, sizeof(bytes)) > 0)
		;
	/* before Linux 6.5 a unix socket takes some more from a pipe */
	do {
		CHECK(write(j.in[0], bytes, 1000) == 1000);
		sent += 1000;
		event = joint_relay(&j);
		moved += j.counts[1];
	} while (event == POLLIN);
	held = j.counts[0];
	CHECK(event == POLLOUT && held > 0);
	/* it takes no more as long as the pipe holds bytes */
	CHECK(write(j.in[0], bytes, 500) == 500);
	CHECK(joint_relay(&j) == POLLOUT);
	CHECK(j.counts[0] == held && j.counts[1] == 0);
	while (read(j.out[1], bytes, sizeof(bytes)) > 0)
		;
	CHECK(joint_relay(&j) == POLLIN && j.counts[1] == held);
	for (moved += held; moved < sent; moved += j.counts[1])
		CHECK(joint_relay(&j) == POLLIN && j.counts[1] > 0);
	joint_close(&j);
}

TEST(relay_tells_errors_and_keeps_its_count)
{
	struct joint j = joint_open();

	signal(SIGPIPE, SIG_IGN);
	CHECK(write(j.in[0], "abcd", 4) == 4);
	CHECK(close(j.out[1]) == 0);
	CHECK(joint_relay(&j) == -EPIPE);
	CHECK(j.counts[0] == 4 && j.counts[1] == 0);
	j.out[1] = dup(0);
	j.counts[0] = 0;
	CHECK(kio_relay(j.k, -1, j.out[0], j.pipe[0], j.pipe[1], 4096,
			j.counts) == -EBADF);
	joint_close(&j);
}
