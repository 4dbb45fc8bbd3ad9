/*
 * pool.c - pools of buffers that the kernel picks from: rings of provided
 * buffers (Linux 5.19). JavaScript has the memory of a pool, and writes the ids
 * of buffers that it gives back into shared memory. The next step publishes
 * them, so giving back needs no call.
 */
#include "internal.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/utsname.h>

static void pool_add(struct pool *pool, uint32_t id)
{
	struct io_uring_buf *buf = &pool->ring->bufs[pool->tail++ & pool->mask];

	/* not the whole of it: the tail of the ring is in the first one */
	buf->addr = (uintptr_t)(pool->memory + (size_t)id * pool->size);
	buf->len = pool->size;
	buf->bid = (uint16_t)id;
	seam_buffer_give(pool, id);
}

/* The kernel sees all buffers that were added. */
static void pool_publish(struct pool *pool)
{
	io_uring_smp_store_release(&pool->ring->tail, pool->tail);
}

void pools_publish(struct kio *k)
{
	for (struct pool *pool = k->pools; pool; pool = pool->next) {
		int32_t count = pool->returned[0];

		if (!count)
			continue;
		for (int32_t i = 1; i <= count; i++)
			pool_add(pool, (uint32_t)pool->returned[i]);
		pool->returned[0] = 0;
		pool_publish(pool);
	}
}

static void pool_free(struct pool *pool)
{
	munmap(pool->ring, pool->ring_size);
	free(pool);
}

/*
 * Linux 6.1 keeps what it knows of the groups below, also of those that were
 * closed: the next ring of that number would begin in the middle.
 */
#define GROUP_MIN 64

/* Gives the first number that no pool of the context has. */
static uint16_t group_free(const struct kio *k)
{
	const struct pool *pool = k->pools;
	uint16_t group = GROUP_MIN;

	while (pool) {
		bool taken = pool->group == group;

		group += taken;
		pool = taken ? k->pools : pool->next;
	}
	return group;
}

/*
 * Registers `count` buffers of `size` bytes, which `memory` has one after the
 * other; 1 to 32768. `returned` has room for as many ids and their number.
 * Returns the number of the buffer group. The memory stays where it is until
 * kio_pool_close() or the end of the context.
 */
int kio_pool_open(struct kio *k, void *memory, uint32_t count, uint32_t size,
		  int32_t *returned)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	struct io_uring_buf_reg registration = { .ring_entries = 1 };
	int ret = -ENOMEM;

	if (!pool)
		return ret;
	while (registration.ring_entries < count)
		registration.ring_entries *= 2;
	pool->memory = memory;
	pool->returned = returned;
	pool->size = size;
	pool->mask = registration.ring_entries - 1;
	pool->group = registration.bgid = group_free(k);
	pool->ring_size = registration.ring_entries *
			  sizeof(struct io_uring_buf);
	pool->ring = mmap(NULL, pool->ring_size, PROT_READ | PROT_WRITE,
			  MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	if (pool->ring != MAP_FAILED) {
		registration.ring_addr = (uintptr_t)pool->ring;
		ret = seam_register_buffers(&k->ring, &registration);
		if (ret)
			munmap(pool->ring, pool->ring_size);
	}
	if (ret) {
		free(pool);
		return ret;
	}
	for (uint32_t id = 0; id < count; id++)
		pool_add(pool, id);
	pool_publish(pool);
	pool->next = k->pools;
	k->pools = pool;
	return pool->group;
}

/* Takes a buffer group from the kernel. No receive may use it any more. */
void kio_pool_close(struct kio *k, uint32_t group)
{
	struct pool **at = &k->pools, *pool;

	while ((*at)->group != group)
		at = &(*at)->next;
	pool = *at;
	*at = pool->next;
	io_uring_unregister_buf_ring(&k->ring, (int)group);
	pool_free(pool);
}

void pools_free(struct kio *k)
{
	for (struct pool *next; k->pools; k->pools = next) {
		next = k->pools->next;
		pool_free(k->pools);
	}
}

/* ---- trials -------------------------------------------------------------- */

/* How long a trial waits for what comes at once or never. */
#define TRIAL_MS 100

