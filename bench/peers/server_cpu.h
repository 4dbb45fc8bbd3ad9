/* The CPU time another process has used so far, all of its threads. */
#ifndef KIO_BENCH_SERVER_CPU_H
#define KIO_BENCH_SERVER_CPU_H

#include "common.h"
#include <sys/types.h>

struct server_cpu {
	uint64_t total_ns;
	uint64_t user_ticks;
	uint64_t system_ticks;
};

/*
 * The process clock counts nanoseconds; /proc/PID/stat counts hundredths of a
 * second but knows user from system. The sum comes from the first and only
 * the division from the second.
 */
static inline struct server_cpu server_cpu_read(pid_t pid)
{
	struct server_cpu cpu;
	clockid_t clock;
	char path[64];
	char text[1024];
	unsigned long user, system;

	if (clock_getcpuclockid(pid, &clock) != 0)
		die("Cannot read the CPU time of process %d: it is gone",
		    (int)pid);
	cpu.total_ns = clock_ns(clock);

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *file = fopen(path, "r");
	if (file == NULL)
		die("Cannot open %s: %s", path, strerror(errno));
	size_t length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';

	/* The name in parentheses may hold anything: start behind its end. */
	const char *fields = strrchr(text, ')');
	if (fields == NULL ||
	    sscanf(fields,
		   ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		   &user, &system) != 2)
		die("Cannot read %s: unknown format", path);
	cpu.user_ticks = user;
	cpu.system_ticks = system;
	return cpu;
}

static inline double server_cpu_total_us(const struct server_cpu *from,
					 const struct server_cpu *to)
{
	return (double)(to->total_ns - from->total_ns) / NS_PER_US;
}

static inline double server_cpu_user_us(const struct server_cpu *from,
					const struct server_cpu *to)
{
	double user = (double)(to->user_ticks - from->user_ticks);
	double system = (double)(to->system_ticks - from->system_ticks);

	if (user + system == 0)
		return 0;
	return server_cpu_total_us(from, to) * user / (user + system);
}

#endif
