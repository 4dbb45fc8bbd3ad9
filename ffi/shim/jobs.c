/*
 * jobs.c - work that threads of the process do for contexts, as it blocks and
 * io_uring has no operation for it: see names.c and folders.c. An answer waits
 * in the shim until the thread of the context takes it. A job that is given up
 * while a thread has it goes away with its answer.
 */
#include "internal.h"

#include <signal.h>

pthread_mutex_t jobs_lock = PTHREAD_MUTEX_INITIALIZER;

void job_own(struct kio *k, struct job *job)
{
	job->owner = k;
	TAILQ_INSERT_TAIL(&k->jobs, job, of_owner);
}

void job_put(struct job *job, struct job_list *list)
{
	TAILQ_INSERT_TAIL(list, job, in_list);
	job->in = list;
}

void job_out(struct job *job)
{
	TAILQ_REMOVE(job->in, job, in_list);
	job->in = NULL;
}

struct job *job_next(struct job_list *waiting)
{
	struct job *job = TAILQ_FIRST(waiting);

	if (job) {
		job_out(job);
		job->running = true;
	}
	return job;
}

void job_answer(struct job *job)
{
	struct kio *k = job->owner;

	job->running = false;
	if (!k) {
		job->kind->end(job);
		return;
	}
	job_put(job, &k->answers[job->kind->number]);
	atomic_store(&k->answered, true);
	kio_wake_self(k);
}

struct job *job_take(struct kio *k, const struct job_kind *kind)
{
	struct job *job;

	pthread_mutex_lock(&jobs_lock);
	job = TAILQ_FIRST(&k->answers[kind->number]);
	if (job)
		job_out(job);
	pthread_mutex_unlock(&jobs_lock);
	return job;
}

void job_drop(struct job *job)
{
	TAILQ_REMOVE(&job->owner->jobs, job, of_owner);
	job->owner = NULL;
	if (job->in)
		job_out(job);
	if (job->running)
		atomic_store(&job->given_up, true);
	else
		job->kind->end(job);
}

bool job_thread(void *(*run)(void *), void *argument, size_t stack_size)
{
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;
	int ret;

	if (pthread_attr_init(&attributes))
		return false;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, stack_size);
	/* signals are the host's, for threads that know of them */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ret = pthread_create(&thread, &attributes, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return !ret;
}

/* Gives up all jobs of a context, before its eventfd is closed: from now on the
 * threads touch neither. */
void kio_jobs_end(struct kio *k)
{
	struct job *job;

	pthread_mutex_lock(&jobs_lock);
	while ((job = TAILQ_FIRST(&k->jobs)))
		job_drop(job);
	pthread_mutex_unlock(&jobs_lock);
}
