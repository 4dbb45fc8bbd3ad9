/*
 * kio.c - what TypeScript cannot do itself: own an io_uring, fill its SQEs,
 * enter the kernel, and take a ring apart before its buffers are freed.
 *
 * Every function that can fail returns a negative errno and leaves errno
 * alone. All calls on a context come from the thread that opened it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <liburing.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Raised whenever a signature below changes; ffi/load.ts compares it. */
#define KIO_ABI 8

/* Values that liburing 2.3 (Debian 12) does not name yet. */
#define KIO_OP_FTRUNCATE KIO_NUMBER(FTRUNCATE, 55) /* Linux 6.9 */
#define KIO_REGISTER_SEND_MSG_RING KIO_NUMBER(SYNC_MSG_RING, 31) /* 6.13 */
#define KIO_ENTER_NO_IOWAIT (1U << 7) /* 6.15 */
#define KIO_FEAT_NO_IOWAIT (1U << 17)

/* Kernels that have less, for tests: nothing of it is in the normal build. */
#ifdef KIO_MASKS
#include "masks.c"
#else
#define KIO_NUMBER(NAME, NUMBER) (NUMBER)
#endif

/*
 * user_data of a completion:
 *   bit 63      a message from another ring; bits 0-61 are the sender's
 *   bit 62      the shim's own request: the timer, or a cancel of the operation
 *               in the bits below, which is reported when it found nothing
 *   bit 58      with bit 62: the answer to kio_take_back(), whatever it is
 *   bits 53-57  step of a pump that ended it
 *   bit 52      the result is a new fd: whoever drops it has to close it
 *   bits 32-51  generation of the slot
 *   bits 0-31   slot in the operation table
 */
#define UD_MESSAGE (1ULL << 63)
#define UD_INTERNAL (1ULL << 62)
#define UD_TAKE_BACK (1ULL << 58)
#define UD_MAKES_FD (1ULL << 52)
#define UD_STEP_SHIFT 53
#define UD_STEPS_MAX 32
#define UD_TIMER (UD_INTERNAL | (1ULL << 60))
#define UD_IGNORED (UD_INTERNAL | (2ULL << 60))
#define UD_WAIT (UD_INTERNAL | (3ULL << 60))
#define UD_LOOP (UD_WAIT | 1)
/* there is an fd in the inbox, or a look-up is answered */
#define UD_INBOX (UD_MESSAGE | UD_INTERNAL)

/* How long a step waits for a completion: at least half of that, at most 1.5
 * times. */
#define WAIT_NS 2000000

/* What /proc says of an epoll instance, and where one is looked for. */
#define EVENTPOLL "anon_inode:[eventpoll]"
#define LOOP_FD_MAX 4096

/* An fd on its way from one thread to another. */
struct parcel {
	struct parcel *next;
	int fd;
	double tag;
};

/* Addresses of one name at most; ffi/resolve.ts has the twin. */
#define ADDRESSES_MAX 64
/* A struct sockaddr_storage and its length. */
#define ADDRESS_RECORD_SIZE 132
/* The longest name of the DNS, with a dot at the end and a NUL. */
#define HOST_SIZE 255

/* A look-up of a name: in a queue, in the hands of a thread, or answered. */
struct lookup {
	/* NULL: nobody wants it any more, and its thread frees it */
	struct kio *owner;
	TAILQ_ENTRY(lookup) of_owner;
	/* in the list of those that wait, or of the answers of its owner */
	TAILQ_ENTRY(lookup) in_list;
	struct lookup_list *waits_in;
	double id;
	int status;
	char host[HOST_SIZE];
	char records[ADDRESSES_MAX * ADDRESS_RECORD_SIZE];
};
TAILQ_HEAD(lookup_list, lookup);

#ifdef KIO_FAULTS
/* See faults.c. */
struct faults {
	struct fault_mark *marks;
	uint32_t mark_count;
	struct fault_held *held;
	uint32_t held_count;
	bool chain_ended;
};
#endif

/* What an operation waits for, and on what; by its slot. */
struct waiter {
	uint64_t id;
	int32_t fd;
	uint32_t events;
	bool pending;
	/* to be looked at before the thread sleeps */
	bool fresh;
	/* the second ring polls its fd */
	bool polled;
};

/* See waiters_poll(). */
struct waiters {
	struct io_uring ring;
	bool open;
	/* there was no memory for a waiter */
	bool blind;
	struct waiter *by_slot;
	uint32_t slots;
	/* slots, with room for all of them */
	uint32_t *fresh;
	uint32_t fresh_count;
	/* duplicates of the registered files that are anonymous, by place; -1 */
	int32_t *registered;
	uint32_t registered_count;
};

/* A close under way: its operation, and its fd + 1, 0 for none. */
struct closing {
	uint64_t id;
	int32_t fd_plus_one;
};

struct kio {
	struct io_uring ring;
	struct kio *next;
	/* Under contexts_lock, as other threads use them. */
	struct kio *next_of_all;
	struct parcel *inbox, **inbox_end;
	/* Under lookups_lock; a flag to look at without it. */
	struct lookup_list lookups, answers;
	atomic_bool answered;
	/* To be closed when what is in the queue, maybe for them, was submitted. */
	struct parcel *late;
	/* The closes that the kernel still owns, by slot, and their number. */
	struct closing *closings;
	uint32_t closing_slots, closing_count;
	/* Operations of the table that the kernel still owns. */
	uint32_t in_flight;
	int32_t event_fd;
	uint32_t enter_flags;
	bool ring_ftruncate;
	bool armed;
	/* Linked operations: SQEs since kio_chain_begin(), the last of them. */
	bool chaining;
	/* One was refused: those behind it must not happen either. */
	bool chain_refused;
	uint32_t chain_length;
	struct io_uring_sqe *chain_last;
	/* What they were queued as: room for as many as the queue has. */
	struct io_uring_sqe *chain_copies;
	/* Set by kio_wide_offset() for the next operation whose offset is NaN. */
	uint64_t wide_offset;
	/* for kio_stats() */
	uint64_t entries, submissions, completions, overflows;
	struct waiters waiters;
	/* The epoll instance of the event loop, -1 when it is not known. */
	int32_t loop_fd;
	bool wait_armed, loop_armed;
	bool timer_armed;
	double timer_deadline_ms;
	struct __kernel_timespec timer_at;
#ifdef KIO_FAULTS
	struct faults faults;
#endif
#ifdef KIO_ASAN
	/* what operations have in their hands, by slot: see asan.c */
	struct watched **watched;
	uint32_t watched_count;
#endif
};

struct mapping {
	void *address;
	size_t size;
	struct mapping *next;
};

/* What one JavaScript isolate has open; its thread is the only user. */
struct isolate {
	/* first: guard.c calls it */
	void (*end)(void *);
	struct kio *contexts;
	struct mapping *mappings;
	/* fds to be closed with the isolate, a bit each */
	uint64_t *owned;
	uint32_t owned_words;
	/* closed last of all: whoever reads from its pipe knows */
	int life_fd;
};

static __thread struct isolate *isolate;

/* The contexts of all threads. */
static pthread_mutex_t contexts_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kio *all_contexts;

EXPORT uint32_t kio_abi(void)
{
	return KIO_ABI;
}

/*
 * Ends the process: a broken invariant must not become corruption. What is
 * known of the ring goes with the message: the queues as from..to, the
 * submission queue twice, as it is prepared and as the kernel sees it.
 */
EXPORT void kio_abort(const struct kio *k, const char *message)
{
	const struct io_uring_sq *sq = &k->ring.sq;
	const struct io_uring_cq *cq = &k->ring.cq;

	fprintf(stderr,
		"kio: %s\n"
		"ring fd %d: %u in flight, prepared %u..%u, submitted %u..%u "
		"of %u, completed %u..%u of %u, flags %#x%s%s\n",
		message, k->ring.ring_fd, k->in_flight, sq->sqe_head,
		sq->sqe_tail, IO_URING_READ_ONCE(*sq->khead), *sq->ktail,
		sq->ring_entries, *cq->khead, IO_URING_READ_ONCE(*cq->ktail),
		cq->ring_entries, IO_URING_READ_ONCE(*sq->kflags),
		k->armed ? ", armed" : "", k->chaining ? ", in a chain" : "");
	abort();
}

EXPORT double kio_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* ---- fds that end with the isolate -------------------------------------- */

/* Numbers beyond are not noted; fs.nr_open is 2^20 if nobody has raised it. */
#define OWNED_FDS_MAX (1 << 24)

/*
 * Has the fd closed when the isolate ends: fds belong to the process, and the
 * connections of a worker that dies would stay open for ever.
 */
EXPORT void kio_fd_own(int fd)
{
	uint32_t word = (uint32_t)fd / 64;

	if (!isolate || fd < 0 || fd >= OWNED_FDS_MAX)
		return;
	if (word >= isolate->owned_words) {
		uint32_t words = isolate->owned_words ? isolate->owned_words : 8;
		uint64_t *grown;

		while (words <= word)
			words *= 2;
		grown = realloc(isolate->owned, words * sizeof(*grown));
		if (!grown)
			return;
		memset(grown + isolate->owned_words, 0,
		       (words - isolate->owned_words) * sizeof(*grown));
		isolate->owned = grown;
		isolate->owned_words = words;
	}
	isolate->owned[word] |= 1ULL << fd % 64;
}

EXPORT void kio_fd_disown(int fd)
{
	uint32_t word = (uint32_t)fd / 64;

	if (isolate && fd >= 0 && word < isolate->owned_words)
		isolate->owned[word] &= ~(1ULL << fd % 64);
}

static void owned_close(void)
{
	for (uint32_t word = 0; word < isolate->owned_words; word++)
		for (uint64_t left = isolate->owned[word]; left;
		     left &= left - 1)
			close((int)(word * 64) + __builtin_ctzll(left));
	free(isolate->owned);
}

/*
 * Keeps a duplicate of an fd open until nothing of the isolate is left: the
 * other end of the pipe hears of its end, whatever the cause.
 */
EXPORT int kio_life_begin(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return -errno;
	if (isolate->life_fd >= 0)
		close(isolate->life_fd);
	isolate->life_fd = copy;
	return 0;
}

static bool take(struct kio *k, const struct io_uring_cqe *cqe, int32_t *out);

/* Faults for tests: nothing of them is in the normal build. */
#ifdef KIO_FAULTS
#include "faults.c"
#define FAULT_OPERATION(K, SQE) \
	((K)->faults.chain_ended = fault_operation(K, SQE))
