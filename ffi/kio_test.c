/*
 * kio_test.c - tests of kio.c, compiled into one unit with it, so that they
 * can look at what is inside. `deno run -A ffi/run_c_tests.ts` runs them under the
 * address and undefined behaviour sanitizers.
 *
 * Each test is a process of its own: a crash, a leak or a hang of one hides
 * nothing of the others, and every test starts with an unarmed guard.
 */
#define KIO_MASKS
#define _GNU_SOURCE

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

/* What is looked up of names that begin with "slow" waits at the gate. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static bool without_threads;

static int gated_getaddrinfo(const char *host, const char *service,
			     const struct addrinfo *hints,
			     struct addrinfo **list)
{
	if (!strncmp(host, "slow", 4) && !(hints->ai_flags & AI_NUMERICHOST)) {
		pthread_mutex_lock(&gate);
		pthread_mutex_unlock(&gate);
		host = "127.0.0.9";
	}
	return getaddrinfo(host, service, hints, list);
}

static int gated_pthread_create(pthread_t *thread,
				const pthread_attr_t *attributes,
				void *(*start)(void *), void *argument)
{
	if (without_threads)
		return EAGAIN;
	return pthread_create(thread, attributes, start, argument);
}

#define getaddrinfo gated_getaddrinfo
#define pthread_create gated_pthread_create

#include "kio.c"

#include <dirent.h>
#include <dlfcn.h>
#include <sys/resource.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>

/* How long a test may take, in seconds. */
#define TEST_SECONDS 60

