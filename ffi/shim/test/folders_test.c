/*
 * folders_test.c - tests of reading folders.
 */
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

/* What is wrong in getdents64(2) and statx(2): see ffi/compile.ts. A look at a
 * name that begins with "slow" waits at the gate, and one that begins with
 * "gone" finds nothing. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static bool without_types, without_end;
static atomic_int looks;

ssize_t __real_call_getdents(int fd, void *buffer, size_t length);
ssize_t __wrap_call_getdents(int fd, void *buffer, size_t length);
int __real_call_statx(int directory, const char *path, int flags, uint32_t mask,
		      void *out);
int __wrap_call_statx(int directory, const char *path, int flags, uint32_t mask,
		      void *out);

ssize_t __wrap_call_getdents(int fd, void *buffer, size_t length)
{
	ssize_t size = __real_call_getdents(fd, buffer, length);

	if (size == 0 && without_end) {
		errno = EIO;
		return -1;
	}
	for (ssize_t at = 0; without_types && at < size;) {
		struct dirent64 *entry = (void *)((char *)buffer + at);

		entry->d_type = DT_UNKNOWN;
		at += entry->d_reclen;
	}
	return size;
}

int __wrap_call_statx(int directory, const char *path, int flags, uint32_t mask,
		      void *out)
{
	if (!strncmp(path, "gone", 4)) {
		errno = ENOENT;
		return -1;
	}
	looks++;
	if (!strncmp(path, "slow", 4)) {
		pthread_mutex_lock(&gate);
		pthread_mutex_unlock(&gate);
	}
	return __real_call_statx(directory, path, flags, mask, out);
}

static char root[] = "/tmp/kio-folders-XXXXXX";
static int root_fd;

/* Makes a folder with files of these names. */
static void root_make(int count, const char *const *names)
{
	CHECK(mkdtemp(root));
	root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK(root_fd >= 0);
	for (int i = 0; i < count; i++) {
		int fd = openat(root_fd, names[i], O_CREAT | O_CLOEXEC, 0600);

		CHECK(fd >= 0 && close(fd) == 0);
	}
}

static void root_remove(int count, const char *const *names)
{
	for (int i = 0; i < count; i++)
		CHECK(unlinkat(root_fd, names[i], 0) == 0);
	close(root_fd);
	CHECK(rmdir(root) == 0);
}

/* How many threads read folders, when it is that many or after a while. */
static uint32_t folder_threads_at(uint32_t expected)
{
	double end_ms = kio_now_ms() + 10000;
	uint32_t count;

	do {
		pthread_mutex_lock(&jobs_lock);
		count = folder_threads;
		pthread_mutex_unlock(&jobs_lock);
	} while (count != expected && kio_now_ms() < end_ms);
	return count;
}

static char batch[FOLDER_BATCH_SIZE];

/* Waits for the next batch: its head. */
static void batch_of(struct kio *k, double head[5])
{
	struct pollfd poll_fd = { .fd = k->event_fd, .events = POLLIN };

	while (!kio_folder_take(k, head, batch)) {
		CHECK(poll(&poll_fd, 1, 10000) == 1);
		CHECK(kio_event_wait(k->event_fd) == 0);
	}
}

/* Entries come by inode, and the file system chooses those: the place of the
 * first of "one" and "gone". */
static int place_of_one(const char *names)
{
	return memcmp(names, "one", 4) ? 1 : 0;
}

TEST(folder_wakes_its_ring_and_is_closed)
{
	static const char *const names[] = { "one", "gone" };
	struct kio *k = context_open(2);
	double head[5];
	int32_t out[4];
	const char *stats = batch + 16;
	int before, one;
	int32_t error;

	root_make(2, names);
	before = count_fds();
	CHECK(kio_folder_begin(k, 7, root_fd, ".", FOLDER_STAT));
	CHECK(kio_event_wait(k->event_fd) == 0);
	CHECK(kio_step(k, out, 1, false) == 1);
	CHECK((uint64_t)(uint32_t)out[1] << 32 == UD_INBOX && !out[0]);
	CHECK(kio_folder_take(k, head, batch));
	CHECK(head[0] == 7 && head[1] == 0 && head[2] == 2 && head[3] == 9);
	CHECK(!kio_folder_take(k, head, batch));
	CHECK(TAILQ_EMPTY(&k->jobs));
	CHECK(count_fds() == before);
	one = place_of_one(stats + 2 * FOLDER_STAT_SIZE + 2);
	memcpy(&error, stats + one * FOLDER_STAT_SIZE + FOLDER_STAT_ERRNO,
	       sizeof(error));
	CHECK(error == 0);
	memcpy(&error, stats + !one * FOLDER_STAT_SIZE + FOLDER_STAT_ERRNO,
	       sizeof(error));
	CHECK(error == -ENOENT);
	CHECK(!memcmp(stats + 2 * FOLDER_STAT_SIZE + 2,
		      one ? "gone\0one" : "one\0gone", 9));
	root_remove(2, names);
	CHECK(folder_threads_at(0) == 0);
	context_close(k);
}

