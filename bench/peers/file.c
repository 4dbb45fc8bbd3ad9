/*
 * file PATH BLOCKS DEPTH SECONDS [WAY]
 *
 * Reads random 4 KiB blocks with DEPTH of them in flight, each into its own
 * buffer. Checks that each block is the requested one. Plain liburing, one
 * io_uring_enter for each batch. WAY is "direct" for O_DIRECT, and "registered"
 * for O_DIRECT into registered memory.
 */
#define _GNU_SOURCE
#include "common.h"
#include <fcntl.h>

#define BLOCK_BYTES 4096
#define DEPTH_MAX 1024

struct slot {
	uint32_t block;
	char *buffer;
};

static struct io_uring ring;
static struct slot slots[DEPTH_MAX];
static bool is_registered;
static uint32_t random_state = 1;

static void queue_read(unsigned index, int fd, uint32_t block_count)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);
	struct slot *slot = &slots[index];
	uint64_t offset;

	slot->block = random_next(&random_state) % block_count;
	offset = (uint64_t)slot->block * BLOCK_BYTES;
	if (is_registered)
		io_uring_prep_read_fixed(sqe, fd, slot->buffer, BLOCK_BYTES,
					 offset, 0);
	else
		io_uring_prep_read(sqe, fd, slot->buffer, BLOCK_BYTES, offset);
	sqe->user_data = index;
}

static void check_read(const struct io_uring_cqe *cqe)
{
	const struct slot *slot = &slots[cqe->user_data];

	if (check(cqe->res, "read") != BLOCK_BYTES)
		die("Cannot read a whole block: got %d bytes", cqe->res);
	/* Each block of the file begins with its own number. */
	if (memcmp(slot->buffer, &slot->block, sizeof(slot->block)) != 0)
		die("Cannot trust the read: another block came");
}

/* The buffers of all slots, which are one place of registered memory. */
static char *buffers_make(unsigned depth)
{
	struct iovec memory = { .iov_len = (size_t)depth * BLOCK_BYTES };

	memory.iov_base = allocate(memory.iov_len);
	if (is_registered)
		check(io_uring_register_buffers(&ring, &memory, 1),
		      "register memory");
	return memory.iov_base;
}

int main(int argc, char **argv)
{
	struct window window;

	if (argc != 5 && argc != 6)
		die("Usage: file PATH BLOCKS DEPTH SECONDS [WAY]");
	const char *way = argc == 6 ? argv[5] : "plain";
	is_registered = strcmp(way, "registered") == 0;
	bool is_direct = is_registered || strcmp(way, "direct") == 0;
	if (!is_direct && strcmp(way, "plain") != 0)
		die("Cannot read: WAY is plain, direct or registered");
	unsigned depth = (unsigned)number_argument(argv[3], "DEPTH");
	if (depth < 1 || depth > DEPTH_MAX)
		die("Cannot read: DEPTH must be 1 to %d", DEPTH_MAX);
	uint32_t block_count = (uint32_t)number_argument(argv[2], "BLOCKS");
	if (block_count < 1)
		die("Cannot read: BLOCKS must be at least 1");
	int flags = O_RDONLY | O_CLOEXEC | (is_direct ? O_DIRECT : 0);
	int fd = check_libc(open(argv[1], flags), argv[1]);

	ring_init(&ring, DEPTH_MAX, DEPTH_MAX * 2);
	char *buffers = buffers_make(depth);
	for (unsigned i = 0; i < depth; i++) {
		slots[i].buffer = buffers + (size_t)i * BLOCK_BYTES;
		queue_read(i, fd, block_count);
	}

	unsigned count = 0;
	window_init(&window, number_argument(argv[4], "SECONDS"));
	do {
		struct io_uring_cqe *cqe;
		unsigned head;
		int result = io_uring_submit_and_wait(&ring, 1);

		if (result != -EINTR)
			check(result, "wait for completions");
		count = 0;
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			count++;
			check_read(cqe);
			queue_read((unsigned)cqe->user_data, fd, block_count);
		}
		io_uring_cq_advance(&ring, count);
	} while (window_tick(&window, count));

	printf("{\"ops\":%llu,\"seconds\":%.6f}\n",
	       (unsigned long long)window.ops, window_seconds(&window));
	return 0;
}
