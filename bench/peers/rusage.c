/*
 * rusage PROGRAM ARGUMENTS...
 *
 * Runs a program. When it has ended, prints its CPU time from exec to exit, all
 * threads, as a line of JSON behind the program's own output.
 */
#define _GNU_SOURCE
#include "common.h"
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static double microseconds(struct timeval time)
{
	return (double)time.tv_sec * 1e6 + (double)time.tv_usec;
}

int main(int argc, char **argv)
{
	struct rusage usage;
	int status;

	if (argc < 2)
		die("Usage: rusage PROGRAM ARGUMENTS...");
	pid_t pid = check_libc(fork(), "fork");
	if (pid == 0) {
		/* Whoever stops the measurement stops the program as well. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execvp(argv[1], argv + 1);
		die("Cannot run %s: %s", argv[1], strerror(errno));
	}
	check_libc(wait4(pid, &status, 0, &usage), "wait for the program");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		die("Cannot measure %s: it failed", argv[1]);
	printf("{\"userUs\":%.0f,\"systemUs\":%.0f}\n",
	       microseconds(usage.ru_utime), microseconds(usage.ru_stime));
	return 0;
}
