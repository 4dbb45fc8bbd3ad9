/* masks.h - what tests in C use of masks.c. */
#pragma once

#include "../internal.h"

#define MASKS(EACH)              \
	EACH(DEFER_TASKRUN)      \
	EACH(WAKES)              \
	EACH(SUBMIT_ALL)         \
	EACH(NO_IOWAIT)          \
	EACH(SYNC_MSG_RING)      \
	EACH(FTRUNCATE)          \
	EACH(REGISTERED_RING)    \
	EACH(SEND_ZC)            \
	EACH(BUFFER_RING)        \
	EACH(RECV_MULTISHOT)     \
	EACH(ACCEPT_MULTISHOT)   \
	EACH(IOWQ_MAX_WORKERS)

#define MASK_NUMBER(NAME) MASK_##NAME,
enum mask { MASKS(MASK_NUMBER) MASKS_COUNT };

/* Whether it is hidden. */
extern bool mask_hides[MASKS_COUNT];
/* Hides more, separated by commas. */
void mask_hide(const char *names);