TEST(folder_without_types_is_looked_at)
{
	static const char *const names[] = { "one", "gone" };
	struct kio *k = context_open(2);
	double head[5];
	int one;

	root_make(2, names);
	without_types = true;
	CHECK(kio_folder_begin(k, 1, root_fd, ".", 0));
	batch_of(k, head);
	CHECK(head[1] == 0 && head[2] == 2);
	one = place_of_one(batch + 18);
	CHECK(batch[16 + one] == DT_REG && batch[16 + !one] == DT_UNKNOWN);
	root_remove(2, names);
	context_close(k);
}

TEST(folder_that_fails_has_its_first_entries)
{
	static const char *const names[] = { "one" };
	struct kio *k = context_open(2);
	int before;
	double head[5];

	root_make(1, names);
	before = count_fds();
	without_end = true;
	CHECK(kio_folder_begin(k, 1, root_fd, ".", 0));
	batch_of(k, head);
	CHECK(head[1] == -EIO && head[2] == 1);
	CHECK(count_fds() == before);
	root_remove(1, names);
	context_close(k);
}

TEST(folder_may_outlive_its_context)
{
	static const char *const names[] = { "slow", "slow2" };
	struct kio *k = context_open(2);
	int event_fd = k->event_fd, pipe_fds[2], before, held;

	root_make(2, names);
	before = count_fds();
	pthread_mutex_lock(&gate);
	looks = 0;
	CHECK(kio_folder_begin(k, 1, root_fd, ".", FOLDER_STAT));
	/* it waits at the gate */
	while (!looks)
		;
	CHECK(count_fds() == before + 2);
	kio_jobs_end(k);
	context_close(k);
	/* the number of the eventfd is another file's */
	CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
	CHECK(dup2(pipe_fds[1], event_fd) == event_fd);
	held = count_fds();
	pthread_mutex_unlock(&gate);
	CHECK(folder_threads_at(0) == 0);
	CHECK(bytes_in(pipe_fds[0]) == -EAGAIN);
	CHECK(count_fds() == held - 2);
	root_remove(2, names);
}

TEST(folder_that_is_given_up_looks_no_further)
{
	static const char *const names[] = { "slow", "slow2", "slow3" };
	struct kio *k = context_open(2);
	struct folder *folder;
	int before;

	root_make(3, names);
	before = count_fds();
	pthread_mutex_lock(&gate);
	folder = kio_folder_begin(k, 1, root_fd, ".", FOLDER_STAT);
	CHECK(folder);
	while (count_fds() != before + 2)
		;
	kio_folder_end(folder);
	CHECK(TAILQ_EMPTY(&k->jobs));
	pthread_mutex_unlock(&gate);
	CHECK(folder_threads_at(0) == 0);
	/* none, if the thread had not come so far */
	CHECK(looks <= 1);
	CHECK(count_fds() == before);
	root_remove(3, names);
	context_close(k);
}

TEST_DYING(folder_in_flight_keeps_a_context_open, SIGABRT)
{
	struct kio *k = context_open(2);

	CHECK(kio_folder_begin(k, 1, AT_FDCWD, "/", 0));
	kio_context_close(k);
}

TEST(folders_are_bounded_and_all_answered)
{
	static const char *const names[] = { "slow" };
	struct kio *k = context_open(2);
	bool seen[4 * FOLDER_THREADS_MAX] = { false };
	int count = sizeof(seen) / sizeof(*seen), before;
	double head[5];

	root_make(1, names);
	before = count_fds();
	pthread_mutex_lock(&gate);
	for (int i = 0; i < count; i++)
		CHECK(kio_folder_begin(k, i, root_fd, ".", FOLDER_STAT));
	CHECK(folder_threads_at(FOLDER_THREADS_MAX) == FOLDER_THREADS_MAX);
	pthread_mutex_unlock(&gate);
	for (int i = 0; i < count; i++) {
		batch_of(k, head);
		CHECK(!seen[(int)head[0]] && head[1] == 0 && head[2] == 1);
		seen[(int)head[0]] = true;
	}
	CHECK(folder_threads_at(0) == 0);
	CHECK(count_fds() == before);
	root_remove(1, names);
	context_close(k);
}

TEST(guard_lets_go_of_folders)
{
	static const char *const names[] = { "slow" };
	struct kio *k = context_open(2);
	int before;

	root_make(1, names);
	before = count_fds();
	pthread_mutex_lock(&gate);
	for (int i = 0; i < 4 * FOLDER_THREADS_MAX; i++)
		CHECK(kio_folder_begin(k, i, root_fd, ".", FOLDER_STAT));
	CHECK(kio_folder_begin(k, 1000, AT_FDCWD, "/no/such", 0));
	guard_fire();
	pthread_mutex_unlock(&gate);
	CHECK(folder_threads_at(0) == 0);
	/* without the ring and its eventfd */
	CHECK(count_fds() == before - 2);
	root_remove(1, names);
}