#define FAULT_ENDS_CHAIN(K) ((K)->faults.chain_ended)
#define FAULT_CHAIN(K) ((K)->faults.chain_ended = false)
#define FAULT_ENTER(RET) fault_enter(RET)
#define FAULT_HOLDS(K, CQE) fault_holds(K, CQE)
#define FAULT_RELEASE(K, OUT, CAPACITY) fault_release(K, OUT, CAPACITY)
#define FAULT_DEADLINE(K, DEADLINE_MS) fault_deadline(K, DEADLINE_MS)
#define FAULT_CLEAR() kio_fault_clear()
#define FAULT_FREE(K) fault_free(K)
#else
#define FAULT_OPERATION(K, SQE) ((void)0)
#define FAULT_ENDS_CHAIN(K) false
#define FAULT_CHAIN(K) ((void)0)
#define FAULT_ENTER(RET) false
#define FAULT_HOLDS(K, CQE) false
#define FAULT_RELEASE(K, OUT, CAPACITY) 0
#define FAULT_DEADLINE(K, DEADLINE_MS) ((void)0)
#define FAULT_CLEAR() ((void)0)
#define FAULT_FREE(K) ((void)0)
#endif

/* Buffers under the eyes of AddressSanitizer: only in a build with it. */
#ifdef KIO_ASAN
#include "asan.c"
#define WATCH_BEGIN(K, SQE) watch_begin(K, SQE)
#define WATCH_END(K, CQE) watch_end(K, CQE)
#define WATCH_FREE(K) watch_free(K)
#else
#define WATCH_BEGIN(K, SQE) ((void)0)
#define WATCH_END(K, CQE) ((void)0)
#define WATCH_FREE(K) ((void)0)
#endif

/* ---- entering the kernel ---------------------------------------------- */

/* Whether the kernel says that it has something for the ring to run. */
static bool has_work(const struct kio *k)
{
	return IO_URING_READ_ONCE(*k->ring.sq.kflags) &
	       (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

/* Closes the fds of a list, which is empty after that. */
static void close_parcels(struct parcel **list)
{
	struct parcel *parcel;

	while ((parcel = *list)) {
		*list = parcel->next;
		close(parcel->fd);
		free(parcel);
	}
}

/*
 * Publishes the prepared SQEs, all but the last `keep` (a chain that is still
 * being built must reach the kernel whole), and enters it once.
 */
static int enter(struct kio *k, uint32_t keep, uint32_t wait_count,
		 uint32_t flags)
{
	struct io_uring_sq *sq = &k->ring.sq;
	uint32_t tail = *sq->ktail;
	int ret;

	for (uint32_t end = sq->sqe_tail - keep; sq->sqe_head != end;
	     sq->sqe_head++, tail++)
		sq->array[tail & *sq->kring_mask] =
			sq->sqe_head & *sq->kring_mask;
	io_uring_smp_store_release(sq->ktail, tail);

	if (FAULT_ENTER(&ret))
		return ret;
	ret = (int)syscall(__NR_io_uring_enter, k->ring.enter_ring_fd,
			   tail - io_uring_smp_load_acquire(sq->khead),
			   wait_count, flags | k->enter_flags, NULL, 0);
	k->entries++;
	if (ret < 0)
		return -errno;
	k->submissions += (uint32_t)ret;
	if (IO_URING_READ_ONCE(*k->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW)
		k->overflows++;
	if (k->late && !io_uring_sq_ready(&k->ring))
		close_parcels(&k->late);
	return ret;
}

/* A request of the shim's own of which only a failure is told, to nobody. */
static void ignore(struct io_uring_sqe *sqe)
{
	sqe->user_data = UD_IGNORED;
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* ---- files that are written to from within a signal --------------------- */

/* The event that an operation waits for; 0 if it does not wait by a poll, or on
 * a socket only, which no eventfd is. */
static uint32_t waits_for(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_READV:
		return POLLIN;
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
		return POLLOUT;
	case IORING_OP_POLL_ADD:
		return sqe->poll32_events;
	default:
		return 0;
	}
}

static bool waiters_grow(struct waiters *w, uint32_t slot)
{
	uint32_t count = w->slots ? w->slots : 64;
	struct waiter *waiters;
	uint32_t *fresh;

	while (count <= slot)
		count *= 2;
	fresh = realloc(w->fresh, count * sizeof(*fresh));
	if (fresh)
		w->fresh = fresh;
	waiters = realloc(w->by_slot, count * sizeof(*waiters));
	if (waiters)
		w->by_slot = waiters;
	if (!fresh || !waiters)
		return false;
	memset(waiters + w->slots, 0,
	       (count - w->slots) * sizeof(*waiters));
	w->slots = count;
	return true;
}

/* Notes what may wait. Most of it is complete before the thread sleeps, so its
 * fd is looked at only then. */
static void waiter_begin(struct kio *k, const struct io_uring_sqe *sqe)
{
	uint32_t events = waits_for(sqe), slot = (uint32_t)sqe->user_data;
	struct waiters *waiters = &k->waiters;
	struct waiter *waiter;
	int32_t fd = sqe->fd;

	if (!events)
		return;
	if (sqe->flags & IOSQE_FIXED_FILE) {
		if ((uint32_t)fd >= waiters->registered_count)
			return;
		fd = waiters->registered[fd];
	}
	if (slot >= waiters->slots && !waiters_grow(waiters, slot)) {
		waiters->blind = true;
		return;
	}
	waiter = &waiters->by_slot[slot];
	if (!waiter->fresh)
		waiters->fresh[waiters->fresh_count++] = slot;
	*waiter = (struct waiter){ .id = sqe->user_data,
				   .fd = fd,
				   .events = events,
				   .pending = true,
				   .fresh = true };
}

/* The waiter of an operation; NULL if it has none. */
static struct waiter *waiter_of(struct waiters *waiters, uint64_t id)
{
	struct waiter *waiter = waiters->by_slot + (uint32_t)id;

	if ((uint32_t)id >= waiters->slots || !waiter->pending ||
	    waiter->id != id)
		return NULL;
	return waiter;
}

static struct io_uring_sqe *waiters_sqe(struct waiters *waiters)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&waiters->ring);

	if (sqe)
		return sqe;
	return io_uring_submit(&waiters->ring) < 0 ?
		       NULL :
		       io_uring_get_sqe(&waiters->ring);
}

/* The operation is complete: the second ring lets go of its file. */
static void waiter_end(struct kio *k, uint64_t id)
{
	struct waiter *waiter = waiter_of(&k->waiters, id);
	struct io_uring_sqe *sqe;

	if (!waiter)
		return;
	waiter->pending = false;
	if (!waiter->polled)
		return;
	sqe = waiters_sqe(&k->waiters);
	if (sqe) {
		io_uring_prep_poll_remove(sqe, id);
		ignore(sqe);
	}
}

/* Eventfds, epoll instances and rings have no type. */
static bool is_anonymous(int fd)
{
	struct stat stat;

	return !fstat(fd, &stat) && !(stat.st_mode & S_IFMT);
}

/* Some places of the registered files have other files now; -1 is none. */
static void waiters_updated(struct kio *k, uint32_t place, const int32_t *fds,
			  uint32_t count)
{
	struct waiters *waiters = &k->waiters;

	for (uint32_t i = 0; i < count; i++) {
		int32_t *copy = &waiters->registered[place + i];

		if (*copy >= 0)
			close(*copy);
		*copy = -1;
		if (fds[i] >= 0 && is_anonymous(fds[i]))
			*copy = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
	}
}

static int waiters_registered(struct kio *k, const int32_t *fds, uint32_t count)
{
	struct waiters *waiters = &k->waiters;

	waiters->registered = malloc(count * sizeof(*fds));
	if (!waiters->registered) {
		io_uring_unregister_files(&k->ring);
		return -ENOMEM;
	}
	memset(waiters->registered, -1, count * sizeof(*fds));
	waiters->registered_count = count;
	waiters_updated(k, 0, fds, count);
	return 0;
}

static void waiters_unregistered(struct kio *k)
{
	struct waiters *waiters = &k->waiters;

	for (uint32_t i = 0; i < waiters->registered_count; i++)
		if (waiters->registered[i] >= 0)
			close(waiters->registered[i]);
	free(waiters->registered);
	waiters->registered = NULL;
	waiters->registered_count = 0;
}

static bool waiters_open(struct kio *k)
{
	struct io_uring_params params = { .flags = IORING_SETUP_COOP_TASKRUN };
	struct waiters *waiters = &k->waiters;
	int ret;

	if (waiters->open)
		return true;
	ret = io_uring_queue_init_params(16, &waiters->ring, &params);
	if (ret == -EINVAL)
		ret = io_uring_queue_init(16, &waiters->ring, 0);
	if (ret)
		return false;
	if (io_uring_register_eventfd(&waiters->ring, k->event_fd)) {
		io_uring_queue_exit(&waiters->ring);
		return false;
	}
	io_uring_cq_eventfd_toggle(&waiters->ring, false);
	return waiters->open = true;
}

/*
 * Before the thread sleeps. A write to an eventfd signals the ring's own
 * eventfd late and once, and never again: from within such a write the kernel
 * puts the signal off, and does not arm that anew (Linux 6.18, and before). So
 * a second ring polls the eventfds that operations wait for, and what may be
 * written to by way of one. Its completions are posted by this thread, which
 * the kernel wakes for that, so they are signalled; they mean nothing else.
 * Returns whether all is polled.
 */
static bool waiters_poll(struct kio *k)
{
	struct waiters *waiters = &k->waiters;
	struct io_uring_sqe *sqe;

	while (waiters->fresh_count > 0) {
		struct waiter *waiter =
			&waiters->by_slot
				 [waiters->fresh[waiters->fresh_count - 1]];

		if (waiter->pending && is_anonymous(waiter->fd)) {
			if (!waiters_open(k) || !(sqe = waiters_sqe(waiters)))
				return false;
			/* by changes: one that is ready all along ends no
			 * sleep */
			io_uring_prep_poll_multishot(sqe, waiter->fd,
						     waiter->events);
			sqe->user_data = waiter->id;
			waiter->polled = true;
		}
		waiter->fresh = false;
		waiters->fresh_count--;
	}
	if (waiters->open) {
		/* First, as what is ready now is no news: the kernel is entered
		 * once more for that. */
		if (io_uring_submit(&waiters->ring) < 0)
			return false;
		io_uring_cq_eventfd_toggle(&waiters->ring, true);
	}
	return !waiters->blind;
}

/* The thread is awake: takes note of polls that the kernel has ended. */
static void waiters_rest(struct kio *k)
{
	struct waiters *waiters = &k->waiters;
	struct io_uring_cqe *cqe;
	uint32_t head, count = 0;

	if (!waiters->open)
		return;
	io_uring_cq_eventfd_toggle(&waiters->ring, false);
	io_uring_for_each_cqe(&waiters->ring, head, cqe) {
		struct waiter *waiter = waiter_of(waiters, cqe->user_data);

		count++;
		if (!waiter || cqe->flags & IORING_CQE_F_MORE || cqe->res < 0 ||
		    waiter->fresh)
			continue;
		waiter->polled = false;
		waiter->fresh = true;
		waiters->fresh[waiters->fresh_count++] =
			(uint32_t)cqe->user_data;
	}
	io_uring_cq_advance(&waiters->ring, count);
}

static void waiters_close(struct kio *k)
{
	if (k->waiters.open)
		io_uring_queue_exit(&k->waiters.ring);
	waiters_unregistered(k);
	free(k->waiters.by_slot);
	free(k->waiters.fresh);
}

/*
 * Brackets of an operation: sqe_begin() hands out the next SQE, submitting
 * earlier ones when the queue is full; sqe_end() stamps it after the prep
 * (liburing's prep functions clear flags and, before 2.4, leave a stale
 * user_data behind). In a chain each SQE links its predecessor, so that the
 * last one never links to a stranger.
 */
static int sqe_begin(struct kio *k, struct io_uring_sqe **sqe)
{
	if (k->chain_refused)
		return -ECANCELED;
	while (!(*sqe = io_uring_get_sqe(&k->ring))) {
		int ret;

		if (k->chain_length == k->ring.sq.ring_entries)
			return -E2BIG;
		ret = enter(k, k->chain_length, 0, 0);
		if (ret < 0 && ret != -EINTR) {
			k->chain_refused = k->chaining;
			return ret;
		}
	}
	if (k->chaining) {
		if (k->chain_last)
			k->chain_last->flags |= IOSQE_IO_LINK;
		k->chain_last = *sqe;
		k->chain_length++;
	}
	return 0;
}

static int sqe_end(struct kio *k, struct io_uring_sqe *sqe, double id,
		   uint32_t flags)
{
	sqe->user_data = (uint64_t)id;
	sqe->flags |= (uint8_t)flags;
	waiter_begin(k, sqe);
	if (k->chaining)
		k->chain_copies[k->chain_length - 1] = *sqe;
	WATCH_BEGIN(k, sqe);
	FAULT_OPERATION(k, sqe);
	k->in_flight++;
	return 0;
}

/* One operation: PREP fills `sqe`, ID is its user_data. */
#define QUEUE(K, ID, FLAGS, PREP)                        \
	do {                                             \
		struct io_uring_sqe *sqe;                \
		int ret = sqe_begin(K, &sqe);            \
		if (ret)                                 \
			return ret;                      \
		PREP;                                    \
		return sqe_end(K, sqe, ID, FLAGS);       \
	} while (0)

static uint64_t offset_of(const struct kio *k, double offset)
{
	if (offset != offset)
		return k->wide_offset;
	return offset < 0 ? UINT64_MAX : (uint64_t)offset;
}

/* ---- operations ------------------------------------------------------- */

/* at: where in the buffer; a transfer goes on there without a new view. */

EXPORT void kio_wide_offset(struct kio *k, uint64_t offset)
{
	k->wide_offset = offset;
}

EXPORT int kio_read(struct kio *k, double id, int fd, void *buffer,
		    double at, uint32_t length, double offset,
		    uint32_t flags)
{
	QUEUE(k, id, flags,
	      io_uring_prep_read(sqe, fd, (char *)buffer + (size_t)at, length,
				 offset_of(k, offset)));
}

EXPORT int kio_write(struct kio *k, double id, int fd, const void *buffer,
		     double at, uint32_t length, double offset,
		     uint32_t flags)
{
	QUEUE(k, id, flags,
	      io_uring_prep_write(sqe, fd, (const char *)buffer + (size_t)at,
				  length, offset_of(k, offset)));
}

EXPORT int kio_readv(struct kio *k, double id, int fd, const void *vectors,
		     uint32_t count, double offset)
{
	QUEUE(k, id, 0,
	      io_uring_prep_readv(sqe, fd, vectors, count,
				  offset_of(k, offset)));
}

EXPORT int kio_writev(struct kio *k, double id, int fd, const void *vectors,
		      uint32_t count, double offset)
{
	QUEUE(k, id, 0,
	      io_uring_prep_writev(sqe, fd, vectors, count,
				   offset_of(k, offset)));
}

EXPORT int kio_open(struct kio *k, double id, const char *path, int flags,
		    uint32_t mode)
{
	QUEUE(k, id, 0,
	      io_uring_prep_openat(sqe, AT_FDCWD, path, flags | O_CLOEXEC,
				   mode));
}

/* how: a struct open_how */
EXPORT int kio_openat2(struct kio *k, double id, int directory,
		       const char *path, void *how)
{
	QUEUE(k, id, 0, io_uring_prep_openat2(sqe, directory, path, how));
}

/* stat: room for a struct statx */
EXPORT int kio_fstat(struct kio *k, double id, int fd, void *stat)
{
	QUEUE(k, id, 0,
	      io_uring_prep_statx(sqe, fd, "", AT_EMPTY_PATH,
				  STATX_BASIC_STATS, stat));
}

EXPORT int kio_rename(struct kio *k, double id, const char *from,
		      const char *to, uint32_t flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_renameat(sqe, AT_FDCWD, from, AT_FDCWD, to, flags));
}

