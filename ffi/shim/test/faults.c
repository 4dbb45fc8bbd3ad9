/*
 * faults.c - the seams of a kernel on a bad day, in builds for tests
 * (-DKIO_FAULTS): transfers that are short, operations that fail,
 * completions that come late or in another order, and entries that are refused.
 *
 * What is reported is what happened: a short transfer is cut before the kernel
 * sees it, an operation that fails by a rule never reaches the kernel.
 */
#include "fault_plan.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* What is to become of the completion of an operation in flight. */
struct fault_mark {
	uint64_t user_data;
	enum fault_kind kind;
	int32_t result;
	double delay_ms;
};

/* A completion that has not been handed out yet: it counts as in flight. */
struct fault_held {
	struct io_uring_cqe cqe;
	double due_ms;
};

/* What a context has of it; made with the first operation. */
struct seam_faults {
	struct fault_mark *marks;
	uint32_t mark_count;
	struct fault_held *held;
	uint32_t held_count;
	/* the operation before ends its chain */
	bool chain_ended;
};

/* ---- operations -------------------------------------------------------- */

static struct seam_faults *faults_of(struct kio *k)
{
	if (!k->seam_faults)
		k->seam_faults = calloc(1, sizeof(*k->seam_faults));
	if (!k->seam_faults)
		kio_abort(k, "no memory for faults");
	return k->seam_faults;
}

static struct fault_mark *fault_mark_add(struct kio *k, uint64_t user_data)
{
	struct seam_faults *f = faults_of(k);
	struct fault_mark *marks = reallocarray(f->marks, f->mark_count + 1,
						sizeof(*marks));

	if (!marks)
		return NULL;
	f->marks = marks;
	marks += f->mark_count++;
	*marks = (struct fault_mark){ .user_data = user_data };
	return marks;
}

/* The operation that a completion is of, whatever its step. */
static uint64_t fault_operation_of(uint64_t user_data)
{
	return user_data &
	       ~((uint64_t)(UD_STEPS_MAX - 1) << UD_STEP_SHIFT);
}

static struct fault_mark *fault_mark_of(struct kio *k, uint64_t user_data)
{
	struct seam_faults *f = faults_of(k);

	for (uint32_t i = 0; i < f->mark_count; i++)
		if (fault_operation_of(f->marks[i].user_data) ==
		    fault_operation_of(user_data))
			return &f->marks[i];
	return NULL;
}

/*
 * Lets an operation fail. A close is done nevertheless, as close(2) gives the
 * fd up whatever it says; but for ECANCELED, which means that it never ran.
 */
static bool fault_fail(struct kio *k, struct io_uring_sqe *sqe, int32_t result)
{
	struct fault_mark *mark = fault_mark_add(k, sqe->user_data);
	uint64_t user_data = sqe->user_data;
	uint8_t flags = sqe->flags & (IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);

	if (!mark)
		return false;
	mark->kind = FAULT_ERROR;
	mark->result = result;
	if (sqe->opcode == IORING_OP_CLOSE && result != -ECANCELED)
		return true;
	io_uring_prep_read(sqe, -1, NULL, 0, 0);
	sqe->user_data = user_data;
	sqe->flags |= flags;
	return true;
}

static bool fault_is_stream(const struct io_uring_sqe *sqe)
{
	int type = 0, fd = sqe->flags & IOSQE_FIXED_FILE ? -1 : sqe->fd;
	socklen_t length = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 &&
	       type == SOCK_STREAM;
}

static uint32_t fault_length(double total, int32_t bytes)
{
	if (bytes)
		return bytes < total ? (uint32_t)bytes : 0;
	return total < 2 ? 0 : 1 + (uint32_t)(fault_fraction() * (total - 1));
}

