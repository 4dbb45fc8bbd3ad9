/*
 * driver.c - enters the kernel and takes completions out of the ring. It makes
 * steps, waits within one for a bounded time, and arms the eventfd before the
 * thread parks in Deno's event loop. It knows nothing of operations.
 */
#include "internal.h"

#include <string.h>

/* Completions of one multishot in a row that end a step: the kernel posts as
 * many before it lets others go on. */
#define BURST_MAX 32

/* Tells whether the kernel has work for the ring to run. */
static bool has_work(const struct kio *k)
{
	return IO_URING_READ_ONCE(*k->ring.sq.kflags) &
	       (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static uint32_t queued(const struct kio *k)
{
	return k->ring.sq.sqe_head - io_uring_smp_load_acquire(k->ring.sq.khead);
}

/* Counts the SQEs that go next: `submit_max`, or more where the last of them is
 * linked to the next, as a chain reaches the kernel whole. */
static uint32_t portion(const struct kio *k)
{
	const struct io_uring_sq *sq = &k->ring.sq;
	uint32_t count = k->submit_max;

	while (count < queued(k) &&
	       sq->sqes[(*sq->khead + count - 1) & sq->ring_mask].flags &
		       (IOSQE_IO_LINK | IOSQE_IO_HARDLINK))
		count++;
	return count;
}

static int hand_over(struct kio *k, uint32_t count, uint32_t wait_count,
		     uint32_t flags)
{
	int ret = (int)syscall(__NR_io_uring_enter, k->ring.enter_ring_fd, count,
			       wait_count, flags | k->enter_flags, NULL, 0);

	k->entries++;
	if (ret < 0)
		return -errno;
	k->submissions += (uint32_t)ret;
	return ret;
}

int enter(struct kio *k, uint32_t keep, uint32_t wait_count, uint32_t flags)
{
	struct io_uring_sq *sq = &k->ring.sq;
	uint32_t count;
	int ret;

	/* An entry's place is that of its SQE. The array of places is liburing's:
	 * newer versions have none, since Linux 6.6. */
	sq->sqe_head = sq->sqe_tail - keep;
	io_uring_smp_store_release(sq->ktail, sq->sqe_head);

	if (seam_enter(&ret))
		return ret;
	/* What stops here is left to the last call, which tells why. */
	while ((count = portion(k)) < queued(k) &&
	       hand_over(k, count, 0, 0) > 0)
		;
	ret = hand_over(k, queued(k), wait_count, flags);
	if (ret < 0)
		return ret;
	if (IO_URING_READ_ONCE(*k->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW)
		k->overflows++;
	if (k->late && !io_uring_sq_ready(&k->ring))
		close_parcels(&k->late);
	return ret;
}

/*
 * Tells whether TypeScript sees the completion of a request of the shim's own.
 * It sees that of each kio_take_back(), and of a cancel that found nothing, as
 * it may have come too early. (-EALREADY: the operation is completing anyway.)
 */
static bool internal_reported(struct kio *k, const struct io_uring_cqe *cqe)
{
	if (cqe->user_data == UD_TIMER)
		k->timer_armed = false;
	if (cqe->user_data == UD_WAIT)
		k->wait_armed = false;
	if (cqe->user_data == UD_LOOP)
		k->loop_armed = false;
	return cqe->user_data < UD_TIMER &&
	       (cqe->user_data & UD_TAKE_BACK || cqe->res == -ENOENT);
}

/* Inline: harvest() calls it for each completion, test/faults.c for some. */
inline bool take(struct kio *k, const struct io_uring_cqe *cqe, int32_t *out)
{
	uint64_t user_data = cqe->user_data;
	int closing = -1;

	if (cqe->flags & IORING_CQE_F_BUFFER)
		seam_buffer_take(k, cqe);
	if (!out && k->receiving_count)
		receiving_drop(k, cqe);
	if (!(user_data & UD_MESSAGE)) {
		if (user_data & UD_INTERNAL) {
			if (!internal_reported(k, cqe))
				return false;
		} else if (!(cqe->flags & IORING_CQE_F_MORE)) {
			seam_unwatch(k, cqe);
			waiter_end(&k->waiters, user_data);
			if (k->closing_count)
				closing = closing_end(k, user_data);
			if (k->zero_copy_count)
				zero_copy_end(k, user_data);
			if (k->receiving_count)
				receiving_end(k, user_data);
			k->in_flight--;
		}
	}
	if (out) {
		out[0] = (int32_t)user_data;
		out[1] = (int32_t)(user_data >> 32);
		out[2] = cqe->res;
		out[3] = (int32_t)cqe->flags;
	} else if (user_data < UD_INTERNAL && user_data & UD_MAKES_FD &&
		   cqe->res >= 0) {
		close(cqe->res);
	} else if (closing >= 0 && cqe->res == -ECANCELED) {
		close(closing);
	}
	return true;
}

/* Counts completions of one multishot in a row. */
static void note_burst(struct kio *k, uint64_t user_data)
{
	k->burst = user_data == k->burst_of ? k->burst + 1 : 1;
	k->burst_of = user_data;
}

uint32_t harvest(struct kio *k, int32_t *out, uint32_t capacity)
{
	struct io_uring_cq *cq = &k->ring.cq;
	uint32_t head = *cq->khead;
	uint32_t tail = io_uring_smp_load_acquire(cq->ktail);
	uint32_t count = 0;

	for (; head != tail && count < capacity; head++) {
		struct io_uring_cqe *cqe = &cq->cqes[head & cq->ring_mask];

		if (cqe->flags & IORING_CQE_F_MORE)
			note_burst(k, cqe->user_data);
		if (!seam_holds(k, cqe))
			count += take(k, cqe, out ? out + 4 * count : NULL);
	}
	k->completions += head - *cq->khead;
	io_uring_smp_store_release(cq->khead, head);
	return count + seam_release(k, out ? out + 4 * count : NULL,
				    capacity - count);
}

/* Gives a time of kio_now_ms() as the kernel takes it. */
static struct __kernel_timespec timespec_of(double ms)
{
	long long seconds = (long long)(ms / 1e3);
	double rest_ms = ms - (double)seconds * 1e3;

	return (struct __kernel_timespec){ seconds, (long long)(rest_ms * 1e6) };
}

/* Makes sure that a timeout ends a wait at `until_ms`, or before. */
static void arm_wait(struct kio *k, double until_ms)
{
	struct io_uring_sqe *sqe;

	if ((k->wait_armed && k->wait_until_ms <= until_ms) ||
	    sqe_begin(k, &sqe))
		return;
	k->wait_at = timespec_of(until_ms);
	k->wait_until_ms = until_ms;
	if (k->wait_armed) {
		io_uring_prep_timeout_update(sqe, &k->wait_at, UD_WAIT,
					     IORING_TIMEOUT_ABS);
		ignore(sqe);
	} else {
		io_uring_prep_timeout(sqe, &k->wait_at, 0, IORING_TIMEOUT_ABS);
		sqe->user_data = UD_WAIT;
		k->wait_armed = true;
	}
}

/* Has the ring poll the event loop, unless it does already. */
static void arm_loop(struct kio *k)
{
	struct io_uring_sqe *sqe;

	if (k->loop_fd < 0 || k->loop_armed || sqe_begin(k, &sqe))
		return;
	io_uring_prep_poll_add(sqe, k->loop_fd, POLLIN);
	sqe->user_data = UD_LOOP;
	k->loop_armed = true;
}

int enter_and_wait(struct kio *k)
{
	double now_ms = kio_now_ms();

	if (!k->wait_armed || k->wait_until_ms > now_ms + 1.5 * WAIT_MS)
		arm_wait(k, now_ms + WAIT_MS);
	arm_loop(k);
	return enter(k, 0, k->wait_armed, IORING_ENTER_GETEVENTS);
}

/* Begins a step: the thread is awake. */
static void step_begin(struct kio *k)
{
	if (k->armed) {
		io_uring_cq_eventfd_toggle(&k->ring, false);
		k->armed = false;
		waiters_rest(k);
	}
	k->burst = 0;
	if (k->pools)
		pools_publish(k);
}

/* Ends a step: tells of answers of the shim's threads, as one completion more.
 * Returns the number of completions, or an error if there are none. */
static int step_end(struct kio *k, int ret, int32_t *out, uint32_t count,
		    uint32_t capacity)
{
	if (count < capacity &&
	    atomic_load_explicit(&k->answered, memory_order_relaxed)) {
		atomic_store(&k->answered, false);
		memset(out + 4 * count, 0, 4 * sizeof(*out));
		out[4 * count++ + 1] = (int32_t)(UD_INBOX >> 32);
	}
	if (count || ret == -EINTR)
		return (int)count;
	return ret < 0 ? ret : 0;
}

/*
 * Makes one step: submits the queued SQEs, lets the kernel post completions and
 * copies up to `capacity` of them. With `wait` it sleeps for about WAIT_MS
 * until the first. Returns their number, or an error if there are none. SQEs
 * that could not be submitted stay queued.
 */
int kio_step(struct kio *k, int32_t *out, uint32_t capacity, bool wait)
{
	double start_ms = wait ? kio_now_ms() : 0;
	uint32_t count = 0, fresh;
	int ret = 0;

	step_begin(k);
	/*
	 * Without work to run for the ring GETEVENTS is left out: the call is
	 * shorter. Operations that complete at once are posted all the same.
	 * The flag is a hint both ways. It may stay up with nothing to do, so
	 * only progress repeats the loop. It may be down with work left over
	 * from a longer batch, so kio_arm() asks the kernel.
	 */
	do {
		if (wait)
			ret = enter_and_wait(k);
		else if (has_work(k))
			ret = enter(k, 0, 0, IORING_ENTER_GETEVENTS);
		else if (io_uring_sq_ready(&k->ring))
			ret = enter(k, 0, 0, 0);
		fresh = harvest(k, out + 4 * count, capacity - count);
		count += fresh;
		/*
		 * The timeout may be one that was nearly over at the start,
		 * and the loop have had its turn since the poll was armed.
		 */
		wait = wait && !count && ret >= 0 &&
		       kio_now_ms() - start_ms < WAIT_MS / 2 &&
		       !kio_loop_is_ready(k);
		/* One that pours has to be stopped before it takes all buffers. */
	} while (wait || (ret >= 0 && fresh && count < capacity &&
			  k->burst < BURST_MAX && has_work(k)));
	return step_end(k, ret, out, count, capacity);
}

/*
 * Makes one step, and sleeps in it until there is a completion, or `until_ms`
 * has come by the clock of kio_now_ms(), or the event loop has something to do.
 * The poll of the loop is that of kio_loop_watch(). If it has ended, the step
 * does not sleep: the loop may have taken what ended it, and not have dealt
 * with it yet. It writes the time to *now_ms.
 */
int kio_wait(struct kio *k, int32_t *out, uint32_t capacity, double until_ms,
	     double *now_ms)
{
	uint32_t count;
	bool wait;
	int ret;

	step_begin(k);
	*now_ms = kio_now_ms();
	do {
		wait = k->loop_armed && *now_ms < until_ms;
		if (wait)
			arm_wait(k, until_ms);
		/* Without a timeout there was no room for one in the queue. */
		wait = wait && k->wait_armed;
		ret = enter(k, 0, wait, IORING_ENTER_GETEVENTS);
		count = harvest(k, out, capacity);
		*now_ms = kio_now_ms();
	} while (wait && !count && ret >= 0);
	return step_end(k, ret, out, count, capacity);
}

/* Has the ring poll the event loop from now on. Returns true if it does. */
bool kio_loop_watch(struct kio *k)
{
	arm_loop(k);
	return k->loop_armed && enter(k, 0, 0, 0) >= 0;
}

static int arm_timer(struct kio *k, double deadline_ms)
{
	struct io_uring_sqe *sqe;
	int ret;

	if (k->timer_armed && k->timer_deadline_ms <= deadline_ms)
		return 0;
	ret = sqe_begin(k, &sqe);
	if (ret)
		return ret;
	k->timer_at = timespec_of(deadline_ms);
	if (k->timer_armed) {
		io_uring_prep_timeout_update(sqe, &k->timer_at, UD_TIMER,
					     IORING_TIMEOUT_ABS);
		ignore(sqe);
	} else {
		io_uring_prep_timeout(sqe, &k->timer_at, 0,
				      IORING_TIMEOUT_ABS);
		sqe->user_data = UD_TIMER;
	}
	k->timer_armed = true;
	k->timer_deadline_ms = deadline_ms;
	return 0;
}

/*
 * Cancels the timeout and the poll that end a bounded wait. The timeout would
 * end a sleep in vain. The poll would wake the event loop over the eventfd that
 * reports it.
 */
static void disarm_wait(struct kio *k)
{
	struct io_uring_sqe *sqe;

	if (k->wait_armed && !sqe_begin(k, &sqe)) {
		io_uring_prep_timeout_remove(sqe, UD_WAIT, 0);
		ignore(sqe);
	}
	if (k->loop_armed && !sqe_begin(k, &sqe)) {
		io_uring_prep_poll_remove(sqe, UD_LOOP);
		ignore(sqe);
	}
}

/*
 * Arms the eventfd before the thread sleeps in its event loop. From now on a
 * completion makes it readable, and so does deadline_ms (0: none) by the clock
 * of kio_now_ms(). Returns 1 if the thread may sleep, 0 if there is something
 * to do at once. 2: a completion may go unnoticed, see waiters_poll(), so the
 * caller must look again soon. (A timeout in the ring would not help: the
 * kernel does not signal it behind a completion that it did not signal.)
 *
 * The flag is raised before the kernel is entered once more: that sees a
 * completion, or the eventfd signals it, on every architecture. GETEVENTS runs
 * 20 pieces of work at most. If those give no completion, no signal comes for
 * the rest. So the kernel is then asked whether it has anything left.
 */
int kio_arm(struct kio *k, double deadline_ms)
{
	struct pollfd ring = { .fd = k->ring.ring_fd, .events = POLLIN };
	bool is_heard;

	if (k->wait_armed || k->loop_armed) {
		disarm_wait(k);
		return 0;
	}
	is_heard = waiters_poll(k);
	seam_deadline(k, &deadline_ms);
	if (deadline_ms > 0 && arm_timer(k, deadline_ms))
		return 0;
	io_uring_cq_eventfd_toggle(&k->ring, true);
	k->armed = true;
	atomic_thread_fence(memory_order_seq_cst);
	if (enter(k, 0, 0, IORING_ENTER_GETEVENTS) >= 0 &&
	    !io_uring_sq_ready(&k->ring) && poll(&ring, 1, 0) == 0)
		return is_heard ? 1 : 2;
	io_uring_cq_eventfd_toggle(&k->ring, false);
	k->armed = false;
	waiters_rest(k);
	return 0;
}

/* Makes the eventfd readable, so that the event loop comes back by itself. */
void kio_wake_self(struct kio *k)
{
	uint64_t one = 1;
	ssize_t written = write(k->event_fd, &one, sizeof(one));

	(void)written; /* EAGAIN: it is readable already */
}

/* Blocks a helper thread until the eventfd is readable, and empties it. */
int kio_event_wait(int event_fd)
{
	struct pollfd poll_fd = { .fd = event_fd, .events = POLLIN };
	uint64_t value;

	while (poll(&poll_fd, 1, -1) < 0 && errno == EINTR)
		;
	return read(event_fd, &value, sizeof(value)) < 0 ? -errno : 0;
}