#define CHECK(CONDITION)                                          \
	do {                                                      \
		if (!(CONDITION)) {                               \
			fprintf(stderr, "%s:%d: expected %s\n",   \
				__FILE__, __LINE__, #CONDITION);  \
			exit(1);                                  \
		}                                                 \
	} while (0)

/* ---- what the tests share ------------------------------------------------ */

/* The host's side of Node-API: it keeps the hook, to be fired by a test. */
static void (*cleanup_hook)(void *);
static void *cleanup_argument;
static int hooks_added;
static int hook_status;

int napi_add_env_cleanup_hook(void *env, void (*hook)(void *), void *argument)
{
	(void)env;
	hooks_added++;
	cleanup_hook = hook;
	cleanup_argument = argument;
	return hook_status;
}

static void guard_arm(void)
{
	static int exports;

	CHECK(napi_register_module_v1(NULL, &exports) == &exports);
}

static void guard_fire(void)
{
	cleanup_hook(cleanup_argument);
}

static struct kio *context_open(uint32_t entries)
{
	int32_t status = 1;
	struct kio *k;

	if (!isolate)
		guard_arm();
	k = kio_context_open(entries, 4 * entries, 8, &status);
	CHECK(k && status == 0);
	return k;
}

/* As lib/waker.ts does it: the eventfd is not the shim's to close. */
static void context_close(struct kio *k)
{
	int event_fd = k->event_fd;

	kio_context_close(k);
	CHECK(kio_fd_close(event_fd) == 0);
}

struct completion {
	uint64_t user_data;
	int32_t result;
};

#define COMPLETIONS_MAX 256

/* Steps until `count` completions are in; none beyond them may come. */
static void collect(struct kio *k, struct completion *completions, int count)
{
	int32_t out[4 * COMPLETIONS_MAX];
	int collected = 0;

	while (collected < count) {
		int got = kio_step(k, out, COMPLETIONS_MAX, true);

		CHECK(got >= 0 && collected + got <= count);
		for (int32_t *at = out; at < out + 4 * got; at += 4) {
			completions[collected].user_data =
				(uint32_t)at[0] |
				(uint64_t)(uint32_t)at[1] << 32;
			completions[collected++].result = at[2];
		}
	}
}

static int32_t result_for(const struct completion *completions, int count,
			  uint64_t user_data)
{
	for (int i = 0; i < count; i++)
		if (completions[i].user_data == user_data)
			return completions[i].result;
	fprintf(stderr, "no completion of %llu\n",
		(unsigned long long)user_data);
	exit(1);
}

/* The only completion that is to come. */
static int32_t result_of_one(struct kio *k, uint64_t user_data)
{
	struct completion completion;

	collect(k, &completion, 1);
	CHECK(completion.user_data == user_data);
	CHECK(k->in_flight == 0);
	return completion.result;
}

static int step_at_once(struct kio *k)
{
	int32_t out[4 * COMPLETIONS_MAX];

	return kio_step(k, out, COMPLETIONS_MAX, false);
}

static int count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	CHECK(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

static bool is_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

static int bytes_in(int fd)
{
	char bytes[4096];
	ssize_t count;

	CHECK(kio_nonblocking_set(fd, true) >= 0);
	count = read(fd, bytes, sizeof(bytes));
	return count < 0 ? -errno : (int)count;
}

static int temporary_file(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	return fd;
}

static int listener_open(struct sockaddr_in *address)
{
	int fd = kio_socket(AF_INET, SOCK_STREAM);

	*address = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	CHECK(fd >= 0);
	CHECK(kio_socket_bind(fd, address, sizeof(*address)) == 0);
	CHECK(kio_socket_listen(fd, 16) == 0);
	CHECK(kio_socket_name(fd, false, address) == sizeof(*address));
	return fd;
}

/* ---- opening and closing -------------------------------------------------- */

static void test_open_without_guard_is_refused(void)
{
	int32_t status = 0;

	CHECK(kio_context_open(8, 32, 8, &status) == NULL);
	CHECK(status == -EOPNOTSUPP);
}

static void test_open_is_refused_when_the_host_takes_no_hook(void)
{
	int32_t status = 0;

	hook_status = 1;
	guard_arm();
	CHECK(kio_context_open(8, 32, 8, &status) == NULL);
	CHECK(status == -EOPNOTSUPP);
}

static void test_guard_is_armed_once_an_isolate(void)
{
	guard_arm();
	guard_arm();
	CHECK(hooks_added == 1);
	guard_fire();
}

static void test_guard_by_library_ends_its_own_isolate(void)
{
	int fds = count_fds();
	int32_t status = 0;
	char path[64];
	int fd = kio_guard_file();
	void *guard;
	void (*arm)(void *);

	CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	guard = dlopen(path, RTLD_NOW);
	CHECK(guard);
	*(void **)&arm = dlsym(guard, "kio_guard_arm");
	CHECK(arm);
	arm(kio_guarded());
	CHECK(kio_guarded() == isolate);
	CHECK(close(fd) == 0);
	CHECK(kio_context_open(8, 32, 8, &status));
	CHECK(dlclose(guard) == 0);
	CHECK(isolate == NULL);
	CHECK(count_fds() == fds);
}

static void test_close_leaves_no_fd(void)
{
	int fds = count_fds();
	struct kio *k = context_open(8);

	CHECK(fcntl(kio_ring_fd(k), F_GETFD) == FD_CLOEXEC);
	CHECK(fcntl(kio_event_fd(k), F_GETFD) == FD_CLOEXEC);
	context_close(k);
	CHECK(count_fds() == fds);
	guard_fire();
}

static void test_open_that_fails_leaves_no_fd(void)
{
	int fds = count_fds();
	int32_t status = 0;

	guard_arm();
	CHECK(kio_context_open(0, 32, 8, &status) == NULL);
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

static void test_open_does_without_what_the_kernel_lacks(void)
{
	memset(mask_hides, 0, sizeof(mask_hides));
	/* each hides what it says besides what was hidden before */
	check_open_uses("NO_IOWAIT",
			IORING_SETUP_SINGLE_ISSUER |
				IORING_SETUP_DEFER_TASKRUN |
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

static void test_contexts_of_an_isolate_are_independent(void)
{
	struct kio *first = context_open(8);
	struct kio *second = context_open(8);
	struct kio *third = context_open(8);
	int fd = temporary_file();

	context_close(second);
	CHECK(kio_fsync(first, 1, fd, 0) == 0);
	CHECK(kio_fsync(third, 2, fd, 0) == 0);
	CHECK(result_of_one(third, 2) == 0);
	CHECK(result_of_one(first, 1) == 0);
	context_close(third);
	context_close(first);
	guard_fire();
}

static void test_probe_tells_the_same_with_and_without_a_context(void)
{
	uint8_t own[256] = { 0 }, of_context[256] = { 0 };
	uint32_t own_info[3], info_of_context[3];
	int fds = count_fds();
	struct kio *k;

	/* No guard is armed yet: the kernel gets no buffer. */
	CHECK(kio_probe(NULL, own, own_info) == 0);
	CHECK(count_fds() == fds);
	k = context_open(8);
	CHECK(kio_probe(k, of_context, info_of_context) == 0);
	CHECK(memcmp(own, of_context, sizeof(own)) == 0);
	CHECK(memcmp(own_info, info_of_context, sizeof(own_info)) == 0);
	CHECK(own[IORING_OP_READ] == 1 && own[255] == 0);
	CHECK(own[KIO_OP_FTRUNCATE] == k->ring_ftruncate);
	CHECK(own_info[0] & IORING_SETUP_CQSIZE);
	context_close(k);
	guard_fire();
}

static void test_close_with_an_operation_in_flight_aborts(void)
{
	struct kio *k = context_open(8);
	char byte;
	int32_t fds[2];

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_recv(k, 1, fds[0], &byte, 0, 1, 0) == 0);
	CHECK(step_at_once(k) == 0);
	kio_context_close(k);
}

/* ---- steps ------------------------------------------------------------------ */

static void test_step_reports_user_data_and_result(void)
{
	const double id = 4503599627370496.0 + 77 * 4294967296.0 + 4294967295.0;
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte = 0;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_send(k, id, fds[0], "abc", 0, 3, 0) == 0);
	CHECK(k->in_flight == 1);
	CHECK(result_of_one(k, (uint64_t)id) == 3);
	CHECK(kio_recv(k, 2, fds[1], &byte, 0, 1, 0) == 0);
	CHECK(result_of_one(k, 2) == 1 && byte == 'a');
	context_close(k);
	guard_fire();
}

static void test_step_with_nothing_to_do_returns_at_once(void)
{
	struct kio *k = context_open(8);

	CHECK(step_at_once(k) == 0);
	context_close(k);
	guard_fire();
}

static void test_read_goes_beyond_4_gib_of_a_buffer(void)
{
	const size_t at = (1ULL << 32) + 5;
	struct kio *k = context_open(8);
	int fd = temporary_file();
	char *buffer = mmap(NULL, at + 1, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(buffer != MAP_FAILED);
	CHECK(write(fd, "x", 1) == 1);
	CHECK(kio_read(k, 1, fd, buffer, (double)at, 1, 0, 0) == 0);
	CHECK(result_of_one(k, 1) == 1);
	CHECK(buffer[at] == 'x' && buffer[5] == 0);
	munmap(buffer, at + 1);
	context_close(k);
	guard_fire();
}

/* A file of 8 bytes, a pipe, and a socket to be sent to. */
struct pump {
	struct kio *k;
	int file;
	int pipe[2];
	int32_t sockets[2];
};

static struct pump pump_open(uint32_t entries)
{
	struct pump p = { .k = context_open(entries),
			  .file = temporary_file() };

	CHECK(write(p.file, "abcdefgh", 8) == 8);
	CHECK(kio_pipe(p.pipe, 4096) == 4096);
	CHECK(kio_socket_pair(SOCK_STREAM | SOCK_NONBLOCK, p.sockets) == 0);
	return p;
}

/* The step that ended a pump of `left` bytes at `offset`, and its result. */
static uint32_t pump_end(struct pump *p, double offset, double left,
			 uint32_t held, uint32_t size, int32_t *result)
{
	struct completion completion;

	CHECK(kio_pump(p->k, 7, p->file, offset, left, p->pipe[0], p->pipe[1],
		       held, p->sockets[0], size, 9) == 0);
	CHECK(p->k->in_flight == 1);
	collect(p->k, &completion, 1);
	CHECK((completion.user_data & UINT32_MAX) == 7);
	CHECK(p->k->in_flight == 0 && step_at_once(p->k) == 0);
	*result = completion.result;
	return (uint32_t)(completion.user_data >> UD_STEP_SHIFT);
}

static void test_pipe_ends_with_the_isolate(void)
{
	int fds = count_fds();
	int32_t pipe[2];

	guard_arm();
	CHECK(kio_pipe(pipe, 4096) == 4096);
	CHECK(count_fds() == fds + 2);
	guard_fire();
	CHECK(count_fds() == fds);
}

static void test_pump_completes_once_with_its_last_step(void)
{
	struct pump p = pump_open(32);
	char text[9] = "";
	int32_t result;

	/* Three rounds, of 3, 3 and 2 bytes. */
	CHECK(pump_end(&p, 0, 8, 0, 3, &result) == 5 && result == 2);
	CHECK(read(p.sockets[1], text, 8) == 8 && !strcmp(text, "abcdefgh"));
	context_close(p.k);
	guard_fire();
}

static void test_pump_empties_the_pipe_first(void)
{
	struct pump p = pump_open(32);
	char text[9] = "";
	int32_t result;

	CHECK(write(p.pipe[1], "xyz", 3) == 3);
	CHECK(pump_end(&p, 6, 2, 3, 4096, &result) == 2 && result == 2);
	CHECK(read(p.sockets[1], text, 8) == 5 && !strcmp(text, "xyzgh"));
	context_close(p.k);
	guard_fire();
}

static void test_pump_ends_where_it_is_short(void)
{
	struct pump p = pump_open(32);
	char text[9] = "";
	int32_t result;

	/* The file ends in the second round: the third never starts. */
	CHECK(pump_end(&p, 3, 15, 0, 4, &result) == 2 && result == 1);
	CHECK(read(p.sockets[1], text, 8) == 4 && !strcmp(text, "defg"));
	CHECK(pump_end(&p, 8, 14, 1, 4, &result) == 1 && result == 0);
	CHECK(read(p.sockets[1], text, 8) == 1 && text[0] == 'h');
	CHECK(bytes_in(p.pipe[0]) == -EAGAIN);
	context_close(p.k);
	guard_fire();
}

static void test_pump_fits_into_a_small_queue(void)
{
	struct pump p = pump_open(2);
	int32_t result;

	CHECK(kio_fsync(p.k, 1, p.file, 0) == 0);
	CHECK(step_at_once(p.k) >= 0);
	while (p.k->in_flight)
		step_at_once(p.k);
	CHECK(pump_end(&p, 0, 8, 0, 3, &result) == 1 && result == 3);
	context_close(p.k);
	guard_fire();
}

static void test_pump_can_be_retracted(void)
{
	struct pump p = pump_open(32);
	struct completion completion;

	CHECK(kio_pump(p.k, 7, p.file, 0, 8, p.pipe[0], p.pipe[1], 0,
		       p.sockets[0], 3, 9) == 0);
	CHECK(kio_retract(p.k, 7));
	collect(p.k, &completion, 1);
	CHECK(completion.user_data == 7 && completion.result < 0);
	CHECK(p.k->in_flight == 0 && step_at_once(p.k) == 0);
	CHECK(bytes_in(p.pipe[0]) == -EAGAIN);
	CHECK(bytes_in(p.sockets[1]) == -EAGAIN);
	context_close(p.k);
	guard_fire();
}

static void test_step_waits_for_a_while(void)
{
	struct kio *k = context_open(8);
	int32_t out[4];

	/* Also when the end of the wait before is near. */
	for (int i = 0; i < 100; i++) {
		double start_ms = kio_now_ms();

		CHECK(kio_step(k, out, 1, true) == 0);
		CHECK((kio_now_ms() - start_ms) * 1e6 >= WAIT_NS / 2);
	}
	context_close(k);
	guard_fire();
}

static void test_arm_ends_a_wait_that_is_left(void)
{
	struct kio *k = context_open(8);
	struct pollfd event = { .fd = k->event_fd, .events = POLLIN };
	int fds[2];
	char byte;

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	CHECK(write(fds[1], "a", 1) == 1);
	CHECK(kio_read(k, 1, fds[0], &byte, 0, 1, 0, 0) == 0);
	CHECK(result_of_one(k, 1) == 1);
	CHECK(k->wait_armed);
	while (!kio_arm(k, 0))
		CHECK(step_at_once(k) == 0);
	CHECK(!k->wait_armed);
	CHECK(poll(&event, 1, 20) == 0);
	context_close(k);
	guard_fire();
}

/* A context in an event loop, which watches a pipe as well. */
struct loop {
	struct kio *k;
	int fd;
	int pipe[2];
};

static struct loop loop_open(void)
{
	struct loop loop = { .k = context_open(8),
			     .fd = epoll_create1(EPOLL_CLOEXEC) };
	/* as Deno has it: edge-triggered, and for more than reading */
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		.data.u64 = 0x123456789abcdef0,
	};
	int event_fd = loop.k->event_fd;

	CHECK(pipe2(loop.pipe, O_CLOEXEC) == 0);
	CHECK(epoll_ctl(loop.fd, EPOLL_CTL_ADD, event_fd, &event) == 0);
	CHECK(epoll_wait(loop.fd, &event, 1, 0) == 1);
	event.events = EPOLLIN;
	CHECK(epoll_ctl(loop.fd, EPOLL_CTL_ADD, loop.pipe[0], &event) == 0);
	kio_loop_find(loop.k);
	CHECK(loop.k->loop_fd == loop.fd);
	return loop;
}

static void loop_close(struct loop *loop)
{
	close(loop->fd);
	close(loop->pipe[0]);
	close(loop->pipe[1]);
	context_close(loop->k);
	guard_fire();
}

static void test_loop_is_not_ready_after_its_turn(void)
{
	struct loop loop = loop_open();
	struct kio *k = loop.k;
	struct epoll_event event;
	uint64_t value;

	CHECK(!kio_loop_is_ready(k));
	kio_wake_self(k);
	CHECK(kio_loop_is_ready(k));
	CHECK(epoll_wait(loop.fd, &event, 1, 0) == 1);
	CHECK(event.data.u64 == 0x123456789abcdef0);
	CHECK(read(k->event_fd, &value, sizeof(value)) == sizeof(value));
	CHECK(!kio_loop_is_ready(k));
	loop_close(&loop);
}

static void test_step_does_not_wait_while_the_loop_is_ready(void)
{
	struct loop loop = loop_open();
	struct kio *k = loop.k;
	int32_t out[4];
	uint64_t entries;

	CHECK(write(loop.pipe[1], "a", 1) == 1);
	/* the timeout has not come, and nothing was tried again and again */
	entries = k->entries;
	CHECK(kio_step(k, out, 1, true) == 0);
	CHECK(k->wait_armed && !k->loop_armed);
	CHECK(k->entries == entries + 1);
	CHECK(kio_loop_is_ready(k));
	kio_loop_forget(k);
	CHECK(!kio_loop_is_ready(k));
	loop_close(&loop);
}

static void test_arm_ends_the_poll_of_the_loop(void)
{
	struct loop loop = loop_open();
	struct kio *k = loop.k;
	int32_t out[4];

	do
		CHECK(kio_step(k, out, 1, true) == 0);
	while (k->wait_armed);
	CHECK(k->loop_armed);
	while (!kio_arm(k, 0))
		CHECK(step_at_once(k) == 0);
	CHECK(!k->loop_armed);
	/* else the eventfd would tell the loop, and that the ring, and so on */
	CHECK(write(loop.pipe[1], "b", 1) == 1);
	CHECK(!is_readable(k->event_fd));
	loop_close(&loop);
}

static void test_step_fills_no_more_than_its_capacity(void)
{
	struct kio *k = context_open(16);
	int fd = temporary_file();
	int32_t out[4 * 5];

	for (int i = 0; i < 10; i++)
		CHECK(kio_fsync(k, i, fd, 0) == 0);
	for (int left = 10; left > 0;) {
		int got;

		out[4 * 4] = -12345;
		got = kio_step(k, out, 4, true);
		CHECK(got >= 0 && got <= 4);
		CHECK(out[4 * 4] == -12345);
		left -= got;
		CHECK(k->in_flight == (uint32_t)left);
	}
	context_close(k);
	guard_fire();
}

static void test_step_loses_nothing_when_the_cq_overflows(void)
{
	struct kio *k = context_open(2);
	struct completion completions[100];
	int fd = temporary_file();
	char byte;

	for (int i = 0; i < 100; i++)
		CHECK(kio_read(k, i, fd, &byte, 0, 1, 0, 0) == 0);
	collect(k, completions, 100);
	for (int i = 0; i < 100; i++)
		CHECK(result_for(completions, 100, i) == 0);
	context_close(k);
	guard_fire();
}

static void test_step_fetches_an_overflow_without_being_asked_to_wait(void)
{
	struct kio *k = context_open(2);
	int fd = temporary_file(), count = 0, fresh;
	char byte;

	for (int i = 0; i < 100; i++)
		CHECK(kio_read(k, i, fd, &byte, 0, 1, 0, 0) == 0);
	while ((fresh = step_at_once(k)) > 0)
		count += fresh;
	CHECK(count == 100);
	context_close(k);
	guard_fire();
}

/*
 * The kernel raises the flag after it has queued the work. When that work is
 * run in between, the flag stays up with nothing behind it until other work
 * comes, which may be never.
 */
static void test_step_ends_though_the_taskrun_flag_is_stale(void)
{
	struct kio *k = context_open(8);
	int fd = temporary_file();

	CHECK(kio_fsync(k, 1, fd, 0) == 0);
	*k->ring.sq.kflags |= IORING_SQ_TASKRUN;
	CHECK(result_of_one(k, 1) == 0);
	*k->ring.sq.kflags |= IORING_SQ_TASKRUN;
	CHECK(step_at_once(k) == 0);
	context_close(k);
	guard_fire();
}

/* ---- the submission queue ---------------------------------------------------- */

static void test_full_queue_submits_by_itself(void)
{
	struct kio *k = context_open(4);
	struct completion completions[11];
	int fd = temporary_file();

	for (int i = 0; i < 11; i++)
		CHECK(kio_write(k, i, fd, "x", 0, 1, i, 0) == 0);
	CHECK(k->in_flight == 11);
	collect(k, completions, 11);
	for (int i = 0; i < 11; i++)
		CHECK(result_for(completions, 11, i) == 1);
	CHECK(lseek(fd, 0, SEEK_END) == 11);
	context_close(k);
	guard_fire();
}

static void test_chain_runs_in_order_and_links_no_stranger(void)
{
	struct kio *k = context_open(8);
	struct completion completions[4];
	int fd = temporary_file();
	char byte;

	CHECK(kio_write(k, 1, fd, "x", 0, 1, 0, 0) == 0);
	kio_chain(k, true);
	CHECK(kio_read(k, 2, -1, &byte, 0, 1, 0, 0) == 0);
	CHECK(kio_write(k, 3, fd, "y", 0, 1, 1, 0) == 0);
	kio_chain(k, false);
	CHECK(kio_write(k, 4, fd, "z", 0, 1, 2, 0) == 0);
	collect(k, completions, 4);
	CHECK(result_for(completions, 4, 1) == 1);
	CHECK(result_for(completions, 4, 2) == -EBADF);
	CHECK(result_for(completions, 4, 3) == -ECANCELED);
	CHECK(result_for(completions, 4, 4) == 1);
	context_close(k);
	guard_fire();
}

/* The queue is full in the middle of the chain: what is before it goes first. */
static void test_chain_across_a_full_queue_stays_whole(void)
{
	struct kio *k = context_open(4);
	struct completion completions[6];
	int fds[2];
	char byte;

	CHECK(pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0);
	CHECK(kio_write(k, 1, fds[1], "a", 0, 1, 0, 0) == 0);
	CHECK(kio_write(k, 2, fds[1], "b", 0, 1, 0, 0) == 0);
	kio_chain(k, true);
	CHECK(kio_write(k, 3, fds[1], "c", 0, 1, 0, 0) == 0);
	CHECK(kio_read(k, 4, -1, &byte, 0, 1, 0, 0) == 0);
	CHECK(bytes_in(fds[0]) == -EAGAIN);
	CHECK(kio_write(k, 5, fds[1], "d", 0, 1, 0, 0) == 0);
	CHECK(bytes_in(fds[0]) == 2);
	CHECK(kio_write(k, 6, fds[1], "e", 0, 1, 0, 0) == 0);
	kio_chain(k, false);
	collect(k, completions, 6);
	CHECK(result_for(completions, 6, 1) == 1);
	CHECK(result_for(completions, 6, 2) == 1);
	CHECK(result_for(completions, 6, 3) == 1);
	CHECK(result_for(completions, 6, 4) == -EBADF);
	CHECK(result_for(completions, 6, 5) == -ECANCELED);
	CHECK(result_for(completions, 6, 6) == -ECANCELED);
	CHECK(bytes_in(fds[0]) == 1);
	context_close(k);
	guard_fire();
}

static void test_chain_longer_than_the_queue_is_refused(void)
{
	struct kio *k = context_open(4);
	struct completion completions[4];
	int fd = temporary_file();

	kio_chain(k, true);
	for (int i = 0; i < 4; i++)
		CHECK(kio_fsync(k, i, fd, 0) == 0);
	CHECK(kio_fsync(k, 4, fd, 0) == -E2BIG);
	CHECK(k->in_flight == 4);
	kio_chain(k, false);
	collect(k, completions, 4);
	for (int i = 0; i < 4; i++)
		CHECK(result_for(completions, 4, i) == 0);
	context_close(k);
	guard_fire();
}

/* The kernel takes nothing, so the first has no place: nor does the second. */
static void test_chain_without_its_first_does_not_happen(void)
{
	struct kio *k = context_open(1);
	struct completion completions[2];
	int fd = temporary_file(), ring = k->ring.enter_ring_fd;

	CHECK(kio_fsync(k, 1, fd, 0) == 0);
	kio_chain(k, true);
	k->ring.enter_ring_fd = -1;
	CHECK(kio_fsync(k, 2, fd, 0) < 0);
	k->ring.enter_ring_fd = ring;
	CHECK(kio_write(k, 3, fd, "x", 0, 1, 0, 0) == -ECANCELED);
	kio_chain(k, false);
	CHECK(kio_write(k, 4, fd, "x", 0, 1, 0, 0) == 0);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == 0);
	CHECK(result_for(completions, 2, 4) == 1);
	context_close(k);
	guard_fire();
}

/* What is in the queue is for the fd, and not for the next of that number. */
static void test_close_that_does_not_fit_waits_for_what_is_queued(void)
{
	struct kio *k = context_open(1);
	struct completion completions[1];
	int fd = temporary_file();

	kio_chain(k, true);
	CHECK(kio_write(k, 1, fd, "x", 0, 1, 0, 0) == 0);
	CHECK(kio_close(k, 2, fd) == -E2BIG);
	kio_chain(k, false);
	CHECK(fcntl(fd, F_GETFD) >= 0);
	collect(k, completions, 1);
	CHECK(result_for(completions, 1, 1) == 1);
	CHECK(fcntl(fd, F_GETFD) == -1);

	/* nothing is submitted any more */
	fd = temporary_file();
	kio_chain(k, true);
	CHECK(kio_write(k, 1, fd, "x", 0, 1, 0, 0) == 0);
	CHECK(kio_close(k, 2, fd) == -E2BIG);
	guard_fire();
	CHECK(fcntl(fd, F_GETFD) == -1);
}

/* ---- cancelling ---------------------------------------------------------------- */

static void test_retract_keeps_an_operation_from_happening(void)
{
	struct kio *k = context_open(8);
	struct completion completions[2];
	int fd = temporary_file();

	CHECK(kio_write(k, 1, fd, "x", 0, 1, 0, 0) == 0);
	CHECK(kio_write(k, 2, fd, "y", 0, 1, 7, 0) == 0);
	CHECK(kio_retract(k, 2));
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == 1);
	CHECK(result_for(completions, 2, 2) == -EBADF);
	CHECK(lseek(fd, 0, SEEK_END) == 1);
	CHECK(k->in_flight == 0);
	context_close(k);
	guard_fire();
}

static void test_cancel_of_the_first_link_stops_the_chain(void)
{
	struct kio *k = context_open(8);
	struct completion completions[2];
	int fd = temporary_file();
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	kio_chain(k, true);
	CHECK(kio_recv(k, 1, fds[0], &byte, 0, 1, 0) == 0);
	CHECK(kio_write(k, 2, fd, "x", 0, 1, 0, 0) == 0);
	kio_chain(k, false);
	CHECK(kio_cancel(k, 1) == 0);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == -ECANCELED);
	CHECK(result_for(completions, 2, 2) == -ECANCELED);
	CHECK(lseek(fd, 0, SEEK_END) == 0);
	context_close(k);
	guard_fire();
}

