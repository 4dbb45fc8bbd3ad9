/*
 * context_test.c - tests of opening and closing a context, and what it asks the kernel.
 */
#include "harness.h"
#include "masks.h"

#include <string.h>
#include <sys/socket.h>

TEST(open_without_guard_is_refused)
{
	int32_t status = 0;

	CHECK(kio_context_open(8, 32, 8, 8, defers(), NULL, &status) == NULL);
	CHECK(status == -EOPNOTSUPP);
}

TEST(open_is_refused_when_the_host_takes_no_hook)
{
	int32_t status = 0;

	hook_status = 1;
	guard_arm();
	CHECK(kio_context_open(8, 32, 8, 8, defers(), NULL, &status) == NULL);
	CHECK(status == -EOPNOTSUPP);
}

TEST(close_leaves_no_fd)
{
	int fds = count_fds();
	struct kio *k = context_open(8);

	CHECK(fcntl(kio_ring_fd(k), F_GETFD) == FD_CLOEXEC);
	CHECK(fcntl(kio_event_fd(k), F_GETFD) == FD_CLOEXEC);
	context_close(k);
	CHECK(count_fds() == fds);
	guard_fire();
}

TEST(open_that_fails_leaves_no_fd)
{
	int fds = count_fds();
	int32_t status = 0;

	guard_arm();
	CHECK(kio_context_open(0, 32, 8, 8, defers(), NULL, &status) == NULL);
	CHECK(status == -EINVAL);
	CHECK(count_fds() == fds);
	guard_fire();
}

/* What a context uses on a kernel that has, or lacks, some of it. */
static void check_open_uses(const char *masks, uint32_t setup_flags,
			    uint32_t enter_flags)
{
	static const uint32_t all = IORING_SETUP_SINGLE_ISSUER |
				    IORING_SETUP_DEFER_TASKRUN |
				    IORING_SETUP_COOP_TASKRUN |
				    IORING_SETUP_TASKRUN_FLAG |
				    IORING_SETUP_SUBMIT_ALL;
	struct completion completion;
	struct kio *k;

	mask_hide(masks);
	k = context_open(8);
	CHECK((k->ring.flags & all) == setup_flags);
	CHECK(k->enter_flags == enter_flags);
	CHECK(kio_close(k, 1, temporary_file()) == 0);
	collect(k, &completion, 1);
	CHECK(completion.result == 0);
	context_close(k);
}

TEST(open_does_without_what_the_kernel_lacks)
{
	static const uint32_t deferred = IORING_SETUP_SINGLE_ISSUER |
					 IORING_SETUP_DEFER_TASKRUN;

	memset(mask_hides, 0, sizeof(mask_hides));
	/* each hides what it says besides what was hidden before */
	check_open_uses("NO_IOWAIT",
			(defers() ? deferred : IORING_SETUP_COOP_TASKRUN) |
				IORING_SETUP_TASKRUN_FLAG |
				IORING_SETUP_SUBMIT_ALL,
			IORING_ENTER_REGISTERED_RING);
	check_open_uses("DEFER_TASKRUN",
			IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
				IORING_SETUP_SUBMIT_ALL,
			IORING_ENTER_REGISTERED_RING);
	check_open_uses("SUBMIT_ALL", 0, IORING_ENTER_REGISTERED_RING);
	check_open_uses("REGISTERED_RING,IOWQ_MAX_WORKERS", 0, 0);
	guard_fire();
}

static struct kio *open_restricted(const uint8_t *allowed)
{
	int32_t status = 1;
	struct kio *k;

	if (!isolate)
		guard_arm();
	k = kio_context_open(8, 32, 8, 8, defers(), allowed, &status);
	CHECK(k && status == 0);
	return k;
}

/* IORING_OP_NOP128 and IORING_OP_URING_CMD128: a ring with SQEs of 64 bytes has
 * them not at all. */
static bool takes_128_bytes(uint32_t op)
{
	return op == 63 || op == 64;
}

