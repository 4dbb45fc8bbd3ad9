/*
 * fault_plan.h - the plan of faults: which operation falls under which rule.
 */
#pragma once

#include "../internal.h"

EXPORT void kio_fault_clear(void);

#pragma GCC visibility push(hidden)

enum fault_kind {
	FAULT_SHORT, /* value: bytes, 0 for any number */
	FAULT_ERROR, /* value: a negative errno */
	FAULT_DELAY, /* value: milliseconds, here and below */
	FAULT_REORDER,
	FAULT_BATCH,
};

/* Operations are named by their opcode; these are none. */
#define FAULT_OF_ENTER 256
#define FAULT_OF_ANY 257

#define FAULT_RULES_MAX 64
#define FAULT_RECORDS_MAX 65536

struct fault_rule {
	uint32_t operation;
	int32_t fd;
	double probability;
	uint32_t nth; /* of the operations that match; 0: all */
	uint32_t times; /* at most; 0: always */
	enum fault_kind kind;
	int32_t value;
	uint32_t seen, injected;
};

struct fault_record {
	int32_t operation, fd, kind, value;
};

/* A plan is installed. */
bool fault_is_planned(void);
/*
 * The first rule that an operation falls under this time. Each rule counts, and
 * draws its lot, whatever the others do: what it does is independent of them.
 */
struct fault_rule *fault_pick(uint32_t operation, int fd, int other_fd);
/* Notes that a rule was applied. */
void fault_inject(struct fault_rule *rule, uint32_t operation, int fd,
		  int32_t value);
/* A random number from 0 to 1, without 1. */
double fault_fraction(void);

#pragma GCC visibility pop
