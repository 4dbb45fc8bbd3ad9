/*
 * syscalls.c - system calls that need no ring, as they never block: sockets,
 * pipes, files, fds, threads. Each returns a negative errno where the call
 * returns -1.
 */
#include "internal.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sockios.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

/* openat2(2), Linux 5.6, and RESOLVE_CACHED, 5.12: newer than some headers. */
#define OPENAT2 437
#define ONLY_CACHED 0x20

int call_statx(int dir, const char *path, int flags, uint32_t mask, void *out)
{
	return (int)syscall(SYS_statx, dir, path, flags, mask, out);
}

ssize_t call_getdents(int fd, void *out, size_t size)
{
	return syscall(SYS_getdents64, fd, out, size);
}

/* ---- sockets: the calls that never block ------------------------------- */

int kio_socket(int domain, int type)
{
	return result_of(socket(domain, type | SOCK_CLOEXEC, 0));
}

int kio_socket_pair(int type, int32_t *fds)
{
	return result_of(
		socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds));
}

int kio_socket_bind(int fd, const void *address, uint32_t length)
{
	return result_of(bind(fd, address, length));
}

int kio_socket_listen(int fd, int backlog)
{
	return result_of(listen(fd, backlog));
}

int kio_option_set(int fd, int level, int name, int value)
{
	return result_of(setsockopt(fd, level, name, &value, sizeof(value)));
}

/* Options whose value is never negative. */
int kio_option_get(int fd, int level, int name)
{
	int value = 0;
	socklen_t length = sizeof(value);
	int ret = getsockopt(fd, level, name, &value, &length);

	return ret < 0 ? -errno : value;
}

int kio_option_set_bytes(int fd, int level, int name, const void *value,
			 uint32_t length)
{
	return result_of(setsockopt(fd, level, name, value, length));
}

/* Fills `value`; returns its length. */
int kio_option_get_bytes(int fd, int level, int name, void *value,
			 uint32_t length)
{
	socklen_t filled = length;
	int ret = getsockopt(fd, level, name, value, &filled);

	return ret < 0 ? -errno : (int)filled;
}

/* Bytes that are not received yet; or that the peer does not have yet. */
int kio_socket_queued(int fd, bool unsent)
{
	int count = 0;
	int ret = ioctl(fd, unsent ? SIOCOUTQ : SIOCINQ, &count);

	return ret < 0 ? -errno : count;
}

/*
 * Keeps new connections away from a listener; those in its backlog can still be
 * accepted. close(2) or shutdown(2) would reset them. A filter drops all new
 * packets: a client tries again, and finds another listener or none.
 */
int kio_socket_refuse(int fd)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { .len = 1, .filter = &drop };
	int listens = kio_option_get(fd, SOL_SOCKET, SO_ACCEPTCONN);

	if (listens <= 0)
		return listens < 0 ? listens : -EINVAL;
	if (kio_option_get(fd, SOL_SOCKET, SO_DOMAIN) == AF_UNIX)
		return result_of(shutdown(fd, SHUT_RD));
	return result_of(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program,
				    sizeof(program)));
}

int kio_nonblocking_set(int fd, bool on)
{
	int flags = fcntl(fd, F_GETFL);
	int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;

	if (flags < 0)
		return -errno;
	return flags == wanted ? 0 : result_of(fcntl(fd, F_SETFL, wanted));
}

/*
 * Accepts a connection from the backlog of a listener, -EAGAIN if there is
 * none. The ring would retry without end on a unix listener that is shut down,
 * which is always ready.
 */
int kio_accept_now(int fd)
{
	int ret = kio_nonblocking_set(fd, true);

	return ret < 0 ? ret :
			 result_of(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
}

/*
 * Connects at once. 1: it was not tried, as the socket is a blocking one and
 * connect(2) might hold the thread.
 */
int kio_connect_now(int fd, const void *address, uint32_t length)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	return flags & O_NONBLOCK ? result_of(connect(fd, address, length)) : 1;
}

