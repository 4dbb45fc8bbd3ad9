/*
 * message.c - fills the structures that a vectored operation or a message
 * points to, in memory that JavaScript owns, as JavaScript has no pointers. The
 * kernel reads them when the operation is submitted. The caller keeps them, and
 * all memory that they point to, until the completion. A message may bring fds:
 * those that come when the isolate ends are closed here.
 */
#include "internal.h"

#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

_Static_assert(sizeof(struct msghdr) <= MSG_NAME, "struct msghdr");
_Static_assert(sizeof(struct sockaddr_storage) == 128, "sockaddr_storage");
_Static_assert(sizeof(struct iovec) == 16, "struct iovec");
_Static_assert(offsetof(struct msghdr, msg_namelen) == 8, "msg_namelen");
_Static_assert(offsetof(struct msghdr, msg_controllen) == 40, "controllen");
_Static_assert(offsetof(struct msghdr, msg_flags) == 48, "msg_flags");

void kio_vector_set(struct iovec *vectors, uint32_t index, void *data,
		    double length)
{
	vectors[index].iov_base = data;
	vectors[index].iov_len = (size_t)length;
}

void kio_message_init(char *message, uint32_t name_length, uint32_t count,
		      void *control, uint32_t control_length)
{
	struct msghdr *header = (struct msghdr *)message;

	header->msg_name = name_length ? message + MSG_NAME : NULL;
	header->msg_namelen = name_length;
	header->msg_iov = (struct iovec *)(message + MSG_VECTORS);
	header->msg_iovlen = count;
	header->msg_control = control_length ? control : NULL;
	header->msg_controllen = control_length;
	header->msg_flags = 0;
}

/* Leaves the first bytes of a message's buffers out, fewer than it has. */
void kio_message_advance(char *message, double bytes)
{
	struct msghdr *header = (struct msghdr *)message;
	size_t left = (size_t)bytes;

	for (; left >= header->msg_iov->iov_len; header->msg_iovlen--)
		left -= header->msg_iov++->iov_len;
	header->msg_iov->iov_base = (char *)header->msg_iov->iov_base + left;
	header->msg_iov->iov_len -= left;
}

/* ---- fds that come at the end ------------------------------------------ */

void receiving_begin(struct kio *k, uint64_t id, const struct io_uring_sqe *sqe)
{
	const struct msghdr *message = (void *)(uintptr_t)sqe->addr;
	bool is_many = sqe->ioprio & IORING_RECV_MULTISHOT;
	struct receiving *rows;

	if (!message->msg_controllen)
		return;
	rows = grown_for(k->receivings, &k->receiving_slots, id, sizeof(*rows));
	/* its fds stay open then, if it is complete too late */
	if (!rows)
		return;
	k->receivings = rows;
	rows[(uint32_t)id] = (struct receiving){
		.id = id,
		.message = message,
		.group = is_many ? sqe->buf_group : -1,
	};
	k->receiving_count++;
}

static struct receiving *receiving_of(struct kio *k, uint64_t id)
{
	struct receiving *row;

	if ((uint32_t)id >= k->receiving_slots)
		return NULL;
	row = &k->receivings[(uint32_t)id];
	return row->id == id && row->message ? row : NULL;
}

void receiving_end(struct kio *k, uint64_t id)
{
	struct receiving *row = receiving_of(k, id);

	if (!row)
		return;
	row->message = NULL;
	k->receiving_count--;
}

/* Closes the fds in ancillary data. */
static void close_fds_in(struct msghdr *message)
{
	struct cmsghdr *part = CMSG_FIRSTHDR(message);

	for (; part; part = CMSG_NXTHDR(message, part)) {
		size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (part->cmsg_level != SOL_SOCKET ||
		    part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(fd),
			       sizeof(fd));
			close(fd);
		}
	}
}

void receiving_drop(struct kio *k, const struct io_uring_cqe *cqe)
{
	const struct receiving *row = receiving_of(k, cqe->user_data);
	const struct pool *pool = k->pools;
	struct msghdr given;

	if (!row || cqe->res < 0)
		return;
	given = *row->message;
	if (row->group >= 0) {
		struct io_uring_recvmsg_out *out;

		if (!(cqe->flags & IORING_CQE_F_BUFFER))
			return;
		while (pool->group != row->group)
			pool = pool->next;
		out = (void *)(pool->memory +
			       (size_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT) *
				       pool->size);
		given.msg_control = (char *)(out + 1) + given.msg_namelen;
		given.msg_controllen = out->controllen;
	}
	close_fds_in(&given);
}