static void test_cancel_within_a_chain_cancels_what_follows(void)
{
	struct kio *k = context_open(8);
	struct completion completions[3];
	int fd = temporary_file();
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	kio_chain(k, true);
	CHECK(kio_write(k, 1, fd, "x", 0, 1, 0, 0) == 0);
	CHECK(kio_recv(k, 2, fds[0], &byte, 0, 1, 0) == 0);
	CHECK(kio_write(k, 3, fd, "y", 0, 1, 1, 0) == 0);
	kio_chain(k, false);
	CHECK(kio_cancel(k, 2) == 0);
	for (int collected = 0; collected < 3;) {
		int32_t out[4 * 4];
		int got = kio_step(k, out, 4, true);

		CHECK(got >= 0);
		for (int32_t *at = out; at < out + 4 * got; at += 4) {
			if (at[1]) {
				/* It came before the chain got that far. */
				CHECK(at[1] == 1 << 30 && at[0] == 2);
				CHECK(kio_cancel(k, 2) == 0);
				continue;
			}
			completions[collected].user_data = (uint64_t)at[0];
			completions[collected++].result = at[2];
		}
	}
	CHECK(result_for(completions, 3, 1) == 1);
	/* EINTR: the cancel has met it at work, without DEFER_TASKRUN */
	CHECK(result_for(completions, 3, 2) == -ECANCELED ||
	      result_for(completions, 3, 2) == -EINTR);
	CHECK(result_for(completions, 3, 3) == -ECANCELED);
	CHECK(lseek(fd, 0, SEEK_END) == 1);
	context_close(k);
	guard_fire();
}

static void test_cancel_in_flight_is_told_by_the_operation_only(void)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_recv(k, 1, fds[0], &byte, 0, 1, 0) == 0);
	CHECK(step_at_once(k) == 0);
	CHECK(kio_cancel(k, 1) == 0);
	CHECK(k->in_flight == 1);
	CHECK(result_of_one(k, 1) == -ECANCELED);
	CHECK(step_at_once(k) == 0);
	context_close(k);
	guard_fire();
}

static void test_cancel_that_finds_nothing_is_reported(void)
{
	const uint64_t id = 5ULL << 32 | 9;
	struct kio *k = context_open(8);
	struct completion completion;

	CHECK(kio_cancel(k, (double)id) == 0);
	collect(k, &completion, 1);
	CHECK(completion.user_data == (UD_INTERNAL | id));
	CHECK(completion.result == -ENOENT);
	CHECK(k->in_flight == 0);
	context_close(k);
	guard_fire();
}

static void test_cancel_all_leaves_nothing_in_flight(void)
{
	struct kio *k = context_open(8);
	struct completion completions[3];
	int32_t fds[2];
	char bytes[2];

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_recv(k, 1, fds[0], &bytes[0], 0, 1, 0) == 0);
	CHECK(kio_recv(k, 2, fds[1], &bytes[1], 0, 1, 0) == 0);
	CHECK(kio_poll(k, 3, fds[0], POLLIN, 0) == 0);
	CHECK(step_at_once(k) == 0);
	CHECK(kio_cancel_all(k) == 0);
	collect(k, completions, 3);
	for (int i = 1; i <= 3; i++)
		CHECK(result_for(completions, 3, i) == -ECANCELED);
	CHECK(k->in_flight == 0);
	CHECK(step_at_once(k) == 0);
	context_close(k);
	guard_fire();
}

/* More than a batch of the ring, so that they come in parts. */
#define POLLS 2000

static void test_drain_of_thousands_asks_once(void)
{
	struct kio *k = context_open(64);
	uint64_t before;
	int32_t fds[2];

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	for (int i = 1; i <= POLLS; i++)
		CHECK(kio_poll(k, i, fds[0], POLLIN, 0) == 0);
	CHECK(step_at_once(k) == 0);
	CHECK(k->in_flight == POLLS);
	before = k->submissions;
	context_drain(k);
	CHECK(k->in_flight == 0);
	/* Each walks all that is pending. */
	CHECK(k->submissions - before <= 2);
	context_close(k);
	guard_fire();
}

static void test_poll_of_changes_waits_for_room(void)
{
	static char bytes[1 << 16];
	int32_t out[4 * COMPLETIONS_MAX];
	struct kio *k = context_open(8);
	struct completion completion;
	int32_t fds[2];
	int count;

	CHECK(kio_socket_pair(SOCK_STREAM | SOCK_NONBLOCK, fds) == 0);
	while (write(fds[0], bytes, sizeof(bytes)) > 0)
		;
	CHECK(shutdown(fds[1], SHUT_WR) == 0);
	CHECK(kio_poll(k, 1, fds[0], POLLOUT, 0) == 0);
	CHECK(result_of_one(k, 1) == POLLRDHUP);

	CHECK(kio_poll_changes(k, 2, fds[0], POLLOUT, 0) == 0);
	collect(k, &completion, 1);
	CHECK(completion.user_data == 2 && completion.result == POLLRDHUP);
	CHECK(step_at_once(k) == 0);
	while (read(fds[1], bytes, sizeof(bytes)) > 0)
		;
	/* without DEFER_TASKRUN it is told of each read that makes room */
	count = kio_step(k, out, COMPLETIONS_MAX, true);
	CHECK(count > 0);
	for (int32_t *at = out; at < out + 4 * count; at += 4)
		CHECK(at[0] == 2 && at[2] & POLLOUT);
	CHECK(k->in_flight == 1);
	CHECK(kio_poll_end(k, 2) == 0);
	CHECK(result_of_one(k, 2) == -ECANCELED);
	close(fds[0]);
	close(fds[1]);
	context_close(k);
	guard_fire();
}

