/*
 * blocking.c - system calls on files that block the thread: for the synchronous
 * members of File, and for terminals. Each returns a negative errno where the
 * call returns -1.
 */
#include "internal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <termios.h>

double kio_blocking_read(int fd, void *buffer, uint32_t length)
{
	ssize_t ret;

	do
		ret = read(fd, buffer, length);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : (double)ret;
}

double kio_blocking_write(int fd, const void *data, uint32_t length)
{
	ssize_t ret;

	do
		ret = write(fd, data, length);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : (double)ret;
}

int kio_blocking_sync(int fd, bool data_only)
{
	return result_of(data_only ? fdatasync(fd) : fsync(fd));
}

int kio_blocking_truncate(int fd, int64_t length)
{
	return result_of(ftruncate(fd, length));
}

int kio_blocking_stat(int fd, uint32_t fields, void *out)
{
	return result_of(call_statx(fd, "", AT_EMPTY_PATH, fields, out));
}

/* Waits for the lock, unlike kio_file_lock(). */
int kio_blocking_lock(int fd, int operation)
{
	int ret;

	do
		ret = flock(fd, operation);
	while (ret < 0 && errno == EINTR);
	return result_of(ret);
}

uint32_t kio_terminal_size(void)
{
	return sizeof(struct termios);
}

/* Turns the raw mode of a terminal on, and fills `saved` with the mode before,
 * for kio_terminal_restore(). `cbreak` leaves Ctrl+C as a signal. */
int kio_terminal_raw(int fd, bool cbreak, void *saved)
{
	struct termios mode;

	if (tcgetattr(fd, &mode) < 0)
		return -errno;
	memcpy(saved, &mode, sizeof(mode));
	mode.c_iflag &= ~(tcflag_t)(BRKINT | ICRNL | INPCK | ISTRIP | IXON);
	mode.c_cflag |= CS8;
	mode.c_lflag &= ~(tcflag_t)(ECHO | ICANON | IEXTEN);
	if (!cbreak)
		mode.c_lflag &= ~(tcflag_t)ISIG;
	mode.c_cc[VMIN] = 1;
	mode.c_cc[VTIME] = 0;
	return result_of(tcsetattr(fd, TCSADRAIN, &mode));
}

int kio_terminal_restore(int fd, const void *saved)
{
	struct termios mode;

	memcpy(&mode, saved, sizeof(mode));
	return result_of(tcsetattr(fd, TCSADRAIN, &mode));
}