/* Shortens vectors to fewer bytes than they have; 0 if that is not possible. */
static uint32_t fault_cut_vectors(struct iovec *vectors, size_t *count,
				  int32_t bytes)
{
	double total = 0;
	uint32_t length, rest;

	for (size_t i = 0; i < *count; i++)
		total += (double)vectors[i].iov_len;
	length = rest = fault_length(total, bytes);
	for (size_t i = 0; rest; i++) {
		if (vectors[i].iov_len >= rest) {
			vectors[i].iov_len = rest;
			*count = i + 1;
			break;
		}
		rest -= (uint32_t)vectors[i].iov_len;
	}
	return length;
}

/* Asks the kernel for less than the program has; returns how much, or 0. */
static uint32_t fault_cut(struct io_uring_sqe *sqe, int32_t bytes)
{
	const struct opcode *row = &opcodes[sqe->opcode];
	struct msghdr *message = (struct msghdr *)sqe->addr;
	size_t count = sqe->len;
	uint32_t length;

	/* a datagram is never cut by the kernel */
	if (row->cut == CUT_NEVER ||
	    (row->cut == CUT_STREAM && !fault_is_stream(sqe)))
		return 0;
	switch (row->addr) {
	case VECTORS:
		length = fault_cut_vectors((struct iovec *)sqe->addr, &count,
					   bytes);
		sqe->len = (uint32_t)count;
		return length;
	case MESSAGE:
		return fault_cut_vectors(message->msg_iov,
					 &message->msg_iovlen, bytes);
	default:
		length = fault_length(sqe->len, bytes);
		if (length)
			sqe->len = length;
		return length;
	}
}

/* Whether a short result of it ends a chain. */
static bool fault_short_ends(const struct io_uring_sqe *sqe)
{
	return opcodes[sqe->opcode].cut != CUT_STREAM ||
	       sqe->msg_flags & MSG_WAITALL;
}

/*
 * Called for each operation that is prepared and stamped. Returns whether its
 * chain ends with it: the kernel does not know that it was cut, so what follows
 * in the chain is cancelled here.
 */
static bool fault_operation(struct kio *k, struct io_uring_sqe *sqe)
{
	struct seam_faults *f = faults_of(k);
	int other_fd = -1, fd = sqe->fd;
	uint32_t operation = operation_of(sqe->opcode);
	struct fault_rule *rule;
	struct fault_mark *mark;
	int32_t value;

	if (f->chain_ended) {
		f->chain_ended = false;
		fault_fail(k, sqe, -ECANCELED);
		return false;
	}
	if (sqe->opcode == IORING_OP_SPLICE)
		other_fd = sqe->splice_fd_in;
	if (sqe->flags & IOSQE_FIXED_FILE)
		fd = -1;
	rule = fault_pick(operation, fd, other_fd);
	if (!rule || fault_mark_of(k, sqe->user_data))
		return false;
	value = rule->value;
	switch (rule->kind) {
	case FAULT_SHORT:
		value = (int32_t)fault_cut(sqe, value);
		if (!value)
			return false;
		fault_inject(rule, operation, fd, value);
		return k->chaining && fault_short_ends(sqe);
	case FAULT_ERROR:
		if (!fault_fail(k, sqe, value))
			return false;
		break;
	default:
		mark = fault_mark_add(k, sqe->user_data);
		if (!mark)
			return false;
		mark->kind = rule->kind;
		mark->delay_ms = rule->kind == FAULT_REORDER ?
					 fault_fraction() * value :
					 value;
	}
	fault_inject(rule, operation, fd, value);
	return false;
}

void seam_operation(struct kio *k, struct io_uring_sqe *sqe)
{
	/* it reads and writes the flag itself */
	bool ends = fault_operation(k, sqe);

	faults_of(k)->chain_ended = ends;
}

bool seam_ends_chain(struct kio *k)
{
	return faults_of(k)->chain_ended;
}

void seam_chain(struct kio *k)
{
	faults_of(k)->chain_ended = false;
}