static void test_poll_end_ends_nothing_but_polls(void)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_recv(k, 1, fds[0], &byte, 0, 1, 0) == 0);
	CHECK(step_at_once(k) == 0);
	CHECK(kio_poll_end(k, 1) == 0);
	CHECK(step_at_once(k) == 0);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(result_of_one(k, 1) == 1);
	close(fds[0]);
	close(fds[1]);
	context_close(k);
	guard_fire();
}

/* ---- sleeping and waking ---------------------------------------------------------- */

/* 0 from kio_arm() only means: step, and try again. */
static void fall_asleep(struct kio *k, double deadline_ms)
{
	for (int tries = 0; kio_arm(k, deadline_ms) == 0; tries++)
		CHECK(tries < 100 && step_at_once(k) == 0);
}

static void eventfd_write_one(int fd)
{
	uint64_t one = 1;

	CHECK(write(fd, &one, sizeof(one)) == sizeof(one));
}

/* An operation on an eventfd completes by a write while the thread sleeps. */
static void woken_by_a_write(struct kio *k, bool is_poll)
{
	struct pollfd event = { .fd = k->event_fd, .events = POLLIN };
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t value;

	CHECK(fd >= 0);
	CHECK((is_poll ? kio_poll(k, 1, fd, POLLIN, 0) :
			 kio_read(k, 1, fd, &value, 0, 8, 0, 0)) == 0);
	fall_asleep(k, 0);
	eventfd_write_one(fd);
	/* The kernel's late signal, once a ring, may be what comes first. */
	CHECK(poll(&event, 1, 10000) == 1);
	CHECK(kio_event_wait(k->event_fd) == 0);
	CHECK(result_of_one(k, 1) == (is_poll ? POLLIN : 8));
	close(fd);
}

static void test_an_eventfd_wakes_each_time(void)
{
	struct kio *k = context_open(8);

	for (int i = 0; i < 10; i++)
		woken_by_a_write(k, i % 2);
	context_close(k);
	guard_fire();
}

static void test_an_eventfd_is_not_trusted_where_no_fd_is_left(void)
{
	struct rlimit limit, low;
	struct kio *k = context_open(8);
	int fd;

	CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	low = limit;
	fd = eventfd(0, EFD_CLOEXEC);
	CHECK(kio_poll(k, 1, fd, POLLIN, 0) == 0);
	/* the lowest that is free is refused */
	low.rlim_cur = (rlim_t)fd + 1;
	CHECK(setrlimit(RLIMIT_NOFILE, &low) == 0);
	CHECK(kio_arm(k, 0) == 2 || (step_at_once(k) == 0 && kio_arm(k, 0) == 2));
	CHECK(step_at_once(k) == 0);
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	fall_asleep(k, 0);
	CHECK(k->waiters.open);
	eventfd_write_one(fd);
	CHECK(result_of_one(k, 1) == POLLIN);
	close(fd);
	context_close(k);
	guard_fire();
}

static void test_an_eventfd_is_watched_as_long_as_its_operation(void)
{
	struct kio *k = context_open(8);
	struct pollfd event = { .fd = k->event_fd, .events = POLLIN };
	int fd = eventfd(0, EFD_CLOEXEC);

	CHECK(kio_poll(k, 1, fd, POLLIN, 0) == 0);
	fall_asleep(k, 0);
	CHECK(kio_cancel(k, 1) == 0);
	CHECK(result_of_one(k, 1) == -ECANCELED);
	fall_asleep(k, 0);
	eventfd_write_one(fd);
	CHECK(poll(&event, 1, 20) == 0);
	close(fd);
	context_close(k);
	guard_fire();
}

/* A poll by changes of what is ready all along. */
static void test_an_eventfd_that_stays_readable_ends_no_sleep(void)
{
	struct kio *k = context_open(8);
	struct pollfd event = { .fd = k->event_fd, .events = POLLIN };
	int fd = eventfd(1, EFD_CLOEXEC);
	int32_t out[4];

	CHECK(kio_poll_changes(k, 1, fd, POLLIN, 0) == 0);
	CHECK(kio_step(k, out, 1, true) == 1 && out[3] & IORING_CQE_F_MORE);
	for (int i = 0; i < 3; i++) {
		fall_asleep(k, 0);
		CHECK(poll(&event, 1, 20) == 0);
		CHECK(step_at_once(k) == 0);
	}
	CHECK(kio_cancel(k, 1) == 0);
	CHECK(result_of_one(k, 1) == -ECANCELED);
	close(fd);
	context_close(k);
	guard_fire();
}

static void test_arm_makes_a_completion_readable_once(void)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_recv(k, 1, fds[0], &byte, 0, 1, 0) == 0);
	CHECK(step_at_once(k) == 0);
	fall_asleep(k, 0);
	CHECK(!is_readable(k->event_fd));
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(is_readable(k->event_fd));
	CHECK(kio_event_wait(k->event_fd) == 0);
	CHECK(result_of_one(k, 1) == 1);
	CHECK(!is_readable(k->event_fd));
	context_close(k);
	guard_fire();
}

static void test_step_switches_the_eventfd_off(void)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	fall_asleep(k, 0);
	CHECK(kio_recv(k, 1, fds[0], &byte, 0, 1, 0) == 0);
	CHECK(step_at_once(k) == 0);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(!is_readable(k->event_fd));
	CHECK(result_of_one(k, 1) == 1);
	context_close(k);
	guard_fire();
}

static void test_arm_refuses_to_sleep_over_a_completion(void)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_recv(k, 1, fds[0], &byte, 0, 1, 0) == 0);
	CHECK(step_at_once(k) == 0);
	CHECK(write(fds[1], "x", 1) == 1);
	CHECK(kio_arm(k, 0) == 0);
	CHECK(!k->armed);
	CHECK(result_of_one(k, 1) == 1);
	context_close(k);
	guard_fire();
}

static void test_arm_sleeps_though_the_taskrun_flag_is_stale(void)
{
	struct kio *k = context_open(8);

	*k->ring.sq.kflags |= IORING_SQ_TASKRUN;
	fall_asleep(k, 0);
	context_close(k);
	guard_fire();
}

/* Sleeps for the eventfd; how long that took. */
static double sleep_ms(struct kio *k)
{
	double start_ms = kio_now_ms();

	CHECK(kio_event_wait(k->event_fd) == 0);
	return kio_now_ms() - start_ms;
}

static void test_timer_wakes_and_is_not_reported(void)
{
	struct kio *k = context_open(8);

	for (int i = 0; i < 2; i++) {
		double deadline_ms = kio_now_ms() + 20;

		fall_asleep(k, deadline_ms);
		CHECK(kio_event_wait(k->event_fd) == 0);
		CHECK(kio_now_ms() >= deadline_ms);
		CHECK(step_at_once(k) == 0);
		CHECK(!k->timer_armed);
	}
	CHECK(k->in_flight == 0);
	context_close(k);
	guard_fire();
}

static void test_timer_is_moved_to_an_earlier_deadline(void)
{
	struct kio *k = context_open(8);

	fall_asleep(k, kio_now_ms() + 60000);
	fall_asleep(k, kio_now_ms() + 20);
	CHECK(sleep_ms(k) < 10000);
	CHECK(step_at_once(k) == 0);
	CHECK(!k->timer_armed);
	context_close(k);
	guard_fire();
}

static void test_timer_is_left_alone_by_a_later_deadline(void)
{
	struct kio *k = context_open(8);
	double deadline_ms = kio_now_ms() + 500;

	fall_asleep(k, deadline_ms);
	fall_asleep(k, deadline_ms + 60000);
	CHECK(k->timer_deadline_ms == deadline_ms);
	CHECK(sleep_ms(k) < 10000);
	CHECK(step_at_once(k) == 0);
	context_close(k);
	guard_fire();
}

static void test_wake_makes_the_eventfd_readable(void)
{
	struct kio *k = context_open(8);

	kio_wake_self(k);
	kio_wake_self(k);
	CHECK(is_readable(k->event_fd));
	CHECK(kio_event_wait(k->event_fd) == 0);
	CHECK(!is_readable(k->event_fd));
	context_close(k);
	guard_fire();
}

/* ---- messages between rings --------------------------------------------------------- */

static void test_message_carries_53_bits_and_a_result(void)
{
	const uint64_t user_data = (1ULL << 53) - 1;
	struct kio *from = context_open(8);
	struct kio *to = context_open(8);
	struct completion completion;

	CHECK(kio_msg_ring(from, 1, kio_ring_fd(to), -7, (double)user_data) ==
	      0);
	CHECK(result_of_one(from, 1) == 0);
	collect(to, &completion, 1);
	CHECK(completion.user_data == (UD_MESSAGE | user_data));
	CHECK(completion.result == -7);
	CHECK(to->in_flight == 0);
	context_close(to);
	context_close(from);
	guard_fire();
}

static void test_message_wakes_a_ring_that_sleeps(void)
{
	struct kio *from = context_open(8);
	struct kio *to = context_open(8);
	struct completion completion;

	fall_asleep(to, 0);
	CHECK(kio_msg_ring(from, 1, kio_ring_fd(to), 0, 2) == 0);
	CHECK(result_of_one(from, 1) == 0);
	CHECK(is_readable(to->event_fd));
	collect(to, &completion, 1);
	CHECK(completion.user_data == (UD_MESSAGE | 2));
	context_close(to);
	context_close(from);
	guard_fire();
}

/* Whether the kernel has the call, or one below 6.13 is played. */
static void check_ring_message(void)
{
	struct kio *to = context_open(2);
	struct completion completions[COMPLETIONS_MAX];
	int no_ring = temporary_file();
	int fds = count_fds();
	int ring_fd = kio_ring_fd(to);

	fall_asleep(to, 0);
	CHECK(kio_ring_message(ring_fd, -7, 9007199254740991.0) == 0);
	CHECK(is_readable(to->event_fd));
	collect(to, completions, 1);
	CHECK(completions[0].user_data == (UD_MESSAGE | ((1ULL << 53) - 1)));
	CHECK(completions[0].result == -7);

	/* more than the completion queue has room for */
	for (int i = 0; i < 100; i++)
		CHECK(kio_ring_message(ring_fd, i, i) == 0);
	collect(to, completions, 100);
	for (int i = 0; i < 100; i++)
		CHECK(completions[i].result == i &&
		      completions[i].user_data == (UD_MESSAGE | (unsigned)i));

	CHECK(kio_ring_message(no_ring, 0, 0) == -EBADFD);
	CHECK(kio_ring_message(4000, 0, 0) == -EBADF);
	CHECK(count_fds() == fds);
	close(no_ring);
	context_close(to);
	CHECK(kio_ring_message(ring_fd, 0, 0) == -EBADF);
	guard_fire();
}

static void test_ring_message_needs_no_ring(void)
{
	check_ring_message();
}

static void test_ring_message_works_on_kernels_without_the_call(void)
{
	mask_hide("SYNC_MSG_RING");
	check_ring_message();
}

/* ---- files ---------------------------------------------------------------------------- */

static void test_offsets_are_plain_current_or_wide(void)
{
	struct kio *k = context_open(8);
	int fd = temporary_file();

	CHECK(kio_write(k, 1, fd, "ab", 0, 2, 100, 0) == 0);
	CHECK(result_of_one(k, 1) == 2);
	CHECK(lseek(fd, 0, SEEK_CUR) == 0);
	CHECK(kio_write(k, 2, fd, "cd", 0, 2, -1, 0) == 0);
	CHECK(result_of_one(k, 2) == 2);
	CHECK(lseek(fd, 0, SEEK_CUR) == 2);
	kio_wide_offset(k, 50);
	CHECK(kio_write(k, 3, fd, "ef", 0, 2, __builtin_nan(""), 0) == 0);
	CHECK(result_of_one(k, 3) == 2);
	CHECK(lseek(fd, 0, SEEK_DATA) == 0);
	CHECK(lseek(fd, 0, SEEK_END) == 102);
	context_close(k);
	guard_fire();
}

