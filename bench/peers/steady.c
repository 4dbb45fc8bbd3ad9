/*
 * steady: prints the speed of the two cores right now, as one line of JSON.
 *
 * A virtual machine shares its cores with strangers, and its host moves it
 * between them. That changes every figure by up to a half, and looks like a
 * property of the program that ran at the time. Two short loops tell:
 *   slowestMs:  arithmetic on both cores at once; grows when another machine
 *               uses the same core, or when the two are one core's two threads
 *   distanceNs: a cache line sent from one core to the other and back; grows
 *               when they are in different parts of the processor
 */
#define _GNU_SOURCE
#include "common.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define ARITHMETIC_ROUNDS 40000000
#define EXCHANGES 100000

struct core {
	int number;
	double arithmetic_ms;
	double exchange_ns;
};

static pthread_barrier_t barrier;
static _Atomic unsigned ball;

static double arithmetic_ms(void)
{
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);
	unsigned long a = 1, b = 2, c = 3, d = 4;

	for (unsigned long i = 0; i < ARITHMETIC_ROUNDS; i++) {
		a += i;
		b ^= i;
		c += a;
		d ^= b;
		/* Independent additions that the compiler must not remove. */
		__asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c), "+r"(d));
	}
	return (double)(clock_ns(CLOCK_MONOTONIC) - start_ns) / 1e6;
}

static double exchange_ns(unsigned side)
{
	uint64_t start_ns = clock_ns(CLOCK_MONOTONIC);

	for (unsigned i = 0; i < EXCHANGES; i++) {
		while (atomic_load_explicit(&ball, memory_order_acquire) !=
		       2 * i + side)
			;
		atomic_store_explicit(&ball, 2 * i + side + 1,
				      memory_order_release);
	}
	return (double)(clock_ns(CLOCK_MONOTONIC) - start_ns) / EXCHANGES;
}

static void *probe(void *argument)
{
	struct core *core = argument;
	cpu_set_t cores;

	CPU_ZERO(&cores);
	CPU_SET(core->number, &cores);
	if (pthread_setaffinity_np(pthread_self(), sizeof(cores), &cores) != 0)
		die("Cannot use core %d", core->number);
	pthread_barrier_wait(&barrier);
	core->arithmetic_ms = arithmetic_ms();
	pthread_barrier_wait(&barrier);
	core->exchange_ns = exchange_ns((unsigned)core->number);
	return NULL;
}

int main(void)
{
	struct core cores[2] = { { .number = 0 }, { .number = 1 } };
	pthread_t thread;

	pthread_barrier_init(&barrier, NULL, 2);
	if (pthread_create(&thread, NULL, probe, &cores[1]) != 0)
		die("Cannot start a thread");
	probe(&cores[0]);
	pthread_join(thread, NULL);
	printf("{\"slowestMs\":%.3f,\"distanceNs\":%.1f}\n",
	       cores[0].arithmetic_ms > cores[1].arithmetic_ms ?
		       cores[0].arithmetic_ms :
		       cores[1].arithmetic_ms,
	       cores[0].exchange_ns);
	return 0;
}
