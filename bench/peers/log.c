/*
 * log DIRECTORY single|group SECONDS
 *
 * Appends records of 512 bytes to a preallocated file, durably.
 *   single: a write linked to an fdatasync, one enter for both, then the next
 *   group:  64 writes in one enter, and when all are done one fdatasync
 * An append goes to an explicit offset; at the end of the file it starts over.
 */
#define _GNU_SOURCE
#include "common.h"
#include <fcntl.h>
#include <unistd.h>

#define RECORD_BYTES 512
#define GROUP_RECORDS 64
#define FILE_BYTES (1ull << 30)

/* The writes of a group are tagged with their number, 0 to 63. */
#define TAG_SYNC GROUP_RECORDS

static struct io_uring ring;
static char records[GROUP_RECORDS][RECORD_BYTES];
static uint64_t offset;

static int open_log(const char *directory)
{
	int fd = check_libc(open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC,
				 0600),
			    "make a file in DIRECTORY");

	check_libc(fallocate(fd, 0, 0, FILE_BYTES), "allocate the file");
	check_libc(fsync(fd), "sync the new file");
	return fd;
}

static struct io_uring_sqe *queue_write(int fd, unsigned record)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	memset(records[record], (int)(offset / RECORD_BYTES) & 0xff, 8);
	io_uring_prep_write(sqe, fd, records[record], RECORD_BYTES, offset);
	sqe->user_data = record;
	offset = (offset + RECORD_BYTES) % FILE_BYTES;
	return sqe;
}

static void queue_sync(int fd)
{
	struct io_uring_sqe *sqe = ring_sqe(&ring);

	io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	sqe->user_data = TAG_SYNC;
}

static void wait_for(unsigned wanted)
{
	while (wanted > 0) {
		struct io_uring_cqe *cqe;
		unsigned head;
		unsigned count = 0;
		int result = io_uring_submit_and_wait(&ring, wanted);

		if (result != -EINTR)
			check(result, "wait for completions");
		io_uring_for_each_cqe(&ring, head, cqe)
		{
			count++;
			check(cqe->res, "append");
			if (cqe->user_data != TAG_SYNC &&
			    cqe->res != RECORD_BYTES)
				die("Cannot append a whole record: %d bytes",
				    cqe->res);
		}
		io_uring_cq_advance(&ring, count);
		wanted -= count;
	}
}

static unsigned append_single(int fd)
{
	queue_write(fd, 0)->flags |= IOSQE_IO_LINK;
	queue_sync(fd);
	wait_for(2);
	return 1;
}

static unsigned append_group(int fd)
{
	for (unsigned i = 0; i < GROUP_RECORDS; i++)
		queue_write(fd, i);
	wait_for(GROUP_RECORDS);
	queue_sync(fd);
	wait_for(1);
	return GROUP_RECORDS;
}

int main(int argc, char **argv)
{
	struct window window;
	unsigned (*append)(int fd);

	if (argc == 4 && strcmp(argv[2], "single") == 0)
		append = append_single;
	else if (argc == 4 && strcmp(argv[2], "group") == 0)
		append = append_group;
	else
		die("Usage: log DIRECTORY single|group SECONDS");

	int fd = open_log(argv[1]);
	ring_init(&ring, GROUP_RECORDS * 2, GROUP_RECORDS * 4);
	window_init(&window, number_argument(argv[3], "SECONDS"));
	while (window_tick(&window, append(fd)))
		;
	printf("{\"ops\":%llu,\"seconds\":%.6f}\n",
	       (unsigned long long)window.ops, window_seconds(&window));
	return 0;
}