static void test_registered_files_are_named_by_index(void)
{
	struct kio *k = context_open(8);
	int32_t files[2] = { -1, temporary_file() };
	int32_t other = temporary_file();
	char bytes[2];

	CHECK(kio_files_unregister(k) == -ENXIO);
	CHECK(kio_files_register(k, files, 2) == 0);
	CHECK(kio_write(k, 1, 1, "ab", 0, 2, 0, IOSQE_FIXED_FILE) == 0);
	CHECK(result_of_one(k, 1) == 2);
	CHECK(pread(files[1], bytes, 2, 0) == 2 && bytes[1] == 'b');
	CHECK(kio_read(k, 2, 0, bytes, 0, 2, 0, IOSQE_FIXED_FILE) == 0);
	CHECK(result_of_one(k, 2) == -EBADF);
	CHECK(kio_files_update(k, 0, &other, 1) == 1);
	CHECK(kio_read(k, 3, 0, bytes, 0, 2, 0, IOSQE_FIXED_FILE) == 0);
	CHECK(result_of_one(k, 3) == 0);
	CHECK(kio_files_unregister(k) == 0);
	context_close(k);
	guard_fire();
}

static void test_ftruncate_works_on_kernels_without_the_operation(void)
{
	struct kio *k = context_open(8);
	int fd = temporary_file();

	CHECK(kio_ftruncate(k, 1, fd, 10) == 0);
	CHECK(result_of_one(k, 1) == 0);
	CHECK(lseek(fd, 0, SEEK_END) == 10);
	context_close(k);

	mask_hide("FTRUNCATE");
	k = context_open(8);
	CHECK(kio_ftruncate(k, 2, fd, 20) == 0);
	CHECK(result_of_one(k, 2) == 0);
	CHECK(lseek(fd, 0, SEEK_END) == 20);
	CHECK(kio_ftruncate(k, 3, -1, 20) == -EBADF);
	CHECK(k->in_flight == 0);
	kio_chain(k, true);
	CHECK(kio_ftruncate(k, 4, fd, 30) == -EOPNOTSUPP);
	CHECK(kio_fsync(k, 5, fd, 0) == -ECANCELED);
	kio_chain(k, false);
	CHECK(lseek(fd, 0, SEEK_END) == 20);
	context_close(k);
	guard_fire();
}

static void test_open_file_is_not_inherited(void)
{
	struct kio *k = context_open(8);
	int fd;

	CHECK(kio_open(k, 1 | UD_MAKES_FD, "/dev/null", O_RDONLY, 0) == 0);
	fd = result_of_one(k, 1 | UD_MAKES_FD);
	CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(kio_close(k, 2, fd) == 0);
	CHECK(result_of_one(k, 2) == 0);
	CHECK(kio_fd_close(fd) == -EBADF);
	context_close(k);
	guard_fire();
}

/* ---- sockets ----------------------------------------------------------------------------- */

static void test_accept_tells_the_address_and_sets_cloexec(void)
{
	struct kio *k = context_open(8);
	struct sockaddr_in address, own;
	struct {
		struct sockaddr_storage address;
		socklen_t length;
	} peer;
	int listener = listener_open(&address);
	int client = kio_socket(AF_INET, SOCK_STREAM);
	struct completion completions[2];
	int fd;

	CHECK(kio_connect(k, 1, client, &address, sizeof(address)) == 0);
	CHECK(kio_accept(k, 2 | UD_MAKES_FD, listener, &peer) == 0);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == 0);
	fd = result_for(completions, 2, 2 | UD_MAKES_FD);
	CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
	CHECK(kio_socket_name(client, false, &own) == sizeof(own));
	CHECK(peer.length == sizeof(own));
	CHECK(memcmp(&peer.address, &own, sizeof(own)) == 0);
	context_close(k);
	guard_fire();
}

static void test_message_of_several_buffers_arrives(void)
{
	struct kio *k = context_open(8);
	char out[MSG_VECTORS + 2 * sizeof(struct iovec)] __attribute__((
		aligned(8))) = { 0 };
	char in[sizeof(out)] __attribute__((aligned(8))) = { 0 };
	char head[3], tail[8];
	struct completion completions[2];
	int32_t fds[2];

	CHECK(kio_socket_pair(SOCK_SEQPACKET, fds) == 0);
	kio_vector_set((struct iovec *)(out + MSG_VECTORS), 0, "abc", 3);
	kio_vector_set((struct iovec *)(out + MSG_VECTORS), 1, "de", 2);
	kio_message_init(out, 0, 2, NULL, 0);
	kio_vector_set((struct iovec *)(in + MSG_VECTORS), 0, head, 3);
	kio_vector_set((struct iovec *)(in + MSG_VECTORS), 1, tail, 8);
	kio_message_init(in, 128, 2, NULL, 0);
	CHECK(kio_sendmsg(k, 1, fds[0], out, 0) == 0);
	CHECK(kio_recvmsg(k, 2, fds[1], in, 0) == 0);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == 5);
	CHECK(result_for(completions, 2, 2) == 5);
	CHECK(memcmp(head, "abc", 3) == 0 && memcmp(tail, "de", 2) == 0);
	CHECK(((struct msghdr *)in)->msg_namelen == 0);
	context_close(k);
	guard_fire();
}

/* Has another process listen at an address; its first byte says how that went. */
static pid_t listen_elsewhere(const struct sockaddr_in *address, int *status)
{
	int32_t fds[2];
	pid_t child;

	CHECK(pipe(fds) == 0);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		int fd = kio_socket(AF_INET, SOCK_STREAM);
		int ret = kio_listen(fd, address, sizeof(*address), 16);

		/* also when this test fails */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		CHECK(write(fds[1], &ret, sizeof(ret)) == sizeof(ret));
		pause();
	}
	CHECK(read(fds[0], status, sizeof(*status)) == sizeof(*status));
	return child;
}

static int listen_here(const struct sockaddr_in *address)
{
	int fd = kio_socket(AF_INET, SOCK_STREAM);
	int ret = kio_listen(fd, address, sizeof(*address), 16);

	if (ret < 0)
		kio_fd_close(fd);
	return ret < 0 ? ret : fd;
}

static void test_listen_shares_with_its_own_process_only(void)
{
	struct sockaddr_in address, other;
	int first = listener_open(&address), second, status;
	pid_t child;

	/* one that has not said that it shares */
	CHECK(listen_here(&address) == -EADDRINUSE);
	kio_fd_close(first);

	first = listen_here(&address);
	second = listen_here(&address);
	CHECK(first >= 0 && second >= 0);
	kio_fd_close(first);
	kio_fd_close(second);

	child = listen_elsewhere(&address, &status);
	CHECK(status == 0);
	CHECK(listen_here(&address) == -EADDRINUSE);
	other = address;
	other.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1);
	CHECK(listen_here(&other) >= 0);
	CHECK(listen_here(&address) == -EADDRINUSE);
	CHECK(kill(child, SIGKILL) == 0);
	CHECK(waitpid(child, NULL, 0) == child);
	CHECK(listen_here(&address) >= 0);
}

static void test_socket_calls_return_negative_errnos(void)
{
	struct sockaddr_storage address;
	int32_t fds[2];

	CHECK(kio_socket(-1, SOCK_STREAM) == -EAFNOSUPPORT);
	CHECK(kio_socket_bind(-1, &address, 0) == -EBADF);
	CHECK(kio_socket_listen(-1, 1) == -EBADF);
	CHECK(kio_listen(-1, &address, 0, 1) == -EBADF);
	CHECK(kio_socket_shutdown(-1, SHUT_RDWR) == -EBADF);
	CHECK(kio_socket_name(-1, true, &address) == -EBADF);
	CHECK(kio_option_set(-1, SOL_SOCKET, SO_REUSEADDR, 1) == -EBADF);
	CHECK(kio_option_get(-1, SOL_SOCKET, SO_REUSEADDR) == -EBADF);
	CHECK(kio_nonblocking_set(-1, true) == -EBADF);
	CHECK(kio_fd_close(-1) == -EBADF);
	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(fcntl(fds[0], F_GETFD) == FD_CLOEXEC);
	CHECK(kio_option_set(fds[0], SOL_SOCKET, SO_KEEPALIVE, 1) == 0);
	CHECK(kio_option_get(fds[0], SOL_SOCKET, SO_KEEPALIVE) == 1);
	CHECK(kio_nonblocking_set(fds[0], true) == 0);
	CHECK(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	CHECK(kio_nonblocking_set(fds[0], false) == 0);
	CHECK(!(fcntl(fds[0], F_GETFL) & O_NONBLOCK));
}

/* ---- the guard ------------------------------------------------------------------------------ */

static void test_guard_takes_buffers_back_from_the_kernel(void)
{
	int fds_before = count_fds();
	struct kio *k = context_open(8);
	int32_t fds[2];
	char buffer[8] = "intact";

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_recv(k, 1, fds[0], buffer, 0, sizeof(buffer), 0) == 0);
	CHECK(step_at_once(k) == 0);
	guard_fire();
	CHECK(write(fds[1], "kernel", 6) == 6);
	usleep(10000);
	CHECK(strcmp(buffer, "intact") == 0);
	CHECK(bytes_in(fds[0]) == 6);
	CHECK(count_fds() == fds_before + 2);
	CHECK(isolate == NULL);
}

static void test_guard_waits_for_what_cannot_be_cancelled(void)
{
	static char data[32 << 20], buffer[32 << 20];
	struct kio *k = context_open(8);
	int fd = temporary_file();

	memset(data, 'x', sizeof(data));
	CHECK(write(fd, data, sizeof(data)) == sizeof(data));
	/* To a thread of the kernel, which is not stopped in the middle. */
	CHECK(kio_read(k, 1, fd, buffer, 0, sizeof(buffer), 0, IOSQE_ASYNC) == 0);
	CHECK(enter(k, 0, 0, 0) == 1);
	while (buffer[0] != 'x')
		atomic_signal_fence(memory_order_seq_cst);
	guard_fire();
	CHECK(buffer[sizeof(buffer) - 1] == 'x');
}

static void test_guard_drops_what_was_not_submitted(void)
{
	struct kio *k = context_open(8);
	int fds[2];

	CHECK(pipe2(fds, O_CLOEXEC) == 0);
	CHECK(kio_write(k, 1, fds[1], "a", 0, 1, 0, 0) == 0);
	CHECK(result_of_one(k, 1) == 1);
	CHECK(kio_write(k, 2, fds[1], "b", 0, 1, 0, 0) == 0);
	kio_chain(k, true);
	CHECK(kio_write(k, 3, fds[1], "c", 0, 1, 0, 0) == 0);
	CHECK(kio_write(k, 4, fds[1], "d", 0, 1, 0, 0) == 0);
	guard_fire();
	CHECK(bytes_in(fds[0]) == 1);
}

