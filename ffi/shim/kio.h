/*
 * kio.h - the shim from outside. It has the part that TypeScript cannot do: own
 * an io_uring, fill its SQEs, enter the kernel, and take a ring apart before
 * its buffers are freed.
 *
 * Every function that can fail returns a negative errno and leaves errno alone.
 * All calls on a context come from the thread that opened it. ffi/symbols.ts
 * has the same functions, for Deno, and other modules have some of the numbers:
 * layout.process.ts compares them. Each function is described where it is
 * defined.
 */
#pragma once

#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>

struct iovec;
struct kio;
struct lookup;
struct folder;

#define EXPORT __attribute__((visibility("default")))

/* Raised whenever a signature changes; ffi/load.ts compares it. */
#define KIO_ABI 14

/* Values that liburing 2.3 (Debian 12) does not name yet. */
#define KIO_OP_READ_MULTISHOT 49 /* Linux 6.7 */
#define KIO_OP_WAITID 50 /* 6.7 */
#define KIO_OP_FUTEX_WAIT 51 /* 6.7 */
#define KIO_OP_FUTEX_WAKE 52 /* 6.7 */
#define KIO_OP_FIXED_FD_INSTALL 54 /* 6.8 */
#define KIO_OP_FTRUNCATE 55 /* 6.9 */
#define KIO_OP_BIND 56 /* 6.11 */
#define KIO_OP_LISTEN 57 /* 6.11 */
#define KIO_OP_PIPE 62 /* 6.16 */
/* Of IORING_OP_URING_CMD, Linux 6.7. */
#define KIO_GETSOCKOPT 2
#define KIO_SETSOCKOPT 3
#define KIO_REGISTER_SEND_MSG_RING 31 /* 6.13 */
#define KIO_ENTER_NO_IOWAIT (1U << 7) /* 6.15 */
#define KIO_FEAT_NO_IOWAIT (1U << 17)

/*
 * user_data of a completion:
 *   bit 63      a message from another ring; bits 0-61 are the sender's
 *   bit 62      the shim's own request: the timer, or a cancel of the operation
 *               in the bits below, which is reported when it found nothing
 *   bit 58      with bit 62: the answer to kio_take_back(), whatever it is
 *   bits 53-57  step of a pump that ended it
 *   bit 52      the result is a new fd: whoever drops it has to close it
 *   bits 32-51  generation of the slot
 *   bits 0-31   slot in the operation table
 */
#define UD_MESSAGE (1ULL << 63)
#define UD_INTERNAL (1ULL << 62)
#define UD_TAKE_BACK (1ULL << 58)
#define UD_MAKES_FD (1ULL << 52)
#define UD_STEP_SHIFT 53
#define UD_STEPS_MAX 32
#define UD_TIMER (UD_INTERNAL | (1ULL << 60))
#define UD_IGNORED (UD_INTERNAL | (2ULL << 60))
#define UD_WAIT (UD_INTERNAL | (3ULL << 60))
#define UD_LOOP (UD_WAIT | 1)
/* an fd is in the inbox, or a job has an answer */
#define UD_INBOX (UD_MESSAGE | UD_INTERNAL)

/* The bounded wait of a step for a completion: half of this at least, 1.5 times
 * at most. */
#define WAIT_MS 2.0

/* The most addresses of one name. */
#define ADDRESSES_MAX 64
/* A struct sockaddr_storage and its length. */
#define ADDRESS_RECORD_SIZE 132
/* The longest name of the DNS, with a dot at the end and a NUL. */
#define HOST_SIZE 255

/* Of kio_folder_begin(): look at each entry by statx(2); follow links to see
 * where they lead; begin with the folder itself; refuse a link in its place. */
#define FOLDER_STAT 1
#define FOLDER_FOLLOW 2
#define FOLDER_SELF 4
#define FOLDER_NOFOLLOW 8
/* Bytes that getdents64(2) fills for a batch, and the most entries of one: none
 * is shorter than 24 bytes. With the folder itself it is one more. */
#define FOLDER_DENTS_SIZE 32768
#define FOLDER_ENTRIES_MAX (FOLDER_DENTS_SIZE / 24 + 1)
/* A struct statx up to its mount id, and the errno of the look. */
#define FOLDER_STAT_SIZE 160
#define FOLDER_STAT_ERRNO 152
/* The most bytes of a batch. */
#define FOLDER_BATCH_SIZE \
	(FOLDER_ENTRIES_MAX * (8 + FOLDER_STAT_SIZE + 1) + FOLDER_DENTS_SIZE)