EXPORT int kio_unlink(struct kio *k, double id, const char *path, int flags)
{
	QUEUE(k, id, 0, io_uring_prep_unlinkat(sqe, AT_FDCWD, path, flags));
}

/* An offset below 0 is the file's own position, the only one a pipe has. */
EXPORT int kio_splice(struct kio *k, double id, int from, double from_offset,
		      int to, double to_offset, uint32_t length, uint32_t flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_splice(sqe, from, (int64_t)from_offset, to,
				   (int64_t)to_offset, length, flags));
}

/*
 * The fd is gone whatever happens: who called has given it up. Without room in
 * the queue that has to wait, as what is there may be for this fd, and would
 * meet the next one of that number.
 */
static void close_late(struct kio *k, int fd)
{
	struct parcel *parcel = malloc(sizeof(*parcel));

	if (!parcel) {
		close(fd);
		return;
	}
	*parcel = (struct parcel){ .next = k->late, .fd = fd };
	k->late = parcel;
}

/* Notes the fd of a close, which may be cancelled before it starts. */
static void closing_begin(struct kio *k, uint64_t id, int fd)
{
	uint32_t slot = (uint32_t)id, slots = k->closing_slots;
	struct closing *closings = k->closings;

	if (slot >= slots) {
		slots = slot + slot / 2 + 8;
		closings = reallocarray(closings, slots, sizeof(*closings));
		if (!closings)
			return;
		memset(closings + k->closing_slots, 0,
		       (slots - k->closing_slots) * sizeof(*closings));
		k->closings = closings;
		k->closing_slots = slots;
	}
	closings[slot] = (struct closing){ .id = id, .fd_plus_one = fd + 1 };
	k->closing_count++;
}

/* The fd of an operation that is complete, if that is a close; else -1. */
static int closing_end(struct kio *k, uint64_t id)
{
	struct closing *closing;
	int fd;

	if (!k->closing_count || (uint32_t)id >= k->closing_slots)
		return -1;
	closing = &k->closings[(uint32_t)id];
	if (closing->id != id)
		return -1;
	fd = closing->fd_plus_one - 1;
	k->closing_count -= fd >= 0;
	closing->fd_plus_one = 0;
	return fd;
}

EXPORT int kio_close(struct kio *k, double id, int fd)
{
	struct io_uring_sqe *sqe;
	int ret = sqe_begin(k, &sqe);

	kio_fd_disown(fd);
	if (ret) {
		close_late(k, fd);
		return ret;
	}
	closing_begin(k, (uint64_t)id, fd);
	io_uring_prep_close(sqe, fd);
	return sqe_end(k, sqe, id, 0);
}

EXPORT int kio_fsync(struct kio *k, double id, int fd, uint32_t flags)
{
	QUEUE(k, id, 0, io_uring_prep_fsync(sqe, fd, flags));
}

EXPORT int kio_fallocate(struct kio *k, double id, int fd, int mode,
			 double offset, double length)
{
	QUEUE(k, id, 0,
	      io_uring_prep_fallocate(sqe, fd, mode,
				      (off_t)offset_of(k, offset),
				      (off_t)length));
}

/*
 * Before Linux 6.9 the call itself is made here and a NOP brings its result
 * through the ring; in a chain that would be out of order, so it is refused.
 */
EXPORT int kio_ftruncate(struct kio *k, double id, int fd, double length)
{
	if (!k->ring_ftruncate) {
		if (k->chaining) {
			k->chain_refused = true;
			return -EOPNOTSUPP;
		}
		if (ftruncate(fd, (off_t)offset_of(k, length)) < 0)
			return -errno;
		QUEUE(k, id, 0, io_uring_prep_nop(sqe));
	}
	QUEUE(k, id, 0,
	      io_uring_prep_rw(KIO_OP_FTRUNCATE, sqe, fd, NULL, 0,
			       offset_of(k, length)));
}

/* address: room for a struct sockaddr_storage and a socklen_t, or NULL. */
EXPORT int kio_accept(struct kio *k, double id, int fd, void *address)
{
	socklen_t *length = NULL;

	if (address) {
		length = (socklen_t *)((char *)address +
				       sizeof(struct sockaddr_storage));
		*length = sizeof(struct sockaddr_storage);
	}
	QUEUE(k, id, 0,
	      io_uring_prep_accept(sqe, fd, address, length, SOCK_CLOEXEC));
}

EXPORT int kio_connect(struct kio *k, double id, int fd, const void *address,
		       uint32_t length)
{
	QUEUE(k, id, 0, io_uring_prep_connect(sqe, fd, address, length));
}

/*
 * Tries once more to connect a unix socket whose listener had no room, else
 * looks again after a pause, which grows. The kernel has nothing to poll for
 * that: the ring itself would try 128 times in a row and give up. A blocking
 * socket is not tried: it has waited as long as its SO_SNDTIMEO says.
 */
