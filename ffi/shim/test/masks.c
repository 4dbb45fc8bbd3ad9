/*
 * masks.c - the seams that hide what the kernel has, in builds for tests
 * (-DKIO_MASKS), so that what is done without it runs. KIO_MASK in the
 * environment says what is hidden, separated by commas.
 *
 * They answer as a kernel does that has never heard of it: also to who uses it
 * without having asked. What was hidden, and how often that was met, is told
 * when the process ends.
 */
#include "masks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MASK_NAME(NAME) #NAME,
static const char *const mask_names[] = { MASKS(MASK_NAME) };

bool mask_hides[MASKS_COUNT];
static atomic_uint mask_met[MASKS_COUNT];

/* Whether it is hidden, to be asked when it would be used. */
static bool masked(enum mask mask)
{
	if (mask_hides[mask])
		mask_met[mask]++;
	return mask_hides[mask];
}

static void mask_tell(void)
{
	for (uint32_t i = 0; i < MASKS_COUNT; i++)
		if (mask_hides[i])
			fprintf(stderr, "kio: %s hidden %u times\n",
				mask_names[i], mask_met[i]);
}

void mask_hide(const char *names)
{
	for (size_t length; *names; names += length + !!names[length]) {
		uint32_t i = 0;

		length = strcspn(names, ",");
		while (i < MASKS_COUNT &&
		       (strlen(mask_names[i]) != length ||
			strncmp(mask_names[i], names, length) != 0))
			i++;
		if (i == MASKS_COUNT) {
			fprintf(stderr, "kio: KIO_MASK: no mask %s\n", names);
			abort();
		}
		mask_hides[i] = true;
	}
}

__attribute__((constructor)) static void mask_read(void)
{
	const char *names = getenv("KIO_MASK");

	if (!names)
		return;
	mask_hide(names);
	atexit(mask_tell);
}

/* ---- what asks the kernel ---------------------------------------------- */

/* A number that no kernel has. */
#define UNKNOWN 255

uint8_t seam_opcode(uint8_t opcode)
{
	bool is_zero_copy = opcode == IORING_OP_SEND_ZC ||
			    opcode == IORING_OP_SENDMSG_ZC;

	return (is_zero_copy && masked(MASK_SEND_ZC)) ||
			       (opcode > IORING_OP_SENDMSG_ZC &&
				masked(MASK_FTRUNCATE)) ?
		       UNKNOWN :
		       opcode;
}

int seam_ring_init(unsigned entries, struct io_uring *ring,
		   struct io_uring_params *params)
{
	int ret;

	if ((params->flags & IORING_SETUP_DEFER_TASKRUN &&
	     masked(MASK_DEFER_TASKRUN)) ||
	    (params->flags & IORING_SETUP_SUBMIT_ALL &&
	     masked(MASK_SUBMIT_ALL)))
		return -EINVAL;
	ret = io_uring_queue_init_params(entries, ring, params);
	if (!ret && masked(MASK_NO_IOWAIT))
		ring->features = params->features &= ~KIO_FEAT_NO_IOWAIT;
	return ret;
}

struct io_uring_probe *seam_probe(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);

	if (probe && masked(MASK_SEND_ZC))
		probe->ops[IORING_OP_SEND_ZC].flags =
			probe->ops[IORING_OP_SENDMSG_ZC].flags = 0;
	if (!probe || !masked(MASK_FTRUNCATE))
		return probe;
	/* and whatever else is newer than Linux 6.1 */
	while (probe->last_op > IORING_OP_SENDMSG_ZC)
		probe->ops[probe->last_op--].flags = 0;
	return probe;
}

int seam_register_ring_fd(struct io_uring *ring)
{
	return masked(MASK_REGISTERED_RING) ? -EINVAL :
					      io_uring_register_ring_fd(ring);
}

int seam_register_workers(struct io_uring *ring, unsigned *workers)
{
	return masked(MASK_IOWQ_MAX_WORKERS) ?
		       -EINVAL :
		       io_uring_register_iowq_max_workers(ring, workers);
}

int seam_register_message(struct io_uring_sqe *message)
{
	return (int)syscall(__NR_io_uring_register, -1,
			    masked(MASK_SYNC_MSG_RING) ?
				    UNKNOWN :
				    KIO_REGISTER_SEND_MSG_RING,
			    message, 1);
}

int seam_command(int result)
{
	return masked(MASK_FTRUNCATE) ? -EOPNOTSUPP : result;
}

int seam_register_buffers(struct io_uring *ring, struct io_uring_buf_reg *reg)
{
	return masked(MASK_BUFFER_RING) ?
		       -EINVAL :
		       io_uring_register_buf_ring(ring, reg, 0);
}

/* A kernel that forgets the end of a connection. */
int seam_received(int result)
{
	return result == 0 && masked(MASK_RECV_MULTISHOT) ? -ETIME : result;
}

/* A kernel that loses the fd of a connection, and gives a set of poll events. */
int seam_accepted(int result)
{
	if (result < 0 || !masked(MASK_ACCEPT_MULTISHOT))
		return result;
	close(result);
	return POLLIN | POLLPRI | POLLRDNORM | POLLRDBAND;
}

bool seam_wakes(bool works)
{
	return works && !masked(MASK_WAKES);
}
