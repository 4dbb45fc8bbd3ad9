/*
 * waiters.h - the events that operations wait for, by their slot. It is the
 * part of waiters.c that runs for each operation, when it is queued and when it
 * is complete.
 */
#pragma once

/* The event that an operation waits for, and its file; by its slot. */
struct waiter {
	uint64_t id;
	int32_t fd;
	uint32_t events;
	bool pending;
	/* to be looked at before the thread sleeps */
	bool fresh;
	/* the second ring polls its fd */
	bool polled;
};

/* See waiters_poll(). */
struct waiters {
	struct io_uring ring;
	bool open;
	/* there was no memory for a waiter */
	bool blind;
	struct waiter *by_slot;
	uint32_t slots;
	/* slots, with room for all of them */
	uint32_t *fresh;
	uint32_t fresh_count;
	/* duplicates of the registered files that are anonymous, by place; -1 */
	int32_t *registered;
	uint32_t registered_count;
};

/* In waiters.c. */
bool waiters_grow(struct waiters *waiters, uint32_t slot);
void waiter_unpoll(struct waiters *waiters, uint64_t id);

/* Gives the event that an operation waits for; 0 if it does not wait by a poll,
 * or only on a socket, which is no eventfd. */
static inline uint32_t waits_for(const struct io_uring_sqe *sqe)
{
	uint16_t waits = opcodes[sqe->opcode].waits;

	return waits == AS_FLAGS_SAY ? sqe->poll32_events : waits;
}

/* Notes an operation that may wait. Most are complete before the thread sleeps,
 * so their fd is looked at only then. */
static inline void waiter_begin(struct waiters *waiters,
				const struct io_uring_sqe *sqe)
{
	uint32_t events = waits_for(sqe), slot = (uint32_t)sqe->user_data;
	struct waiter *waiter;
	int32_t fd = sqe->fd;

	if (!events)
		return;
	if (sqe->flags & IOSQE_FIXED_FILE) {
		if ((uint32_t)fd >= waiters->registered_count)
			return;
		fd = waiters->registered[fd];
	}
	if (slot >= waiters->slots && !waiters_grow(waiters, slot)) {
		waiters->blind = true;
		return;
	}
	waiter = &waiters->by_slot[slot];
	if (!waiter->fresh)
		waiters->fresh[waiters->fresh_count++] = slot;
	*waiter = (struct waiter){ .id = sqe->user_data,
				   .fd = fd,
				   .events = events,
				   .pending = true,
				   .fresh = true };
}

/* Gives the waiter of an operation; NULL if it has none. */
static inline struct waiter *waiter_of(struct waiters *waiters, uint64_t id)
{
	struct waiter *waiter;

	if ((uint32_t)id >= waiters->slots)
		return NULL;
	waiter = &waiters->by_slot[(uint32_t)id];
	return waiter->pending && waiter->id == id ? waiter : NULL;
}

/* Ends the waiter of an operation: the second ring lets go of its file. */
static inline void waiter_end(struct waiters *waiters, uint64_t id)
{
	struct waiter *waiter = waiter_of(waiters, id);

	if (!waiter)
		return;
	waiter->pending = false;
	if (waiter->polled)
		waiter_unpoll(waiters, id);
}
