/*
 * folders.c - reads folders by getdents64(2), and looks at their entries by
 * statx(2). Neither call has an operation in io_uring that does without a
 * thread, and both may wait for a disk or a server. So threads of the process
 * make them, for all contexts: many calls for one hand-over. Their number is
 * bounded. A thread that has nothing to do stays for a while.
 */
#include "internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* A folder that is read, a batch at a time. */
struct folder {
	/* first: it is one */
	struct job job;
	double id;
	uint32_t flags;
	/* where a relative path starts: a duplicate, or AT_FDCWD */
	int base;
	/* -1: not open yet, or closed at the end */
	int fd;
	/* 1: there is more, 0: the end, or -errno */
	int status;
	double device;
	/* the answer: see kio_folder_take() */
	uint32_t count, names_size;
	char *batch;
	char path[];
};

#define FOLDER_STACK_SIZE (1 << 17)
/* How long a thread waits for the next folder. */
#define FOLDER_LINGER_NS 100000000L
/* getdents64(2) is called once more if this much is left: the longest entry. */
#define DENT_SIZE_MAX 280
/* STATX_BASIC_STATS, STATX_BTIME and STATX_MNT_ID. */
#define STAT_MASK 0x1fff

/* A struct statx, which musl before 1.2.5 does not have. */
struct facts {
	uint32_t before_mode[7];
	uint16_t mode;
	uint16_t padding;
	uint64_t inode;
	uint64_t after_inode[12];
	uint32_t device_major;
	uint32_t device_minor;
	uint64_t after_device[14];
};

uint32_t folder_threads;
/* Under jobs_lock. */
static uint32_t threads_idle;
static pthread_cond_t folder_waits = PTHREAD_COND_INITIALIZER;
static struct job_list waiting = TAILQ_HEAD_INITIALIZER(waiting);

static void folder_end(struct job *job)
{
	struct folder *folder = (struct folder *)job;

	if (folder->base >= 0)
		close(folder->base);
	if (folder->fd >= 0)
		close(folder->fd);
	free(folder->batch);
	free(folder);
}

static const struct job_kind folders = { FOLDERS, folder_end };

/* The bytes of an entry in a batch, without its name. */
static size_t size_of_entry(const struct folder *folder)
{
	return sizeof(uint64_t) + 1 +
	       (folder->flags & FOLDER_STAT ? FOLDER_STAT_SIZE : 0);
}

/* The parts of a batch: arrays with a place for each entry, then the names,
 * each with its NUL. */
struct parts {
	uint64_t *inodes;
	/* FOLDER_STAT_SIZE each; NULL: none are wanted */
	char *stats;
	uint8_t *types;
	char *names;
};

/* Looks at an entry: where it leads if the folder's flags say so and it leads
 * anywhere. No name is the folder itself. Returns 0 or -errno. */
static int look(const struct folder *folder, const char *name, uint8_t type,
		struct facts *facts)
{
	int flags = AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);

	if (folder->flags & FOLDER_FOLLOW &&
	    (type == DT_LNK || type == DT_UNKNOWN) &&
	    !call_statx(folder->fd, name, flags, STAT_MASK, facts))
		return 0;
	return result_of(call_statx(folder->fd, name,
				    flags | AT_SYMLINK_NOFOLLOW, STAT_MASK,
				    facts));
}

/* Adds an entry to a batch. */
static void add(struct folder *folder, struct parts *to, const char *name,
		uint64_t inode, uint8_t type)
{
	bool is_looked_at = to->stats || type == DT_UNKNOWN ||
			    (type == DT_LNK && folder->flags & FOLDER_FOLLOW);
	size_t size = strlen(name) + 1;
	struct facts facts;
	int32_t error = is_looked_at ? look(folder, name, type, &facts) : 0;

	if (is_looked_at && !error) {
		inode = facts.inode;
		/* as IFTODT() of <dirent.h> */
		type = (uint8_t)((facts.mode & S_IFMT) >> 12);
		if (!*name)
			folder->device = facts.device_major * 0x1p32 +
					 facts.device_minor;
	}
	if (to->stats) {
		if (!error)
			memcpy(to->stats, &facts, FOLDER_STAT_ERRNO);
		memcpy(to->stats + FOLDER_STAT_ERRNO, &error, sizeof(error));
		to->stats += FOLDER_STAT_SIZE;
	}
	*to->inodes++ = inode;
	*to->types++ = type;
	memcpy(to->names, name, size);
	to->names += size;
}

