/*
 * message.c - fills the structures that a vectored operation or a message
 * points to, in memory that JavaScript owns, as JavaScript has no pointers. The
 * kernel reads them when the operation is submitted. The caller keeps them, and
 * all memory that they point to, until the completion.
 */
#include "internal.h"

#include <stddef.h>
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