int seam_splice(struct kio *k, int from, int to, uint32_t *length)
{
	struct fault_rule *rule = fault_pick(IORING_OP_SPLICE, to, from);
	uint32_t cut;

	(void)k;
	if (!rule)
		return 0;
	if (rule->kind == FAULT_ERROR) {
		fault_inject(rule, IORING_OP_SPLICE, to, rule->value);
		/* a system call does not show the kernel's codes for "restart" */
		return rule->value <= -512 ? -EINTR : rule->value;
	}
	cut = rule->kind == FAULT_SHORT ? fault_length(*length, rule->value) :
					  0;
	if (cut) {
		*length = cut;
		fault_inject(rule, IORING_OP_SPLICE, to, (int32_t)cut);
	}
	return 0;
}

bool seam_refuses_now(void)
{
	return fault_is_planned();
}

bool seam_enter(int *ret)
{
	struct fault_rule *rule = fault_pick(FAULT_OF_ENTER, -1, -1);

	if (!rule)
		return false;
	*ret = rule->value;
	fault_inject(rule, FAULT_OF_ENTER, -1, *ret);
	return true;
}

/* ---- completions ------------------------------------------------------- */

static bool fault_hold(struct kio *k, const struct io_uring_cqe *cqe,
		       const struct fault_mark *mark)
{
	struct seam_faults *f = faults_of(k);
	struct fault_held *held = reallocarray(f->held, f->held_count + 1,
					       sizeof(*held));
	double due_ms = kio_now_ms() + mark->delay_ms;

	if (!held)
		return false;
	/* all that come in one period are handed out together */
	if (mark->kind == FAULT_BATCH)
		due_ms = (double)((int64_t)due_ms -
				  (int64_t)due_ms % (int64_t)mark->delay_ms);
	f->held = held;
	held += f->held_count++;
	held->due_ms = due_ms;
	memcpy(&held->cqe, cqe, sizeof(held->cqe));
	return true;
}

bool seam_holds(struct kio *k, struct io_uring_cqe *cqe)
{
	struct seam_faults *f = faults_of(k);
	struct fault_mark mark, *found;

	if (cqe->user_data & (UD_MESSAGE | UD_INTERNAL))
		return false;
	found = fault_mark_of(k, cqe->user_data);
	if (!found)
		return false;
	mark = *found;
	if (!(cqe->flags & IORING_CQE_F_MORE))
		*found = f->marks[--f->mark_count];
	if (mark.kind != FAULT_ERROR)
		return fault_hold(k, cqe, &mark);
	/* not if another step has ended the chain, or it was cancelled before */
	if (mark.user_data == cqe->user_data &&
	    (cqe->res == -EBADF || cqe->res == 0))
		cqe->res = mark.result;
	return false;
}

uint32_t seam_release(struct kio *k, int32_t *out, uint32_t capacity)
{
	struct seam_faults *f = faults_of(k);
	double now_ms = f->held_count ? kio_now_ms() : 0;
	uint32_t count = 0;

	while (f->held_count && count < capacity) {
		uint32_t first = 0;
		struct fault_held held;

		for (uint32_t i = 1; i < f->held_count; i++)
			if (f->held[i].due_ms < f->held[first].due_ms)
				first = i;
		held = f->held[first];
		if (out && held.due_ms > now_ms)
			break;
		f->held_count--;
		memmove(&f->held[first], &f->held[first + 1],
			(f->held_count - first) * sizeof(held));
		take(k, &held.cqe, out ? out + 4 * count : NULL);
		count++;
	}
	return count;
}

void seam_deadline(struct kio *k, double *deadline_ms)
{
	const struct seam_faults *f = faults_of(k);

	for (uint32_t i = 0; i < f->held_count; i++)
		if (*deadline_ms == 0 || f->held[i].due_ms < *deadline_ms)
			*deadline_ms = f->held[i].due_ms;
}

void seam_isolate_end(void)
{
	kio_fault_clear();
}

void seam_context_end(struct kio *k)
{
	struct seam_faults *f = faults_of(k);

	free(f->marks);
	free(f->held);
	free(f);
}