/* Tells whether an entry is the folder itself or the one above. */
static bool is_dots(const char *name)
{
	return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int by_inode(const void *one, const void *other)
{
	uint64_t its = (*(const struct dirent64 *const *)one)->d_ino;
	uint64_t others = (*(const struct dirent64 *const *)other)->d_ino;

	return (its > others) - (its < others);
}

/*
 * Makes a batch of what getdents64(2) gave, and of the folder itself if it is
 * asked for. Entries are in the order of their inodes: the disk mostly has them
 * so, and who opens them in that order waits less. Stops where the job is given
 * up.
 */
static int pack(struct folder *folder, const char *dents, size_t size,
		bool has_self)
{
	const struct dirent64 *entries[FOLDER_ENTRIES_MAX], *entry;
	uint32_t count = 0, places;
	size_t names = has_self;
	struct parts to = { 0 };

	for (size_t at = 0; at < size; at += entry->d_reclen) {
		entry = (const struct dirent64 *)(dents + at);
		if (is_dots(entry->d_name))
			continue;
		entries[count++] = entry;
		names += strlen(entry->d_name) + 1;
	}
	places = count + has_self;
	/* not nothing: malloc(0) may give NULL */
	folder->batch = malloc(places * size_of_entry(folder) + names + 1);
	if (!folder->batch)
		return -ENOMEM;
	folder->count = places;
	folder->names_size = (uint32_t)names;
	to.inodes = (uint64_t *)folder->batch;
	to.types = (uint8_t *)(to.inodes + places);
	if (folder->flags & FOLDER_STAT) {
		to.stats = (char *)to.types;
		to.types += places * FOLDER_STAT_SIZE;
	}
	to.names = (char *)to.types + places;
	if (has_self)
		add(folder, &to, "", 0, DT_UNKNOWN);
	qsort(entries, count, sizeof(*entries), by_inode);
	for (uint32_t i = 0; i < count && !atomic_load(&folder->job.given_up);
	     i++)
		add(folder, &to, entries[i]->d_name, entries[i]->d_ino,
		    entries[i]->d_type);
	return 0;
}

/* Makes the next batch of a folder, on a thread: opens it before the first, and
 * closes it behind the last. */
static void folder_read(struct folder *folder)
{
	int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
	bool is_first = folder->fd < 0;
	_Alignas(struct dirent64) char dents[FOLDER_DENTS_SIZE];
	size_t size = 0;
	ssize_t ret;

	if (folder->status < 0)
		return;
	if (is_first) {
		flags |= folder->flags & FOLDER_NOFOLLOW ? O_NOFOLLOW : 0;
		folder->fd = openat(folder->base, folder->path, flags);
		if (folder->fd < 0) {
			folder->status = -errno;
			return;
		}
	}
	do {
		ret = call_getdents(folder->fd, dents + size,
				    sizeof(dents) - size);
		size += ret > 0 ? (size_t)ret : 0;
	} while (ret > 0 && size + DENT_SIZE_MAX <= sizeof(dents));
	folder->status = ret > 0 ? 1 : result_of((int)ret);
	ret = pack(folder, dents, size,
		   is_first && folder->flags & FOLDER_SELF);
	if (ret)
		folder->status = (int)ret;
	if (folder->status <= 0) {
		close(folder->fd);
		folder->fd = -1;
	}
}

static void *folder_run(void *none);

/* Starts a thread, up to the most; under jobs_lock. */
static void folder_thread(void)
{
	if (folder_threads < FOLDER_THREADS_MAX)
		folder_threads += job_thread(folder_run, NULL,
					     FOLDER_STACK_SIZE);
}

/*
 * Gives a thread its next folder, and waits for one; NULL: it ends. If more
 * folders wait it starts the next thread: the caller of kio_folder_begin() has
 * other things to do. Under jobs_lock.
 */
static struct job *folder_next(void)
{
	struct timespec end;
	struct job *next;
	int ret = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_nsec += FOLDER_LINGER_NS;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	while (!(next = job_next(&waiting)) && !ret) {
		threads_idle++;
		ret = pthread_cond_timedwait(&folder_waits, &jobs_lock, &end);
		threads_idle--;
	}
	folder_threads -= !next;
	if (!TAILQ_EMPTY(&waiting) && !threads_idle)
		folder_thread();
	return next;
}

static void *folder_run(void *none)
{
	struct job *job;

	pthread_setname_np(pthread_self(), "kio-folders");
	pthread_mutex_lock(&jobs_lock);
	while ((job = folder_next())) {
		pthread_mutex_unlock(&jobs_lock);
		folder_read((struct folder *)job);
		pthread_mutex_lock(&jobs_lock);
		job_answer(job);
	}
	pthread_mutex_unlock(&jobs_lock);
	return none;
}

/* Has a thread read the next batch. False if the system has no thread; under
 * jobs_lock. */
static bool folder_queue(struct folder *folder)
{
	/* a thread that takes one starts another for the next: folder_next() */
	if (!threads_idle && TAILQ_EMPTY(&waiting))
		folder_thread();
	if (!folder_threads)
		return false;
	job_put(&folder->job, &waiting);
	pthread_cond_signal(&folder_waits);
	return true;
}

/*
 * Starts to read a folder: its first batch. `path` is relative to `directory`,
 * which may be closed after the call. UD_INBOX tells the context of each batch,
 * which kio_folder_take() takes. NULL if the system has no thread or no memory.
 */
struct folder *kio_folder_begin(struct kio *k, double id, int directory,
				const char *path, uint32_t flags)
{
	size_t size = strlen(path) + 1;
	struct folder *folder = calloc(1, sizeof(*folder) + size);

	if (!folder)
		return NULL;
	folder->job.kind = &folders;
	folder->id = id;
	folder->flags = flags;
	folder->fd = -1;
	folder->base = directory;
	if (directory >= 0 && *path != '/') {
		folder->base = fcntl(directory, F_DUPFD_CLOEXEC, 0);
		folder->status = folder->base < 0 ? -errno : 0;
	} else
		folder->base = AT_FDCWD;
	memcpy(folder->path, path, size);
	pthread_mutex_lock(&jobs_lock);
	if (folder_queue(folder)) {
		job_own(k, &folder->job);
	} else {
		folder_end(&folder->job);
		folder = NULL;
	}
	pthread_mutex_unlock(&jobs_lock);
	return folder;
}

/*
 * Takes a batch; false if there is none. `head` gets the id, the status, the
 * number of entries, the bytes of their names, and of the file system of the
 * folder major * 2^32 + minor, with FOLDER_SELF. The status is 1 if there is
 * more, which kio_folder_more() has read; at the end it is 0 or -errno, and the
 * folder is gone. `batch` gets arrays with a place for each entry: inodes of 8
 * bytes, with FOLDER_STAT a part of a struct statx each (FOLDER_STAT_SIZE), and
 * types of a byte, as d_type has them. The names follow, each with its NUL.
 */
bool kio_folder_take(struct kio *k, double *head, char *batch)
{
	struct folder *folder = (struct folder *)job_take(k, &folders);

	if (!folder)
		return false;
	head[0] = folder->id;
	head[1] = folder->status;
	head[2] = folder->count;
	head[3] = folder->names_size;
	head[4] = folder->device;
	if (folder->batch)
		memcpy(batch, folder->batch,
		       folder->count * size_of_entry(folder) + folder->names_size);
	free(folder->batch);
	folder->batch = NULL;
	folder->count = folder->names_size = 0;
	if (folder->status <= 0)
		kio_folder_end(folder);
	return true;
}

/* Has the next batch read, after one was taken that is not the last. Returns
 * -EAGAIN if the system has no thread. */
int kio_folder_more(struct folder *folder)
{
	bool is_queued;

	pthread_mutex_lock(&jobs_lock);
	is_queued = folder_queue(folder);
	pthread_mutex_unlock(&jobs_lock);
	return is_queued ? 0 : -EAGAIN;
}

/* Gives up a folder: it is closed at once, or when its thread comes back. */
void kio_folder_end(struct folder *folder)
{
	pthread_mutex_lock(&jobs_lock);
	job_drop(&folder->job);
	pthread_mutex_unlock(&jobs_lock);
}
