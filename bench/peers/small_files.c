/*
 * small_files FOLDER FILES DEPTH SECONDS
 *
 * Reads small files whole, again and again: open, fstat, read, close. With a
 * DEPTH of 0 by system calls, one file after the other; else with liburing and
 * as many files in flight, each by a chain of open, read and close in a place of
 * its own of the registered files.
 */
#define _GNU_SOURCE
#include "common.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEPTH_MAX 256
#define SIZE_MAX_FILE 16384
#define PATH_BYTES 256

struct slot {
	uint32_t file;
	unsigned left;
	int length;
	char path[PATH_BYTES];
	char buffer[SIZE_MAX_FILE];
};

static struct io_uring ring;
static struct slot slots[DEPTH_MAX];
static const char *folder;
static uint32_t files, next_file;

static void name(struct slot *slot)
{
	slot->file = next_file++ % files;
	snprintf(slot->path, sizeof(slot->path), "%s/%u", folder, slot->file);
}

/* Each file begins with its number, and has as many bytes as that says. */
static void check_file(const struct slot *slot)
{
	uint32_t number;

	memcpy(&number, slot->buffer, sizeof(number));
	if (number != slot->file ||
	    slot->length != (int)(512 + number % 64 * 128))
		die("Cannot trust the read: another file came");
}

static void read_plain(struct slot *slot)
{
	struct stat stat;
	int fd = check_libc(open(slot->path, O_RDONLY | O_CLOEXEC), slot->path);

	check_libc(fstat(fd, &stat), "fstat");
	slot->length = check_libc((int)read(fd, slot->buffer,
					    (size_t)stat.st_size + 1),
				  "read");
	close(fd);
}

static void queue_file(unsigned index)
{
	struct slot *slot = &slots[index];
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	name(slot);
	slot->left = 3;
	io_uring_prep_openat_direct(sqe, AT_FDCWD, slot->path, O_RDONLY, 0,
				    index);
	sqe->flags |= IOSQE_IO_LINK;
	sqe->user_data = index * 4;
	sqe = ring_sqe(&ring);
	io_uring_prep_read(sqe, (int)index, slot->buffer, SIZE_MAX_FILE, 0);
	/* a short read must not end the chain */
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_IO_HARDLINK;
	sqe->user_data = index * 4 + 1;
	sqe = ring_sqe(&ring);
	io_uring_prep_close_direct(sqe, index);
	sqe->user_data = index * 4 + 2;
}

static unsigned reap(void)
{
	struct io_uring_cqe *cqe;
	unsigned head, count = 0, ended = 0;
	static unsigned again[DEPTH_MAX];
	int result = io_uring_submit_and_wait(&ring, 1);

	if (result != -EINTR)
		check(result, "wait for completions");
	io_uring_for_each_cqe(&ring, head, cqe)
	{
		struct slot *slot = &slots[cqe->user_data / 4];

		count++;
		check(cqe->res, slot->path);
		if (cqe->user_data % 4 == 1)
			slot->length = cqe->res;
		if (--slot->left > 0)
			continue;
		check_file(slot);
		again[ended++] = (unsigned)(cqe->user_data / 4);
	}
	io_uring_cq_advance(&ring, count);
	for (unsigned i = 0; i < ended; i++)
		queue_file(again[i]);
	return ended;
}

int main(int argc, char **argv)
{
	struct window window;

	if (argc != 5)
		die("Usage: small_files FOLDER FILES DEPTH SECONDS");
	folder = argv[1];
	files = (uint32_t)number_argument(argv[2], "FILES");
	unsigned depth = (unsigned)number_argument(argv[3], "DEPTH");
	if (depth > DEPTH_MAX || files < 1)
		die("Cannot read: DEPTH must be 0 to %d", DEPTH_MAX);
	window_init(&window, number_argument(argv[4], "SECONDS"));
	if (depth == 0) {
		do {
			name(&slots[0]);
			read_plain(&slots[0]);
			check_file(&slots[0]);
		} while (window_tick(&window, 1));
	} else {
		ring_init(&ring, DEPTH_MAX * 4, DEPTH_MAX * 8);
		check(io_uring_register_files_sparse(&ring, depth),
		      "register files");
		for (unsigned i = 0; i < depth; i++)
			queue_file(i);
		while (window_tick(&window, reap()))
			;
	}
	printf("{\"ops\":%llu,\"seconds\":%.6f}\n",
	       (unsigned long long)window.ops, window_seconds(&window));
	return 0;
}