/* Several SQEs, one operation: to wait for the others would be forever. */
static void test_guard_drops_a_pump_that_was_not_submitted(void)
{
	struct kio *k = context_open(16);
	int file = memfd_create("file", MFD_CLOEXEC);
	int fds[2], to[2];

	CHECK(write(file, "abcdef", 6) == 6);
	CHECK(pipe2(fds, O_CLOEXEC) == 0 && pipe2(to, O_CLOEXEC) == 0);
	CHECK(kio_pump(k, 1, file, 0, 6, fds[0], fds[1], 0, to[1], 2, 9) == 0);
	CHECK(k->in_flight == 1);
	guard_fire();
	CHECK(bytes_in(to[0]) == -EAGAIN && bytes_in(fds[0]) == -EAGAIN);
}

static void test_guard_closes_an_fd_that_nobody_will_hear_of(void)
{
	struct kio *k = context_open(8);
	struct sockaddr_in address;
	int listener = listener_open(&address);
	int client = kio_socket(AF_INET, SOCK_STREAM);
	int fds = count_fds();

	CHECK(connect(client, (struct sockaddr *)&address, sizeof(address)) ==
	      0);
	CHECK(kio_accept(k, 1 | UD_MAKES_FD, listener, NULL) == 0);
	CHECK(enter(k, 0, 0, IORING_ENTER_GETEVENTS) == 1);
	CHECK(count_fds() == fds + 1);
	guard_fire();
	/* Less the ring and its eventfd. */
	CHECK(count_fds() == fds - 2);
	CHECK(bytes_in(client) == 0);
}

static void test_guard_cancels_a_chain_to_its_end(void)
{
	struct kio *k = context_open(8);
	int32_t fds[2];
	char bytes[3];

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	kio_chain(k, true);
	for (int i = 0; i < 3; i++)
		CHECK(kio_recv(k, i, fds[0], &bytes[i], 0, 1, 0) == 0);
	kio_chain(k, false);
	CHECK(step_at_once(k) == 0);
	CHECK(k->in_flight == 3);
	guard_fire();
	CHECK(isolate == NULL);
}

/* A link starts after everything was cancelled, and waits for ever. */
static void test_guard_cancels_what_has_started_since(void)
{
	static char data[32 << 20], buffer[32 << 20];
	struct kio *k = context_open(8);
	int fd = temporary_file();
	int32_t fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	memset(data, 'x', sizeof(data));
	CHECK(write(fd, data, sizeof(data)) == sizeof(data));
	kio_chain(k, true);
	CHECK(kio_read(k, 1, fd, buffer, 0, sizeof(buffer), 0, IOSQE_ASYNC) == 0);
	CHECK(kio_recv(k, 2, fds[0], &byte, 0, 1, 0) == 0);
	kio_chain(k, false);
	CHECK(enter(k, 0, 0, 0) == 2);
	while (buffer[0] != 'x')
		atomic_signal_fence(memory_order_seq_cst);
	guard_fire();
	CHECK(buffer[sizeof(buffer) - 1] == 'x');
}

static void test_guard_ignores_the_end_of_another_isolate(void)
{
	struct kio *k = context_open(8);
	int other;

	cleanup_hook(&other);
	CHECK(isolate && isolate->contexts == k);
	context_close(k);
	guard_fire();
}

static void test_guard_closes_what_the_isolate_owns(void)
{
	int owned[2], released[2], closed[2], closed_at_once[2], life[2];
	struct kio *k = context_open(8);
	int fds = count_fds();

	CHECK(kio_socket_pair(SOCK_STREAM, owned) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, released) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, closed) == 0);
	CHECK(pipe2(life, O_CLOEXEC) == 0);
	CHECK(kio_life_begin(life[1]) == 0);
	close(life[1]);
	kio_fd_own(owned[0]);
	kio_fd_own(released[0]);
	kio_fd_disown(released[0]);
	/* Closed by an operation: its number is somebody else's from then on. */
	kio_fd_own(closed[0]);
	CHECK(kio_close(k, 1, closed[0]) == 0);
	CHECK(result_of_one(k, 1) == 0);
	CHECK(dup(released[1]) == closed[0]);
	CHECK(kio_socket_pair(SOCK_STREAM, closed_at_once) == 0);
	kio_fd_own(closed_at_once[0]);
	CHECK(kio_fd_close(closed_at_once[0]) == 0);
	CHECK(dup(released[1]) == closed_at_once[0]);
	/* What cannot be an fd is nobody's. */
	kio_fd_own(-1);
	kio_fd_own(0x7fffffff);
	kio_fd_disown(0x7fffffff);
	kio_fd_own(100000);
	guard_fire();
	CHECK(bytes_in(owned[1]) == 0);
	/* a ring, its eventfd, one of a pair */
	CHECK(fcntl(released[0], F_GETFD) >= 0);
	CHECK(fcntl(closed[0], F_GETFD) >= 0);
	CHECK(fcntl(closed_at_once[0], F_GETFD) >= 0);
	CHECK(bytes_in(life[0]) == 0);
	CHECK(count_fds() == fds - 2 + 8);
}

static void test_fd_that_was_handed_over_does_not_end_with_its_sender(void)
{
	struct isolate *sender, *receiver;
	struct kio *to;
	int fds[2];

	context_open(2);
	sender = isolate;
	isolate = NULL;
	to = context_open(2);
	receiver = isolate;
	isolate = sender;
	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	kio_fd_own(fds[0]);
	CHECK(kio_fd_send(kio_ring_fd(to), fds[0], 0) == 0);
	isolate_end(sender);
	CHECK(bytes_in(fds[1]) == -EAGAIN);
	isolate = receiver;
	isolate_end(receiver);
	CHECK(bytes_in(fds[1]) == 0);
}

static void test_fd_is_handed_over_with_its_tag(void)
{
	struct kio *to = context_open(2);
	struct completion completion;
	int fds[2];
	double tag = 0;

	CHECK(kio_fd_take(to, &tag) == -1);
	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	fall_asleep(to, 0);
	CHECK(kio_fd_send(kio_ring_fd(to), fds[0], 7) == 0);
	CHECK(is_readable(to->event_fd));
	collect(to, &completion, 1);
	CHECK(completion.user_data == UD_INBOX);
	/* Told once for all that are there. */
	CHECK(kio_fd_send(kio_ring_fd(to), fds[1], 9007199254740991.0) == 0);
	CHECK(step_at_once(to) == 0);
	CHECK(kio_fd_take(to, &tag) == fds[0] && tag == 7);
	CHECK(kio_fd_take(to, &tag) == fds[1] && tag == 9007199254740991.0);
	CHECK(kio_fd_take(to, &tag) == -1);
	CHECK(kio_fd_send(kio_ring_fd(to), 4000, 0) == -EBADF);
	CHECK(kio_fd_send(fds[0], fds[1], 0) == -EBADFD);
	context_close(to);
	guard_fire();
	CHECK(fcntl(fds[0], F_GETFD) < 0);
}

static void test_fd_that_is_not_taken_is_closed(void)
{
	struct kio *to = context_open(2);
	struct kio *dead = context_open(2);
	int dead_fd = kio_ring_fd(dead);
	int left[2], right[2];

	CHECK(kio_socket_pair(SOCK_STREAM, left) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, right) == 0);
	CHECK(kio_fd_send(kio_ring_fd(to), left[0], 0) == 0);
	CHECK(kio_fd_send(dead_fd, right[0], 0) == 0);
	context_close(dead);
	CHECK(bytes_in(right[1]) == 0);
	CHECK(kio_fd_send(dead_fd, left[1], 0) == -EBADFD);
	guard_fire();
	CHECK(bytes_in(left[1]) == 0);
}

/* Fills the queue of a unix listener, by sockets that stay open. */
static int full_listener_open(struct sockaddr_un *address, uint32_t *length)
{
	int fd = kio_socket(AF_UNIX, SOCK_STREAM);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	/* the kernel chooses a name */
	CHECK(kio_socket_bind(fd, address, sizeof(sa_family_t)) == 0);
	CHECK(kio_socket_listen(fd, 1) == 0);
	*length = (uint32_t)kio_socket_name(fd, false, address);
	while (!connect(kio_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK),
			(struct sockaddr *)address, *length))
		;
	CHECK(errno == EAGAIN);
	return fd;
}

/* ---- names ----------------------------------------------------------------- */

/* How many threads look names up, when it is that many or after a while. */
static uint32_t lookup_threads_at(uint32_t expected)
{
	double end_ms = kio_now_ms() + 10000;
	uint32_t count;

	do {
		pthread_mutex_lock(&lookups_lock);
		count = lookup_threads;
		pthread_mutex_unlock(&lookups_lock);
	} while (count != expected && kio_now_ms() < end_ms);
	return count;
}

/* Waits for the next answer; its id. */
static double answer_of(struct kio *k, int *status)
{
	static char records[ADDRESSES_MAX * ADDRESS_RECORD_SIZE];
	struct pollfd poll_fd = { .fd = k->event_fd, .events = POLLIN };
	double head[2];

	while (!kio_lookup_take(k, head, records)) {
		CHECK(poll(&poll_fd, 1, 10000) == 1);
		CHECK(kio_event_wait(k->event_fd) == 0);
	}
	*status = (int)head[1];
	return head[0];
}

static void test_lookup_wakes_its_ring(void)
{
	struct kio *k = context_open(2);
	char records[ADDRESSES_MAX * ADDRESS_RECORD_SIZE];
	struct sockaddr_in *address = (struct sockaddr_in *)records;
	int32_t out[4 * 2];
	double head[2];
	uint32_t length;

	CHECK(kio_lookup_begin(k, 7, "slow"));
	/* the kernel has nothing: it is the eventfd that ends the sleep */
	CHECK(kio_event_wait(k->event_fd) == 0);
	/* what has no room is told by the next step */
	CHECK(kio_step(k, out, 0, false) == 0);
	CHECK(kio_step(k, out, 2, false) == 1);
	CHECK((uint64_t)(uint32_t)out[1] << 32 == UD_INBOX && !out[0]);
	CHECK(kio_step(k, out, 2, false) == 0);
	CHECK(kio_lookup_take(k, head, records));
	CHECK(head[0] == 7 && head[1] == 1);
	memcpy(&length, records + 128, sizeof(length));
	CHECK(length == sizeof(*address) && address->sin_port == 0);
	CHECK(address->sin_addr.s_addr == htonl(0x7f000009));
	CHECK(!kio_lookup_take(k, head, records));
	CHECK(lookup_threads_at(0) == 0);
	context_close(k);
}

static void test_lookup_may_outlive_its_context(void)
{
	struct kio *k = context_open(2);
	int event_fd = k->event_fd, pipe_fds[2];

	pthread_mutex_lock(&gate);
	CHECK(kio_lookup_begin(k, 1, "slow"));
	kio_lookups_end(k);
	context_close(k);
	/* the number of the eventfd is another file's */
	CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
	CHECK(dup2(pipe_fds[1], event_fd) == event_fd);
	pthread_mutex_unlock(&gate);
	CHECK(lookup_threads_at(0) == 0);
	CHECK(bytes_in(pipe_fds[0]) == -EAGAIN);
}

static void test_lookup_in_flight_keeps_a_context_open(void)
{
	struct kio *k = context_open(2);

	pthread_mutex_lock(&gate);
	CHECK(kio_lookup_begin(k, 1, "slow"));
	kio_context_close(k);
}

static void test_guard_lets_go_of_lookups(void)
{
	struct kio *k = context_open(2);
	int event_fd = k->event_fd, pipe_fds[2];

	pthread_mutex_lock(&gate);
	for (int i = 0; i < LOOKUP_THREADS_MAX + 10; i++)
		CHECK(kio_lookup_begin(k, i, "slow"));
	/* one is answered, most have a thread, some wait */
	CHECK(kio_lookup_begin(k, 1000, "127.1"));
	CHECK(kio_event_wait(event_fd) == 0);
	guard_fire();
	CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
	CHECK(dup2(pipe_fds[1], event_fd) == event_fd);
	pthread_mutex_unlock(&gate);
	CHECK(lookup_threads_at(0) == 0);
	CHECK(bytes_in(pipe_fds[0]) == -EAGAIN);
}

