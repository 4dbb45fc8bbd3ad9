/*
 * keep PATH…
 *
 * Keeps files in the page cache until its input ends, by locking their pages: a
 * kernel that reclaims memory early drops them in the middle of a benchmark,
 * which then is one of the disk. Prints a line when it has them.
 */
#define _GNU_SOURCE
#include "common.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char byte;

	for (int i = 1; i < argc; i++) {
		struct stat stat;
		int file = open(argv[i], O_RDONLY);

		check_libc(file, "open the file");
		check_libc(fstat(file, &stat), "stat the file");
		void *pages = mmap(NULL, (size_t)stat.st_size, PROT_READ,
				   MAP_SHARED, file, 0);
		check_libc(pages == MAP_FAILED ? -1 : 0, "map the file");
		check_libc(mlock(pages, (size_t)stat.st_size),
			   "lock the file in memory (ulimit -l)");
	}
	puts("kept");
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}
