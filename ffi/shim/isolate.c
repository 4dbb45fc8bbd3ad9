/*
 * isolate.c - the possessions of one JavaScript isolate, which end with it in
 * whatever way. These are its contexts, fds and memory, and the pipe that tells
 * others of its end. The guard runs then: a library of the isolate's own
 * (guard.c), or a hook of Node-API.
 */
#include "internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

__thread struct isolate *isolate;

/* ---- fds that end with the isolate ------------------------------------- */

/* Numbers beyond are not noted; fs.nr_open is 2^20 by default. */
#define OWNED_FDS_MAX (1 << 24)

/*
 * Closes the fd when the isolate ends. Fds belong to the process: without this
 * the connections of a worker that dies would stay open for ever.
 */
void kio_fd_own(int fd)
{
	uint32_t word = (uint32_t)fd / 64;

	if (!isolate || fd < 0 || fd >= OWNED_FDS_MAX)
		return;
	if (word >= isolate->owned_words) {
		uint32_t words = isolate->owned_words ? isolate->owned_words : 8;
		uint64_t *grown;

		while (words <= word)
			words *= 2;
		grown = realloc(isolate->owned, words * sizeof(*grown));
		if (!grown)
			return;
		memset(grown + isolate->owned_words, 0,
		       (words - isolate->owned_words) * sizeof(*grown));
		isolate->owned = grown;
		isolate->owned_words = words;
	}
	isolate->owned[word] |= 1ULL << fd % 64;
}

void kio_fd_disown(int fd)
{
	uint32_t word = (uint32_t)fd / 64;

	if (isolate && fd >= 0 && word < isolate->owned_words)
		isolate->owned[word] &= ~(1ULL << fd % 64);
}

bool kio_fd_is_owned(int fd)
{
	uint32_t word = (uint32_t)fd / 64;

	return isolate && fd >= 0 && word < isolate->owned_words &&
	       isolate->owned[word] & 1ULL << fd % 64;
}

static void owned_close(void)
{
	for (uint32_t word = 0; word < isolate->owned_words; word++)
		for (uint64_t left = isolate->owned[word]; left;
		     left &= left - 1)
			close((int)(word * 64) + __builtin_ctzll(left));
	free(isolate->owned);
}

/*
 * Keeps a duplicate of an fd open until nothing of the isolate is left. The
 * other end of that pipe then reads an end, whatever the cause.
 */
int kio_life_begin(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0)
		return -errno;
	if (isolate->life_fd >= 0)
		close(isolate->life_fd);
	isolate->life_fd = copy;
	return 0;
}

/*
 * The teardown guard. Deno runs it when the isolate ends, in whatever way,
 * on the isolate's thread and before its buffers are freed; not at
 * Deno.exit(), where the process ends with its memory still mapped.
 */
static void isolate_end(void *argument)
{
	if (isolate != argument)
		return;
	seam_isolate_end();
	while (isolate->contexts) {
		context_drain(isolate->contexts);
		/* the isolate's handle on it dies without closing it */
		close(isolate->contexts->event_fd);
		context_destroy(isolate->contexts);
	}
	while (isolate->mappings) {
		struct mapping *mapping = isolate->mappings;

		isolate->mappings = mapping->next;
		munmap(mapping->address, mapping->size);
		free(mapping);
	}
	owned_close();
	if (isolate->life_fd >= 0)
		close(isolate->life_fd);
	free(isolate);
	isolate = NULL;
}

static struct isolate *isolate_begin(void)
{
	struct isolate *created = calloc(1, sizeof(*created));

	if (created) {
		created->end = isolate_end;
		created->life_fd = -1;
	}
	return created;
}

/* Node-API, which only the host program provides. */
__attribute__((weak)) int napi_add_env_cleanup_hook(void *env,
						    void (*hook)(void *),
						    void *argument);

/* process.dlopen() calls this: it arms the guard, once an isolate. */
void *napi_register_module_v1(void *env, void *exports)
{
	struct isolate *created;

	if (isolate || !napi_add_env_cleanup_hook)
		return exports;
	created = isolate_begin();
	if (!created)
		return exports;
	if (napi_add_env_cleanup_hook(env, isolate_end, created)) {
		free(created);
		return exports;
	}
	isolate = created;
	return exports;
}

/* guard.c, compiled: ffi/build.ts says where it is. */
__asm__(".section .rodata\n"
	"guard_image: .incbin \"" KIO_GUARD_IMAGE "\"\n"
	"guard_image_end:\n"
	".previous\n");
/* Hidden: linkers for aarch64 take one entry of the GOT for both. */
extern const char guard_image[] __attribute__((visibility("hidden")));
extern const char guard_image_end[] __attribute__((visibility("hidden")));

/* A copy of the guard for this isolate, as an fd to be opened and closed. */
int kio_guard_file(void)
{
	size_t size = (size_t)(guard_image_end - guard_image);
	int fd = memfd_create("kio_guard", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (write(fd, guard_image, size) != (ssize_t)size) {
		close(fd);
		return -ENOMEM;
	}
	return fd;
}

/* Gives the argument that arms the guard. */
void *kio_guarded(void)
{
	if (!isolate)
		isolate = isolate_begin();
	return isolate;
}

/* ---- memory that outlives what the kernel does with it ----------------- */

void *kio_memory_map(double size)
{
	struct mapping *mapping = malloc(sizeof(*mapping));

	if (!mapping)
		return NULL;
	mapping->size = (size_t)size;
	mapping->address = mmap(NULL, mapping->size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mapping->address == MAP_FAILED) {
		free(mapping);
		return NULL;
	}
	mapping->next = isolate->mappings;
	isolate->mappings = mapping;
	return mapping->address;
}

void kio_memory_unmap(const void *address)
{
	struct mapping **at = &isolate->mappings;
	struct mapping *mapping;

	while ((*at)->address != address)
		at = &(*at)->next;
	mapping = *at;
	*at = mapping->next;
	munmap(mapping->address, mapping->size);
	free(mapping);
}
