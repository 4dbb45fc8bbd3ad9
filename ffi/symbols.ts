/** The functions of shim/kio.h, one a line, with the C declaration beside each: first
 * those that may be called 100,000 times a second. */
// deno-fmt-ignore
export const symbols = {
  kio_now_ms: { parameters: [], result: "f64" },
  kio_step: { parameters: ["pointer" /* struct kio *k */, "buffer" /* int32_t *out */, "u32" /* capacity */, "bool" /* wait */], result: "i32" },
  kio_arm: { parameters: ["pointer" /* struct kio *k */, "f64" /* deadline_ms */], result: "i32" },
  kio_sqe: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "u32" /* op */, "i32" /* fd */, "buffer" /* const void *addr */, "f64" /* at */, "u32" /* len */, "f64" /* off */, "u32" /* op_flags */], result: "i32" },
  kio_sqe2: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "u32" /* op */, "i32" /* fd */, "buffer" /* const void *addr */, "f64" /* at */, "u32" /* len */, "buffer" /* const void *addr2 */, "f64" /* off */, "u32" /* op_flags */, "i32" /* extra */, "u32" /* buf */], result: "i32" },
  kio_sqe3: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "u32" /* op */, "i32" /* fd */, "buffer" /* const void *addr */, "f64" /* at */, "u32" /* len */, "buffer" /* const void *addr2 */, "f64" /* off */, "u32" /* op_flags */, "i32" /* extra */, "u32" /* buf */, "buffer" /* const void *addr3 */, "f64" /* at3 */], result: "i32" },
  kio_read: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* void *buffer */, "f64" /* at */, "u32" /* length */, "f64" /* offset */, "u32" /* flags */], result: "i32" },
  kio_write: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* const void *buffer */, "f64" /* at */, "u32" /* length */, "f64" /* offset */, "u32" /* flags */], result: "i32" },
  kio_recv: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* void *buffer */, "f64" /* at */, "u32" /* length */, "i32" /* flags */], result: "i32" },
  kio_send: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* const void *buffer */, "f64" /* at */, "u32" /* length */, "i32" /* flags */], result: "i32" },
  kio_recvmsg: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* void *message */, "u32" /* flags */], result: "i32" },
  kio_sendmsg: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* const void *message */, "u32" /* flags */], result: "i32" },
  kio_vector_set: { parameters: ["buffer" /* struct iovec *vectors */, "u32" /* index */, "buffer" /* void *data */, "f64" /* length */], result: "void" },
  kio_poll: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "u32" /* events */, "u32" /* flags */], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** Those whose work takes longer than any call. */
