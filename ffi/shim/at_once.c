/*
 * at_once.c - the system calls that the calling thread makes in place of
 * operations that the kernel lacks. They never wait. The rows of opcodes.c name
 * them; a NOP brings the result through the ring.
 */
#include "internal.h"

#include <string.h>
#include <sys/socket.h>

int ftruncate_at_once(const struct io_uring_sqe *sqe)
{
	return result_of(ftruncate(sqe->fd, (off_t)sqe->off));
}

int bind_at_once(const struct io_uring_sqe *sqe)
{
	return result_of(bind(sqe->fd, (void *)sqe->addr, (socklen_t)sqe->off));
}

int listen_at_once(const struct io_uring_sqe *sqe)
{
	return result_of(listen(sqe->fd, (int)sqe->len));
}

/*
 * A socket command: the level and the name are the halves of addr, the value is
 * at addr3. The length of a value that is read goes behind its room, as a NOP
 * has no result.
 */
int option_at_once(const struct io_uring_sqe *sqe)
{
	int level = (int)(uint32_t)sqe->addr, name = (int)(sqe->addr >> 32);
	char *value = (char *)sqe->addr3;
	socklen_t length = sqe->file_index;
	int ret;

	if (sqe->off == KIO_SETSOCKOPT)
		return result_of(setsockopt(sqe->fd, level, name, value,
					    length));
	ret = getsockopt(sqe->fd, level, name, value, &length);
	memcpy(value + sqe->file_index, &length, sizeof(length));
	return result_of(ret);
}

/*
 * Tries a socket command, as the opcode is older than that. On a unix socket:
 * the first kernels that have them refuse those.
 */
static bool try_command(void)
{
	struct io_uring_params params = { 0 };
	struct io_uring ring;
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	bool works = false;
	int type, fd;

	if (seam_ring_init(1, &ring, &params))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sqe = io_uring_get_sqe(&ring);
	*sqe = (struct io_uring_sqe){
		.opcode = IORING_OP_URING_CMD,
		.fd = fd,
		.off = KIO_GETSOCKOPT,
		.addr = SOL_SOCKET | (uint64_t)SO_TYPE << 32,
		.file_index = sizeof(type),
		.addr3 = (uintptr_t)&type,
	};
	if (io_uring_submit_and_wait(&ring, 1) == 1 &&
	    !io_uring_peek_cqe(&ring, &cqe))
		works = seam_command(cqe->res) == sizeof(type);
	io_uring_queue_exit(&ring);
	if (fd >= 0)
		close(fd);
	return works;
}

/* Tells whether sockets take commands by IORING_OP_URING_CMD; tried once. */
bool has_socket_commands(void)
{
	static atomic_int known;

	if (!known)
		known = try_command() ? 1 : -1;
	return known > 0;
}

/* Tells whether the ring does an operation that has a system call too. */
bool is_in_ring(const struct kio *k, const struct io_uring_sqe *sqe)
{
	if (!k->has[sqe->opcode])
		return false;
	if (sqe->opcode != IORING_OP_URING_CMD)
		return true;
	/* of options to be read it knows one level */
	return has_socket_commands() && (sqe->off == KIO_SETSOCKOPT ||
					 (uint32_t)sqe->addr == SOL_SOCKET);
}