/* Pieces of registered memory that a context may have. */
#define KIO_PLACES 1024

/* Parts of a message in one block of memory: see kio_message_init(). */
#define MSG_NAME 64
#define MSG_VECTORS (MSG_NAME + 128)

/* ---- sqe.c ------------------------------------------------------------- */

/*
 * Queue one operation: fill the fields of a struct io_uring_sqe, under their
 * names there, and clear the others.
 *
 * id        user_data: see above, bits 0 to 52 op        opcode | IOSQE_* << 8
 * | ioprio << 16. Of IOSQE_*: FIXED_FILE, ASYNC and BUFFER_SELECT. Links are
 * made by kio_chain(). fd        an fd, a place of the registered files, a
 * directory, or what the operation has there (socket: the domain) addr, at
 * sqe->addr is addr + at. Without addr the field is `at`. len       sqe->len
 * addr2,    sqe->addr2, which is sqe->off, is addr2 + off. Without addr2 the
 * off     field is `off`. op_flags  the union with rw_flags, msg_flags,
 * open_flags ... The row of the operation in opcodes.c adds flags to it, or to
 * off: CLOEXEC unless the result goes to the registered files, NOSIGNAL,
 * CMSG_CLOEXEC. openat2 has its flags in memory: the caller sets O_CLOEXEC.
 * extra     the union with splice_fd_in, file_index and addr_len. Operations
 * with a file offset have no such field: it is added to off as 32 bits without
 * a sign. An offset above 2^53 is given in these two parts. buf       buf_index
 * or buf_group, 16 bits addr3,    sqe->addr3 is addr3 + at3. Without addr3 the
 * field is at3. at3
 *
 * A value below 0 in at, off or at3 makes its field UINT64_MAX: the position of
 * the file itself, for example.
 *
 * 0: it is queued, and has one completion without IORING_CQE_F_MORE. Until then
 * the memory that its fields point to, and what that points to, stays as it is.
 * An operation that the kernel lacks is completed with -EINVAL.
 * -ENOSYS: the operation has no row, or a function of its own (close, msg_ring,
 * timeout), or IOSQE_* has others; what follows in a chain is refused.
 * -ECANCELED: the chain has a link that was refused. -E2BIG: the chain is longer
 * than the queue. Or an error of io_uring_enter(2), as the queue was full.
 * After an error nothing is queued.
 */
EXPORT int kio_sqe(struct kio *k, double id, uint32_t op, int fd,
		   const void *addr, double at, uint32_t len, double off,
		   uint32_t op_flags);
EXPORT int kio_sqe2(struct kio *k, double id, uint32_t op, int fd,
		    const void *addr, double at, uint32_t len,
		    const void *addr2, double off, uint32_t op_flags,
		    int32_t extra, uint32_t buf);
EXPORT int kio_sqe3(struct kio *k, double id, uint32_t op, int fd,
		    const void *addr, double at, uint32_t len,
		    const void *addr2, double off, uint32_t op_flags,
		    int32_t extra, uint32_t buf, const void *addr3, double at3);

EXPORT int kio_read(struct kio *k, double id, int fd, void *buffer,
		    uint32_t length, double offset);
EXPORT int kio_write(struct kio *k, double id, int fd, const void *buffer,
		     uint32_t length, double offset);
EXPORT int kio_recv(struct kio *k, double id, int fd, void *buffer,
		    uint32_t length, int flags);
EXPORT int kio_send(struct kio *k, double id, int fd, const void *buffer,
		    uint32_t length, int flags);
EXPORT int kio_close(struct kio *k, double id, int fd);
EXPORT int kio_place_close(struct kio *k, double id, uint32_t place);
EXPORT int kio_poll_end(struct kio *k, double id);
EXPORT int kio_msg_ring(struct kio *k, double id, int target_ring_fd,
			int result, double user_data);

/* ---- message.c --------------------------------------------------------- */

EXPORT void kio_vector_set(struct iovec *vectors, uint32_t index, void *data,
			   double length);
EXPORT void kio_message_init(char *message, uint32_t name_length,
			     uint32_t count, void *control,
			     uint32_t control_length);
EXPORT void kio_message_advance(char *message, double bytes);

/* ---- chain.c ----------------------------------------------------------- */

EXPORT void kio_chain(struct kio *k, bool on);
EXPORT void kio_chain_copy(const struct kio *k, void *copies, uint32_t count);
EXPORT int kio_again(struct kio *k, const struct io_uring_sqe *copy);
EXPORT int kio_pump(struct kio *k, double id, int file, double offset,
		    double left, int pipe_read, int pipe_write, uint32_t held,
		    int to, uint32_t size, uint32_t steps);