// deno-fmt-ignore
export const rareSymbols = {
  kio_abi: { parameters: [], result: "u32" },
  kio_abort: { parameters: ["pointer" /* const struct kio *k */, "buffer" /* const char *message */], result: "void" },

  kio_guard_file: { parameters: [], result: "i32" },
  kio_guarded: { parameters: [], result: "pointer" },
  kio_context_open: { parameters: ["u32" /* entries */, "u32" /* cq_entries */, "u32" /* kernel_workers */, "buffer" /* int32_t *status */], result: "pointer" },
  kio_context_close: { parameters: ["pointer" /* struct kio *k */], result: "void" },
  kio_probe: { parameters: ["pointer" /* struct kio *k */, "buffer" /* uint8_t *opcodes */, "buffer" /* uint32_t *info */], result: "i32" },
  kio_ring_fd: { parameters: ["pointer" /* const struct kio *k */], result: "i32" },
  kio_stats: { parameters: ["pointer" /* const struct kio *k */, "buffer" /* double *out */], result: "void" },
  kio_event_fd: { parameters: ["pointer" /* const struct kio *k */], result: "i32" },
  kio_loop_find: { parameters: ["pointer" /* struct kio *k */], result: "void" },
  kio_loop_is_ready: { parameters: ["pointer" /* const struct kio *k */], result: "bool" },
  kio_loop_forget: { parameters: ["pointer" /* struct kio *k */], result: "void" },
  kio_wake_self: { parameters: ["pointer" /* struct kio *k */], result: "void" },
  kio_chain: { parameters: ["pointer" /* struct kio *k */, "bool" /* on */], result: "void" },
  kio_chain_copy: { parameters: ["pointer" /* const struct kio *k */, "buffer" /* void *copies */, "u32" /* count */], result: "void" },
  kio_again: { parameters: ["pointer" /* struct kio *k */, "buffer" /* const struct io_uring_sqe *copy */], result: "i32" },
  kio_retract: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */], result: "bool" },
  kio_cancel: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */], result: "i32" },
  kio_take_back: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */], result: "i32" },
  kio_cancel_all: { parameters: ["pointer" /* struct kio *k */], result: "i32" },

  kio_wide_offset: { parameters: ["pointer" /* struct kio *k */, "u64" /* offset */], result: "void" },
  kio_readv: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* const void *vectors */, "u32" /* count */, "f64" /* offset */], result: "i32" },
  kio_writev: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* const void *vectors */, "u32" /* count */, "f64" /* offset */], result: "i32" },
  kio_open: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "buffer" /* const char *path */, "i32" /* flags */, "u32" /* mode */], result: "i32" },
  kio_openat2: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* directory */, "buffer" /* const char *path */, "buffer" /* struct open_how *how */], result: "i32" },
  kio_fstat: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* struct statx *stat */], result: "i32" },
  kio_rename: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "buffer" /* const char *from */, "buffer" /* const char *to */, "u32" /* flags */], result: "i32" },
  kio_unlink: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "buffer" /* const char *path */, "i32" /* flags */], result: "i32" },
  kio_splice: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* from */, "f64" /* from_offset */, "i32" /* to */, "f64" /* to_offset */, "u32" /* length */, "u32" /* flags */], result: "i32" },
  kio_pump: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* file */, "f64" /* offset */, "f64" /* left */, "i32" /* pipe_read */, "i32" /* pipe_write */, "u32" /* held */, "i32" /* to */, "u32" /* size */, "u32" /* steps */], result: "i32" },
  kio_close: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */], result: "i32" },
  kio_fsync: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "u32" /* flags */], result: "i32" },
  kio_fallocate: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "i32" /* mode */, "f64" /* offset */, "f64" /* length */], result: "i32" },
  kio_ftruncate: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "f64" /* length */], result: "i32" },
  kio_accept: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* void *address */], result: "i32" },
  kio_connect: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* const void *address */, "u32" /* length */], result: "i32" },
  kio_poll_changes: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "u32" /* events */, "u32" /* flags */], result: "i32" },
  kio_connect_again: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "buffer" /* const void *address */, "u32" /* length */, "u32" /* attempt */], result: "i32" },
  kio_poll_end: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */], result: "i32" },
  kio_shutdown: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* fd */, "i32" /* how */], result: "i32" },
  kio_msg_ring: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "i32" /* target_ring_fd */, "i32" /* result */, "f64" /* user_data */], result: "i32" },
  kio_message_init: { parameters: ["buffer" /* char *message */, "u32" /* name_length */, "u32" /* count */, "buffer" /* void *control */, "u32" /* control_length */], result: "void" },

  kio_ring_message: { parameters: ["i32" /* ring_fd */, "i32" /* result */, "f64" /* user_data */], result: "i32" },

  kio_fd_send: { parameters: ["i32" /* ring_fd */, "i32" /* fd */, "f64" /* tag */], result: "i32" },
  kio_fd_take: { parameters: ["pointer" /* struct kio *k */, "buffer" /* double *tag */], result: "i32" },

  kio_files_register: { parameters: ["pointer" /* struct kio *k */, "buffer" /* const int32_t *fds */, "u32" /* count */], result: "i32" },
  kio_files_update: { parameters: ["pointer" /* struct kio *k */, "u32" /* offset */, "buffer" /* const int32_t *fds */, "u32" /* count */], result: "i32" },
  kio_files_unregister: { parameters: ["pointer" /* struct kio *k */], result: "i32" },
  kio_memory_map: { parameters: ["f64" /* size */], result: "pointer" },
  kio_memory_unmap: { parameters: ["pointer" /* const void *address */], result: "void" },

  kio_socket: { parameters: ["i32" /* domain */, "i32" /* type */], result: "i32" },
  kio_socket_pair: { parameters: ["i32" /* type */, "buffer" /* int32_t *fds */], result: "i32" },
  kio_socket_bind: { parameters: ["i32" /* fd */, "buffer" /* const void *address */, "u32" /* length */], result: "i32" },
  kio_socket_listen: { parameters: ["i32" /* fd */, "i32" /* backlog */], result: "i32" },
  kio_listen: { parameters: ["i32" /* fd */, "buffer" /* const void *address */, "u32" /* length */, "i32" /* backlog */], result: "i32" },
  kio_accept_now: { parameters: ["i32" /* fd */], result: "i32" },
  kio_socket_refuse: { parameters: ["i32" /* fd */], result: "i32" },
  kio_socket_shutdown: { parameters: ["i32" /* fd */, "i32" /* how */], result: "i32" },
  kio_socket_name: { parameters: ["i32" /* fd */, "bool" /* peer */, "buffer" /* void *address */], result: "i32" },
  kio_option_set: { parameters: ["i32" /* fd */, "i32" /* level */, "i32" /* name */, "i32" /* value */], result: "i32" },
  kio_option_get: { parameters: ["i32" /* fd */, "i32" /* level */, "i32" /* name */], result: "i32" },
  kio_nonblocking_set: { parameters: ["i32" /* fd */, "bool" /* on */], result: "i32" },
  kio_fd_room: { parameters: ["u32" /* count */], result: "i32" },
  kio_pipe: { parameters: ["buffer" /* int32_t *fds */, "i32" /* size */], result: "i32" },
  kio_resolve: { parameters: ["buffer" /* const char *host */, "buffer" /* char *out */, "u32" /* capacity */], result: "i32" },
  kio_lookup_begin: { parameters: ["pointer" /* struct kio *k */, "f64" /* id */, "buffer" /* const char *host */], result: "pointer" },
  kio_lookup_take: { parameters: ["pointer" /* struct kio *k */, "buffer" /* double *head */, "buffer" /* char *records */], result: "bool" },
  kio_lookup_cancel: { parameters: ["pointer" /* struct kio *k */, "pointer" /* struct lookup *lookup */], result: "bool" },
  kio_lookups_end: { parameters: ["pointer" /* struct kio *k */], result: "void" },
  kio_fd_target: { parameters: ["i32" /* fd */, "buffer" /* char *out */, "u32" /* capacity */], result: "i32" },
  kio_fd_close: { parameters: ["i32" /* fd */], result: "i32" },
  kio_fd_own: { parameters: ["i32" /* fd */], result: "void" },
  kio_fd_disown: { parameters: ["i32" /* fd */], result: "void" },
  kio_fd_is_stream: { parameters: ["i32" /* fd */], result: "bool" },
  kio_fd_is_ring: { parameters: ["i32" /* fd */], result: "bool" },
  kio_life_begin: { parameters: ["i32" /* fd */], result: "i32" },

  kio_thread_id: { parameters: [], result: "i32" },
  kio_thread_cpu_ms: { parameters: ["i32" /* thread_id */], result: "f64" },
  kio_thread_pin: { parameters: ["u32" /* index */], result: "i32" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The one call that blocks: it runs on a thread of Deno's pool. */
export const blockingSymbols = {
  kio_event_wait: {
    parameters: ["i32" /* event_fd */],
    result: "i32",
    nonblocking: true,
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** The function of shim/guard.c. */
export const guardSymbols = {
  kio_guard_arm: {
    parameters: ["pointer" /* void *guarded */],
    result: "void",
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of shim/test/faults.c, which only the build for tests has. */
// deno-fmt-ignore
export const faultSymbols = {
  kio_fault_install: { parameters: ["f64" /* seed */], result: "i32" },
  kio_fault_rule: { parameters: ["u32" /* operation */, "i32" /* fd */, "f64" /* probability */, "u32" /* nth */, "u32" /* times */, "u32" /* kind */, "i32" /* value */], result: "i32" },
  kio_fault_clear: { parameters: [], result: "void" },
  kio_fault_count: { parameters: [], result: "u32" },
  kio_fault_records: { parameters: ["buffer" /* int32_t *out */, "u32" /* capacity */], result: "u32" },
} as const satisfies Deno.ForeignLibraryInterface;
