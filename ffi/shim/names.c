/*
 * names.c - looks names up by getaddrinfo(3), which blocks and cannot be
 * interrupted. It does so on the caller's thread, or on threads of the process
 * that serve all contexts. Their number is bounded. A name that needs no server
 * never waits for one that does. The memory of a look-up goes away with its
 * answer.
 */
#include "internal.h"

#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A look-up of a name. */
struct lookup {
	/* first: it is one */
	struct job job;
	double id;
	int status;
	char host[HOST_SIZE];
	char records[ADDRESSES_MAX * ADDRESS_RECORD_SIZE];
};

/*
 * Looks a name up by getaddrinfo(3), and blocks meanwhile. Up to `capacity`
 * addresses go to `out`, ADDRESS_RECORD_SIZE each, without a port. Returns
 * their number, or an error: -errno, or -1000 + one of EAI_*, which are
 * negative.
 */
int kio_resolve(const char *host, char *out, uint32_t capacity)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct addrinfo *list, *at;
	uint32_t count = 0;
	int ret;

	ret = getaddrinfo(host, NULL, &hints, &list);
	if (ret == EAI_SYSTEM)
		return -errno;
	if (ret) {
		/* it takes files and sockets that it cannot open for empty ones */
		int room = kio_fd_room(2);

		return room < 0 ? room : ret - 1000;
	}
	for (at = list; at && count < capacity; at = at->ai_next, count++) {
		uint32_t length = at->ai_addrlen;

		memcpy(out, at->ai_addr, length);
		memcpy(out + sizeof(struct sockaddr_storage), &length,
		       sizeof(length));
		out += ADDRESS_RECORD_SIZE;
	}
	freeaddrinfo(list);
	return (int)count;
}

/* NSS modules need more than getaddrinfo(3) itself. */
#define LOOKUP_STACK_SIZE (1 << 20)
/* The part of /etc/hosts that is searched. */
#define HOSTS_SIZE_MAX (1 << 16)

uint32_t lookup_threads;
static struct job_list waiting_local = TAILQ_HEAD_INITIALIZER(waiting_local);
static struct job_list waiting = TAILQ_HEAD_INITIALIZER(waiting);

static void lookup_end(struct job *job)
{
	free(job);
}

static const struct job_kind lookups = { LOOKUPS, lookup_end };

/* Tells whether /etc/hosts has the name. */
static bool is_in_hosts(const char *host)
{
	char *text = malloc(HOSTS_SIZE_MAX), *line, *lines = NULL;
	int fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
	ssize_t size = text && fd >= 0 ? read(fd, text, HOSTS_SIZE_MAX - 1) : 0;
	bool found = false;

	if (fd >= 0)
		close(fd);
	if (size > 0) {
		text[size] = 0;
		lines = text;
	}
	while (!found && (line = strsep(&lines, "\n"))) {
		char *word;

		line[strcspn(line, "#")] = 0;
		/* the first is the address */
		while ((word = strsep(&line, " \t")))
			found |= !strcasecmp(word, host);
	}
	free(text);
	return found;
}

/* Tells whether a name needs no server, as far as the shim knows. */
static bool is_local(const char *host)
{
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST };
	struct addrinfo *list;

	if (getaddrinfo(host, NULL, &hints, &list))
		return is_in_hosts(host);
	freeaddrinfo(list);
	return true;
}

/* Gives a free thread its next look-up, NULL to end it; under jobs_lock. */
static struct job *lookup_next(void)
{
	struct job *next = job_next(&waiting_local);

	if (!next && lookup_threads <= LOOKUP_THREADS_MAX)
		next = job_next(&waiting);
	lookup_threads -= !next;
	return next;
}

static void *lookup_run(void *first)
{
	struct job *job = first;

	pthread_setname_np(pthread_self(), "kio-names");
	while (job) {
		struct lookup *lookup = (struct lookup *)job;

		lookup->status = kio_resolve(lookup->host, lookup->records,
					     ADDRESSES_MAX);
		pthread_mutex_lock(&jobs_lock);
		job_answer(job);
		job = lookup_next();
		pthread_mutex_unlock(&jobs_lock);
	}
	return NULL;
}

/* Starts a thread for a look-up, up to threads_max; under jobs_lock. */
static bool lookup_start(struct lookup *lookup, uint32_t threads_max)
{
	if (lookup_threads >= threads_max ||
	    !job_thread(lookup_run, lookup, LOOKUP_STACK_SIZE))
		return false;
	lookup->job.running = true;
	lookup_threads++;
	return true;
}

/*
 * Starts to look a name up, or queues that. UD_INBOX tells the context of the
 * answer, which kio_lookup_take() takes. NULL if the system has no thread or no
 * memory.
 */
struct lookup *kio_lookup_begin(struct kio *k, double id, const char *host)
{
	struct lookup *lookup = calloc(1, sizeof(*lookup));

	if (!lookup)
		return NULL;
	lookup->job.kind = &lookups;
	lookup->id = id;
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	pthread_mutex_lock(&jobs_lock);
	if (!lookup_start(lookup, LOOKUP_THREADS_MAX)) {
		bool local = is_local(host);

		if (local && lookup_start(lookup, LOOKUP_THREADS_MAX +
							  LOOKUP_THREADS_LOCAL))
			goto begun;
		if (!lookup_threads) {
			/* no thread would ever take it out of the queue */
			free(lookup);
			lookup = NULL;
			goto out;
		}
		job_put(&lookup->job, local ? &waiting_local : &waiting);
	}
begun:
	job_own(k, &lookup->job);
out:
	pthread_mutex_unlock(&jobs_lock);
	return lookup;
}

/* Takes an answer: the id and the status of kio_resolve() into `head`, the
 * addresses into `records`. False if there is none. */
bool kio_lookup_take(struct kio *k, double *head, char *records)
{
	struct lookup *lookup = (struct lookup *)job_take(k, &lookups);

	if (!lookup)
		return false;
	head[0] = lookup->id;
	head[1] = lookup->status;
	if (lookup->status > 0)
		memcpy(records, lookup->records,
		       (size_t)lookup->status * ADDRESS_RECORD_SIZE);
	pthread_mutex_lock(&jobs_lock);
	job_drop(&lookup->job);
	pthread_mutex_unlock(&jobs_lock);
	return true;
}

/* Takes a look-up out of the queue. False if a thread has it, which cannot be
 * interrupted, or it is answered: the answer is still to be taken. */
bool kio_lookup_cancel(struct lookup *lookup)
{
	struct job_list *in;

	pthread_mutex_lock(&jobs_lock);
	in = lookup->job.in;
	in = in == &waiting || in == &waiting_local ? in : NULL;
	if (in)
		job_drop(&lookup->job);
	pthread_mutex_unlock(&jobs_lock);
	return in;
}
