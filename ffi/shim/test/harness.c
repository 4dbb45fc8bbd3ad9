/*
 * harness.c - runs the tests of the shim: all, or those that are named. What
 * they share is here too.
 *
 * Each test is a process of its own: a crash, a leak or a hang of one hides
 * nothing of the others, and every test starts with an unarmed guard.
 */
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/wait.h>

/* The host's side of Node-API: it keeps the hook, to be fired by a test. */
void (*cleanup_hook)(void *);
static void *cleanup_argument;
int hooks_added;
int hook_status;

int napi_add_env_cleanup_hook(void *env, void (*hook)(void *), void *argument)
{
	(void)env;
	hooks_added++;
	cleanup_hook = hook;
	cleanup_argument = argument;
	return hook_status;
}

void guard_arm(void)
{
	static int exports;

	CHECK(napi_register_module_v1(NULL, &exports) == &exports);
}

void guard_fire(void)
{
	cleanup_hook(cleanup_argument);
}

bool defers(void)
{
	return kio_trial(KIO_TRIAL_WAKE) == 1;
}

struct kio *context_open(uint32_t entries)
{
	int32_t status = 1;
	struct kio *k;

	if (!isolate)
		guard_arm();
	k = kio_context_open(entries, 4 * entries, entries, 8, defers(), NULL, &status);
	CHECK(k && status == 0);
	return k;
}

void context_close(struct kio *k)
{
	int event_fd = k->event_fd;

	kio_context_close(k);
	CHECK(kio_fd_close(event_fd) == 0);
}

void collect(struct kio *k, struct completion *completions, int count)
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

int32_t result_for(const struct completion *completions, int count,
		   uint64_t user_data)
{
	for (int i = 0; i < count; i++)
		if (completions[i].user_data == user_data)
			return completions[i].result;
	fprintf(stderr, "no completion of %llu\n",
		(unsigned long long)user_data);
	exit(1);
}

int32_t result_of_one(struct kio *k, uint64_t user_data)
{
	struct completion completion;

	collect(k, &completion, 1);
	CHECK(completion.user_data == user_data);
	CHECK(k->in_flight == 0);
	return completion.result;
}

int step_at_once(struct kio *k)
{
	int32_t out[4 * COMPLETIONS_MAX];

	return kio_step(k, out, COMPLETIONS_MAX, false);
}

int queue_fsync(struct kio *k, double id, int fd)
{
	return kio_sqe(k, id, IORING_OP_FSYNC, fd, NULL, 0, 0, 0, 0);
}

int queue_poll(struct kio *k, double id, int fd, uint32_t events, uint32_t mode)
{
	return kio_sqe(k, id, IORING_OP_POLL_ADD, fd, NULL, 0, mode, 0, events);
}

void receive_later(struct kio *k, int32_t fds[2], char *byte)
{
	CHECK(kio_socket_pair(SOCK_STREAM, fds) == 0);
	CHECK(kio_recv(k, 1, fds[0], byte, 1, 0) == 0);
	CHECK(step_at_once(k) == 0);
}

int count_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int count = 0;

	CHECK(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}

bool is_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

int bytes_in(int fd)
{
	char bytes[4096];
	ssize_t count;

	CHECK(kio_nonblocking_set(fd, true) >= 0);
	count = read(fd, bytes, sizeof(bytes));
	return count < 0 ? -errno : (int)count;
}

int temporary_file(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	CHECK(fd >= 0);
	return fd;
}

int listener_open(struct sockaddr_in *address)
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

void fall_asleep(struct kio *k, double deadline_ms)
{
	for (int tries = 0; kio_arm(k, deadline_ms) == 0; tries++)
		CHECK(tries < 100 && step_at_once(k) == 0);
}

static struct test *tests, **tests_end = &tests;

void test_add(struct test *test)
{
	*tests_end = test;
	tests_end = &test->next;
}

enum outcome { OK, FAILED, IGNORED };

static enum outcome outcome_of(const struct test *test)
{
	int status;
	pid_t child = fork();

	if (child < 0) {
		perror("fork");
		return FAILED;
	}
	if (child == 0) {
		alarm(TEST_SECONDS);
		test->run();
		exit(0);
	}
	if (waitpid(child, &status, 0) != child)
		return FAILED;
	if (WIFEXITED(status) && WEXITSTATUS(status) == TEST_IGNORED)
		return IGNORED;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		fprintf(stderr, "not done after %d s\n", TEST_SECONDS);
	if (test->signal ?
		    WIFSIGNALED(status) && WTERMSIG(status) == test->signal :
		    WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return OK;
	return FAILED;
}

static bool is_named(const char *name, int count, char **words)
{
	for (int i = 0; i < count; i++)
		if (strstr(name, words[i]))
			return true;
	return count == 0;
}

/* Runs all tests, or those whose names have one of the words. */
int main(int argc, char **argv)
{
	static const char *const words[] = { "ok", "FAILED", "ignored" };
	int counts[] = { 0, 0, 0 };

	/* Or what a child inherits of it would be printed again. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (struct test *test = tests; test; test = test->next) {
		enum outcome outcome;

		if (!is_named(test->name, argc - 1, argv + 1))
			continue;
		outcome = outcome_of(test);
		counts[outcome]++;
		printf("%s %s\n", test->name, words[outcome]);
	}
	if (counts[OK] + counts[FAILED] + counts[IGNORED] == 0)
		fputs("no test has such a name\n", stderr);
	printf("%d passed, %d failed, %d ignored\n", counts[OK], counts[FAILED],
	       counts[IGNORED]);
	return counts[FAILED] > 0 || counts[OK] + counts[IGNORED] == 0;
}