int kio_socket_shutdown(int fd, int how)
{
	return result_of(shutdown(fd, how));
}

/* Fills a struct sockaddr_storage; returns the length of the address. */
int kio_socket_name(int fd, bool peer, void *address)
{
	socklen_t length = sizeof(struct sockaddr_storage);
	int ret = peer ? getpeername(fd, address, &length) :
			 getsockname(fd, address, &length);

	return ret < 0 ? -errno : (int)length;
}

/*
 * Makes a pipe of about `size` bytes: fds[0] to read, fds[1] to write. Returns
 * its real size: the system may grant less (pipe-max-size, and the limit of a
 * user's pages in pipes). The pipe ends with the isolate.
 */
int kio_pipe(int32_t *fds, int size)
{
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	kio_fd_own(fds[0]);
	kio_fd_own(fds[1]);
	fcntl(fds[1], F_SETPIPE_SZ, size);
	return fcntl(fds[1], F_GETPIPE_SZ);
}

/* Where a symbolic link leads, without a NUL; returns the length. */
int kio_readlink(int directory, const char *path, char *out, uint32_t capacity)
{
	return result_of((int)readlinkat(directory, path, out, capacity));
}

/* Removes a file whose making has failed, also when the ring is gone. */
int kio_unlink(int directory, const char *path)
{
	return result_of(unlinkat(directory, path, 0));
}

/* ---- files: what the ring has no operation for --------------------------- */

/* Gives the size of a regular file; -1 for any other. */
double kio_file_size(int fd)
{
	struct stat stat;

	return !fstat(fd, &stat) && S_ISREG(stat.st_mode) ?
		       (double)stat.st_size :
		       -1;
}

/* Both in one call, which counts with thousands of small files. */
double kio_file_own(int fd)
{
	kio_fd_own(fd);
	return kio_file_size(fd);
}

/*
 * Reads a whole regular file of 1 to `capacity` bytes, if nothing makes the call
 * wait: its path and its content are in the kernel's caches. The ring makes the
 * same calls when it submits an open and a read. `out` has room for a byte more,
 * which tells that the end was found. Returns the length; -1 if the ring has to
 * open the file; or -2 - fd of the file, at its start, if the ring has to read.
 */
int kio_file_read_now(int directory, const char *path, uint32_t flags,
		      char *out, uint32_t capacity)
{
	const uint64_t how[] = { O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags, 0,
				 ONLY_CACHED };
	struct iovec one = { .iov_base = out };
	struct stat stat;
	int fd;

	if (seam_refuses_now())
		return -1;
	fd = (int)syscall(OPENAT2, directory, path, how, sizeof(how));
	if (fd < 0)
		return -1;
	if (!fstat(fd, &stat) && S_ISREG(stat.st_mode) && stat.st_size > 0 &&
	    stat.st_size <= capacity) {
		one.iov_len = (size_t)stat.st_size + 1;
		if (syscall(SYS_preadv2, fd, &one, 1, 0L, 0L, RWF_NOWAIT) ==
		    stat.st_size) {
			close(fd);
			return (int)stat.st_size;
		}
	}
	if (!(flags & O_NONBLOCK))
		kio_nonblocking_set(fd, false);
	return -2 - fd;
}

double kio_file_seek(int fd, int64_t offset, int whence)
{
	off_t ret = lseek(fd, offset, whence);

	return ret < 0 ? -errno : (double)ret;
}

/* Never waits: -EAGAIN if another has the lock. */
int kio_file_lock(int fd, int operation)
{
	return result_of(flock(fd, operation | LOCK_NB));
}

static struct timespec timespec_of(int64_t ns)
{
	int64_t rest = ns % 1000000000;

	if (rest < 0)
		rest += 1000000000;
	return (struct timespec){ (time_t)((ns - rest) / 1000000000), rest };
}

int kio_file_times(int fd, int64_t accessed_ns, int64_t modified_ns)
{
	struct timespec times[] = { timespec_of(accessed_ns),
				    timespec_of(modified_ns) };

	return result_of(futimens(fd, times));
}

