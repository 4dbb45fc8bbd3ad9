/*
 * trials_test.c - tests of the trials of features, on this kernel and on worse
 * ones.
 */
#include "harness.h"
#include "masks.h"

#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>

TEST(trials_believe_a_kernel_that_works)
{
	int fds = count_fds(), accept, wake;

	for (int again = 0; again < 2; again++) {
		CHECK(kio_trial(KIO_TRIAL_BUFFERS) ==
		      !(mask_hides[MASK_BUFFER_RING] ||
			mask_hides[MASK_DEFER_TASKRUN]));
		CHECK(kio_trial(KIO_TRIAL_RECEIVE) ==
		      !(mask_hides[MASK_RECV_MULTISHOT] ||
			mask_hides[MASK_BUFFER_RING] ||
			mask_hides[MASK_DEFER_TASKRUN]));
		/* both are faults of some kernels */
		accept = kio_trial(KIO_TRIAL_ACCEPT);
		CHECK(accept == 0 || (accept == 1 &&
				      !mask_hides[MASK_ACCEPT_MULTISHOT] &&
				      !mask_hides[MASK_DEFER_TASKRUN]));
		wake = kio_trial(KIO_TRIAL_WAKE);
		CHECK(wake == 0 || (wake == 1 && !mask_hides[MASK_WAKES] &&
				    !mask_hides[MASK_DEFER_TASKRUN]));
		CHECK(count_fds() == fds);
	}
}

TEST(trial_of_receives_sees_an_end_that_is_lost)
{
	int fds = count_fds();

	mask_hide("RECV_MULTISHOT");
	CHECK(kio_trial(KIO_TRIAL_RECEIVE) == 0);
	CHECK(count_fds() == fds);
}

TEST(trial_of_wakes_sees_a_signal_that_is_late)
{
	int fds = count_fds();

	mask_hide("WAKES");
	CHECK(kio_trial(KIO_TRIAL_WAKE) == 0);
	CHECK(count_fds() == fds);
}

TEST(trial_of_receives_needs_buffers)
{
	mask_hide("BUFFER_RING");
	CHECK(kio_trial(KIO_TRIAL_BUFFERS) == 0);
	CHECK(kio_trial(KIO_TRIAL_RECEIVE) == 0);
}

/* The number that such a kernel gives may be the fd of another file. */
TEST(trial_of_accepts_closes_its_own_fds_only)
{
	int number = POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND;
	int fds;

	mask_hide("ACCEPT_MULTISHOT");
	CHECK(dup2(temporary_file(), number) == number);
	fds = count_fds();
	CHECK(kio_trial(KIO_TRIAL_ACCEPT) == 0);
	CHECK(fcntl(number, F_GETFD) >= 0);
	CHECK(count_fds() == fds);
}

TEST(trials_without_defer_taskrun_trust_nothing)
{
	mask_hide("DEFER_TASKRUN");
	CHECK(kio_trial(KIO_TRIAL_BUFFERS) == 0);
	CHECK(kio_trial(KIO_TRIAL_RECEIVE) == 0);
	CHECK(kio_trial(KIO_TRIAL_ACCEPT) == 0);
}

/* A lack of fds says nothing of the kernel: it is tried again. */
TEST(trials_that_lack_fds_are_repeated)
{
	struct rlimit limit, none;
	int last = open("/dev/null", O_RDONLY | O_CLOEXEC);

	CHECK(last >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
	none = limit;
	/* without DEFER_TASKRUN they end before they need more */
	for (int room = 0; room < (mask_hides[MASK_DEFER_TASKRUN] ? 1 : 6);
	     room++) {
		none.rlim_cur = (rlim_t)(last + 1 + room);
		CHECK(setrlimit(RLIMIT_NOFILE, &none) == 0);
		CHECK(kio_trial(KIO_TRIAL_ACCEPT) == -EMFILE);
		if (room < 2)
			CHECK(kio_trial(KIO_TRIAL_RECEIVE) == -EMFILE);
	}
	CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	CHECK(kio_trial(KIO_TRIAL_ACCEPT) >= 0);
	CHECK(kio_trial(KIO_TRIAL_RECEIVE) >= 0);
	close(last);
}

TEST(environment_has_the_kernel_and_no_more_than_fits)
{
	char text[512];

	CHECK(kio_environment(text, 8) == -E2BIG);
	CHECK(kio_environment(text, sizeof(text)) == (int)strlen(text));
	CHECK(strchr(text, '\n') != strrchr(text, '\n'));
}
