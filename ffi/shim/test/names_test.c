/*
 * names_test.c - tests of looking names up.
 */
#include "harness.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* What is looked up of names that begin with "slow" waits at the gate. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static bool without_threads;

/* The linker has the shim call these instead of the system's: see
 * c_tests.ts. */
int __real_getaddrinfo(const char *host, const char *service,
		       const struct addrinfo *hints, struct addrinfo **list);
int __wrap_getaddrinfo(const char *host, const char *service,
		       const struct addrinfo *hints, struct addrinfo **list);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*start)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*start)(void *), void *argument);

int __wrap_getaddrinfo(const char *host, const char *service,
		       const struct addrinfo *hints, struct addrinfo **list)
{
	if (!strncmp(host, "slow", 4) && !(hints->ai_flags & AI_NUMERICHOST)) {
		pthread_mutex_lock(&gate);
		pthread_mutex_unlock(&gate);
		host = "127.0.0.9";
	}
	return __real_getaddrinfo(host, service, hints, list);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*start)(void *), void *argument)
{
	if (without_threads)
		return EAGAIN;
	return __real_pthread_create(thread, attributes, start, argument);
}

/* How many threads look names up, when it is that many or after a while. */
static uint32_t lookup_threads_at(uint32_t expected)
{
	double end_ms = kio_now_ms() + 10000;
	uint32_t count;

	do {
		pthread_mutex_lock(&jobs_lock);
		count = lookup_threads;
		pthread_mutex_unlock(&jobs_lock);
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

TEST(lookup_wakes_its_ring)
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

TEST(lookup_may_outlive_its_context)
{
	struct kio *k = context_open(2);
	int event_fd = k->event_fd, pipe_fds[2];

	pthread_mutex_lock(&gate);
	CHECK(kio_lookup_begin(k, 1, "slow"));
	kio_jobs_end(k);
	context_close(k);
	/* the number of the eventfd is another file's */
	CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
	CHECK(dup2(pipe_fds[1], event_fd) == event_fd);
	pthread_mutex_unlock(&gate);
	CHECK(lookup_threads_at(0) == 0);
	CHECK(bytes_in(pipe_fds[0]) == -EAGAIN);
}

TEST_DYING(lookup_in_flight_keeps_a_context_open, SIGABRT)
{
	struct kio *k = context_open(2);

	pthread_mutex_lock(&gate);
	CHECK(kio_lookup_begin(k, 1, "slow"));
	kio_context_close(k);
}

TEST(guard_lets_go_of_lookups)
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

TEST(lookups_are_bounded_and_all_answered)
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

TEST(lookup_of_what_needs_no_server_does_not_wait)
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

TEST(lookup_that_waits_can_be_taken_back)
{
	struct kio *k = context_open(2);
	struct lookup *lookups[LOOKUP_THREADS_MAX + 2];
	int status;

	pthread_mutex_lock(&gate);
	for (int i = 0; i < LOOKUP_THREADS_MAX + 2; i++)
		lookups[i] = kio_lookup_begin(k, i, "slow");
	CHECK(!kio_lookup_cancel(lookups[0]));
	CHECK(kio_lookup_cancel(lookups[LOOKUP_THREADS_MAX]));
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < LOOKUP_THREADS_MAX + 1; i++)
		CHECK(answer_of(k, &status) != LOOKUP_THREADS_MAX);
	CHECK(TAILQ_EMPTY(&k->jobs));
	CHECK(lookup_threads_at(0) == 0);
	context_close(k);
}

TEST(lookup_without_threads_waits_for_one_or_fails)
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
