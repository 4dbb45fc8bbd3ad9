/*
 * trials.c - tries features of the kernel that had bugs, each once a process,
 * before they are used. It also has what the environment says of features.
 */
#include "internal.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/utsname.h>

/* How long a trial waits for what comes at once or never. */
#define TRIAL_MS 100

enum { FAILS, WORKS };

/*
 * Opens a ring as contexts have it, with room for two completions. A completion
 * is processed when it is waited for, so what happens before that is one event.
 * Without DEFER_TASKRUN that cannot be tried: nothing is trusted then.
 */
static int trial_ring(struct io_uring *ring)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
		.cq_entries = 2,
	};
	int ret = seam_ring_init(1, ring, &params);

	return ret == -EINVAL ? FAILS : ret ? ret : WORKS;
}

/* Takes the result of the next completion; -ETIME if none comes in that time. */
static int next_result(struct io_uring *ring, int ms, uint32_t *flags)
{
	struct __kernel_timespec limit = { .tv_nsec = ms * 1000000 };
	struct io_uring_cqe *cqe;
	int ret = io_uring_wait_cqe_timeout(ring, &cqe, &limit);

	if (ret)
		return ret;
	ret = cqe->res;
	*flags = cqe->flags;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

static void close_all(const int *fds, int count)
{
	for (int i = 0; i < count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

/* ---- buffers, and multishot receives ------------------------------------- */

/* Two buffers behind a page for their ring. */
static int register_buffers(struct io_uring *ring, char *memory)
{
	struct io_uring_buf_reg registration = {
		.ring_addr = (uintptr_t)memory,
		.ring_entries = 2,
	};
	struct pool pool = { .ring = (void *)memory,
			     .memory = memory + sysconf(_SC_PAGESIZE),
			     .size = 64,
			     .mask = 1 };
	int ret = seam_register_buffers(ring, &registration);

	if (ret)
		return ret == -EINVAL ? FAILS : ret;
	pool_add(&pool, 0);
	pool_add(&pool, 1);
	pool_publish(&pool);
	return WORKS;
}

/* Takes data and an end that come together. */
static int take_end(struct io_uring *ring, uint8_t opcode, int fds[2])
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int bytes = 0, last = 1;
	uint32_t flags;

	io_uring_prep_rw(seam_opcode(opcode), sqe, fds[0], NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	if (opcode == IORING_OP_RECV)
		sqe->ioprio = IORING_RECV_MULTISHOT;
	io_uring_submit(ring);
	if (write(fds[1], "x", 1) != 1)
		return -errno;
	if (opcode != IORING_OP_RECV) {
		close(fds[1]);
		fds[1] = -1;
	} else if (shutdown(fds[1], SHUT_WR)) {
		return -errno;
	}
	while (last > 0) {
		last = seam_received(next_result(ring, TRIAL_MS, &flags));
		bytes += last;
	}
	return bytes == 1 && last == 0 ? WORKS : FAILS;
}

/* Tries buffers, and with two files to take data by them. */
static int try_buffers(uint8_t opcode, int *fds)
{
	size_t size = 2 * (size_t)sysconf(_SC_PAGESIZE);
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	struct io_uring ring;
	int ret;

	if (memory == MAP_FAILED)
		return -errno;
	ret = trial_ring(&ring);
	if (ret == WORKS) {
		ret = register_buffers(&ring, memory);
		if (ret == WORKS && fds)
			ret = take_end(&ring, opcode, fds);
		io_uring_queue_exit(&ring);
	}
	munmap(memory, size);
	return ret;
}

static int buffer_trial(void)
{
	return try_buffers(0, NULL);
}

/* Connects two sockets; a firewall may keep them apart. */
static int tcp_pair(int fds[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(at);
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd visit = { .fd = listener, .events = POLLIN };

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
	close_all(&listener, 1);
	return fds[0] < 0 ? -1 : 0;
}

static int unix_pair(int fds[2])
{
	return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);
}

static int try_pair(int (*pair)(int fds[2]))
{
	int fds[2] = { -1, -1 }, ret;

	errno = 0;
	if (!pair(fds))
		ret = try_buffers(IORING_OP_RECV, fds);
	else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
		 errno == ENOMEM)
		ret = -errno;
	else
		/* sockets of a kind that is not to be had cannot hang */
		ret = WORKS;
	close_all(fds, 2);
	return ret;
}

/* Kernels before the fix of CVE-2026-23473 lose an end that comes right behind
 * data, and the receive then waits for ever. */
static int receive_trial(void)
{
	int ret = try_pair(unix_pair);

	return ret == WORKS ? try_pair(tcp_pair) : ret;
}

static bool is_linux(unsigned major, unsigned minor)
{
	struct utsname system = { 0 };
	unsigned has_major = 0, has_minor = 0;

	uname(&system);
	sscanf(system.release, "%u.%u", &has_major, &has_minor);
	return has_major > major || (has_major == major && has_minor >= minor);
}

/* Before Linux 6.12 a read of a file that the kernel cannot ask without waiting,
 * a terminal, fills a buffer and does not say which. */
static int read_trial(void)
{
	int fds[2] = { -1, -1 }, ret;

	if (!is_linux(6, 12))
		return FAILS;
	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	ret = try_buffers(KIO_OP_READ_MULTISHOT, fds);
	close_all(fds, 2);
	return ret;
}

/* ---- multishot accepts ---------------------------------------------------- */

/* More than the completion queue has room for. */
#define CLIENTS 4

static bool is_of(int fd, const struct sockaddr_un *listener)
{
	struct sockaddr_un name = { 0 };
	socklen_t length = sizeof(name);

	return !getsockname(fd, (void *)&name, &length) &&
	       !memcmp(&name, listener, sizeof(name));
}

static void queue_accept(struct io_uring *ring, int listener)
{
	io_uring_prep_multishot_accept(io_uring_get_sqe(ring), listener, NULL,
				       NULL, SOCK_CLOEXEC);
	io_uring_submit(ring);
}

/* Listens at a name that the kernel makes. */
static int listen_at(int listener, struct sockaddr_un *at, socklen_t *length)
{
	at->sun_family = AF_UNIX;
	if (bind(listener, (void *)at, sizeof(at->sun_family)) ||
	    listen(listener, CLIENTS) ||
	    getsockname(listener, (void *)at, length))
		return -errno;
	return 0;
}

static int accept_all(struct io_uring *ring, int listener,
		      const struct sockaddr_un *at, socklen_t length,
		      int *clients)
{
	queue_accept(ring, listener);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (clients[i] < 0 ||
		    connect(clients[i], (const void *)at, length))
			return -errno;
	}
	for (int i = 0; i < CLIENTS; i++) {
		uint32_t flags = 0;
		int fd = seam_accepted(next_result(ring, TRIAL_MS, &flags));

		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
			return fd;
		/* a number that means nothing may be the fd of another file */
		if (fd < 0 || !is_of(fd, at))
			return FAILS;
		close(fd);
		if (!(flags & IORING_CQE_F_MORE))
			queue_accept(ring, listener);
	}
	return WORKS;
}

/* Kernels up to 6.8 lose the fd of a connection that finds the completion queue
 * full, and give another number in its place. */
static int accept_trial(void)
{
	int clients[CLIENTS] = { -1, -1, -1, -1 };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un at = { 0 };
	socklen_t length = sizeof(at);
	struct io_uring ring;
	int fd, ret;
	uint32_t flags;

	if (listener < 0)
		return -errno;
	ret = listen_at(listener, &at, &length);
	if (!ret)
		ret = trial_ring(&ring);
	if (ret == WORKS) {
		ret = accept_all(&ring, listener, &at, length, clients);
		/* what a trial that has failed leaves */
		while ((fd = next_result(&ring, 0, &flags)) >= 0)
			if (is_of(fd, &at))
				close(fd);
		io_uring_queue_exit(&ring);
	}
	close_all(clients, CLIENTS);
	close(listener);
	return ret;
}

/* ---- rings that a thread sleeps on ---------------------------------------- */

/* Tells whether a byte in the pipe makes the eventfd of the ring readable by the
 * time that write(2) returns. */
static int is_signalled(struct io_uring *ring, int event_fd, const int fds[2])
{
	eventfd_t value;
	int ret = io_uring_register_eventfd(ring, event_fd);

	if (ret)
		return ret;
	io_uring_prep_poll_add(io_uring_get_sqe(ring), fds[0], POLLIN);
	return seam_wakes(io_uring_submit(ring) == 1 &&
			  write(fds[1], "x", 1) == 1 &&
			  !eventfd_read(event_fd, &value)) ?
		       WORKS :
		       FAILS;
}

/* Since the fix of CVE-2026-80920 the kernel puts a signal off that comes from the
 * wake-up of a socket or pipe, and Linux 6.12.117, for one, loses all but the
 * first. A thread would sleep over its completions. */
static int wake_trial(void)
{
	int event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int fds[2] = { -1, -1 }, ret;
	struct io_uring ring;

	ret = event_fd < 0 || pipe2(fds, O_CLOEXEC) ? -errno :
						      trial_ring(&ring);
	if (ret == WORKS) {
		ret = is_signalled(&ring, event_fd, fds);
		io_uring_queue_exit(&ring);
	}
	close_all(fds, 2);
	close_all(&event_fd, 1);
	return ret;
}

/*
 * Tells whether a feature works: 1 or 0, and a negative errno if it could not be
 * tried now. Both answers are remembered for all threads; two of them may try at
 * the same time. KIO_TRIAL_* has the numbers of the trials.
 */
int kio_trial(uint32_t number)
{
	static int (*const trials[])(void) = {
		[KIO_TRIAL_BUFFERS] = buffer_trial,
		[KIO_TRIAL_RECEIVE] = receive_trial,
		[KIO_TRIAL_ACCEPT] = accept_trial,
		[KIO_TRIAL_READ] = read_trial,
		[KIO_TRIAL_WAKE] = wake_trial,
	};
	/* the answer + 1 */
	static atomic_int known[sizeof(trials) / sizeof(*trials)];
	int ret = known[number];

	if (ret)
		return ret - 1;
	ret = trials[number]();
	if (ret >= 0)
		known[number] = ret + 1;
	return ret;
}

/* ---- the environment ------------------------------------------------------ */

static const char *disabled = "";

/* Here, because Deno asks for permission to read a variable. This one can only
 * turn something off. */
__attribute__((constructor)) static void environment_read(void)
{
	const char *names = getenv("KIO_DISABLE");
	char *copy = names ? strdup(names) : NULL;

	if (copy)
		disabled = copy;
}

/*
 * Writes lines: release and version of the kernel, as uname(2) has them, and
 * KIO_DISABLE as it was when the library was loaded. Returns their length, or
 * -E2BIG.
 */
int kio_environment(char *out, uint32_t size)
{
	struct utsname system = { 0 };
	int length;

	uname(&system);
	length = snprintf(out, size, "%s\n%s\n%s", system.release,
			  system.version, disabled);
	return length < (int)size ? length : -E2BIG;
}