EXPORT int kio_connect_again(struct kio *k, double id, int fd,
			     const void *address, uint32_t length,
			     uint32_t attempt)
{
	/* copied when it is submitted */
	static struct __kernel_timespec pauses[] = {
		{ .tv_nsec = 1000000 },  { .tv_nsec = 2000000 },
		{ .tv_nsec = 4000000 },	 { .tv_nsec = 8000000 },
		{ .tv_nsec = 16000000 }, { .tv_nsec = 32000000 },
	};
	uint32_t last = sizeof(pauses) / sizeof(*pauses) - 1;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	if (!(flags & O_NONBLOCK))
		return -EAGAIN;
	if (!connect(fd, address, length))
		QUEUE(k, id, 0, io_uring_prep_nop(sqe));
	if (errno != EAGAIN)
		return -errno;
	QUEUE(k, id, 0,
	      io_uring_prep_timeout(
		      sqe, &pauses[attempt < last ? attempt : last], 0, 0));
}

EXPORT int kio_recv(struct kio *k, double id, int fd, void *buffer,
		    double at, uint32_t length, int flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_recv(sqe, fd, (char *)buffer + (size_t)at, length,
				 flags));
}

/* Deno ignores SIGPIPE, other hosts may not. */
EXPORT int kio_send(struct kio *k, double id, int fd, const void *buffer,
		    double at, uint32_t length, int flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_send(sqe, fd, (const char *)buffer + (size_t)at,
				 length, flags | MSG_NOSIGNAL));
}

EXPORT int kio_recvmsg(struct kio *k, double id, int fd, void *message,
		       uint32_t flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_recvmsg(sqe, fd, message,
				    flags | MSG_CMSG_CLOEXEC));
}

EXPORT int kio_sendmsg(struct kio *k, double id, int fd, const void *message,
		       uint32_t flags)
{
	QUEUE(k, id, 0,
	      io_uring_prep_sendmsg(sqe, fd, message, flags | MSG_NOSIGNAL));
}

EXPORT int kio_poll(struct kio *k, double id, int fd, uint32_t events,
		    uint32_t flags)
{
	QUEUE(k, id, flags, io_uring_prep_poll_add(sqe, fd, events));
}

/*
 * Polls until kio_poll_end(), with a completion for each change. A poll that is
 * over with the first event cannot wait for POLLOUT once the peer has shut down
 * its sending side: io_uring always adds POLLRDHUP, which is there from then on.
 */
EXPORT int kio_poll_changes(struct kio *k, double id, int fd, uint32_t events,
			    uint32_t flags)
{
	QUEUE(k, id, flags, io_uring_prep_poll_multishot(sqe, fd, events));
}

/* Ends a poll, and nothing else that has its id by now. */
EXPORT int kio_poll_end(struct kio *k, double id)
{
	struct io_uring_sqe *sqe;
	int ret = sqe_begin(k, &sqe);

	if (ret)
		return ret;
	io_uring_prep_poll_remove(sqe, (uint64_t)id);
	ignore(sqe);
	return 0;
}

EXPORT int kio_shutdown(struct kio *k, double id, int fd, int how)
{
	QUEUE(k, id, 0, io_uring_prep_shutdown(sqe, fd, how));
}

EXPORT int kio_msg_ring(struct kio *k, double id, int target_ring_fd,
			int result, double user_data)
{
	QUEUE(k, id, 0,
	      io_uring_prep_msg_ring(sqe, target_ring_fd, (uint32_t)result,
				     UD_MESSAGE | (uint64_t)user_data, 0));
}

/* ---- what an operation points to --------------------------------------- */

/* Parts of a message in one block of memory: lib/io.ts has the twin. */
#define MSG_NAME 64
#define MSG_VECTORS (MSG_NAME + 128)
_Static_assert(sizeof(struct msghdr) <= MSG_NAME, "struct msghdr");
_Static_assert(sizeof(struct sockaddr_storage) == 128, "sockaddr_storage");
_Static_assert(sizeof(struct iovec) == 16, "struct iovec");
_Static_assert(offsetof(struct msghdr, msg_namelen) == 8, "msg_namelen");
_Static_assert(offsetof(struct msghdr, msg_controllen) == 40, "controllen");
_Static_assert(offsetof(struct msghdr, msg_flags) == 48, "msg_flags");

EXPORT void kio_vector_set(struct iovec *vectors, uint32_t index, void *data,
			   double length)
{
	vectors[index].iov_base = data;
	vectors[index].iov_len = (size_t)length;
}

EXPORT void kio_message_init(char *message, uint32_t name_length,
			     uint32_t count, void *control,
			     uint32_t control_length)
{
	struct msghdr *header = (struct msghdr *)message;

	header->msg_name = name_length ? message + MSG_NAME : NULL;
	header->msg_namelen = name_length;
	header->msg_iov = (struct iovec *)(message + MSG_VECTORS);
	header->msg_iovlen = count;
	header->msg_control = control_length ? control : NULL;
	header->msg_controllen = control_length;
	header->msg_flags = 0;
}

/* ---- cancelling --------------------------------------------------------- */

static int queue_cancel(struct kio *k, uint64_t target, uint32_t flags,
			uint64_t user_data)
{
	struct io_uring_sqe *sqe;
	int ret = sqe_begin(k, &sqe);

	if (ret)
		return ret;
	io_uring_prep_cancel64(sqe, target, (int)flags);
	sqe->user_data = user_data;
	if (!(user_data & UD_TAKE_BACK))
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	return 0;
}

/* The i-th SQE that is prepared and not submitted, from the last (0). */
static struct io_uring_sqe *unsubmitted(const struct kio *k, uint32_t i)
{
	const struct io_uring_sq *sq = &k->ring.sq;

	if (i >= sq->sqe_tail - sq->sqe_head)
		return NULL;
	return &sq->sqes[(sq->sqe_tail - 1 - i) & *sq->kring_mask];
}

/*
 * Keeps an operation that has not been submitted yet from happening: it becomes
 * a read of no file, which fails, and so ends a chain that it is a link of.
 */
EXPORT bool kio_retract(struct kio *k, double id)
{
	struct io_uring_sqe *sqe;

	for (uint32_t i = 0; (sqe = unsubmitted(k, i)); i++) {
		uint8_t flags = sqe->flags &
				(IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS);

		if (sqe->user_data != (uint64_t)id)
			continue;
		io_uring_prep_read(sqe, -1, NULL, 0, 0);
		sqe->flags |= flags;
		return true;
	}
	return false;
}

/* Asks the kernel to cancel one operation. */
EXPORT int kio_cancel(struct kio *k, double id)
{
	return queue_cancel(k, (uint64_t)id, 0, UD_INTERNAL | (uint64_t)id);
}

/*
 * The same for one that nobody has given up, to queue it again: the answer is
 * told whatever it is. -ENOENT means that it goes on, or is over.
 */
EXPORT int kio_take_back(struct kio *k, double id)
{
	return queue_cancel(k, (uint64_t)id, 0,
			    UD_INTERNAL | UD_TAKE_BACK | (uint64_t)id);
}

EXPORT int kio_cancel_all(struct kio *k)
{
	return queue_cancel(k, 0,
			    IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
			    UD_IGNORED);
}

/* ---- chains -------------------------------------------------------------- */

EXPORT void kio_chain(struct kio *k, bool on)
{
	k->chaining = on;
	k->chain_refused = false;
	k->chain_length = 0;
	k->chain_last = NULL;
	FAULT_CHAIN(k);
}

/* Gives out what the first links of the chain were queued as, 64 bytes each. */
EXPORT void kio_chain_copy(const struct kio *k, void *copies, uint32_t count)
{
	memcpy(copies, k->chain_copies,
	       count * sizeof(*k->chain_copies));
}

/*
 * Queues an operation again as it was, its completion having come. What it
 * points to is still there. For a close see kio_close().
 */
EXPORT int kio_again(struct kio *k, const struct io_uring_sqe *copy)
{
	bool closes = copy->opcode == IORING_OP_CLOSE;
	struct io_uring_sqe *sqe;
	int ret = sqe_begin(k, &sqe);

	if (closes)
		kio_fd_disown(copy->fd);
	if (ret && closes)
		close_late(k, copy->fd);
	if (ret)
		return ret;
	if (closes)
		closing_begin(k, copy->user_data, copy->fd);
	*sqe = *copy;
	return sqe_end(k, sqe, (double)copy->user_data, 0);
}

/*
 * Pumps bytes out of a file, through a pipe, into something else: a chain of
 * splices that is one operation. First the pipe is emptied, if it has `held`
 * bytes; then it is filled and emptied by turns, up to `size` bytes at a time
 * and `left` in all, as often as steps allow.
 *
 * Only one completion is posted, that of the step that ends the chain, as all
 * others skip theirs: the last if all went well, or the first that failed or
 * was short. It tells its step in user_data.
 */
EXPORT int kio_pump(struct kio *k, double id, int file, double offset,
		    double left, int pipe_read, int pipe_write, uint32_t held,
		    int to, uint32_t size, uint32_t steps)
{
	uint32_t entries = k->ring.sq.ring_entries, step = 0, length = held;
	struct io_uring_sqe *sqe = NULL;
	int ret = 0;

	kio_chain(k, true);
	for (; step < steps && step < entries && (length || left > 0); step++) {
		ret = sqe_begin(k, &sqe);
		if (ret)
			break;
		if (length) {
			left -= held ? 0 : length;
			held = 0;
			io_uring_prep_splice(sqe, pipe_read, -1, to, -1, length,
					     SPLICE_F_NONBLOCK |
						     (left > 0 ? SPLICE_F_MORE :
								 0));
			length = 0;
		} else {
			length = left < size ? (uint32_t)left : size;
			io_uring_prep_splice(sqe, file, (int64_t)offset,
					     pipe_write, -1, length,
					     SPLICE_F_NONBLOCK);
			offset += length;
		}
		sqe->user_data = (uint64_t)id | (uint64_t)step << UD_STEP_SHIFT;
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
		FAULT_OPERATION(k, sqe);
		if (FAULT_ENDS_CHAIN(k))
			break;
	}
	if (ret)
		/* none of it was submitted: a chain stays whole */
		k->ring.sq.sqe_tail -= k->chain_length;
	else
		sqe->flags &= (uint8_t)~IOSQE_CQE_SKIP_SUCCESS;
	kio_chain(k, false);
	k->in_flight += !ret;
	return ret;
}

/* ---- completions --------------------------------------------------------- */