static void test_lookups_are_bounded_and_all_answered(void)
{
	struct kio *k = context_open(2);
	bool seen[3 * LOOKUP_THREADS_MAX] = { false };
	int count = sizeof(seen) / sizeof(*seen), status;

	pthread_mutex_lock(&gate);
	for (int i = 0; i < count; i++)
		CHECK(kio_lookup_begin(k, i, "slow"));
	CHECK(lookup_threads == LOOKUP_THREADS_MAX);
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < count; i++) {
		int id = (int)answer_of(k, &status);

		CHECK(!seen[id] && status == 1);
		seen[id] = true;
	}
	CHECK(lookup_threads_at(0) == 0);
	context_close(k);
}

static void test_lookup_of_what_needs_no_server_does_not_wait(void)
{
	static const char *local[] = { "localhost", "LOCALHOST", "127.1",
				       "fe80::1%lo" };
	struct kio *k = context_open(2);
	int count = sizeof(local) / sizeof(*local), status;

	pthread_mutex_lock(&gate);
	for (int i = 0; i < LOOKUP_THREADS_MAX + 9; i++)
		CHECK(kio_lookup_begin(k, i, "slow"));
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < count; i++)
			CHECK(kio_lookup_begin(k, 1000 + i, local[i]));
	CHECK(lookup_threads <= LOOKUP_THREADS_MAX + LOOKUP_THREADS_LOCAL);
	for (int i = 0; i < 3 * count; i++)
		CHECK(answer_of(k, &status) >= 1000 && status > 0);
	/* their threads take nothing of what waits for the others */
	CHECK(lookup_threads_at(LOOKUP_THREADS_MAX) == LOOKUP_THREADS_MAX);
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < LOOKUP_THREADS_MAX + 9; i++)
		CHECK(answer_of(k, &status) < 1000);
	CHECK(lookup_threads_at(0) == 0);
	context_close(k);
}

static void test_lookup_that_waits_can_be_taken_back(void)
{
	struct kio *k = context_open(2);
	struct lookup *lookups[LOOKUP_THREADS_MAX + 2];
	int status;

	pthread_mutex_lock(&gate);
	for (int i = 0; i < LOOKUP_THREADS_MAX + 2; i++)
		lookups[i] = kio_lookup_begin(k, i, "slow");
	CHECK(!kio_lookup_cancel(k, lookups[0]));
	CHECK(kio_lookup_cancel(k, lookups[LOOKUP_THREADS_MAX]));
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < LOOKUP_THREADS_MAX + 1; i++)
		CHECK(answer_of(k, &status) != LOOKUP_THREADS_MAX);
	CHECK(TAILQ_EMPTY(&k->lookups));
	CHECK(lookup_threads_at(0) == 0);
	context_close(k);
}

static void test_lookup_without_threads_waits_for_one_or_fails(void)
{
	struct kio *k = context_open(2);
	int status;

	without_threads = true;
	CHECK(!kio_lookup_begin(k, 1, "slow"));
	without_threads = false;
	pthread_mutex_lock(&gate);
	CHECK(kio_lookup_begin(k, 2, "slow"));
	without_threads = true;
	CHECK(kio_lookup_begin(k, 3, "slow"));
	CHECK(lookup_threads == 1);
	pthread_mutex_unlock(&gate);
	CHECK(answer_of(k, &status) == 2);
	CHECK(answer_of(k, &status) == 3);
	CHECK(lookup_threads_at(0) == 0);
	context_close(k);
}

static void test_connect_again_pauses_while_there_is_no_room(void)
{
	struct kio *k = context_open(8);
	struct sockaddr_un address;
	uint32_t length;
	int listener = full_listener_open(&address, &length);
	int fd = kio_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK);

	for (uint32_t attempt = 0; attempt < 3; attempt++) {
		CHECK(kio_connect_again(k, 7, fd, &address, length, attempt) ==
		      0);
		CHECK(result_of_one(k, 7) == -ETIME);
	}
	CHECK(kio_accept_now(listener) >= 0);
	CHECK(kio_connect_again(k, 8, fd, &address, length, 99) == 0);
	CHECK(result_of_one(k, 8) == 0);
	context_close(k);
}

static void test_connect_again_never_blocks(void)
{
	struct kio *k = context_open(8);
	struct timeval forever = { .tv_sec = 2 * TEST_SECONDS };
	struct sockaddr_un address;
	uint32_t length;
	int fd = kio_socket(AF_UNIX, SOCK_STREAM);

	full_listener_open(&address, &length);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &forever,
			 sizeof(forever)) == 0);
	CHECK(kio_connect_again(k, 7, fd, &address, length, 0) == -EAGAIN);
	CHECK(k->in_flight == 0);
	context_close(k);
}

static void test_guard_ends_a_pause(void)
{
	struct kio *k = context_open(8);
	struct sockaddr_un address;
	uint32_t length;
	int fd = kio_socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK);

	full_listener_open(&address, &length);
	CHECK(kio_connect_again(k, 7, fd, &address, length, 99) == 0);
	CHECK(step_at_once(k) == 0 && k->in_flight == 1);
	guard_fire();
}

static void test_thread_is_pinned_round_and_round(void)
{
	cpu_set_t all;
	double end_ms = kio_now_ms() + 10000;
	int count, first;

	CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
	count = CPU_COUNT(&all);
	/* Where the kernel counts in ticks, this thread may have had none yet. */
	while (kio_thread_cpu_ms(kio_thread_id()) == 0 && kio_now_ms() < end_ms)
		;
	CHECK(kio_thread_cpu_ms(kio_thread_id()) > 0);
	CHECK(kio_thread_cpu_ms(0x3fffff) < 0);
	first = kio_thread_pin((uint32_t)count);
	CHECK(first >= 0 && CPU_ISSET(first, &all));
	CHECK(sched_getaffinity(0, sizeof(all), &all) == 0);
	CHECK(CPU_COUNT(&all) == 1 && CPU_ISSET(first, &all));
}

/* ---- memory ------------------------------------------------------------------------------------ */

static bool is_mapped(const void *address)
{
	unsigned char residency;

	return mincore((void *)(uintptr_t)address, 1, &residency) == 0;
}

static void test_memory_is_zeroed_and_aligned_and_goes_away(void)
{
	char *first, *second;

	guard_arm();
	first = kio_memory_map(5000);
	second = kio_memory_map(5000);
	CHECK(first && second && (uintptr_t)first % 4096 == 0);
	for (int i = 0; i < 5000; i++)
		CHECK(first[i] == 0);
	memset(first, 1, 5000);
	kio_memory_unmap(first);
	CHECK(!is_mapped(first) && is_mapped(second));
	guard_fire();
	CHECK(!is_mapped(second));
}

static void test_memory_that_is_not_there_is_null(void)
{
	guard_arm();
	CHECK(kio_memory_map(1e15) == NULL);
	CHECK(isolate->mappings == NULL);
	guard_fire();
}

/* ---- links that are queued again ------------------------------------------ */

/* Queues a receive and a write to a pipe as a chain; gives its copies out. */
static void chain_begin(struct kio *k, int from, char *byte, int to,
			struct io_uring_sqe *copies)
{
	kio_chain(k, true);
	CHECK(kio_recv(k, 1, from, byte, 0, 1, 0) == 0);
	CHECK(kio_write(k, 2, to, "w", 0, 1, 0, 0) == 0);
	kio_chain_copy(k, copies, 2);
	kio_chain(k, false);
	CHECK(step_at_once(k) == 0);
}

static void test_take_back_ends_a_chain_that_can_be_queued_again(void)
{
	struct kio *k = context_open(8);
	struct io_uring_sqe copies[3] = { 0 };
	struct completion completions[3];
	int32_t sockets[2];
	int pipe_fds[2];
	char byte = 0;

	CHECK(kio_socket_pair(SOCK_STREAM, sockets) == 0);
	CHECK(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0);
	chain_begin(k, sockets[0], &byte, pipe_fds[1], copies);
	CHECK(copies[0].opcode == IORING_OP_RECV && copies[0].user_data == 1);
	CHECK(copies[1].opcode == IORING_OP_WRITE && copies[1].user_data == 2);
	/* As many as were asked for, and none of them linked yet. */
	CHECK(copies[2].user_data == 0 && copies[2].opcode == 0);
	CHECK(!(copies[0].flags & IOSQE_IO_LINK));
	for (int round = 0; round < 3; round++) {
		uint64_t answer = UD_INTERNAL | UD_TAKE_BACK | 1;

		CHECK(kio_take_back(k, 1) == 0);
		collect(k, completions, 3);
		CHECK(result_for(completions, 3, answer) == 0);
		CHECK(result_for(completions, 3, 1) == -ECANCELED);
		CHECK(result_for(completions, 3, 2) == -ECANCELED);
		CHECK(k->in_flight == 0);
		kio_chain(k, true);
		CHECK(kio_again(k, &copies[0]) == 0);
		CHECK(kio_again(k, &copies[1]) == 0);
		kio_chain(k, false);
		CHECK(step_at_once(k) == 0);
		CHECK(k->in_flight == 2);
		CHECK(bytes_in(pipe_fds[0]) == -EAGAIN);
	}
	CHECK(send(sockets[1], "x", 1, 0) == 1);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 1) == 1 && byte == 'x');
	CHECK(result_for(completions, 2, 2) == 1);
	CHECK(bytes_in(pipe_fds[0]) == 1);
	context_close(k);
	guard_fire();
}

static void test_take_back_of_what_is_over_says_so(void)
{
	struct kio *k = context_open(8);
	struct io_uring_sqe copies[2];
	struct completion completions[3];
	int32_t sockets[2];
	int pipe_fds[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, sockets) == 0);
	CHECK(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0);
	chain_begin(k, sockets[0], &byte, pipe_fds[1], copies);
	CHECK(send(sockets[1], "x", 1, 0) == 1);
	CHECK(kio_take_back(k, 7) == 0);
	collect(k, completions, 3);
	CHECK(result_for(completions, 3, UD_INTERNAL | UD_TAKE_BACK | 7) ==
	      -ENOENT);
	CHECK(result_for(completions, 3, 1) == 1);
	CHECK(result_for(completions, 3, 2) == 1);
	context_close(k);
	guard_fire();
}

static void test_again_without_room_keeps_the_operation_out(void)
{
	struct kio *k = context_open(2);
	struct io_uring_sqe copies[2] = { 0 };
	struct completion completions[2];
	int fd = temporary_file(), pipe_fds[2];

	CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
	CHECK(write(pipe_fds[1], "x", 1) == 1);
	kio_chain(k, true);
	CHECK(kio_fsync(k, 1, fd, 0) == 0);
	CHECK(kio_close(k, 2, fd) == 0);
	kio_chain_copy(k, copies, 2);
	k->ring.sq.sqe_tail -= 2;
	k->in_flight = 0;
	kio_chain(k, true);
	CHECK(kio_poll(k, 3, fd, POLLIN, 0) == 0);
	CHECK(kio_poll(k, 4, pipe_fds[0], POLLIN, 0) == 0);
	CHECK(kio_again(k, &copies[0]) == -E2BIG);
	/* Its fd is gone all the same, but not before what is queued for it. */
	CHECK(kio_again(k, &copies[1]) == -E2BIG);
	CHECK(fcntl(fd, F_GETFD) >= 0);
	kio_chain(k, false);
	CHECK(k->in_flight == 2);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 3) == POLLIN);
	CHECK(result_for(completions, 2, 4) == POLLIN);
	CHECK(fcntl(fd, F_GETFD) < 0);
	context_close(k);
	guard_fire();
}

