/*
 * Common parts of the C programs of the benchmark: failing loudly, clocks, the
 * ring set-up every peer uses, and the measured window.
 */
#ifndef KIO_BENCH_COMMON_H
#define KIO_BENCH_COMMON_H

#include <errno.h>
#include <liburing.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#define NS_PER_S 1000000000ull
#define NS_PER_US 1000.0

/* Time for caches, branch predictors and JIT compilers; never counted. */
#define WARM_UP_NS (NS_PER_S / 2)

__attribute__((noreturn, format(printf, 1, 2))) static inline void
die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

/* Passes a result through, or ends the program when it is a -errno. */
static inline int check(int result, const char *action)
{
	if (result < 0)
		die("Cannot %s: %s", action, strerror(-result));
	return result;
}

/* The same for libc calls, which answer -1 and set errno. */
static inline int check_libc(int result, const char *action)
{
	return check(result < 0 ? -errno : result, action);
}

static inline uint64_t clock_ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

/* Keeps this thread on one CPU. */
static inline void stay_on(int cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	check_libc(sched_setaffinity(0, sizeof(cpus), &cpus), "pin a thread");
}

/* Zeros, in whole pages. */
static inline void *allocate(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);

	if (memory == MAP_FAILED)
		die("Cannot allocate %zu bytes: %s", bytes, strerror(errno));
	return memory;
}

/* As many fds as the process may have: what runtimes do when they start. */
static inline void raise_fd_limit(void)
{
	struct rlimit limit;

	check_libc(getrlimit(RLIMIT_NOFILE, &limit), "read the limit of fds");
	limit.rlim_cur = limit.rlim_max;
	check_libc(setrlimit(RLIMIT_NOFILE, &limit), "raise the limit of fds");
}

static inline double number_argument(const char *text, const char *name)
{
	char *end;
	double value = strtod(text, &end);

	if (end == text || *end != '\0' || value < 0)
		die("Cannot read %s: \"%s\" is not a number", name, text);
	return value;
}

/* The flags kio asks for too, so that the yardstick has the same kernel. */
static inline void ring_init(struct io_uring *ring, unsigned entries,
			     unsigned cq_entries)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = cq_entries,
	};

	check(io_uring_queue_init_params(entries, ring, &params),
	      "set up io_uring");
}

static inline struct io_uring_sqe *ring_sqe(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (sqe == NULL) {
		check(io_uring_submit(ring), "submit");
		sqe = io_uring_get_sqe(ring);
		if (sqe == NULL)
			die("Cannot get a submission entry: the queue is full");
	}
	return sqe;
}

/* xorshift32: window.mjs has the same, so every peer reads the same blocks. */
static inline uint32_t random_next(uint32_t *state)
{
	uint32_t x = *state;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	*state = x;
	return x;
}

/* Counts operations for some seconds, after a warm-up that does not count. */
struct window {
	uint64_t ops;
	uint64_t open_ns;
	uint64_t close_ns;
	uint64_t length_ns;
	unsigned ticks;
	bool counting;
};

static inline void window_init(struct window *window, double seconds)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	*window = (struct window){
		.open_ns = now_ns + WARM_UP_NS,
		.length_ns = (uint64_t)(seconds * (double)NS_PER_S),
	};
}

static inline bool window_check(struct window *window)
{
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	if (!window->counting && now_ns >= window->open_ns) {
		window->counting = true;
		window->ops = 0;
		window->open_ns = now_ns;
	}
	window->close_ns = now_ns;
	return !window->counting ||
	       now_ns - window->open_ns < window->length_ns;
}

/* False once the window has closed. Asks the clock every 16th time only. */
static inline bool window_tick(struct window *window, unsigned ops)
{
	window->ops += ops;
	return ++window->ticks % 16 != 0 || window_check(window);
}

static inline double window_seconds(const struct window *window)
{
	return (double)(window->close_ns - window->open_ns) / (double)NS_PER_S;
}

#endif