/*
 * Whether TypeScript gets to see the completion of a request of the shim's
 * own: of a cancel that found nothing, as it may have come too early
 * (-EALREADY: it is completing anyway), and of each kio_take_back().
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

/*
 * Takes a completion over, into `out` if there is one: four int32, user_data
 * low and high, result, flags. Else it is dropped, and so is an fd that nobody
 * will ever hear of, or that a close was cancelled for: who called it has given
 * it up. Returns whether it is one that counts.
 */
static bool take(struct kio *k, const struct io_uring_cqe *cqe, int32_t *out)
{
	uint64_t user_data = cqe->user_data;
	int closing = -1;

	if (!(user_data & UD_MESSAGE)) {
		if (user_data & UD_INTERNAL) {
			if (!internal_reported(k, cqe))
				return false;
		} else if (!(cqe->flags & IORING_CQE_F_MORE)) {
			WATCH_END(k, cqe);
			waiter_end(k, user_data);
			closing = closing_end(k, user_data);
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

/* Moves up to `capacity` completions from the ring to `out`. */
static uint32_t harvest(struct kio *k, int32_t *out, uint32_t capacity)
{
	struct io_uring_cq *cq = &k->ring.cq;
	uint32_t head = *cq->khead;
	uint32_t tail = io_uring_smp_load_acquire(cq->ktail);
	uint32_t count = 0;

	for (; head != tail && count < capacity; head++) {
		struct io_uring_cqe *cqe = &cq->cqes[head & *cq->kring_mask];

		if (!FAULT_HOLDS(k, cqe))
			count += take(k, cqe, out ? out + 4 * count : NULL);
	}
	k->completions += head - *cq->khead;
	io_uring_smp_store_release(cq->khead, head);
	return count + FAULT_RELEASE(k, out ? out + 4 * count : NULL,
				     capacity - count);
}

/* From now on the thread is not the loop's. */
EXPORT void kio_loop_forget(struct kio *k)
{
	k->loop_fd = -1;
}

/* Whether the event loop has something to do: not while the ring waits for
 * just that. */
EXPORT bool kio_loop_is_ready(const struct kio *k)
{
	struct pollfd loop = { .fd = k->loop_fd, .events = POLLIN };

	return k->loop_fd >= 0 && !k->loop_armed && poll(&loop, 1, 0) == 1;
}

/*
 * Enters the kernel and sleeps until a completion is there, or the event loop
 * has something to do, or for about WAIT_NS. The end is set by a timeout in the
 * ring that serves several waits: one of its own for each, armed and cancelled
 * again, makes a wait of 150 us longer by half where timers are virtual.
 */
static int enter_and_wait(struct kio *k)
{
	static struct __kernel_timespec period = { .tv_nsec = WAIT_NS };
	struct io_uring_sqe *sqe;

	if (!k->wait_armed && !sqe_begin(k, &sqe)) {
		io_uring_prep_timeout(sqe, &period, 0, 0);
		sqe->user_data = UD_WAIT;
		k->wait_armed = true;
	}
	if (k->loop_fd >= 0 && !k->loop_armed && !sqe_begin(k, &sqe)) {
		io_uring_prep_poll_add(sqe, k->loop_fd, POLLIN);
		sqe->user_data = UD_LOOP;
		k->loop_armed = true;
	}
	return enter(k, 0, k->wait_armed, IORING_ENTER_GETEVENTS);
}

/*
 * One turn of the ring: submits what is queued, lets the kernel post what is
 * done and copies up to `capacity` completions. With `wait` it sleeps a while
 * for the first one. Returns their number, or an error when there are none;
 * what could not be submitted stays queued.
 */
EXPORT int kio_step(struct kio *k, int32_t *out, uint32_t capacity, bool wait)
{
	double start_ms = wait ? kio_now_ms() : 0;
	uint32_t count = 0, fresh;
	int ret = 0;

	if (k->armed) {
		io_uring_cq_eventfd_toggle(&k->ring, false);
		k->armed = false;
		waiters_rest(k);
	}
	/*
	 * Without work to run for the ring GETEVENTS is left out: what completes
	 * while it is submitted is posted by that, and the call is shorter. The
	 * flag is a hint both ways: it may stay up with nothing to do (so only
	 * progress repeats the loop), and be down with work left over from a
	 * longer batch (so kio_arm() asks the kernel itself).
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
		       (kio_now_ms() - start_ms) * 1e6 < WAIT_NS / 2 &&
		       !kio_loop_is_ready(k);
	} while (wait ||
		 (ret >= 0 && fresh && count < capacity && has_work(k)));
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

static int arm_timer(struct kio *k, double deadline_ms)
{
	double seconds = (double)(long long)(deadline_ms / 1e3);
	struct io_uring_sqe *sqe;
	int ret;

	if (k->timer_armed && k->timer_deadline_ms <= deadline_ms)
		return 0;
	ret = sqe_begin(k, &sqe);
	if (ret)
		return ret;
	k->timer_at.tv_sec = (long long)seconds;
	k->timer_at.tv_nsec = (long long)((deadline_ms - seconds * 1e3) * 1e6);
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
 * Takes back what ends a wait: the timeout would end a sleep for nothing, and
 * the poll would wake the event loop about the eventfd that tells of it.
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
 * Before the thread sleeps in an event loop of its own: from now on a
 * completion makes the eventfd readable, and so does deadline_ms (0: none)
 * on the clock of kio_now_ms(). Returns 1, 0 when there is something to do at
 * once, or 2 when a completion may go unnoticed, see waiters_poll(): the
 * caller has to look again soon. (A timeout in the ring would not do: it is not
 * signalled behind a completion that was not.)
 *
 * The flag is raised before the kernel is entered once more: a completion is
 * either seen by that or signalled, on every architecture. Then the kernel is
 * asked whether it has anything left. GETEVENTS runs no more than 20 pieces of
 * work; if those gave no completion, nobody would signal for the rest again.
 */
EXPORT int kio_arm(struct kio *k, double deadline_ms)
{
	struct pollfd ring = { .fd = k->ring.ring_fd, .events = POLLIN };
	bool is_heard;

	if (k->wait_armed || k->loop_armed) {
		disarm_wait(k);
		return 0;
	}
	is_heard = waiters_poll(k);
	FAULT_DEADLINE(k, &deadline_ms);
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

/* Makes the eventfd readable: the event loop comes back here by itself. */
EXPORT void kio_wake_self(struct kio *k)
{
	uint64_t one = 1;
	ssize_t written = write(k->event_fd, &one, sizeof(one));

	(void)written; /* EAGAIN: it is readable already */
}

/* Blocks a helper thread until the eventfd is readable, and empties it. */
EXPORT int kio_event_wait(int event_fd)
{
	struct pollfd poll_fd = { .fd = event_fd, .events = POLLIN };
	uint64_t value;

	while (poll(&poll_fd, 1, -1) < 0 && errno == EINTR)
		;
	return read(event_fd, &value, sizeof(value)) < 0 ? -errno : 0;
}

/* Linux 6.13; EINVAL before. */
static int message_without_ring(struct io_uring_sqe *message)
{
	int ret = (int)syscall(__NR_io_uring_register, -1,
			       KIO_REGISTER_SEND_MSG_RING, message, 1);

	return ret < 0 ? -errno : 0;
}

/*
 * Sends a message to a ring of this process, without one of the caller's own.
 * Before Linux 6.13 one is made for it.
 */
static int ring_message(int ring_fd, int result, uint64_t user_data)
{
	struct io_uring_sqe message;
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	int ret;

	memset(&message, 0, sizeof(message));
	io_uring_prep_msg_ring(&message, ring_fd, (uint32_t)result, user_data,
			       0);
	ret = message_without_ring(&message);
	if (ret != -EINVAL)
		return ret;
	ret = io_uring_queue_init(1, &ring, 0);
	if (ret)
		return ret;
	*io_uring_get_sqe(&ring) = message;
	/* it got the number of a target that is not open: no talk with itself */
	ret = ring.ring_fd == ring_fd ? -EBADF :
					io_uring_submit_and_wait(&ring, 1);
	if (ret >= 0)
		do
			ret = io_uring_wait_cqe(&ring, &cqe);
		while (ret == -EINTR);
	if (ret >= 0)
		ret = cqe->res;
	io_uring_queue_exit(&ring);
	return ret;
}

EXPORT int kio_ring_message(int ring_fd, int result, double user_data)
{
	return ring_message(ring_fd, result, UD_MESSAGE | (uint64_t)user_data);
}

/* ---- fds from one thread to another ---------------------------------------- */

/* The context that has the ring; under contexts_lock. */
static struct kio *context_of(int ring_fd)
{
	struct kio *k = all_contexts;

	while (k && k->ring.ring_fd != ring_fd)
		k = k->next_of_all;
	return k;
}

/* Whether an fd is the ring of a context, of whatever thread. */
EXPORT bool kio_fd_is_ring(int fd)
{
	bool is_ring;

	pthread_mutex_lock(&contexts_lock);
	is_ring = context_of(fd) != NULL;
	pthread_mutex_unlock(&contexts_lock);
	return is_ring;
}

/* The first of an inbox, taken out of it; under contexts_lock. */
static struct parcel *parcel_take(struct kio *k)
{
	struct parcel *parcel = k->inbox;

	if (!parcel)
		return NULL;
	k->inbox = parcel->next;
	if (!k->inbox)
		k->inbox_end = &k->inbox;
	return parcel;
}

/*
 * Gives an fd to the context of another thread. It waits in the memory of that
 * context, not in its ring: a message is lost if the thread dies before it has
 * looked, and the fd would be. The message only says that there is something.
 * Whatever is in there when the context ends is closed. After an error the fd
 * is still the caller's.
 */
EXPORT int kio_fd_send(int ring_fd, int fd, double tag)
{
	struct parcel *parcel = malloc(sizeof(*parcel));
	struct kio *to;
	int ret = -EBADFD;

	if (!parcel)
		return -ENOMEM;
	if (fcntl(fd, F_GETFD) < 0) {
		free(parcel);
		return -EBADF;
	}
	*parcel = (struct parcel){ .fd = fd, .tag = tag };
	pthread_mutex_lock(&contexts_lock);
	to = context_of(ring_fd);
	/*
	 * With something in the inbox the message is on its way already. It is
	 * sent under the lock: if it fails, nobody has taken the fd yet.
	 */
	if (to)
		ret = to->inbox ? 0 : ring_message(ring_fd, 0, UD_INBOX);
	if (!ret) {
		*to->inbox_end = parcel;
		to->inbox_end = &parcel->next;
	}
	pthread_mutex_unlock(&contexts_lock);
	if (ret)
		free(parcel);
	else
		kio_fd_disown(fd);
	return ret;
}

/*
 * Takes an fd that another thread has given, with its tag; -1 if there is none.
 * It ends with this isolate, unless that gives it to another.
 */
EXPORT int kio_fd_take(struct kio *k, double *tag)
{
	struct parcel *parcel;
	int fd = -1;

	pthread_mutex_lock(&contexts_lock);
	parcel = parcel_take(k);
	pthread_mutex_unlock(&contexts_lock);
	if (parcel) {
		fd = parcel->fd;
		kio_fd_own(fd);
		*tag = parcel->tag;
		free(parcel);
	}
	return fd;
}

/* ---- fixed files ---------------------------------------------------------- */

EXPORT int kio_files_register(struct kio *k, const int32_t *fds,
			      uint32_t count)
{
	int ret = io_uring_register_files(&k->ring, fds, count);

	return ret ? ret : waiters_registered(k, fds, count);
}

EXPORT int kio_files_update(struct kio *k, uint32_t offset,
			    const int32_t *fds, uint32_t count)
{
	int ret = io_uring_register_files_update(&k->ring, offset, fds, count);

	if (ret > 0)
		waiters_updated(k, offset, fds, (uint32_t)ret);
	return ret;
}

EXPORT int kio_files_unregister(struct kio *k)
{
	int ret = io_uring_unregister_files(&k->ring);

	if (!ret)
		waiters_unregistered(k);
	return ret;
}

/* Whether so many fds can be opened, -EMFILE or -ENFILE if not. */
EXPORT int kio_fd_room(uint32_t count)
{
	int *fds = calloc(count, sizeof(*fds));
	uint32_t opened = 0;
	int ret = 0;

	if (!fds)
		return -ENOMEM;
	while (opened < count && ret == 0) {
		fds[opened] = eventfd(0, EFD_CLOEXEC);
		if (fds[opened] < 0)
			ret = -errno;
		else
			opened++;
	}
	while (opened > 0)
		close(fds[--opened]);
	free(fds);
	return ret;
}

/* ---- names ---------------------------------------------------------------- */

/*
 * Looks a name up, and blocks so long: up to `capacity` addresses go to `out`,
 * ADDRESS_RECORD_SIZE each, without a port. Returns their number, or an error:
 * -errno, or -1000 + one of EAI_*, which are negative.
 */
EXPORT int kio_resolve(const char *host, char *out, uint32_t capacity)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *at;
	uint32_t count = 0;
	int ret;

	ret = getaddrinfo(host, NULL, &hints, &list);
	if (ret == EAI_SYSTEM)
		return -errno;
	if (ret) {
		/* it takes files and sockets that it cannot open for empty ones */
		int room = kio_fd_room(2);

		return room < 0 ? room : ret - 1000;
	}
	for (at = list; at && count < capacity; at = at->ai_next, count++) {
		uint32_t length = at->ai_addrlen;

		memcpy(out, at->ai_addr, length);
		memcpy(out + sizeof(struct sockaddr_storage), &length,
		       sizeof(length));
		out += ADDRESS_RECORD_SIZE;
	}
	freeaddrinfo(list);
	return (int)count;
}

/*
 * Threads that look names up, of the whole process: one each, as getaddrinfo(3)
 * blocks and cannot be interrupted. Beyond LOOKUP_THREADS_MAX look-ups wait. A
 * few more are for what needs no server: that must not wait for what does.
 */
#define LOOKUP_THREADS_MAX 64
#define LOOKUP_THREADS_LOCAL 4
/* NSS modules need more than getaddrinfo(3) itself. */
#define LOOKUP_STACK_SIZE (1 << 20)
/* What is looked at of /etc/hosts. */
#define HOSTS_SIZE_MAX (1 << 16)

static pthread_mutex_t lookups_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t lookup_threads;
static struct lookup_list waiting_local = TAILQ_HEAD_INITIALIZER(waiting_local);
static struct lookup_list waiting = TAILQ_HEAD_INITIALIZER(waiting);

/* Whether /etc/hosts has the name. */
static bool is_in_hosts(const char *host)
{
	char *text = malloc(HOSTS_SIZE_MAX), *line, *lines = NULL;
	int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
	ssize_t size = text && fd >= 0 ? read(fd, text, HOSTS_SIZE_MAX - 1) : 0;
	bool found = false;

	if (fd >= 0)
		close(fd);
	if (size > 0) {
		text[size] = 0;
		lines = text;
	}
	while (!found && (line = strsep(&lines, "\n"))) {
		char *word;

		line[strcspn(line, "#")] = 0;
		/* the first is the address */
		while ((word = strsep(&line, " \t")))
			found |= !strcasecmp(word, host);
	}
	free(text);
	return found;
}

/* Whether a name can be looked up without a server, as far as can be told. */
static bool is_local(const char *host)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST };
	struct addrinfo *list;

	if (getaddrinfo(host, NULL, &hints, &list))
		return is_in_hosts(host);
	freeaddrinfo(list);
	return true;
}

/* Gives its answer to the owner; under lookups_lock. */
static void lookup_answer(struct lookup *lookup)
{
	struct kio *owner = lookup->owner;

	if (!owner) {
		free(lookup);
		return;
	}
	TAILQ_INSERT_TAIL(&owner->answers, lookup, in_list);
	atomic_store(&owner->answered, true);
	kio_wake_self(owner);
}

/* The next for a thread that is free, NULL if that is to end; under
 * lookups_lock. */
static struct lookup *lookup_next(void)
{
	struct lookup *next = TAILQ_FIRST(&waiting_local);

	if (!next && lookup_threads <= LOOKUP_THREADS_MAX)
		next = TAILQ_FIRST(&waiting);
	if (!next) {
		lookup_threads--;
		return NULL;
	}
	TAILQ_REMOVE(next->waits_in, next, in_list);
	next->waits_in = NULL;
	return next;
}

static void *lookup_run(void *first)
{
	struct lookup *lookup = first;

	pthread_setname_np(pthread_self(), "kio-names");
	while (lookup) {
		lookup->status = kio_resolve(lookup->host, lookup->records,
					     ADDRESSES_MAX);
		pthread_mutex_lock(&lookups_lock);
		lookup_answer(lookup);
		lookup = lookup_next();
		pthread_mutex_unlock(&lookups_lock);
	}
	return NULL;
}

/* Starts a thread for it, if there may be so many; under lookups_lock. */
static bool lookup_start(struct lookup *lookup, uint32_t threads_max)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;
	int ret;

	if (lookup_threads >= threads_max || pthread_attr_init(&attributes))
		return false;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, LOOKUP_STACK_SIZE);
	/* signals are the host's, for threads that know of them */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(&thread, &attributes, lookup_run, lookup);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	lookup_threads += !ret;
	return !ret;
}

