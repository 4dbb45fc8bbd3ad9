/*
 * sequential PATH SIZE DEPTH direct|cached SECONDS
 *
 * Reads a file from front to back, again and again, in blocks of SIZE bytes with
 * DEPTH of them in flight. Looks at one word of each block, in order.
 */
#define _GNU_SOURCE
#include "common.h"
#include <fcntl.h>
#include <sys/stat.h>

#define DEPTH_MAX 256
#define ALIGNMENT 4096
#define BLOCK_BYTES 4096 /* each begins with its own number */

struct slot {
	uint64_t block;
	char *buffer;
	int result;
	bool done;
};

static struct io_uring ring;
static struct slot slots[DEPTH_MAX];

static void queue_read(unsigned index, int fd, uint64_t block, size_t size)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);
	struct slot *slot = &slots[index];

	slot->block = block;
	slot->done = false;
	io_uring_prep_read(sqe, fd, slot->buffer, (unsigned)size, block * size);
	sqe->user_data = index;
}

static void reap(void)
{
	struct io_uring_cqe *cqe;
	unsigned head, count = 0;
	int result = io_uring_submit_and_wait(&ring, 1);

	if (result != -EINTR)
		check(result, "wait for completions");
	io_uring_for_each_cqe(&ring, head, cqe)
	{
		slots[cqe->user_data].result = check(cqe->res, "read");
		slots[cqe->user_data].done = true;
		count++;
	}
	io_uring_cq_advance(&ring, count);
}

int main(int argc, char **argv)
{
	struct window window;
	struct stat stat;

	if (argc != 6)
		die("Usage: sequential PATH SIZE DEPTH direct|cached SECONDS");
	size_t size = (size_t)number_argument(argv[2], "SIZE");
	unsigned depth = (unsigned)number_argument(argv[3], "DEPTH");
	bool direct = strcmp(argv[4], "direct") == 0;

	if (depth < 1 || depth > DEPTH_MAX)
		die("Cannot read: DEPTH must be 1 to %d", DEPTH_MAX);
	int fd = check_libc(open(argv[1], O_RDONLY | O_CLOEXEC |
						  (direct ? O_DIRECT : 0)),
			    argv[1]);
	check_libc(fstat(fd, &stat), "fstat");
	uint64_t blocks = (uint64_t)stat.st_size / size;

	ring_init(&ring, DEPTH_MAX, DEPTH_MAX * 2);
	for (unsigned i = 0; i < depth; i++) {
		slots[i].buffer = aligned_alloc(ALIGNMENT, size);
		if (slots[i].buffer == NULL)
			die("Cannot allocate buffers: out of memory");
	}
	window_init(&window, number_argument(argv[5], "SECONDS"));
	for (;;) {
		uint64_t ahead = 0, next = 0;

		while (ahead < depth && ahead < blocks) {
			queue_read((unsigned)(ahead % depth), fd, ahead, size);
			ahead++;
		}
		for (; next < blocks; next++) {
			struct slot *slot = &slots[next % depth];
			uint32_t number;

			while (!slot->done)
				reap();
			memcpy(&number, slot->buffer, sizeof(number));
			if (slot->result != (int)size ||
			    number != (uint32_t)(next * size / BLOCK_BYTES))
				die("Cannot trust the read: another block came");
			if (ahead < blocks) {
				queue_read((unsigned)(ahead % depth), fd,
					   ahead, size);
				ahead++;
			}
			if (!window_tick(&window, 1))
				goto over;
		}
	}
over:
	printf("{\"ops\":%llu,\"seconds\":%.6f}\n",
	       (unsigned long long)window.ops, window_seconds(&window));
	return 0;
}
