/*
 * watch.c - the seams of the build with AddressSanitizer (-DKIO_ASAN), which
 * cannot see what the kernel writes. So the memory of each operation is
 * looked at when it is queued (a length beyond a buffer) and when it completes
 * (a buffer that was freed meanwhile, under the kernel).
 */
#include "../internal.h"

#include <sanitizer/asan_interface.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Memory that the kernel may touch. */
struct watch_region {
	void *start;
	size_t size;
};

/* What an operation in flight has of it. */
struct watched {
	uint8_t opcode;
	uint16_t group;
	int32_t fd;
	uint32_t count;
	struct watch_region regions[];
};

/* What operations of a context have in their hands, by slot. */
struct seam_watch {
	uint32_t count;
	struct watched *by_slot[];
};

/* Ends the process if some of the memory is not the program's. */
static void watch_check(struct kio *k, const struct watched *w,
			const char *when)
{
	for (uint32_t i = 0; i < w->count; i++) {
		const struct watch_region *region = &w->regions[i];
		void *bad = __asan_region_is_poisoned(region->start,
						      region->size);
		char message[200];

		if (!bad)
			continue;
		snprintf(message, sizeof(message),
			 "%s of fd %d, %s: of %zu bytes at %p those from "
			 "%p on are not the program's memory",
			 opcodes[w->opcode].name, w->fd, when, region->size,
			 region->start, bad);
		__asan_describe_address(bad);
		kio_abort(k, message);
	}
}

static struct watched *watch_add(struct watched *w, const void *start,
				 size_t size)
{
	if (!start || !size)
		return w;
	w = realloc(w, sizeof(*w) +
			       (w->count + 1) * sizeof(struct watch_region));
	w->regions[w->count++] = (struct watch_region){ (void *)start, size };
	return w;
}

/* The vectors and what they point to. */
static struct watched *watch_vectors(struct watched *w,
				     const struct iovec *vectors, size_t count)
{
	w = watch_add(w, vectors, count * sizeof(*vectors));
	for (size_t i = 0; i < count; i++)
		w = watch_add(w, vectors[i].iov_base, vectors[i].iov_len);
	return w;
}

static struct watched *watch_message(struct watched *w,
				     const struct msghdr *message)
{
	w = watch_add(w, message, sizeof(*message));
	w = watch_add(w, message->msg_name, message->msg_namelen);
	w = watch_add(w, message->msg_control, message->msg_controllen);
	return watch_vectors(w, message->msg_iov, message->msg_iovlen);
}

/* What a field of an SQE points to. */
static struct watched *watch_field(struct watched *w, uint64_t field,
				   uint16_t memory,
				   const struct io_uring_sqe *sqe)
{
	const void *start = (const void *)field;

	if (!start)
		return w;
	switch (memory) {
	case NUMBER:
		return w;
	case LEN_BYTES:
		return watch_add(w, start, sqe->len);
	case OFF_BYTES:
		return watch_add(w, start, sqe->off);
	case EXTRA_BYTES:
		return watch_add(w, start, sqe->file_index & 0xffff);
	case VECTORS:
		return watch_vectors(w, start, sqe->len);
	case MESSAGE:
		return watch_message(w, start);
	case PATH:
		return watch_add(w, start, strlen(start) + 1);
	default:
		return watch_add(w, start, memory - SIZED_MIN);
	}
}

/* What the kernel gets to see of the program's memory. */
static struct watched *watch_regions(struct watched *w,
				     const struct io_uring_sqe *sqe)
{
	const struct opcode *row = &opcodes[sqe->opcode];

	w = watch_field(w, sqe->addr, row->addr, sqe);
	w = watch_field(w, sqe->addr2, row->addr2, sqe);
	return watch_field(w, sqe->addr3, row->addr3, sqe);
}

void seam_watch(struct kio *k, const struct io_uring_sqe *sqe)
{
	struct seam_watch *watch = k->seam_watch;
	uint32_t slot = (uint32_t)sqe->user_data;
	uint32_t known = watch ? watch->count : 0;
	struct watched *w = calloc(1, sizeof(*w));

	if (slot >= known) {
		uint32_t count = (slot | 63) + 1;

		watch = realloc(watch, sizeof(*watch) + count * sizeof(w));
		memset(watch->by_slot + known, 0,
		       (count - known) * sizeof(w));
		watch->count = count;
		k->seam_watch = watch;
	}
	w->opcode = sqe->opcode;
	w->fd = sqe->fd;
	w->group = sqe->buf_group;
	w = watch_regions(w, sqe);
	watch_check(k, w, "when it is queued");
	free(watch->by_slot[slot]);
	watch->by_slot[slot] = w;
}

void seam_unwatch(struct kio *k, const struct io_uring_cqe *cqe)
{
	struct seam_watch *watch = k->seam_watch;
	uint32_t slot = (uint32_t)cqe->user_data;

	if (!watch || slot >= watch->count || !watch->by_slot[slot])
		return;
	watch_check(k, watch->by_slot[slot], "when it is complete");
	free(watch->by_slot[slot]);
	watch->by_slot[slot] = NULL;
}

void seam_unwatch_all(struct kio *k)
{
	struct seam_watch *watch = k->seam_watch;

	for (uint32_t slot = 0; watch && slot < watch->count; slot++)
		free(watch->by_slot[slot]);
	free(watch);
}

/* What a buffer has that the kernel is to fill. */
#define WATCH_FILLING 0xa5

void seam_buffer_give(const struct pool *pool, uint32_t id)
{
	memset(pool->memory + (size_t)id * pool->size, WATCH_FILLING,
	       pool->size);
}

/* Ends the process if a buffer has more than the kernel has written. */
void seam_buffer_take(struct kio *k, const struct io_uring_cqe *cqe)
{
	const struct watched *w =
		k->seam_watch->by_slot[(uint32_t)cqe->user_data];
	uint32_t id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	const struct pool *pool = k->pools;
	const uint8_t *buffer;
	char message[100];

	while (pool->group != w->group)
		pool = pool->next;
	buffer = (const uint8_t *)pool->memory + (size_t)id * pool->size;
	for (uint32_t at = cqe->res > 0 ? (uint32_t)cqe->res : 0;
	     at < pool->size; at++) {
		if (buffer[at] == WATCH_FILLING)
			continue;
		snprintf(message, sizeof(message),
			 "%s of fd %d: a foreign byte at %u of buffer %u",
			 opcodes[w->opcode].name, w->fd, at, id);
		kio_abort(k, message);
	}
}
