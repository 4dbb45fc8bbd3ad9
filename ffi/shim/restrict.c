/*
 * restrict.c - a ring that the kernel keeps to some operations, for good. The
 * ring is opened disabled, is restricted, and is enabled then.
 */
#include "internal.h"

#include <stdlib.h>

/* Operations that the library itself cannot do without. */
static const uint8_t always[] = {
	IORING_OP_NOP,		IORING_OP_POLL_ADD,	  IORING_OP_POLL_REMOVE,
	IORING_OP_TIMEOUT,	IORING_OP_TIMEOUT_REMOVE, IORING_OP_ASYNC_CANCEL,
};

/* What the library registers after the ring was enabled. Without the first, a
 * ring that was closed would live on in the kernel until its thread ends. */
static const uint8_t registers[] = {
	IORING_UNREGISTER_RING_FDS,   IORING_REGISTER_PROBE,
	IORING_REGISTER_FILES,	      IORING_REGISTER_FILES2,	      IORING_REGISTER_FILES_UPDATE,
	IORING_REGISTER_FILES_UPDATE2, IORING_UNREGISTER_FILES,
	IORING_REGISTER_PBUF_RING,    IORING_UNREGISTER_PBUF_RING,
	IORING_REGISTER_BUFFERS2,     IORING_REGISTER_BUFFERS_UPDATE,
};

/* Any flag but DRAIN, which would stop the library's own requests too. */
#define FLAGS                                                   \
	(IOSQE_FIXED_FILE | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | \
	 IOSQE_ASYNC | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS)

static bool is_allowed(const uint8_t *allowed, uint32_t opcode)
{
	return allowed[opcode] || allowed[operation_of((uint8_t)opcode)];
}

/* liburing 2.3 has these calls as an archive only. */
static int ring_register(struct kio *k, unsigned call, void *data,
			 uint32_t count)
{
	return syscall(__NR_io_uring_register, k->ring.ring_fd, call, data,
		       count) < 0 ? -errno : 0;
}

/*
 * Restricts a ring to the operations whose places in `allowed` are not 0, of
 * 256, and to those of the library. Any other is completed with -EACCES.
 */
int restrict_ring(struct kio *k, const uint8_t *allowed)
{
	struct io_uring_restriction list[256 + sizeof(always) +
					 sizeof(registers) + 1] = { 0 };
	struct io_uring_probe *probe = seam_probe(&k->ring);
	uint32_t count = 0;
	int ret;

	if (!probe)
		return -ENOMEM;
	for (uint32_t i = 0; i < 256; i++)
		k->refused[i] = !allowed[i];
	/* The kernel takes no numbers that it does not know. */
	for (uint32_t i = 0; i <= probe->last_op; i++)
		if (is_allowed(allowed, i))
			list[count++] = (struct io_uring_restriction){
				.opcode = IORING_RESTRICTION_SQE_OP,
				.sqe_op = (uint8_t)i,
			};
	io_uring_free_probe(probe);
	for (size_t i = 0; i < sizeof(always); i++)
		list[count++] = (struct io_uring_restriction){
			.opcode = IORING_RESTRICTION_SQE_OP,
			.sqe_op = always[i],
		};
	for (size_t i = 0; i < sizeof(registers); i++)
		list[count++] = (struct io_uring_restriction){
			.opcode = IORING_RESTRICTION_REGISTER_OP,
			.register_op = registers[i],
		};
	list[count++] = (struct io_uring_restriction){
		.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED,
		.sqe_flags = FLAGS,
	};
	ret = ring_register(k, IORING_REGISTER_RESTRICTIONS, list, count);
	return ret ? ret : ring_register(k, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}
