/*
 * context.c - a context from its opening to its end. It has a ring with the
 * best flags that the kernel takes, and an eventfd. The drain takes everything
 * back before memory goes away. The probe of the kernel's features is here too.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/utsname.h>
#include <time.h>

uint32_t kio_abi(void)
{
	return KIO_ABI;
}

/*
 * Aborts the process: a broken invariant must not become corruption. The
 * message has the queues of the ring as from..to: the submission queue twice,
 * as it is prepared and as the kernel sees it. Then come the kernel, the setup
 * flags that it took, IORING_FEAT_*, and how many operations it has.
 */
void kio_abort(const struct kio *k, const char *message)
{
	const struct io_uring_sq *sq = &k->ring.sq;
	const struct io_uring_cq *cq = &k->ring.cq;
	struct utsname system = { 0 };
	uint32_t operations = 0;

	for (int i = 0; i < 256; i++)
		operations += k->has[i];
	uname(&system);
	fprintf(stderr,
		"kio: %s\n"
		"ring fd %d: %u in flight, prepared %u..%u, submitted %u..%u "
		"of %u, completed %u..%u of %u, flags %#x%s%s\n"
		"Linux %s on %s, setup %#x, features %#x, "
		"%u operations%s\n",
		message, k->ring.ring_fd, k->in_flight, sq->sqe_head,
		sq->sqe_tail, IO_URING_READ_ONCE(*sq->khead), *sq->ktail,
		sq->ring_entries, *cq->khead, IO_URING_READ_ONCE(*cq->ktail),
		cq->ring_entries, IO_URING_READ_ONCE(*sq->kflags),
		k->armed ? ", armed" : "", k->chaining ? ", in a chain" : "",
		system.release, system.machine, k->ring.flags, k->ring.features,
		operations,
		k->ring.flags & IORING_SETUP_R_DISABLED ? ", restricted" : "");
	abort();
}

double kio_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* From the best flags, which may be turned off, to those that any kernel with
 * io_uring takes. */
static const uint32_t setup_flags[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_SUBMIT_ALL,
	0,
};

static int ring_init(struct kio *k, uint32_t entries, uint32_t cq_entries,
		     bool defers, uint32_t flags)
{
	int ret = -EINVAL;

	for (size_t i = !defers; i < sizeof(setup_flags) / sizeof(*setup_flags) &&
			   ret == -EINVAL;
	     i++) {
		struct io_uring_params params = {
			.flags = setup_flags[i] | IORING_SETUP_CQSIZE |
				 IORING_SETUP_CLAMP | flags,
			.cq_entries = cq_entries,
		};

		ret = seam_ring_init(entries, &k->ring, &params);
		if (!ret && params.features & KIO_FEAT_NO_IOWAIT)
			k->enter_flags |= KIO_ENTER_NO_IOWAIT;
	}
	return ret;
}

static void ring_probe(struct kio *k)
{
	struct io_uring_probe *probe = seam_probe(&k->ring);

	if (!probe)
		return;
	for (uint32_t i = 0; i < probe->ops_len; i++)
		k->has[probe->ops[i].op] =
			!!(probe->ops[i].flags & IO_URING_OP_SUPPORTED);
	io_uring_free_probe(probe);
}

/*
 * Opens a context. Without `defers` completions are processed as they come
 * (COOP_TASKRUN). `allowed` has 256 places, see restrict_ring(); NULL allows
 * all operations. After an error the result is NULL and status[0] a negative
 * errno. It is refused unless the isolate's guard is armed: without the guard
 * no code would wait for the kernel's buffers when the isolate dies.
 */
struct kio *kio_context_open(uint32_t entries, uint32_t cq_entries,
			     uint32_t submit_max, uint32_t kernel_workers,
			     bool defers, const uint8_t *allowed,
			     int32_t *status)
{
	/* The kernel takes the limit of those for files from the first ring of a
	 * thread, by its entries: a probe or a trial with one would leave one. */
	uint32_t workers[2] = { 4 * (uint32_t)sysconf(_SC_NPROCESSORS_ONLN),
				kernel_workers };
	struct kio *k = isolate ? calloc(1, sizeof(*k)) : NULL;

	status[0] = isolate ? -ENOMEM : -EOPNOTSUPP;
	if (!k)
		return NULL;
	status[0] = ring_init(k, entries, cq_entries, defers,
			      allowed ? IORING_SETUP_R_DISABLED : 0);
	if (status[0])
		goto fail_memory;
	k->chain_copies = calloc(k->ring.sq.ring_entries,
				 sizeof(*k->chain_copies));
	if (!k->chain_copies) {
		status[0] = -ENOMEM;
		goto fail_ring;
	}
	/* Saves the fd lookup at each entry; there are 16 places a thread. */
	if (seam_register_ring_fd(&k->ring) == 1)
		k->enter_flags |= IORING_ENTER_REGISTERED_RING;
	k->submit_max = submit_max;
	k->loop_fd = -1;
	k->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (k->event_fd < 0) {
		status[0] = -errno;
		goto fail_ring;
	}
	status[0] = io_uring_register_eventfd(&k->ring, k->event_fd);
	if (status[0])
		goto fail_event_fd;
	io_uring_cq_eventfd_toggle(&k->ring, false);
	seam_register_workers(&k->ring, workers);
	ring_probe(k);
	status[0] = allowed ? restrict_ring(k, allowed) : 0;
	if (status[0])
		goto fail_event_fd;
	k->next = isolate->contexts;
	isolate->contexts = k;
	k->inbox_end = &k->inbox;
	TAILQ_INIT(&k->jobs);
	for (int kind = 0; kind < JOB_KINDS; kind++)
		TAILQ_INIT(&k->answers[kind]);
	context_publish(k);
	return k;

fail_event_fd:
	close(k->event_fd);
fail_ring:
	free(k->chain_copies);
	io_uring_queue_exit(&k->ring);
fail_memory:
	free(k);
	return NULL;
}

