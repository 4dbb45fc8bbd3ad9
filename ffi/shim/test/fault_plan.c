/*
 * fault_plan.c - the plan of faults of a thread, in builds for tests
 * (-DKIO_FAULTS). With the same seed and the same order of operations it does
 * the same again.
 */
#include "fault_plan.h"

#include <stdlib.h>
#include <string.h>

static __thread struct {
	struct fault_rule rules[FAULT_RULES_MAX];
	uint32_t rule_count;
	uint64_t random;
	struct fault_record *records;
	uint32_t record_count;
} fault_plan;

EXPORT void kio_fault_clear(void)
{
	free(fault_plan.records);
	memset(&fault_plan, 0, sizeof(fault_plan));
}

EXPORT int kio_fault_install(double seed)
{
	kio_fault_clear();
	fault_plan.random = (uint64_t)seed;
	fault_plan.records = calloc(FAULT_RECORDS_MAX,
				    sizeof(*fault_plan.records));
	return fault_plan.records ? 0 : -ENOMEM;
}

bool fault_is_planned(void)
{
	return fault_plan.records;
}

EXPORT int kio_fault_rule(uint32_t operation, int fd, double probability,
			  uint32_t nth, uint32_t times, uint32_t kind,
			  int value)
{
	if (fault_plan.rule_count == FAULT_RULES_MAX)
		return -ENOSPC;
	if (kind == FAULT_SHORT && operation <= UINT8_MAX &&
	    opcodes[operation].cut == CUT_NEVER)
		return -EINVAL;
	fault_plan.rules[fault_plan.rule_count++] = (struct fault_rule){
		.operation = operation,
		.fd = fd,
		.probability = probability,
		.nth = nth,
		.times = times,
		.kind = kind,
		.value = value,
	};
	return 0;
}

/* How many faults there were. */
EXPORT uint32_t kio_fault_count(void)
{
	return fault_plan.record_count;
}

/* The first of them, up to `capacity`, four int32 each; returns their number. */
EXPORT uint32_t kio_fault_records(int32_t *out, uint32_t capacity)
{
	uint32_t count = fault_plan.record_count;

	count = count < FAULT_RECORDS_MAX ? count : FAULT_RECORDS_MAX;
	count = count < capacity ? count : capacity;
	if (count)
		memcpy(out, fault_plan.records,
		       count * sizeof(*fault_plan.records));
	return count;
}

/* splitmix64 */
static uint64_t fault_random(void)
{
	uint64_t z = fault_plan.random += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

double fault_fraction(void)
{
	return (double)(fault_random() >> 11) * 0x1p-53;
}

struct fault_rule *fault_pick(uint32_t operation, int fd, int other_fd)
{
	struct fault_rule *picked = NULL;

	for (uint32_t i = 0; i < fault_plan.rule_count; i++) {
		struct fault_rule *rule = &fault_plan.rules[i];

		if (rule->operation != operation &&
		    (rule->operation != FAULT_OF_ANY ||
		     operation == FAULT_OF_ENTER))
			continue;
		if (rule->fd >= 0 && rule->fd != fd && rule->fd != other_fd)
			continue;
		if ((rule->nth && ++rule->seen != rule->nth) ||
		    (rule->times && rule->injected == rule->times) ||
		    fault_fraction() >= rule->probability)
			continue;
		if (!picked)
			picked = rule;
	}
	return picked;
}

void fault_inject(struct fault_rule *rule, uint32_t operation, int fd,
		  int32_t value)
{
	rule->injected++;
	if (fault_plan.record_count < FAULT_RECORDS_MAX)
		fault_plan.records[fault_plan.record_count] =
			(struct fault_record){ (int32_t)operation, fd,
					       (int32_t)rule->kind, value };
	fault_plan.record_count++;
}