bool kio_fd_is_terminal(int fd)
{
	return isatty(fd);
}

/* ---- fds, as /proc tells of them --------------------------------------- */

/* Gives the target of an fd as /proc has it; returns the length. */
int kio_fd_target(int fd, char *out, uint32_t capacity)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return result_of((int)readlink(path, out, capacity));
}

/* Checks that a number of fds can be opened: 0, -EMFILE or -ENFILE. */
int kio_fd_room(uint32_t count)
{
	int *fds = calloc(count, sizeof(*fds));
	uint32_t opened = 0;
	int ret = 0;

	if (!fds)
		return -ENOMEM;
	while (opened < count && ret == 0) {
		fds[opened] = eventfd(0, EFD_CLOEXEC);
		if (fds[opened] < 0)
			ret = -errno;
		else
			opened++;
	}
	while (opened > 0)
		close(fds[--opened]);
	free(fds);
	return ret;
}

/* Keeps an fd from the programs that this one starts. */
int kio_cloexec_set(int fd)
{
	return result_of(fcntl(fd, F_SETFD, FD_CLOEXEC));
}

/* Never one of the three standard fds, should one of them be free. */
int kio_fd_dup(int fd)
{
	return result_of(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

/* Tells whether an fd is a stream: it ignores an offset. */
bool kio_fd_is_stream(int fd)
{
	struct stat stat;

	return !fstat(fd, &stat) && !S_ISREG(stat.st_mode) &&
	       !S_ISBLK(stat.st_mode) && !S_ISDIR(stat.st_mode);
}

/*
 * Tells whether an fd is a pipe that the kernel can read without waiting, as it
 * can that of pipe(2), and not one that was opened by a name. One byte is asked
 * for, into memory that cannot be written: a pipe keeps it (EFAULT).
 */
bool kio_pipe_has_nowait(int fd)
{
	static const char nowhere;
	struct iovec one = { .iov_base = (void *)&nowhere, .iov_len = 1 };
	struct stat stat;

	return !fstat(fd, &stat) && S_ISFIFO(stat.st_mode) &&
	       (syscall(SYS_preadv2, fd, &one, 1, -1L, -1L, RWF_NOWAIT) >= 0 ||
		errno != EOPNOTSUPP);
}

/* Never retry it: the fd is gone whatever close(2) returns. */
int kio_fd_close(int fd)
{
	kio_fd_disown(fd);
	return result_of(close(fd));
}

/* ---- threads ----------------------------------------------------------- */

int kio_thread_id(void)
{
	return (int)syscall(SYS_gettid);
}

/* Gives the CPU time of a thread of this process in ms; -errno if there is no
 * such thread. */
double kio_thread_cpu_ms(int thread_id)
{
	/* as the kernel makes the clock of a thread: man clock_getcpuclockid */
	clockid_t clock = (clockid_t)(~(unsigned)thread_id << 3 | 6);
	struct timespec ts;

	if (clock_gettime(clock, &ts) < 0)
		return -errno;
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* CPUs of a mask; the kernel has 8192 at most. */
union cpus {
	cpu_set_t set;
	char bits[8192 / 8];
};

/*
 * Sets the affinity of this thread to one CPU: the index-th of those that the
 * process may use, modulo their number. Returns that CPU.
 */
int kio_thread_pin(uint32_t index)
{
	union cpus all = { 0 }, one = { 0 };
	int cpu = 0;

	if (sched_getaffinity(getpid(), sizeof(all), &all.set) < 0)
		return -errno;
	index %= (uint32_t)CPU_COUNT_S(sizeof(all), &all.set);
	while (!CPU_ISSET_S(cpu, sizeof(all), &all.set) || index-- > 0)
		cpu++;
	CPU_SET_S(cpu, sizeof(one), &one.set);
	if (sched_setaffinity(0, sizeof(one), &one.set) < 0)
		return -errno;
	return cpu;
}