/*
 * Probes the kernel, by a context or (NULL) a ring of its own, which `defers` as
 * that of a context does.
 * opcodes: 256 places, 1 if the kernel has the operation of that number.
 * info: the setup flags of the ring, IORING_FEAT_*, and 1 if a message can be
 * sent without a ring.
 */
int kio_probe(struct kio *k, bool defers, uint8_t *opcodes, uint32_t *info)
{
	struct io_uring_sqe message;
	struct io_uring_probe *probe;
	struct kio own = { 0 };

	if (!k) {
		int ret = ring_init(&own, 1, 2, defers, 0);

		if (ret)
			return ret;
	}
	probe = seam_probe(k ? &k->ring : &own.ring);
	for (uint32_t i = 0; probe && i < probe->ops_len; i++)
		opcodes[probe->ops[i].op] =
			!!(probe->ops[i].flags & IO_URING_OP_SUPPORTED);
	opcodes[IORING_OP_URING_CMD] &= has_socket_commands();
	info[0] = (k ? k : &own)->ring.flags;
	info[1] = (k ? k : &own)->ring.features;
	/* to no ring: EBADF where it is known */
	memset(&message, 0, sizeof(message));
	io_uring_prep_msg_ring(&message, -1, 0, 0, 0);
	info[2] = message_without_ring(&message) != -EINVAL;
	if (!k)
		io_uring_queue_exit(&own.ring);
	if (!probe)
		return -ENOMEM;
	io_uring_free_probe(probe);
	return 0;
}

int kio_ring_fd(const struct kio *k)
{
	return k->ring.ring_fd;
}

/*
 * Gives the bytes of locked memory that a ring takes. The kernel counts them up
 * to Linux 5.11 and since 6.14, for all rings of a user without CAP_IPC_LOCK.
 */
double kio_ring_memory(uint32_t entries, uint32_t cq_entries)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	/* struct io_rings of the kernel is smaller than this */
	uint64_t queues = 512 + cq_entries * sizeof(struct io_uring_cqe) +
			  entries * sizeof(uint32_t);
	uint64_t sqes = entries * sizeof(struct io_uring_sqe);

	return (double)((queues + page - 1) / page * page +
			(sqes + page - 1) / page * page);
}

/* Gives the sizes of the queues, and the counters of entries, submissions,
 * completions and overflows: those are entries that left completions waiting
 * for room. */
void kio_stats(const struct kio *k, double *out)
{
	*out++ = (double)k->ring.sq.ring_entries;
	*out++ = (double)k->ring.cq.ring_entries;
	*out++ = (double)k->entries;
	*out++ = (double)k->submissions;
	*out++ = (double)k->completions;
	*out = (double)k->overflows;
}

int kio_event_fd(const struct kio *k)
{
	return k->event_fd;
}

void context_destroy(struct kio *k)
{
	struct kio **at = &isolate->contexts;

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	context_withdraw(k);
	/* no other thread finds it any more */
	close_parcels(&k->inbox);
	close_parcels(&k->late);
	io_uring_queue_exit(&k->ring);
	pools_free(k);
	waiters_close(k);
	seam_context_end(k);
	seam_unwatch_all(k);
	free(k->chain_copies);
	free(k->closings);
	free(k->zero_copies);
	free(k->receivings);
	free(k);
}

/*
 * Destroys a context that the caller has drained. It aborts if one is not: the
 * kernel goes on with operations in flight when a ring is closed. The caller
 * owns the eventfd and closes it.
 */
void kio_context_close(struct kio *k)
{
	if (k->in_flight)
		kio_abort(k, "a context was closed with operations in flight");
	if (!TAILQ_EMPTY(&k->jobs))
		kio_abort(k, "a context was closed with jobs in flight");
	context_destroy(k);
}

void context_drain(struct kio *k)
{
	bool told = false, stalled = true;
	double progress_ms = kio_now_ms();
	struct io_uring_sqe *sqe;

	kio_loop_forget(k);
	kio_jobs_end(k);
	for (; (sqe = unsubmitted(k, 0)); k->ring.sq.sqe_tail--) {
		/* or a step of a pump, which counts once */
		if (sqe->user_data & UD_INTERNAL ||
		    sqe->flags & IOSQE_CQE_SKIP_SUCCESS)
			continue;
		k->in_flight--;
		if (k->zero_copy_count)
			zero_copy_end(k, sqe->user_data);
		/* its fd was given up when it was queued; a place has none */
		if (sqe->opcode == IORING_OP_CLOSE && !sqe->file_index)
			close(sqe->fd);
	}
	kio_chain(k, false);
	while (k->in_flight) {
		uint32_t before = k->in_flight;

		/* It walks all of them: repeated only when nothing comes. */
		if (stalled)
			kio_cancel_all(k);
		enter_and_wait(k);
		harvest(k, NULL, UINT32_MAX);
		stalled = k->in_flight == before;
		if (!stalled)
			progress_ms = kio_now_ms();
		if (kio_now_ms() - progress_ms > 1000)
			kio_zero_copy_reset(k);
		if (!told && kio_now_ms() - progress_ms > 5000) {
			fprintf(stderr,
				"kio: waiting for %u operations that the "
				"kernel cannot cancel\n",
				k->in_flight);
			told = true;
		}
	}
}