/* Connects two sockets; a firewall may keep them apart. */
static int tcp_pair(int fds[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd visit = { .fd = listener, .events = POLLIN };

	fds[0] = fds[1] = -1;
	if (listener >= 0 && !bind(listener, (void *)&at, length) &&
	    !listen(listener, 1) &&
	    !getsockname(listener, (void *)&at, &length)) {
		fds[1] = socket(AF_INET,
				SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fds[1] >= 0 &&
		    (!connect(fds[1], (void *)&at, length) ||
		     errno == EINPROGRESS) &&
		    poll(&visit, 1, TRIAL_MS) == 1)
			fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	}
	if (listener >= 0)
		close(listener);
	return fds[0] < 0 ? -1 : 0;
}

/* Takes data and an end that come together. Returns true for both. */
static bool takes_end(struct io_uring *ring, char *memory, uint8_t opcode,
		      int fds[2])
{
	struct __kernel_timespec limit = { .tv_nsec = TRIAL_MS * 1000000 };
	struct io_uring_buf_reg registration = {
		.ring_addr = (uintptr_t)memory,
		.ring_entries = 2,
	};
	struct pool pool = { .ring = (void *)memory,
			     .memory = memory + sysconf(_SC_PAGESIZE),
			     .size = 64,
			     .mask = 1 };
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int bytes = 0, last = 1;

	if (!sqe || seam_register_buffers(ring, &registration))
		return false;
	pool_add(&pool, 0);
	pool_add(&pool, 1);
	pool_publish(&pool);
	io_uring_prep_rw(seam_opcode(opcode), sqe, fds[0], NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	if (opcode == IORING_OP_RECV)
		sqe->ioprio = IORING_RECV_MULTISHOT;
	io_uring_submit(ring);
	if (write(fds[1], "x", 1) != 1)
		return false;
	if (shutdown(fds[1], SHUT_WR)) {
		/* a pipe */
		close(fds[1]);
		fds[1] = -1;
	}
	while (last > 0 && !io_uring_wait_cqe_timeout(ring, &cqe, &limit)) {
		last = cqe->res;
		bytes += last;
		io_uring_cqe_seen(ring, cqe);
	}
	return bytes == 1 && last == 0;
}

static bool try_ring(uint8_t opcode, int fds[2])
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN,
	};
	size_t size = 2 * (size_t)sysconf(_SC_PAGESIZE);
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	struct io_uring ring;
	bool works;

	if (memory == MAP_FAILED)
		return false;
	works = !seam_ring_init(2, &ring, &params);
	if (works) {
		works = takes_end(&ring, memory, opcode, fds);
		io_uring_queue_exit(&ring);
	}
	munmap(memory, size);
	return works;
}

/* Tries a pair of files; without one (`status`) nothing speaks against it. */
static bool try_pair(uint8_t opcode, int fds[2], int status)
{
	bool works = status || try_ring(opcode, fds);

	if (fds[0] >= 0)
		close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
	return works;
}

enum trial { UNKNOWN, WORKS, FAILS };

/*
 * Tells whether a multishot receive can be trusted: it is tried once a process.
 * Kernels before the fix of CVE-2026-23473 lose an end that comes right behind
 * data, and the receive then waits for ever. A socket of a kind that is not to
 * be had here has no connections that could hang.
 */
bool kio_receives_many(void)
{
	static atomic_int known = UNKNOWN;
	const int type = SOCK_STREAM | SOCK_CLOEXEC;
	int fds[2] = { -1, -1 };

	if (known == UNKNOWN) {
		bool works = try_pair(IORING_OP_RECV, fds,
				      socketpair(AF_UNIX, type, 0, fds)) &&
			     try_pair(IORING_OP_RECV, fds, tcp_pair(fds));

		known = seam_receives_many() && works ? WORKS : FAILS;
	}
	return known == WORKS;
}

static bool is_linux(unsigned major, unsigned minor)
{
	struct utsname system = { 0 };
	unsigned has_major = 0, has_minor = 0;

	uname(&system);
	sscanf(system.release, "%u.%u", &has_major, &has_minor);
	return has_major > major || (has_major == major && has_minor >= minor);
}

/*
 * Tells whether a multishot read can be trusted: it is tried once a process.
 * Before Linux 6.12 one of a file that the kernel cannot ask without waiting, a
 * terminal, fills a buffer and does not say which.
 */
bool kio_reads_many(void)
{
	static atomic_int known = UNKNOWN;
	int fds[2] = { -1, -1 };

	if (known == UNKNOWN) {
		bool works = is_linux(6, 12) && !pipe2(fds, O_CLOEXEC) &&
			     try_pair(KIO_OP_READ_MULTISHOT, fds, 0);

		known = seam_receives_many() && works ? WORKS : FAILS;
	}
	return known == WORKS;
}
