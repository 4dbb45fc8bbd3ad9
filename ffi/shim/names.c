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
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A look-up of a name: in a queue, in the hands of a thread, or answered. */
struct lookup {
	/* NULL: its operations have ended, and its thread frees it */
	struct kio *owner;
	TAILQ_ENTRY(lookup) of_owner;
	/* in the list of those that wait, or of the answers of its owner */
	TAILQ_ENTRY(lookup) in_list;
	struct lookup_list *waits_in;
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

pthread_mutex_t lookups_lock = PTHREAD_MUTEX_INITIALIZER;
uint32_t lookup_threads;
static struct lookup_list waiting_local = TAILQ_HEAD_INITIALIZER(waiting_local);
static struct lookup_list waiting = TAILQ_HEAD_INITIALIZER(waiting);

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

/* Gives the answer of a look-up to its owner; under lookups_lock. */
static void lookup_answer(struct lookup *lookup)
{
	struct kio *owner = lookup->owner;

	if (!owner) {
		free(lookup);
		return;
	}
	TAILQ_INSERT_TAIL(&owner->answers, lookup, in_list);
	atomic_store(&owner->answered, true);
	kio_wake_self(owner);
}

/* Gives a free thread its next look-up, NULL to end it; under lookups_lock. */
static struct lookup *lookup_next(void)
{
	struct lookup *next = TAILQ_FIRST(&waiting_local);

	if (!next && lookup_threads <= LOOKUP_THREADS_MAX)
		next = TAILQ_FIRST(&waiting);
	if (!next) {
		lookup_threads--;
		return NULL;
	}
	TAILQ_REMOVE(next->waits_in, next, in_list);
	next->waits_in = NULL;
	return next;
}

static void *lookup_run(void *first)
{
	struct lookup *lookup = first;

	pthread_setname_np(pthread_self(), "kio-names");
	while (lookup) {
		lookup->status = kio_resolve(lookup->host, lookup->records,
					     ADDRESSES_MAX);
		pthread_mutex_lock(&lookups_lock);
		lookup_answer(lookup);
		lookup = lookup_next();
		pthread_mutex_unlock(&lookups_lock);
	}
	return NULL;
}

/* Starts a thread for a look-up, up to threads_max; under lookups_lock. */
static bool lookup_start(struct lookup *lookup, uint32_t threads_max)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;
	int ret;

	if (lookup_threads >= threads_max || pthread_attr_init(&attributes))
		return false;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, LOOKUP_STACK_SIZE);
	/* signals are the host's, for threads that know of them */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(&thread, &attributes, lookup_run, lookup);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	lookup_threads += !ret;
	return !ret;
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
	lookup->owner = k;
	lookup->id = id;
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	pthread_mutex_lock(&lookups_lock);
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
		lookup->waits_in = local ? &waiting_local : &waiting;
		TAILQ_INSERT_TAIL(lookup->waits_in, lookup, in_list);
	}
begun:
	TAILQ_INSERT_TAIL(&k->lookups, lookup, of_owner);
out:
	pthread_mutex_unlock(&lookups_lock);
	return lookup;
}

/* Takes an answer: the id and the status of kio_resolve() into `head`, the
 * addresses into `records`. False if there is none. */
bool kio_lookup_take(struct kio *k, double *head, char *records)
{
	struct lookup *lookup;

	pthread_mutex_lock(&lookups_lock);
	lookup = TAILQ_FIRST(&k->answers);
	if (lookup) {
		TAILQ_REMOVE(&k->answers, lookup, in_list);
		TAILQ_REMOVE(&k->lookups, lookup, of_owner);
	}
	pthread_mutex_unlock(&lookups_lock);
	if (!lookup)
		return false;
	head[0] = lookup->id;
	head[1] = lookup->status;
	if (lookup->status > 0)
		memcpy(records, lookup->records,
		       (size_t)lookup->status * ADDRESS_RECORD_SIZE);
	free(lookup);
	return true;
}

/* Takes a look-up out of the queue. False if a thread has it: that cannot be
 * interrupted, and its answer is still to come. */
bool kio_lookup_cancel(struct kio *k, struct lookup *lookup)
{
	struct lookup_list *queue;

	pthread_mutex_lock(&lookups_lock);
	queue = lookup->waits_in;
	if (queue) {
		TAILQ_REMOVE(queue, lookup, in_list);
		TAILQ_REMOVE(&k->lookups, lookup, of_owner);
		free(lookup);
	}
	pthread_mutex_unlock(&lookups_lock);
	return queue;
}

/* Gives up all look-ups of a context, before its eventfd is closed: from now on
 * the threads touch neither. */
void kio_lookups_end(struct kio *k)
{
	struct lookup *lookup;

	pthread_mutex_lock(&lookups_lock);
	while ((lookup = TAILQ_FIRST(&k->answers))) {
		TAILQ_REMOVE(&k->answers, lookup, in_list);
		TAILQ_REMOVE(&k->lookups, lookup, of_owner);
		free(lookup);
	}
	while ((lookup = TAILQ_FIRST(&k->lookups))) {
		TAILQ_REMOVE(&k->lookups, lookup, of_owner);
		lookup->owner = NULL;
		if (!lookup->waits_in)
			continue;
		TAILQ_REMOVE(lookup->waits_in, lookup, in_list);
		free(lookup);
	}
	pthread_mutex_unlock(&lookups_lock);
}
