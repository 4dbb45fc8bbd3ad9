/*
 * internal.h - the shim from within: the layout of a context and of an isolate,
 * and the functions that each file offers the others. All of it is hidden from
 * outside.
 */
#pragma once

#define _GNU_SOURCE
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kio.h"

/* No header of the system below: its declarations would be hidden. */
#pragma GCC visibility push(hidden)

/* The memory that a field of an SQE points to; SIZED(T) is one T. */
enum memory {
	NUMBER, /* nothing: the field is a number */
	LEN_BYTES, /* sqe->len bytes */
	OFF_BYTES, /* sqe->off bytes */
	EXTRA_BYTES, /* sqe->addr_len bytes */
	VECTORS, /* sqe->len struct iovec, and the buffers of these */
	MESSAGE, /* a struct msghdr, and the memory that it points to */
	PATH, /* up to a NUL */
	SIZED_MIN,
};
#define SIZED(T) (SIZED_MIN + sizeof(T))

/* A row of opcodes.c. */
struct opcode {
	/* NULL: there is no such row */
	const char *name;
	/* enum memory, or SIZED() */
	uint16_t addr, addr2, addr3;
	/* POLLIN or POLLOUT, on a file that may be an eventfd: see waiters.h */
	uint16_t waits;
#define AS_FLAGS_SAY UINT16_MAX
	/* always in the flags of the operation */
	uint32_t force;
	/* where CLOEXEC goes, unless the result is a registered file */
	enum { CLOEXEC_NOWHERE, CLOEXEC_IN_FLAGS, CLOEXEC_IN_OFF } cloexec : 8;
	/* how the operation may be short */
	enum { CUT_NEVER, CUT_ANY, CUT_STREAM } cut : 8;
	/* a function of its own queues it, not kio_sqe() */
	bool own;
	/* a notification may follow its result */
	bool notifies;
	/* the operation that it is a form of */
	uint8_t form_of;
	/* off is the offset in a file: `extra` is the low part of it */
	bool wide;
	/* what is done at once where the ring lacks it; else NULL */
	int (*at_once)(const struct io_uring_sqe *sqe);
};
extern const struct opcode opcodes[256];

/* The opcode by which the plan of faults names an operation. */
static inline uint32_t operation_of(uint8_t opcode)
{
	uint8_t form_of = opcodes[opcode].form_of;

	return form_of ? form_of : opcode;
}

#include "waiters.h"

/* An fd on its way from one thread to another. */
struct parcel {
	struct parcel *next;
	int fd;
	double tag;
};

/* The kinds of jobs, in kio.answers[]. */
enum { LOOKUPS, FOLDERS, JOB_KINDS };
struct job;
struct job_kind {
	int number;
	/* lets go of a job that has no owner and no thread */
	void (*end)(struct job *job);
};

/* Work of a thread for a context, under jobs_lock: see jobs.c. */
struct job {
	const struct job_kind *kind;
	/* NULL: it is given up, and its thread ends it */
	struct kio *owner;
	TAILQ_ENTRY(job) of_owner;
	/* in the list of those that wait, or of the answers of its owner */
	TAILQ_ENTRY(job) in_list;
	struct job_list *in;
	bool running;
	/* for its thread to look at without the lock */
	atomic_bool given_up;
};
TAILQ_HEAD(job_list, job);

/* A close under way: its operation, and its fd + 1, 0 for none. */
struct closing {
	uint64_t id;
	int32_t fd_plus_one;
};

/* A zero-copy send in flight, with its socket: a cookie of 0 is none. */
struct zero_copy {
	uint64_t id, cookie;
	int32_t fd;
};

/* A receive of a message in flight, with room for ancillary data. */
struct receiving {
	uint64_t id;
	const struct msghdr *message;
	/* of a multishot, which has messages in buffers of this group; else -1 */
	int32_t group;
};

struct kio {
	struct io_uring ring;
	struct kio *next;
	/* Under contexts_lock, as other threads use them. */
	struct kio *next_of_all;
	struct parcel *inbox, **inbox_end;
	/* Under jobs_lock; a flag to look at without it. */
	struct job_list jobs, answers[JOB_KINDS];
	atomic_bool answered;
	/* To be closed when the queue, which may use them, was submitted. */
	struct parcel *late;
	/* The closes that the kernel still owns, by slot, and their number. */
	struct closing *closings;
	uint32_t closing_slots, closing_count;
	/* The zero-copy sends that the kernel still owns, in the same way. */
	struct zero_copy *zero_copies;
	uint32_t zero_copy_slots, zero_copy_count;
	/* The receives of messages that the kernel still owns, in the same way. */
	struct receiving *receivings;
	uint32_t receiving_slots, receiving_count;
	/* Operations of the table that the kernel still owns. */
	uint32_t in_flight;
	int32_t event_fd;
	uint32_t enter_flags;
	/* SQEs that one entry hands over at most */
	uint32_t submit_max;
	/* the operations that the kernel has */
	bool has[256];
	/* The ring is restricted, and not to these. */
	bool refused[256];
	/* There are places for registered memory. */
	bool has_places;
	bool armed;
	/* Linked operations: SQEs since kio_chain(), the last of them. */
	bool chaining;
	/* One was refused: those behind it must not happen either. */
	bool chain_refused;
	uint32_t chain_length;
	struct io_uring_sqe *chain_last;
	/* What they were queued as: room for as many as the queue has. */
	struct io_uring_sqe *chain_copies;
	/* for kio_stats() */
	uint64_t entries, submissions, completions, overflows;
	struct waiters waiters;
	/* Rings of buffers: see pool.c. */
	struct pool *pools;
	/* Completions in a row of this operation, see harvest(). */
	uint64_t burst_of;
	uint32_t burst;
	/* The epoll instance of the event loop, -1 when it is not known. */
	int32_t loop_fd;
	/* The timeout that ends a wait, and the poll of the loop. */
	bool wait_armed, loop_armed;
	double wait_until_ms;
	struct __kernel_timespec wait_at;
	bool timer_armed;
	double timer_deadline_ms;
	struct __kernel_timespec timer_at;
	/* NULL but in builds for tests: see seams.h */
	struct seam_faults *seam_faults;
	struct seam_watch *seam_watch;
};