/*
 * Starts to look a name up, or queues it. The context gets to know of the
 * answer by UD_INBOX, and takes it by kio_lookup_take(). NULL if the system has
 * no thread or no memory to spare.
 */
EXPORT struct lookup *kio_lookup_begin(struct kio *k, double id,
				       const char *host)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));

	if (!lookup)
		return NULL;
	lookup->owner = k;
	lookup->id = id;
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	pthread_mutex_lock(&lookups_lock);
	if (!lookup_start(lookup, LOOKUP_THREADS_MAX)) {
		bool local = is_local(host);

		if (local && lookup_start(lookup, LOOKUP_THREADS_MAX +
							  LOOKUP_THREADS_LOCAL))
			goto begun;
		if (!lookup_threads) {
			/* nobody would ever take it out of the queue */
			free(lookup);
			lookup = NULL;
			goto out;
		}
		lookup->waits_in = local ? &waiting_local : &waiting;
		TAILQ_INSERT_TAIL(lookup->waits_in, lookup, in_list);
	}
begun:
	TAILQ_INSERT_TAIL(&k->lookups, lookup, of_owner);
out:
	pthread_mutex_unlock(&lookups_lock);
	return lookup;
}

/* Takes an answer: head has the id and the status of kio_resolve() then, and
 * `records` what that wrote. False if there is none. */
EXPORT bool kio_lookup_take(struct kio *k, double *head, char *records)
{
	struct lookup *lookup;

	pthread_mutex_lock(&lookups_lock);
	lookup = TAILQ_FIRST(&k->answers);
	if (lookup) {
		TAILQ_REMOVE(&k->answers, lookup, in_list);
		TAILQ_REMOVE(&k->lookups, lookup, of_owner);
	}
	pthread_mutex_unlock(&lookups_lock);
	if (!lookup)
		return false;
	head[0] = lookup->id;
	head[1] = lookup->status;
	if (lookup->status > 0)
		memcpy(records, lookup->records,
		       (size_t)lookup->status * ADDRESS_RECORD_SIZE);
	free(lookup);
	return true;
}

/* Takes a look-up out of the queue. False if it has left that: a thread cannot
 * be interrupted, and its answer is still to come. */
EXPORT bool kio_lookup_cancel(struct kio *k, struct lookup *lookup)
{
	struct lookup_list *queue;

	pthread_mutex_lock(&lookups_lock);
	queue = lookup->waits_in;
	if (queue) {
		TAILQ_REMOVE(queue, lookup, in_list);
		TAILQ_REMOVE(&k->lookups, lookup, of_owner);
		free(lookup);
	}
	pthread_mutex_unlock(&lookups_lock);
	return queue;
}

/* Lets go of all look-ups of a context, before its eventfd is closed: threads
 * touch neither from now on. */
EXPORT void kio_lookups_end(struct kio *k)
{
	struct lookup *lookup;

	pthread_mutex_lock(&lookups_lock);
	while ((lookup = TAILQ_FIRST(&k->answers))) {
		TAILQ_REMOVE(&k->answers, lookup, in_list);
		TAILQ_REMOVE(&k->lookups, lookup, of_owner);
		free(lookup);
	}
	while ((lookup = TAILQ_FIRST(&k->lookups))) {
		TAILQ_REMOVE(&k->lookups, lookup, of_owner);
		lookup->owner = NULL;
		if (!lookup->waits_in)
			continue;
		TAILQ_REMOVE(lookup->waits_in, lookup, in_list);
		free(lookup);
	}
	pthread_mutex_unlock(&lookups_lock);
}

/* ---- a context: opening, closing, dying ---------------------------------- */

