/*
 * harness.h - what the tests of the shim share. They are compiled with it, so
 * that they can look at what is inside: `deno task test:c`, which runs them
 * under the address and undefined behaviour sanitizers.
 */
#pragma once

#include "../internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct sockaddr_in;

/* How long a test may take, in seconds. */
#define TEST_SECONDS 60

struct test {
	const char *name;
	void (*run)(void);
	/* what the test dies by; 0: it returns */
	int signal;
	struct test *next;
};

void test_add(struct test *test);

/* A test, like the head of a function; the second dies by a signal. */
#define TEST(NAME) TEST_DYING(NAME, 0)
#define TEST_DYING(NAME, SIGNAL)                                         \
	static void test_##NAME(void);                                   \
	__attribute__((constructor)) static void add_##NAME(void)        \
	{                                                                \
		static struct test test = { #NAME, test_##NAME, SIGNAL,  \
					    NULL };                      \
                                                                         \
		test_add(&test);                                         \
	}                                                                \
	static void test_##NAME(void)

#define CHECK(CONDITION)                                          \
	do {                                                      \
		if (!(CONDITION)) {                               \
			fprintf(stderr, "%s:%d: expected %s\n",   \
				__FILE__, __LINE__, #CONDITION);  \
			exit(1);                                  \
		}                                                 \
	} while (0)

/* How a test ends that is ignored. */
#define TEST_IGNORED 77

/* Ignores a test of what a mask hides. */
#define NEEDS(NAME)                              \
	do {                                     \
		if (mask_hides[MASK_##NAME])     \
			exit(TEST_IGNORED);      \
	} while (0)

struct completion {
	uint64_t user_data;
	int32_t result;
};

#define COMPLETIONS_MAX 256

/* How many hooks Node-API has got, and what it says to the next one. */
extern int hooks_added, hook_status;
/* The hook. */
extern void (*cleanup_hook)(void *);

void guard_arm(void);
void guard_fire(void);
/* As the library asks for rings: see trials.c. */
bool defers(void);
struct kio *context_open(uint32_t entries);
/* As lib/ring/waker.ts does it: the eventfd is not the shim's to close. */
void context_close(struct kio *k);
/* Steps until `count` completions are in; none beyond them may come. */
void collect(struct kio *k, struct completion *completions, int count);
int32_t result_for(const struct completion *completions, int count,
		   uint64_t user_data);
/* The only completion that is to come. */
int32_t result_of_one(struct kio *k, uint64_t user_data);
int step_at_once(struct kio *k);
/* 0 from kio_arm() only means: step, and try again. */
void fall_asleep(struct kio *k, double deadline_ms);
/* Operations that more than one file of tests queues. */
int queue_fsync(struct kio *k, double id, int fd);
/* mode: 0, or IORING_POLL_ADD_MULTI for a completion with each change */
int queue_poll(struct kio *k, double id, int fd, uint32_t events,
	       uint32_t mode);
/* The operation 1: a receive that is submitted, and waits. It fills `byte`;
 * fds[1] is the side to write to. */
void receive_later(struct kio *k, int32_t fds[2], char *byte);
int count_fds(void);
bool is_readable(int fd);
int bytes_in(int fd);
int temporary_file(void);
int listener_open(struct sockaddr_in *address);