/* A ring of buffers. */
struct pool {
	struct pool *next;
	struct io_uring_buf_ring *ring;
	size_t ring_size;
	char *memory;
	/* JavaScript's: how many ids follow, and the ids */
	int32_t *returned;
	uint32_t size, mask;
	uint16_t group, tail;
};

struct mapping {
	void *address;
	size_t size;
	struct mapping *next;
};

/* The possessions of one JavaScript isolate; only its thread uses them. */
struct isolate {
	/* first: guard.c calls it */
	void (*end)(void *);
	struct kio *contexts;
	struct mapping *mappings;
	/* fds to be closed with the isolate, a bit each */
	uint64_t *owned;
	uint32_t owned_words;
	/* closed last of all: a read from its pipe then gives an end */
	int life_fd;
};

/* NULL before the guard is armed: see isolate.c. */
extern __thread struct isolate *isolate;

#include "seams.h"

/* ---- sqe.c ------------------------------------------------------------- */

/*
 * Brackets of an operation: sqe_begin() hands out the next SQE, submitting
 * earlier ones when the queue is full; sqe_end() stamps it after the prep
 * (liburing's prep functions clear flags and, before 2.4, leave a stale
 * user_data behind). In a chain each SQE links its predecessor, so that the
 * last one never links to a stranger.
 */
int sqe_begin(struct kio *k, struct io_uring_sqe **sqe);
int sqe_end(struct kio *k, struct io_uring_sqe *sqe, double id, uint32_t flags);

/* ---- at_once.c --------------------------------------------------------- */

int ftruncate_at_once(const struct io_uring_sqe *sqe);
int bind_at_once(const struct io_uring_sqe *sqe);
int listen_at_once(const struct io_uring_sqe *sqe);
int option_at_once(const struct io_uring_sqe *sqe);
bool has_socket_commands(void);
bool is_in_ring(const struct kio *k, const struct io_uring_sqe *sqe);

/* ---- close.c ----------------------------------------------------------- */

/*
 * Closes an fd that the caller has given up, though its close found no room in
 * the queue. It waits until the queue is submitted: an SQE in there may be for
 * this fd, and would meet the next file of that number.
 */
void close_late(struct kio *k, int fd);
/* Gives a table by slots, which has the row of an operation from now on: it
 * grows by zeros. NULL if there is no memory; the table is the old one then. */
void *grown_for(void *rows, uint32_t *count, uint64_t id, size_t size);
/* Notes the fd of a close: the kernel may cancel that before it starts. */
void closing_begin(struct kio *k, uint64_t id, int fd);
/* Gives the fd of an operation that is complete if it is a close; else -1. */
int closing_end(struct kio *k, uint64_t id);