/* From the best to what any kernel with io_uring takes. */
static const uint32_t setup_flags[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_SUBMIT_ALL,
	0,
};

static int ring_init(struct kio *k, uint32_t entries, uint32_t cq_entries)
{
	int ret = -EINVAL;

	for (size_t i = 0; i < sizeof(setup_flags) / sizeof(*setup_flags) &&
			   ret == -EINVAL;
	     i++) {
		struct io_uring_params params = {
			.flags = setup_flags[i] | IORING_SETUP_CQSIZE |
				 IORING_SETUP_CLAMP,
			.cq_entries = cq_entries,
		};

		ret = io_uring_queue_init_params(entries, &k->ring, &params);
		if (!ret && params.features & KIO_FEAT_NO_IOWAIT)
			k->enter_flags |= KIO_ENTER_NO_IOWAIT;
	}
	return ret;
}

static void ring_probe(struct kio *k)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(&k->ring);

	if (!probe)
		return;
	k->ring_ftruncate = probe->last_op >= KIO_OP_FTRUNCATE &&
			    probe->ops[KIO_OP_FTRUNCATE].flags &
				    IO_URING_OP_SUPPORTED;
	io_uring_free_probe(probe);
}

/*
 * Opens a context; status[0] says why when the result is NULL. Refused
 * unless the isolate's guard is armed: the kernel must never own a buffer
 * that nobody would wait for when the isolate dies.
 */