/* A close that is queued again is the kernel's, not the isolate's. */
static void test_again_of_a_close_takes_the_fd_from_the_isolate(void)
{
	struct kio *k = context_open(8);
	struct io_uring_sqe copies[2];
	struct completion completions[3];
	int32_t sockets[2], doomed[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, sockets) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, doomed) == 0);
	kio_chain(k, true);
	CHECK(kio_recv(k, 1, sockets[0], &byte, 0, 1, 0) == 0);
	CHECK(kio_close(k, 2, doomed[0]) == 0);
	kio_chain_copy(k, copies, 2);
	kio_chain(k, false);
	CHECK(step_at_once(k) == 0);
	CHECK(kio_take_back(k, 1) == 0);
	collect(k, completions, 3);
	CHECK(k->closing_count == 0);
	/* as lib/ring/chain.ts keeps it */
	kio_fd_own(doomed[0]);
	kio_chain(k, true);
	CHECK(kio_again(k, &copies[0]) == 0);
	CHECK(kio_again(k, &copies[1]) == 0);
	kio_chain(k, false);
	CHECK(send(sockets[1], "x", 1, 0) == 1);
	collect(k, completions, 2);
	CHECK(result_for(completions, 2, 2) == 0);
	CHECK(k->closing_count == 0);
	CHECK(dup(sockets[1]) == doomed[0]);
	guard_fire();
	CHECK(fcntl(doomed[0], F_GETFD) >= 0);
}

/* Links that wait behind another when the isolate ends. */
static void test_guard_closes_for_a_close_that_never_ran(void)
{
	/* the last is beyond what there is room for at first */
	const double slots[] = { 2, 3, 200 };
	struct kio *k = context_open(8);
	int32_t silent[2], doomed[3][2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, silent) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(kio_socket_pair(SOCK_STREAM, doomed[i]) == 0);
	kio_chain(k, true);
	CHECK(kio_recv(k, 1, silent[0], &byte, 0, 1, 0) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(kio_close(k, slots[i], doomed[i][0]) == 0);
	kio_chain(k, false);
	CHECK(step_at_once(k) == 0);
	CHECK(k->in_flight == 4 && k->closing_count == 3);
	for (int i = 0; i < 3; i++)
		CHECK(bytes_in(doomed[i][1]) == -EAGAIN);
	guard_fire();
	for (int i = 0; i < 3; i++)
		CHECK(bytes_in(doomed[i][1]) == 0);
}

/* A number that was closed may be another's when the isolate ends. */
static void test_guard_closes_nothing_for_a_close_that_ran(void)
{
	struct kio *k = context_open(8);
	int32_t silent[2], doomed[2], waiting[2];
	char byte;

	CHECK(kio_socket_pair(SOCK_STREAM, silent) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, doomed) == 0);
	CHECK(kio_socket_pair(SOCK_STREAM, waiting) == 0);
	CHECK(kio_close(k, 1, doomed[0]) == 0);
	CHECK(result_of_one(k, 1) == 0);
	CHECK(dup(silent[1]) == doomed[0]);
	/* Of the same slot, and cancelled, while another close waits. */
	kio_chain(k, true);
	CHECK(kio_recv(k, 1, silent[0], &byte, 0, 1, 0) == 0);
	CHECK(kio_close(k, 3, waiting[0]) == 0);
	kio_chain(k, false);
	CHECK(kio_close(k, 2, doomed[1]) == 0);
	CHECK(enter(k, 0, 0, 0) == 3);
	CHECK(dup(silent[1]) == doomed[1]);
	guard_fire();
	CHECK(bytes_in(waiting[1]) == 0);
	CHECK(fcntl(doomed[0], F_GETFD) >= 0);
	CHECK(fcntl(doomed[1], F_GETFD) >= 0);
}

/* ---- running them ------------------------------------------------------------------------------- */

static const struct test {
	const char *name;
	void (*run)(void);
	/* The signal that has to end it, 0 for none. */
	int signal;
} tests[] = {
#define TEST(NAME) { #NAME, test_##NAME, 0 }
	TEST(open_without_guard_is_refused),
	TEST(open_is_refused_when_the_host_takes_no_hook),
	TEST(guard_is_armed_once_an_isolate),
	TEST(guard_by_library_ends_its_own_isolate),
	TEST(close_leaves_no_fd),
	TEST(open_that_fails_leaves_no_fd),
	TEST(open_does_without_what_the_kernel_lacks),
	TEST(contexts_of_an_isolate_are_independent),
	TEST(probe_tells_the_same_with_and_without_a_context),
	{ "close_with_an_operation_in_flight_aborts",
	  test_close_with_an_operation_in_flight_aborts, SIGABRT },
	TEST(step_reports_user_data_and_result),
	TEST(step_with_nothing_to_do_returns_at_once),
	TEST(read_goes_beyond_4_gib_of_a_buffer),
	TEST(pipe_ends_with_the_isolate),
	TEST(pump_completes_once_with_its_last_step),
	TEST(pump_empties_the_pipe_first),
	TEST(pump_ends_where_it_is_short),
	TEST(pump_fits_into_a_small_queue),
	TEST(pump_can_be_retracted),
	TEST(step_waits_for_a_while),
	TEST(arm_ends_a_wait_that_is_left),
	TEST(loop_is_not_ready_after_its_turn),
	TEST(step_does_not_wait_while_the_loop_is_ready),
	TEST(arm_ends_the_poll_of_the_loop),
	TEST(step_fills_no_more_than_its_capacity),
	TEST(step_loses_nothing_when_the_cq_overflows),
	TEST(step_fetches_an_overflow_without_being_asked_to_wait),
	TEST(step_ends_though_the_taskrun_flag_is_stale),
	TEST(full_queue_submits_by_itself),
	TEST(chain_runs_in_order_and_links_no_stranger),
	TEST(chain_across_a_full_queue_stays_whole),
	TEST(chain_longer_than_the_queue_is_refused),
	TEST(chain_without_its_first_does_not_happen),
	TEST(close_that_does_not_fit_waits_for_what_is_queued),
	TEST(retract_keeps_an_operation_from_happening),
	TEST(cancel_of_the_first_link_stops_the_chain),
	TEST(cancel_within_a_chain_cancels_what_follows),
	TEST(cancel_in_flight_is_told_by_the_operation_only),
	TEST(cancel_that_finds_nothing_is_reported),
	TEST(cancel_all_leaves_nothing_in_flight),
	TEST(drain_of_thousands_asks_once),
	TEST(poll_of_changes_waits_for_room),
	TEST(poll_end_ends_nothing_but_polls),
	TEST(an_eventfd_wakes_each_time),
	TEST(an_eventfd_is_not_trusted_where_no_fd_is_left),
	TEST(an_eventfd_is_watched_as_long_as_its_operation),
	TEST(an_eventfd_that_stays_readable_ends_no_sleep),
	TEST(arm_makes_a_completion_readable_once),
	TEST(step_switches_the_eventfd_off),
	TEST(arm_refuses_to_sleep_over_a_completion),
	TEST(arm_sleeps_though_the_taskrun_flag_is_stale),
	TEST(timer_wakes_and_is_not_reported),
	TEST(timer_is_moved_to_an_earlier_deadline),
	TEST(timer_is_left_alone_by_a_later_deadline),
	TEST(wake_makes_the_eventfd_readable),
	TEST(message_carries_53_bits_and_a_result),
	TEST(message_wakes_a_ring_that_sleeps),
	TEST(ring_message_needs_no_ring),
	TEST(ring_message_works_on_kernels_without_the_call),
	TEST(offsets_are_plain_current_or_wide),
	TEST(registered_files_are_named_by_index),
	TEST(ftruncate_works_on_kernels_without_the_operation),
	TEST(open_file_is_not_inherited),
	TEST(accept_tells_the_address_and_sets_cloexec),
	TEST(message_of_several_buffers_arrives),
	TEST(listen_shares_with_its_own_process_only),
	TEST(socket_calls_return_negative_errnos),
	TEST(guard_takes_buffers_back_from_the_kernel),
	TEST(guard_waits_for_what_cannot_be_cancelled),
	TEST(guard_drops_what_was_not_submitted),
	TEST(guard_drops_a_pump_that_was_not_submitted),
	TEST(guard_closes_an_fd_that_nobody_will_hear_of),
	TEST(guard_cancels_a_chain_to_its_end),
	TEST(guard_cancels_what_has_started_since),
	TEST(guard_ignores_the_end_of_another_isolate),
	TEST(guard_closes_what_the_isolate_owns),
	TEST(fd_that_was_handed_over_does_not_end_with_its_sender),
	TEST(fd_is_handed_over_with_its_tag),
	TEST(fd_that_is_not_taken_is_closed),
	TEST(lookup_wakes_its_ring),
	TEST(lookup_may_outlive_its_context),
	{ "lookup_in_flight_keeps_a_context_open",
	  test_lookup_in_flight_keeps_a_context_open, SIGABRT },
	TEST(guard_lets_go_of_lookups),
	TEST(lookups_are_bounded_and_all_answered),
	TEST(lookup_of_what_needs_no_server_does_not_wait),
	TEST(lookup_that_waits_can_be_taken_back),
	TEST(lookup_without_threads_waits_for_one_or_fails),
	TEST(connect_again_pauses_while_there_is_no_room),
	TEST(connect_again_never_blocks),
	TEST(guard_ends_a_pause),
	TEST(thread_is_pinned_round_and_round),
	TEST(memory_is_zeroed_and_aligned_and_goes_away),
	TEST(memory_that_is_not_there_is_null),
	TEST(take_back_ends_a_chain_that_can_be_queued_again),
	TEST(take_back_of_what_is_over_says_so),
	TEST(again_without_room_keeps_the_operation_out),
	TEST(again_of_a_close_takes_the_fd_from_the_isolate),
	TEST(guard_closes_for_a_close_that_never_ran),
	TEST(guard_closes_nothing_for_a_close_that_ran),
};

static bool passes(const struct test *test)
{
	int status;
	pid_t child = fork();

	if (child < 0) {
		perror("fork");
		return false;
	}
	if (child == 0) {
		alarm(TEST_SECONDS);
		test->run();
		exit(0);
	}
	if (waitpid(child, &status, 0) != child)
		return false;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		fprintf(stderr, "not done after %d s\n", TEST_SECONDS);
	return test->signal ? WIFSIGNALED(status) &&
				      WTERMSIG(status) == test->signal :
			      WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool is_named(const char *name, int count, char **names)
{
	for (int i = 0; i < count; i++)
		if (!strcmp(name, names[i]))
			return true;
	return count == 0;
}

/* Runs all tests, or those that are named. */
int main(int argc, char **argv)
{
	int count = 0, failed = 0;

	/* Or what a child inherits of it would be printed again. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; i < sizeof(tests) / sizeof(*tests); i++) {
		bool passed;

		if (!is_named(tests[i].name, argc - 1, argv + 1))
			continue;
		passed = passes(&tests[i]);
		count++;
		printf("%s %s\n", tests[i].name, passed ? "ok" : "FAILED");
		failed += !passed;
	}
	printf("%d passed, %d failed\n", count - failed, failed);
	return failed > 0 || count < argc - 1;
}
