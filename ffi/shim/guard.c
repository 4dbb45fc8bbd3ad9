/*
 * guard.c - a library whose only purpose is to be closed. Deno closes it when
 * the isolate that opened it ends, in whatever way, and before it frees the
 * isolate's buffers. The loader unmaps a file only when no other isolate has it
 * open. So isolate.c carries it, and gives each worker a copy of its own.
 */
#include <stddef.h>

/* Points to the function to be called with it. */
static void (**isolate)(void *);

__attribute__((visibility("default"))) void kio_guard_arm(void *guarded)
{
	isolate = guarded;
}

__attribute__((destructor)) static void end(void)
{
	if (isolate)
		(*isolate)(isolate);
}