EXPORT struct kio *kio_context_open(uint32_t entries, uint32_t cq_entries,
				    uint32_t kernel_workers, int32_t *status)
{
	/* bounded workers keep the kernel's own limit (0) */
	uint32_t workers[2] = { 0, kernel_workers };
	struct kio *k = isolate ? calloc(1, sizeof(*k)) : NULL;

	status[0] = isolate ? -ENOMEM : -EOPNOTSUPP;
	if (!k)
		return NULL;
	status[0] = ring_init(k, entries, cq_entries);
	if (status[0])
		goto fail_memory;
	k->chain_copies = calloc(k->ring.sq.ring_entries,
				 sizeof(*k->chain_copies));
	if (!k->chain_copies) {
		status[0] = -ENOMEM;
		goto fail_ring;
	}
	/* Saves the fd lookup at each entry; there are 16 places a thread. */
	if (io_uring_register_ring_fd(&k->ring) == 1)
		k->enter_flags |= IORING_ENTER_REGISTERED_RING;
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
	io_uring_register_iowq_max_workers(&k->ring, workers);
	ring_probe(k);
	k->next = isolate->contexts;
	isolate->contexts = k;
	k->inbox_end = &k->inbox;
	TAILQ_INIT(&k->lookups);
	TAILQ_INIT(&k->answers);
	pthread_mutex_lock(&contexts_lock);
	k->next_of_all = all_contexts;
	all_contexts = k;
	pthread_mutex_unlock(&contexts_lock);
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
 * Asks the kernel what it has, by a context or (NULL) a ring of its own.
 * opcodes: 256 places, 1 where it has the operation of that number.
 * info: how the ring was set up, IORING_FEAT_*, and whether messages need no
 * ring to be sent from.
 */
EXPORT int kio_probe(struct kio *k, uint8_t *opcodes, uint32_t *info)
{
	struct io_uring_sqe message;
	struct io_uring_probe *probe;
	struct kio own = { 0 };

	if (!k) {
		int ret = ring_init(&own, 1, 2);

		if (ret)
			return ret;
	}
	probe = io_uring_get_probe_ring(k ? &k->ring : &own.ring);
	for (uint32_t i = 0; probe && i < probe->ops_len; i++)
		opcodes[probe->ops[i].op] =
			!!(probe->ops[i].flags & IO_URING_OP_SUPPORTED);
	info[0] = (k ? k : &own)->ring.flags;
	info[1] = (k ? k : &own)->ring.features;
	/* to nobody: EBADF where it is known */
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

EXPORT int kio_ring_fd(const struct kio *k)
{
	return k->ring.ring_fd;
}

/* What the kernel was asked and has answered; overflows are entries that left
 * completions waiting for room. */
EXPORT void kio_stats(const struct kio *k, double *out)
{
	*out++ = (double)k->entries;
	*out++ = (double)k->submissions;
	*out++ = (double)k->completions;
	*out = (double)k->overflows;
}

EXPORT int kio_event_fd(const struct kio *k)
{
	return k->event_fd;
}

static void context_destroy(struct kio *k)
{
	struct kio **at = &isolate->contexts;

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	pthread_mutex_lock(&contexts_lock);
	for (at = &all_contexts; *at != k;)
		at = &(*at)->next_of_all;
	*at = k->next_of_all;
	pthread_mutex_unlock(&contexts_lock);
	/* no other thread finds it any more */
	close_parcels(&k->inbox);
	close_parcels(&k->late);
	io_uring_queue_exit(&k->ring);
	waiters_close(k);
	FAULT_FREE(k);
	WATCH_FREE(k);
	free(k->chain_copies);
	free(k->closings);
	free(k);
}

/*
 * Destroys a context that the caller has drained. The kernel goes on with
 * what is in flight when a ring is closed, so that is not survivable here.
 * The eventfd is the caller's to close.
 */
EXPORT void kio_context_close(struct kio *k)
{
	if (k->in_flight)
		kio_abort(k, "a context was closed with operations in flight");
	if (!TAILQ_EMPTY(&k->lookups))
		kio_abort(k, "a context was closed with look-ups in flight");
	context_destroy(k);
}

/*
 * Takes everything back from the kernel: what was not submitted never
 * happens, the rest is cancelled, and every completion is awaited. Asked
 * again when a wait brought nothing: a linked operation may have started.
 */
static void context_drain(struct kio *k)
{
	bool told = false, stalled = true;
	double progress_ms = kio_now_ms();
	struct io_uring_sqe *sqe;

	kio_loop_forget(k);
	kio_lookups_end(k);
	for (; (sqe = unsubmitted(k, 0)); k->ring.sq.sqe_tail--) {
		/* or a step of a pump, which counts once */
		if (sqe->user_data & UD_INTERNAL ||
		    sqe->flags & IOSQE_CQE_SKIP_SUCCESS)
			continue;
		k->in_flight--;
		/* its fd was given up when it was queued */
		if (sqe->opcode == IORING_OP_CLOSE)
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
		if (!told && kio_now_ms() - progress_ms > 5000) {
			fprintf(stderr,
				"kio: waiting for %u operations that the "
				"kernel cannot cancel\n",
				k->in_flight);
			told = true;
		}
	}
}

/*
 * The teardown guard. Deno runs it when the isolate ends, in whatever way,
 * on the isolate's thread and before its buffers are freed; not at
 * Deno.exit(), where the process ends with its memory still mapped.
 */
static void isolate_end(void *argument)
{
	if (isolate != argument)
		return;
	FAULT_CLEAR();
	while (isolate->contexts) {
		context_drain(isolate->contexts);
		/* the isolate's handle on it dies without closing it */
		close(isolate->contexts->event_fd);
		context_destroy(isolate->contexts);
	}
	while (isolate->mappings) {
		struct mapping *mapping = isolate->mappings;

		isolate->mappings = mapping->next;
		munmap(mapping->address, mapping->size);
		free(mapping);
	}
	owned_close();
	if (isolate->life_fd >= 0)
		close(isolate->life_fd);
	free(isolate);
	isolate = NULL;
}

static struct isolate *isolate_begin(void)
{
	struct isolate *created = calloc(1, sizeof(*created));

	if (created) {
		created->end = isolate_end;
		created->life_fd = -1;
	}
	return created;
}

/* Node-API, which only the host program provides. */
__attribute__((weak)) int napi_add_env_cleanup_hook(void *env,
						    void (*hook)(void *),
						    void *argument);

/* process.dlopen() calls this: it arms the guard, once an isolate. */
EXPORT void *napi_register_module_v1(void *env, void *exports)
{
	struct isolate *created;

	if (isolate || !napi_add_env_cleanup_hook)
		return exports;
	created = isolate_begin();
	if (!created)
		return exports;
	if (napi_add_env_cleanup_hook(env, isolate_end, created)) {
		free(created);
		return exports;
	}
	isolate = created;
	return exports;
}

/* guard.c, compiled: ffi/build.ts says where it is. */
__asm__(".section .rodata\n"
	"guard_image: .incbin \"" KIO_GUARD_IMAGE "\"\n"
	"guard_image_end:\n"
	".previous\n");
extern const char guard_image[], guard_image_end[];

/* A copy of the guard for this isolate, as an fd to be opened and closed. */
EXPORT int kio_guard_file(void)
{
	size_t size = (size_t)(guard_image_end - guard_image);
	int fd = memfd_create("kio_guard", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (write(fd, guard_image, size) != (ssize_t)size) {
		close(fd);
		return -ENOMEM;
	}
	return fd;
}

/* What the guard is to be armed with. */
EXPORT void *kio_guarded(void)
{
	if (!isolate)
		isolate = isolate_begin();
	return isolate;
}

/* ---- memory that outlives what the kernel does with it --------------------- */

EXPORT void *kio_memory_map(double size)
{
	struct mapping *mapping = malloc(sizeof(*mapping));

	if (!mapping)
		return NULL;
	mapping->size = (size_t)size;
	mapping->address = mmap(NULL, mapping->size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mapping->address == MAP_FAILED) {
		free(mapping);
		return NULL;
	}
	mapping->next = isolate->mappings;
	isolate->mappings = mapping;
	return mapping->address;
}

EXPORT void kio_memory_unmap(const void *address)
{
	struct mapping **at = &isolate->mappings;
	struct mapping *mapping;

	while ((*at)->address != address)
		at = &(*at)->next;
	mapping = *at;
	*at = mapping->next;
	munmap(mapping->address, mapping->size);
	free(mapping);
}

/* ---- sockets: the calls that never block ----------------------------------- */

static int result_of(int ret)
{
	return ret < 0 ? -errno : ret;
}

EXPORT int kio_socket(int domain, int type)
{
	return result_of(socket(domain, type | SOCK_CLOEXEC, 0));
}

EXPORT int kio_socket_pair(int type, int32_t *fds)
{
	return result_of(
		socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds));
}

EXPORT int kio_socket_bind(int fd, const void *address, uint32_t length)
{
	return result_of(bind(fd, address, length));
}

EXPORT int kio_socket_listen(int fd, int backlog)
{
	return result_of(listen(fd, backlog));
}

EXPORT int kio_option_set(int fd, int level, int name, int value)
{
	return result_of(setsockopt(fd, level, name, &value, sizeof(value)));
}

/* Options whose value is never negative. */
EXPORT int kio_option_get(int fd, int level, int name)
{
	int value = 0;
	socklen_t length = sizeof(value);
	int ret = getsockopt(fd, level, name, &value, &length);

	return ret < 0 ? -errno : value;
}

/*
 * A listener takes no new connections from now on, and those that wait can
 * still be accepted. Closing it or shutdown(2) would reset them. A filter that
 * drops all packets keeps the others out: who connects tries again, and finds
 * another listener or none.
 */
EXPORT int kio_socket_refuse(int fd)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { .len = 1, .filter = &drop };
	int listens = kio_option_get(fd, SOL_SOCKET, SO_ACCEPTCONN);

	if (listens <= 0)
		return listens < 0 ? listens : -EINVAL;
	if (kio_option_get(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX)
		return result_of(shutdown(fd, SHUT_RD));
	return result_of(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
				    sizeof(program)));
}

EXPORT int kio_nonblocking_set(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	return result_of(fcntl(fd, F_SETFL,
			       on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

/*
 * Accepts what waits in the queue of a listener, -EAGAIN if there is nothing.
 * Not by the ring: it would retry without end on a unix listener that is shut
 * down, which is always ready.
 */
EXPORT int kio_accept_now(int fd)
{
	int ret = kio_nonblocking_set(fd, true);

	return ret < 0 ? ret :
			 result_of(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
}

EXPORT int kio_socket_shutdown(int fd, int how)
{
	return result_of(shutdown(fd, how));
}

/* Fills a struct sockaddr_storage; returns the length of the address. */
EXPORT int kio_socket_name(int fd, bool peer, void *address)
{
	socklen_t length = sizeof(struct sockaddr_storage);
	int ret = peer ? getpeername(fd, address, &length) :
			 getsockname(fd, address, &length);

	return ret < 0 ? -errno : (int)length;
}

/* The address of an internet socket: IPv4 as IPv6 writes it. */
struct place {
	struct in6_addr address;
	uint32_t scope;
	uint16_t port;
	bool is_ipv4, is_any;
};

static bool place_of(const void *address, struct place *place)
{
	const struct sockaddr_in *in = address;
	const struct sockaddr_in6 *in6 = address;

	*place = (struct place){ .is_ipv4 = in->sin_family == AF_INET };
	if (place->is_ipv4) {
		place->port = in->sin_port;
		place->is_any = in->sin_addr.s_addr == INADDR_ANY;
		place->address.s6_addr16[5] = 0xffff;
		place->address.s6_addr32[3] = in->sin_addr.s_addr;
		return true;
	}
	if (in6->sin6_family != AF_INET6)
		return false;
	place->port = in6->sin6_port;
	place->scope = in6->sin6_scope_id;
	place->address = in6->sin6_addr;
	place->is_any = IN6_IS_ADDR_UNSPECIFIED(&in6->sin6_addr);
	return true;
}

/* Whether two sockets cannot have these at a time, unless they share. */
static bool collide(const struct place *a, bool a_only6, const struct place *b,
		    bool b_only6)
{
	if (a->port != b->port)
		return false;
	if ((a->is_ipv4 && b_only6) || (b->is_ipv4 && a_only6))
		return false;
	return a->is_any || b->is_any ||
	       (a->scope == b->scope &&
		!memcmp(&a->address, &b->address, sizeof(a->address)));
}

/* Whether a socket takes no IPv4 though it is of IPv6. */
static bool only_ipv6(int fd)
{
	return kio_option_get(fd, IPPROTO_IPV6, IPV6_V6ONLY) == 1;
}

/*
 * Whether an fd of this process is a TCP socket in the way of `place`. For the
 * kernel that is one that listens, or has not set SO_REUSEADDR; connections of
 * a listener have it from there.
 */
static bool in_the_way(int fd, const struct place *place, bool only6)
{
	struct sockaddr_storage address;
	struct place other;

	if (kio_option_get(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP ||
	    kio_socket_name(fd, false, &address) < 0 ||
	    !place_of(&address, &other))
		return false;
	return collide(place, only6, &other, only_ipv6(fd)) &&
	       (kio_option_get(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1 ||
		kio_option_get(fd, SOL_SOCKET, SO_REUSEADDR) == 0);
}

/* Whether this process itself, any thread of it, has the address of `fd`. */
static bool is_our_address(int own_fd, const void *address)
{
	bool only6 = only_ipv6(own_fd), found = false;
	struct place place;
	struct dirent *entry;
	DIR *fds;

	/* port 0: the kernel has run out of ports */
	if (!place_of(address, &place) || place.port == 0)
		return false;
	fds = opendir("/proc/self/fd");
	while (fds && !found && (entry = readdir(fds))) {
		int fd = atoi(entry->d_name);

		found = fd != own_fd && in_the_way(fd, &place, only6);
	}
	if (fds)
		closedir(fds);
	return found;
}

/* One thread at a time: what one has bound the others know to be shared. */
static pthread_mutex_t listen_lock = PTHREAD_MUTEX_INITIALIZER;

/*
 * Binds and listens at an address that threads of this process may share, but
 * other processes may not. The socket tries to have it alone first, which
 * listen(2) decides for good: whoever listens, with SO_REUSEPORT or without, is
 * in its way. Only if that one is this process itself it shares; and from then
 * on the others of this process may share with it.
 */
EXPORT int kio_listen(int fd, const void *address, uint32_t length, int backlog)
{
	int ret;

	pthread_mutex_lock(&listen_lock);
	ret = kio_socket_bind(fd, address, length);
	if (!ret)
		ret = kio_socket_listen(fd, backlog);
	if (ret == -EADDRINUSE && is_our_address(fd, address)) {
		kio_option_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
		ret = kio_socket_bind(fd, address, length);
		/* EINVAL: it was bound, only listening failed */
		if (!ret || ret == -EINVAL)
			ret = kio_socket_listen(fd, backlog);
	} else if (!ret) {
		kio_option_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	}
	pthread_mutex_unlock(&listen_lock);
	return ret;
}

/*
 * Makes a pipe of about `size` bytes: fds[0] to read, fds[1] to write. Returns
 * the size that it has: the system may grant less (pipe-max-size, and the
 * pages that a user may have in pipes). It ends with the isolate.
 */
EXPORT int kio_pipe(int32_t *fds, int size)
{
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	kio_fd_own(fds[0]);
	kio_fd_own(fds[1]);
	fcntl(fds[1], F_SETPIPE_SZ, size);
	return fcntl(fds[1], F_GETPIPE_SZ);
}

/* ---- fds, as /proc tells of them --------------------------------------------- */

/* What an fd is, as /proc says it; returns the length. */
EXPORT int kio_fd_target(int fd, char *out, uint32_t capacity)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return result_of((int)readlink(path, out, capacity));
}

/*
 * Whether an fd is an epoll instance that watches the eventfd. If so, it is
 * told to do that for EPOLLIN only: reading an eventfd makes it writable anew,
 * and the loop would have something to do each time.
 */
static bool watches_event_fd(const struct kio *k, int epoll_fd)
{
	struct epoll_event event;
	unsigned long long data;
	char path[64], line[256];
	bool found = false;
	FILE *info;
	int target;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", epoll_fd);
	info = fopen(path, "re");
	while (info && !found && fgets(line, sizeof(line), info))
		found = sscanf(line, "tfd: %d events: %x data: %llx", &target,
			       &event.events, &data) == 3 &&
			target == k->event_fd;
	if (info)
		fclose(info);
	if (!found)
		return false;
	event.data.u64 = data;
	event.events &= ~(uint32_t)EPOLLOUT;
	return !epoll_ctl(epoll_fd, EPOLL_CTL_MOD, k->event_fd, &event);
}

/*
 * Finds the epoll instance of the event loop, by the eventfd that it watches
 * from now on: it is one of the first fds of its thread. A wait in the ring
 * then ends when the loop has something to do.
 */
EXPORT void kio_loop_find(struct kio *k)
{
	for (int fd = 0; fd < LOOP_FD_MAX && k->loop_fd < 0; fd++) {
		char target[32];
		int length = kio_fd_target(fd, target, sizeof(target));

		if (length == sizeof(EVENTPOLL) - 1 &&
		    !memcmp(target, EVENTPOLL, sizeof(EVENTPOLL) - 1) &&
		    watches_event_fd(k, fd))
			k->loop_fd = fd;
	}
}

/* Whether an fd gives or takes bytes in their order, whatever the offset. */
EXPORT bool kio_fd_is_stream(int fd)
{
	struct stat stat;

	return !fstat(fd, &stat) && !S_ISREG(stat.st_mode) &&
	       !S_ISBLK(stat.st_mode) && !S_ISDIR(stat.st_mode);
}

/* Never retried: the fd is gone whatever close(2) says. */
EXPORT int kio_fd_close(int fd)
{
	kio_fd_disown(fd);
	return result_of(close(fd));
}

/* ---- threads ------------------------------------------------------------------ */

EXPORT int kio_thread_id(void)
{
	return (int)syscall(SYS_gettid);
}

/* What a thread of this process has spent on a processor; below 0 (-errno) if
 * there is none. */
EXPORT double kio_thread_cpu_ms(int thread_id)
{
	/* as the kernel makes the clock of a thread: man clock_getcpuclockid */
	clockid_t clock = (clockid_t)(~(unsigned)thread_id << 3 | 6);
	struct timespec ts;

	if (clock_gettime(clock, &ts) < 0)
		return -errno;
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* CPUs of a mask; the kernel has 8192 at most. */
union cpus {
	cpu_set_t set;
	char bits[8192 / 8];
};

/*
 * Keeps this thread on one CPU: the index-th of those that the process may use,
 * counted round and round. Returns its number.
 */
EXPORT int kio_thread_pin(uint32_t index)
{
	union cpus all = { 0 }, one = { 0 };
	int cpu = 0;

	if (sched_getaffinity(getpid(), sizeof(all), &all.set) < 0)
		return -errno;
	index %= (uint32_t)CPU_COUNT_S(sizeof(all), &all.set);
	while (!CPU_ISSET_S(cpu, sizeof(all), &all.set) || index-- > 0)
		cpu++;
	CPU_SET_S(cpu, sizeof(one), &one.set);
	if (sched_setaffinity(0, sizeof(one), &one.set) < 0)
		return -errno;
	return cpu;
}
