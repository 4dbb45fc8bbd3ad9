/*
 * pool.c - pools of buffers that the kernel picks from: rings of provided
 * buffers (Linux 5.19). JavaScript has the memory of a pool, and writes the ids
 * of buffers that it gives back into shared memory. The next step publishes
 * them, so giving back needs no call.
 */
#include "internal.h"

#include <stdlib.h>
#include <sys/mman.h>

void pool_add(struct pool *pool, uint32_t id)
{
	struct io_uring_buf *buf = &pool->ring->bufs[pool->tail++ & pool->mask];

	/* not the whole of it: the tail of the ring is in the first one */
	buf->addr = (uintptr_t)(pool->memory + (size_t)id * pool->size);
	buf->len = pool->size;
	buf->bid = (uint16_t)id;
	seam_buffer_give(pool, id);
}

void pool_publish(struct pool *pool)
{
	io_uring_smp_store_release(&pool->ring->tail, pool->tail);
}

void pools_publish(struct kio *k)
{
	for (struct pool *pool = k->pools; pool; pool = pool->next) {
		int32_t count = pool->returned[0];

		if (!count)
			continue;
		for (int32_t i = 1; i <= count; i++)
			pool_add(pool, (uint32_t)pool->returned[i]);
		pool->returned[0] = 0;
		pool_publish(pool);
	}
}

static void pool_free(struct pool *pool)
{
	munmap(pool->ring, pool->ring_size);
	free(pool);
}

/*
 * Linux 6.1 keeps what it knows of the groups below, also of those that were
 * closed: the next ring of that number would begin in the middle.
 */
#define GROUP_MIN 64

/* Gives the first number that no pool of the context has. */
static uint16_t group_free(const struct kio *k)
{
	const struct pool *pool = k->pools;
	uint16_t group = GROUP_MIN;

	while (pool) {
		bool taken = pool->group == group;

		group += taken;
		pool = taken ? k->pools : pool->next;
	}
	return group;
}

/*
 * Registers `count` buffers of `size` bytes, which `memory` has one after the
 * other; 1 to 32768. `returned` has room for as many ids and their number.
 * Returns the number of the buffer group. The memory stays where it is until
 * kio_pool_close() or the end of the context.
 */
int kio_pool_open(struct kio *k, void *memory, uint32_t count, uint32_t size,
		  int32_t *returned)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	struct io_uring_buf_reg registration = { .ring_entries = 1 };
	int ret = -ENOMEM;

	if (!pool)
		return ret;
	while (registration.ring_entries < count)
		registration.ring_entries *= 2;
	pool->memory = memory;
	pool->returned = returned;
	pool->size = size;
	pool->mask = registration.ring_entries - 1;
	pool->group = registration.bgid = group_free(k);
	pool->ring_size = registration.ring_entries *
			  sizeof(struct io_uring_buf);
	pool->ring = mmap(NULL, pool->ring_size, PROT_READ | PROT_WRITE,
			  MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	if (pool->ring != MAP_FAILED) {
		registration.ring_addr = (uintptr_t)pool->ring;
		ret = seam_register_buffers(&k->ring, &registration);
		if (ret)
			munmap(pool->ring, pool->ring_size);
	}
	if (ret) {
		free(pool);
		return ret;
	}
	for (uint32_t id = 0; id < count; id++)
		pool_add(pool, id);
	pool_publish(pool);
	pool->next = k->pools;
	k->pools = pool;
	return pool->group;
}

/* Takes a buffer group from the kernel. No receive may use it any more. */
void kio_pool_close(struct kio *k, uint32_t group)
{
	struct pool **at = &k->pools, *pool;

	while ((*at)->group != group)
		at = &(*at)->next;
	pool = *at;
	*at = pool->next;
	io_uring_unregister_buf_ring(&k->ring, (int)group);
	pool_free(pool);
}

void pools_free(struct kio *k)
{
	for (struct pool *next; k->pools; k->pools = next) {
		next = k->pools->next;
		pool_free(k->pools);
	}
}