/* ---- relay.c ----------------------------------------------------------- */

EXPORT int kio_relay(struct kio *k, int from, int to, int pipe_read,
		     int pipe_write, uint32_t size, uint32_t *counts);

/* ---- sendfile.c -------------------------------------------------------- */

EXPORT int kio_sendfile(struct kio *k, int file, double offset, uint32_t count,
			int to, const char *head, uint32_t head_length);

/* ---- cancel.c ---------------------------------------------------------- */

EXPORT bool kio_retract(struct kio *k, double id);
EXPORT int kio_cancel(struct kio *k, double id);
EXPORT void kio_cancels_submit(struct kio *k);
EXPORT int kio_take_back(struct kio *k, double id);
EXPORT int kio_cancel_all(struct kio *k);

/* ---- driver.c ---------------------------------------------------------- */

EXPORT int kio_step(struct kio *k, int32_t *out, uint32_t capacity, bool wait);
EXPORT int kio_wait(struct kio *k, int32_t *out, uint32_t capacity,
		    double until_ms, double *now_ms);
EXPORT int kio_arm(struct kio *k, double deadline_ms);
EXPORT void kio_wake_self(struct kio *k);
EXPORT int kio_event_wait(int event_fd);

/* ---- loop.c ------------------------------------------------------------ */

EXPORT void kio_loop_forget(struct kio *k);
EXPORT bool kio_loop_is_ready(const struct kio *k);
EXPORT bool kio_loop_watch(struct kio *k);
EXPORT void kio_loop_find(struct kio *k);

/* ---- context.c --------------------------------------------------------- */

EXPORT uint32_t kio_abi(void);
EXPORT void kio_abort(const struct kio *k, const char *message);
EXPORT double kio_now_ms(void);
EXPORT struct kio *kio_context_open(uint32_t entries, uint32_t cq_entries,
				    uint32_t submit_max,
				    uint32_t kernel_workers, bool defers,
				    const uint8_t *allowed, int32_t *status);
EXPORT int kio_probe(struct kio *k, bool defers, uint8_t *opcodes,
		     uint32_t *info);
EXPORT double kio_ring_memory(uint32_t entries, uint32_t cq_entries);
EXPORT int kio_ring_fd(const struct kio *k);
EXPORT void kio_stats(const struct kio *k, double *out);
EXPORT int kio_event_fd(const struct kio *k);
EXPORT void kio_context_close(struct kio *k);

/* ---- isolate.c --------------------------------------------------------- */

EXPORT void kio_fd_own(int fd);
EXPORT void kio_fd_disown(int fd);
EXPORT bool kio_fd_is_owned(int fd);
EXPORT int kio_life_begin(int fd);
EXPORT void *napi_register_module_v1(void *env, void *exports);
EXPORT int kio_guard_file(void);
EXPORT void *kio_guarded(void);
EXPORT void *kio_memory_map(double size);
EXPORT void kio_memory_unmap(const void *address);

/* ---- register.c -------------------------------------------------------- */

EXPORT int kio_files_register(struct kio *k, const int32_t *fds,
			      uint32_t count);
EXPORT int kio_files_update(struct kio *k, uint32_t offset, const int32_t *fds,
			    uint32_t count);
EXPORT int kio_files_unregister(struct kio *k);
EXPORT int kio_files_reserve(struct kio *k, uint32_t count);
EXPORT int kio_place_free(struct kio *k, uint32_t place);
EXPORT double kio_lock_limit(void);
EXPORT int kio_memory_register(struct kio *k, uint32_t place, void *address,
			       double size);
EXPORT int kio_memory_unregister(struct kio *k, uint32_t place);

/* ---- zero_copy.c ------------------------------------------------------- */

EXPORT void kio_zero_copy_reset(struct kio *k);

/* ---- pool.c ------------------------------------------------------------ */

EXPORT int kio_pool_open(struct kio *k, void *memory, uint32_t count,
			 uint32_t size, int32_t *returned);
EXPORT void kio_pool_close(struct kio *k, uint32_t group);

/* ---- trials.c ---------------------------------------------------------- */

#define KIO_TRIAL_BUFFERS 0
#define KIO_TRIAL_RECEIVE 1
#define KIO_TRIAL_ACCEPT 2
#define KIO_TRIAL_READ 3
#define KIO_TRIAL_WAKE 4