/* Makes an SQE a request of the shim's own whose completion is dropped. */
static inline void ignore(struct io_uring_sqe *sqe)
{
	sqe->user_data = UD_IGNORED;
	sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* ---- zero_copy.c ------------------------------------------------------- */

/* Notes a zero-copy send, until its last completion. */
void zero_copy_begin(struct kio *k, uint64_t id, int fd);
void zero_copy_end(struct kio *k, uint64_t id);

/* ---- message.c --------------------------------------------------------- */

/* Notes a receive of a message that may bring fds, until its last completion. */
void receiving_begin(struct kio *k, uint64_t id,
		     const struct io_uring_sqe *sqe);
void receiving_end(struct kio *k, uint64_t id);
/* Closes the fds of a message that nobody will hear of. */
void receiving_drop(struct kio *k, const struct io_uring_cqe *cqe);

/* ---- cancel.c, chain.c ------------------------------------------------- */

/* Gives the i-th SQE that is prepared and not submitted, from the last (0). */
struct io_uring_sqe *unsubmitted(const struct kio *k, uint32_t i);

/* ---- driver.c ---------------------------------------------------------- */

/*
 * Publishes the prepared SQEs, all but the last `keep` (a chain that is still
 * being built must reach the kernel whole), and enters it once.
 */
int enter(struct kio *k, uint32_t keep, uint32_t wait_count, uint32_t flags);
/*
 * Enters the kernel and sleeps until there is a completion or the event loop
 * has something to do, for about WAIT_MS. One timeout SQE serves several waits.
 * Arming and cancelling one per wait made a wait of 150 us 50 % slower on
 * virtual machines.
 */
int enter_and_wait(struct kio *k);
/*
 * Takes a completion, and writes it to `out`: four int32, user_data low and
 * high, result, flags. Without `out` it is dropped. A new fd is closed then,
 * and so are the fds of a message. So is the fd of a cancelled close, as the
 * caller has given it up. Returns
 * true for a completion of an operation or a message.
 */
bool take(struct kio *k, const struct io_uring_cqe *cqe, int32_t *out);
/* Moves up to `capacity` completions from the ring to `out`. */
uint32_t harvest(struct kio *k, int32_t *out, uint32_t capacity);

/* ---- loop.c, waiters.c ------------------------------------------------- */

/*
 * Polls eventfds by a second ring before the thread sleeps. A write to an
 * eventfd signals the ring's own eventfd late, once, and never again. The
 * kernel puts the signal off within such a write, and does not arm it anew
 * (Linux 6.18, and before). So a second ring polls the eventfds that operations
 * wait for, and the files that one may signal. This thread posts its
 * completions, as the kernel wakes it for that, so they are signalled. They
 * mean nothing else. Returns false if not all of them are polled.
 */
bool waiters_poll(struct kio *k);
/* Notes the polls that the kernel has ended; the thread is awake. */
void waiters_rest(struct kio *k);
/* Notes that places of the registered files have other files; -1 is none. */
void waiters_updated(struct kio *k, uint32_t place, const int32_t *fds,
		     uint32_t count);
int waiters_registered(struct kio *k, const int32_t *fds, uint32_t count);
void waiters_unregistered(struct kio *k);
void waiters_close(struct kio *k);
int restrict_ring(struct kio *k, const uint8_t *allowed);

/* ---- pool.c ------------------------------------------------------------ */

/* Gives the kernel the buffers that JavaScript has given back. */
void pools_publish(struct kio *k);
void pools_free(struct kio *k);
/* Adds a buffer to a ring of buffers; the kernel sees all that were added when
 * they are published. */
void pool_add(struct pool *pool, uint32_t id);
void pool_publish(struct pool *pool);

/* ---- mailbox.c --------------------------------------------------------- */

/* A context can be found by its ring from now on, or no longer. */
void context_publish(struct kio *k);
void context_withdraw(struct kio *k);
/* Closes the fds of a list, which is empty after that. */
void close_parcels(struct parcel **list);
/* Linux 6.13; EINVAL before. */
int message_without_ring(struct io_uring_sqe *message);

/* ---- jobs.c ------------------------------------------------------------ */

extern pthread_mutex_t jobs_lock;
/* All of these but the last two are called under it. */
void job_own(struct kio *k, struct job *job);
void job_put(struct job *job, struct job_list *list);
void job_out(struct job *job);
/* Takes the first job that waits, for a thread; NULL if there is none. */
struct job *job_next(struct job_list *waiting);
/* Gives the answer of a thread to the owner, or ends the job. */
void job_answer(struct job *job);
/* Gives up a job: it ends at once, or with its thread. */
void job_drop(struct job *job);
/* Starts a thread without signals; false if the system has none. */
bool job_thread(void *(*run)(void *), void *argument, size_t stack_size);
/* Takes an answer, whose job stays the owner's; NULL if there is none. */
struct job *job_take(struct kio *k, const struct job_kind *kind);

/* ---- names.c, folders.c ------------------------------------------------ */

/*
 * Limits of the process's threads that look names up: one a look-up, as
 * getaddrinfo(3) blocks and cannot be interrupted. Beyond LOOKUP_THREADS_MAX
 * look-ups wait. A few more threads are for names that need no server: those
 * must not wait for the others.
 */
#define LOOKUP_THREADS_MAX 64
#define LOOKUP_THREADS_LOCAL 4
/* Under jobs_lock. */
extern uint32_t lookup_threads;
/*
 * The most threads of the process that read folders. Cold, each waits for the
 * disk; a folder on a server that does not answer holds its thread.
 */
#define FOLDER_THREADS_MAX 16
/* Under jobs_lock. */
extern uint32_t folder_threads;

/* ---- context.c, isolate.c ---------------------------------------------- */

/*
 * Takes everything back from the kernel: retracts SQEs that were not submitted,
 * cancels the others, and waits for every completion. It cancels again when a
 * wait brought nothing, as a linked operation may have started.
 */
void context_drain(struct kio *k);
void context_destroy(struct kio *k);

/* ---- syscalls.c -------------------------------------------------------- */

static inline int result_of(int ret)
{
	return ret < 0 ? -errno : ret;
}

/* By their numbers, as musl before 1.2.5 has neither. */
int call_statx(int dir, const char *path, int flags, uint32_t mask, void *out);
ssize_t call_getdents(int fd, void *out, size_t size);

#pragma GCC visibility pop
