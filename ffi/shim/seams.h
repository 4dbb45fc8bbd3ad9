/*
 * seams.h - the seams between the shim and the kernel, for tests. In the normal
 * build each is an inline function that does nothing, or only calls the kernel.
 * In a build for tests it is one of test/faults.c (-DKIO_FAULTS), test/watch.c
 * (-DKIO_ASAN) or test/masks.c (-DKIO_MASKS). Nothing else of the project is
 * compiled on a condition, and struct kio is the same in all builds.
 */
#pragma once

#ifdef KIO_FAULTS
/* An operation is prepared and stamped: it may fail, or be cut. */
void seam_operation(struct kio *k, struct io_uring_sqe *sqe);
/* The operation before ends its chain, though the kernel does not know. */
bool seam_ends_chain(struct kio *k);
void seam_chain(struct kio *k);
/* A splice that this thread makes: it may fail, with an errno, or be cut. */
int seam_splice(struct kio *k, int from, int to, uint32_t *length);
/* Refuses calls that are made without the ring, of which a plan knows nothing. */
bool seam_refuses_now(void);
/* Refuses an entry of the kernel, with an error in `ret`. */
bool seam_enter(int *ret);
/* Applies the plan to a completion; true if it holds it back. */
bool seam_holds(struct kio *k, struct io_uring_cqe *cqe);
/* Hands out the completions whose time has come; all of them without `out`. */
uint32_t seam_release(struct kio *k, int32_t *out, uint32_t capacity);
/* The thread must not sleep beyond what is held back. */
void seam_deadline(struct kio *k, double *deadline_ms);
void seam_isolate_end(void);
void seam_context_end(struct kio *k);
#else
static inline void seam_operation(struct kio *k, struct io_uring_sqe *sqe)
{
	(void)k, (void)sqe;
}

static inline bool seam_ends_chain(struct kio *k)
{
	(void)k;
	return false;
}

static inline void seam_chain(struct kio *k)
{
	(void)k;
}

static inline int seam_splice(struct kio *k, int from, int to,
			      uint32_t *length)
{
	(void)k, (void)from, (void)to, (void)length;
	return 0;
}

static inline bool seam_refuses_now(void)
{
	return false;
}

static inline bool seam_enter(int *ret)
{
	(void)ret;
	return false;
}

static inline bool seam_holds(struct kio *k, struct io_uring_cqe *cqe)
{
	(void)k, (void)cqe;
	return false;
}

static inline uint32_t seam_release(struct kio *k, int32_t *out,
				    uint32_t capacity)
{
	(void)k, (void)out, (void)capacity;
	return 0;
}

static inline void seam_deadline(struct kio *k, double *deadline_ms)
{
	(void)k, (void)deadline_ms;
}

static inline void seam_isolate_end(void)
{
}

static inline void seam_context_end(struct kio *k)
{
	(void)k;
}
#endif

#ifdef KIO_ASAN
/* An operation is prepared and stamped: its memory must be there. */
void seam_watch(struct kio *k, const struct io_uring_sqe *sqe);
/* Its completion is taken over: the kernel is done with its memory. */
void seam_unwatch(struct kio *k, const struct io_uring_cqe *cqe);
void seam_unwatch_all(struct kio *k);
/* The kernel has a buffer of a pool, and fills it: all else in it is foreign. */
void seam_buffer_give(const struct pool *pool, uint32_t id);
void seam_buffer_take(struct kio *k, const struct io_uring_cqe *cqe);
#else
static inline void seam_watch(struct kio *k, const struct io_uring_sqe *sqe)
{
	(void)k, (void)sqe;
}

static inline void seam_unwatch(struct kio *k, const struct io_uring_cqe *cqe)
{
	(void)k, (void)cqe;
}

static inline void seam_unwatch_all(struct kio *k)
{
	(void)k;
}

static inline void seam_buffer_give(const struct pool *pool, uint32_t id)
{
	(void)pool, (void)id;
}

static inline void seam_buffer_take(struct kio *k,
				    const struct io_uring_cqe *cqe)
{
	(void)k, (void)cqe;
}
#endif

#ifdef KIO_MASKS
uint8_t seam_opcode(uint8_t opcode);
int seam_ring_init(unsigned entries, struct io_uring *ring,
		   struct io_uring_params *params);
struct io_uring_probe *seam_probe(struct io_uring *ring);
int seam_register_ring_fd(struct io_uring *ring);
int seam_register_workers(struct io_uring *ring, unsigned *workers);
int seam_register_message(struct io_uring_sqe *message);
int seam_command(int result);
int seam_register_buffers(struct io_uring *ring, struct io_uring_buf_reg *reg);
int seam_received(int result);
int seam_accepted(int result);
bool seam_wakes(bool works);
#else
/* The number of an operation, or one that no kernel has. */
static inline uint8_t seam_opcode(uint8_t opcode)
{
	return opcode;
}

static inline int seam_ring_init(unsigned entries, struct io_uring *ring,
				 struct io_uring_params *params)
{
	return io_uring_queue_init_params(entries, ring, params);
}

static inline struct io_uring_probe *seam_probe(struct io_uring *ring)
{
	return io_uring_get_probe_ring(ring);
}

static inline int seam_register_ring_fd(struct io_uring *ring)
{
	return io_uring_register_ring_fd(ring);
}

static inline int seam_register_workers(struct io_uring *ring,
					unsigned *workers)
{
	return io_uring_register_iowq_max_workers(ring, workers);
}

/* Sends a message to a ring without one of the sender's own (Linux 6.13). */
static inline int seam_register_message(struct io_uring_sqe *message)
{
	return (int)syscall(__NR_io_uring_register, -1,
			    KIO_REGISTER_SEND_MSG_RING, message, 1);
}

/* The result of a command to a socket (Linux 6.7). */
static inline int seam_command(int result)
{
	return result;
}

static inline int seam_register_buffers(struct io_uring *ring,
					struct io_uring_buf_reg *reg)
{
	return io_uring_register_buf_ring(ring, reg, 0);
}

/* Results of the trials of multishot receives, of accepts, and of an eventfd. */
static inline int seam_received(int result)
{
	return result;
}

static inline int seam_accepted(int result)
{
	return result;
}

static inline bool seam_wakes(bool works)
{
	return works;
}
#endif