EXPORT int kio_trial(uint32_t number);
EXPORT int kio_environment(char *out, uint32_t size);

/* ---- mailbox.c --------------------------------------------------------- */

EXPORT int kio_ring_message(int ring_fd, int result, double user_data);
EXPORT bool kio_fd_is_ring(int fd);
EXPORT int kio_fd_send(int ring_fd, int fd, double tag);
EXPORT int kio_fd_take(struct kio *k, double *tag);

/* ---- names.c ----------------------------------------------------------- */

EXPORT int kio_resolve(const char *host, char *out, uint32_t capacity);
EXPORT struct lookup *kio_lookup_begin(struct kio *k, double id,
				       const char *host);
EXPORT bool kio_lookup_take(struct kio *k, double *head, char *records);
EXPORT bool kio_lookup_cancel(struct lookup *lookup);

/* ---- jobs.c, folders.c ------------------------------------------------- */

EXPORT void kio_jobs_end(struct kio *k);
EXPORT struct folder *kio_folder_begin(struct kio *k, double id, int directory,
				       const char *path, uint32_t flags);
EXPORT bool kio_folder_take(struct kio *k, double *head, char *batch);
EXPORT int kio_folder_more(struct folder *folder);
EXPORT void kio_folder_end(struct folder *folder);

/* ---- syscalls.c -------------------------------------------------------- */

EXPORT int kio_socket(int domain, int type);
EXPORT int kio_socket_pair(int type, int32_t *fds);
EXPORT int kio_socket_bind(int fd, const void *address, uint32_t length);
EXPORT int kio_socket_listen(int fd, int backlog);
EXPORT int kio_option_set(int fd, int level, int name, int value);
EXPORT int kio_option_get(int fd, int level, int name);
EXPORT int kio_option_set_bytes(int fd, int level, int name,
				const void *value, uint32_t length);
EXPORT int kio_option_get_bytes(int fd, int level, int name, void *value,
				uint32_t length);
EXPORT int kio_socket_queued(int fd, bool unsent);
EXPORT int kio_socket_refuse(int fd);
EXPORT int kio_nonblocking_set(int fd, bool on);
EXPORT int kio_accept_now(int fd);
EXPORT int kio_connect_now(int fd, const void *address, uint32_t length);
EXPORT int kio_socket_shutdown(int fd, int how);
EXPORT int kio_socket_name(int fd, bool peer, void *address);
EXPORT int kio_pipe(int32_t *fds, int size);
EXPORT int kio_readlink(int directory, const char *path, char *out,
			uint32_t capacity);
EXPORT int kio_unlink(int directory, const char *path);
EXPORT double kio_file_size(int fd);
EXPORT double kio_file_own(int fd);
EXPORT int kio_file_read_now(int directory, const char *path, uint32_t flags,
			     char *out, uint32_t capacity);
EXPORT double kio_file_seek(int fd, int64_t offset, int whence);
EXPORT int kio_file_lock(int fd, int operation);
EXPORT int kio_file_times(int fd, int64_t accessed_ns, int64_t modified_ns);
EXPORT bool kio_fd_is_terminal(int fd);
EXPORT int kio_fd_target(int fd, char *out, uint32_t capacity);
EXPORT int kio_fd_room(uint32_t count);
EXPORT int kio_cloexec_set(int fd);
EXPORT int kio_fd_dup(int fd);
EXPORT bool kio_fd_is_stream(int fd);
EXPORT bool kio_pipe_has_nowait(int fd);
EXPORT int kio_fd_close(int fd);
EXPORT int kio_thread_id(void);
EXPORT double kio_thread_cpu_ms(int thread_id);
EXPORT int kio_thread_pin(uint32_t index);

/* ---- blocking.c -------------------------------------------------------- */

EXPORT double kio_blocking_read(int fd, void *buffer, uint32_t length);
EXPORT double kio_blocking_write(int fd, const void *data, uint32_t length);
EXPORT int kio_blocking_sync(int fd, bool data_only);
EXPORT int kio_blocking_truncate(int fd, int64_t length);
EXPORT int kio_blocking_stat(int fd, uint32_t fields, void *out);
EXPORT int kio_blocking_lock(int fd, int operation);
EXPORT uint32_t kio_terminal_size(void);
EXPORT int kio_terminal_raw(int fd, bool cbreak, void *saved);
EXPORT int kio_terminal_restore(int fd, const void *saved);

/* ---- listen.c ---------------------------------------------------------- */

EXPORT int kio_listen(int fd, const void *address, uint32_t length,
		      int backlog);