TEST(restricted_ring_takes_only_what_is_allowed)
{
	static const uint8_t own[] = { IORING_OP_NOP, IORING_OP_POLL_ADD,
				       IORING_OP_POLL_REMOVE, IORING_OP_TIMEOUT,
				       IORING_OP_TIMEOUT_REMOVE,
				       IORING_OP_ASYNC_CANCEL };
	uint8_t allowed[256] = { 0 }, has[256] = { 0 };
	uint32_t info[3];
	struct kio *k;

	allowed[IORING_OP_FSYNC] = 1;
	allowed[255] = 1; /* no kernel knows it */
	k = open_restricted(allowed);
	CHECK(kio_probe(k, defers(), has, info) == 0);
	for (uint32_t op = 0; op < 256; op++) {
		bool is_allowed = op == IORING_OP_FSYNC ||
				  memchr(own, (int)op, sizeof(own));
		struct io_uring_sqe *sqe;

		if (!has[op] || is_allowed)
			continue;
		CHECK(sqe_begin(k, &sqe) == 0);
		io_uring_prep_nop(sqe);
		sqe->opcode = (uint8_t)op;
		CHECK(sqe_end(k, sqe, 1, 0) == 0);
		CHECK(result_of_one(k, 1) ==
		      (takes_128_bytes(op) ? -EINVAL : -EACCES));
	}
	CHECK(queue_fsync(k, 2, temporary_file()) == 0);
	CHECK(result_of_one(k, 2) == 0);
	/* what is forbidden besides: to add to it, or to begin anew */
	CHECK(io_uring_register_personality(&k->ring) == -EACCES);
	CHECK(restrict_ring(k, allowed) < 0);
	context_close(k);
	guard_fire();
}

TEST(restricted_rings_leave_nothing_in_the_kernel)
{
	uint8_t allowed[256] = { 0 };
	struct kio *k;

	/* a thread has 16 places for rings */
	for (int i = 0; i < 40; i++) {
		k = open_restricted(allowed);
		CHECK(!(k->enter_flags & IORING_ENTER_REGISTERED_RING) ==
		      mask_hides[MASK_REGISTERED_RING]);
		context_close(k);
	}
	guard_fire();
}

TEST(contexts_of_an_isolate_are_independent)
{
	struct kio *first = context_open(8);
	struct kio *second = context_open(8);
	struct kio *third = context_open(8);
	int fd = temporary_file();

	context_close(second);
	CHECK(queue_fsync(first, 1, fd) == 0);
	CHECK(queue_fsync(third, 2, fd) == 0);
	CHECK(result_of_one(third, 2) == 0);
	CHECK(result_of_one(first, 1) == 0);
	context_close(third);
	context_close(first);
	guard_fire();
}

TEST(probe_tells_the_same_with_and_without_a_context)
{
	uint8_t own[256] = { 0 }, of_context[256] = { 0 };
	uint32_t own_info[3], info_of_context[3];
	int fds = count_fds();
	struct kio *k;

	/* No guard is armed yet: the kernel gets no buffer. */
	CHECK(kio_probe(NULL, defers(), own, own_info) == 0);
	CHECK(count_fds() == fds);
	k = context_open(8);
	CHECK(kio_probe(k, defers(), of_context, info_of_context) == 0);
	CHECK(memcmp(own, of_context, sizeof(own)) == 0);
	CHECK(memcmp(own_info, info_of_context, sizeof(own_info)) == 0);
	CHECK(own[IORING_OP_READ] == 1 && own[255] == 0);
	CHECK(own[KIO_OP_FTRUNCATE] == k->has[KIO_OP_FTRUNCATE]);
	CHECK(own[IORING_OP_URING_CMD] == has_socket_commands());
	CHECK(own_info[0] & IORING_SETUP_CQSIZE);
	context_close(k);
	guard_fire();
}

TEST_DYING(close_with_an_operation_in_flight_aborts, SIGABRT)
{
	struct kio *k = context_open(8);
	char byte;
	int32_t fds[2];

	receive_later(k, fds, &byte);
	kio_context_close(k);
}
