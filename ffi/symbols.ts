/**
 * The functions of the shim for Deno. shim/kio.h has their declarations, with
 * names; a test compares the types.
 */

/** Types of parameters and results, by their meaning. */
const K = "pointer"; // struct kio *
const POINTER = "pointer";
const BUFFER = "buffer";
const ID = "f64"; // user_data
const OP = "u32"; // opcode | IOSQE_* << 8 | ioprio << 16
const FD = "i32";
const OFFSET = "f64"; // below 2^53, or a length
const LENGTH = "u32"; // or a count, an index
const FLAGS = "u32";
const INT = "i32";
const NUMBER = "f64"; // what the caller has in 53 bits
const MS = "f64";
const BOOL = "bool";
const VOID = "void";
/** The parameters of kio_sqe() up to sqe->len. */
const SQE = [K, ID, OP, FD, BUFFER, OFFSET, LENGTH] as const;
const SQE2 = [...SQE, BUFFER, OFFSET, FLAGS, INT, LENGTH] as const;

function fn<
  const Parameters extends readonly Deno.NativeType[],
  const Result extends Deno.NativeResultType,
>(parameters: Parameters, result: Result) {
  return { parameters, result };
}

/** The functions that may be called 100,000 times a second. */
export const symbols = {
  kio_now_ms: fn([], "f64"),
  kio_step: fn([K, BUFFER, LENGTH, BOOL], INT),
  kio_wait: fn([K, BUFFER, LENGTH, MS, BUFFER], INT),
  kio_arm: fn([K, MS], INT),
  kio_sqe: fn([...SQE, OFFSET, FLAGS], INT),
  kio_sqe2: fn(SQE2, INT),
  kio_read: fn([K, ID, FD, BUFFER, LENGTH, OFFSET], INT),
  kio_write: fn([K, ID, FD, BUFFER, LENGTH, OFFSET], INT),
  kio_recv: fn([K, ID, FD, BUFFER, LENGTH, INT], INT),
  kio_send: fn([K, ID, FD, BUFFER, LENGTH, INT], INT),
  kio_file_read_now: fn([FD, BUFFER, FLAGS, BUFFER, LENGTH], INT),
  kio_vector_set: fn([BUFFER, LENGTH, BUFFER, OFFSET], VOID),
} satisfies Deno.ForeignLibraryInterface;

/** The functions whose work takes longer than any call. */
export const rareSymbols = {
  kio_abi: fn([], "u32"),
  kio_abort: fn([K, BUFFER], VOID),

  kio_guard_file: fn([], INT),
  kio_guarded: fn([], POINTER),
  kio_context_open: fn(
    [LENGTH, LENGTH, LENGTH, LENGTH, BOOL, BUFFER, BUFFER],
    POINTER,
  ),
  kio_context_close: fn([K], VOID),
  kio_probe: fn([K, BOOL, BUFFER, BUFFER], INT),
  kio_ring_memory: fn([LENGTH, LENGTH], "f64"),
  kio_ring_fd: fn([K], INT),
  kio_stats: fn([K, BUFFER], VOID),
  kio_event_fd: fn([K], INT),
  kio_loop_find: fn([K], VOID),
  kio_loop_watch: fn([K], BOOL),
  kio_loop_is_ready: fn([K], BOOL),
  kio_loop_forget: fn([K], VOID),
  kio_wake_self: fn([K], VOID),
  kio_chain: fn([K, BOOL], VOID),
  kio_chain_copy: fn([K, BUFFER, LENGTH], VOID),
  kio_again: fn([K, BUFFER], INT),
  kio_retract: fn([K, ID], BOOL),
  kio_cancel: fn([K, ID], INT),
  kio_cancels_submit: fn([K], VOID),
  kio_take_back: fn([K, ID], INT),
  kio_cancel_all: fn([K], INT),

  kio_sqe3: fn([...SQE2, BUFFER, OFFSET], INT),
  kio_pump: fn(
    [K, ID, FD, OFFSET, OFFSET, FD, FD, LENGTH, FD, LENGTH, LENGTH],
    INT,
  ),
  kio_sendfile: fn([K, FD, OFFSET, LENGTH, FD, BUFFER, LENGTH], INT),
  kio_relay: fn([K, FD, FD, FD, FD, LENGTH, BUFFER], INT),
  kio_close: fn([K, ID, FD], INT),
  kio_place_close: fn([K, ID, LENGTH], INT),
  kio_poll_end: fn([K, ID], INT),
  kio_msg_ring: fn([K, ID, FD, INT, NUMBER], INT),
  kio_message_advance: fn([BUFFER, OFFSET], VOID),
  kio_message_init: fn([BUFFER, LENGTH, LENGTH, BUFFER, LENGTH], VOID),

  kio_ring_message: fn([FD, INT, NUMBER], INT),

  kio_fd_send: fn([FD, FD, NUMBER], INT),
  kio_fd_take: fn([K, BUFFER], INT),

  kio_files_register: fn([K, BUFFER, LENGTH], INT),
  kio_files_update: fn([K, LENGTH, BUFFER, LENGTH], INT),
  kio_files_unregister: fn([K], INT),
  kio_files_reserve: fn([K, LENGTH], INT),
  kio_place_free: fn([K, LENGTH], INT),
  kio_lock_limit: fn([], "f64"),
  kio_memory_register: fn([K, LENGTH, BUFFER, OFFSET], INT),
  kio_memory_unregister: fn([K, LENGTH], INT),
  kio_zero_copy_reset: fn([K], VOID),
  kio_pool_open: fn([K, BUFFER, LENGTH, LENGTH, BUFFER], INT),
  kio_pool_close: fn([K, LENGTH], VOID),
  kio_trial: fn([LENGTH], INT),
  kio_environment: fn([BUFFER, LENGTH], INT),
  kio_memory_map: fn([OFFSET], POINTER),
  kio_memory_unmap: fn([POINTER], VOID),

  kio_socket: fn([INT, INT], INT),
  kio_socket_pair: fn([INT, BUFFER], INT),
  kio_socket_bind: fn([FD, BUFFER, LENGTH], INT),
  kio_socket_listen: fn([FD, INT], INT),
  kio_listen: fn([FD, BUFFER, LENGTH, INT], INT),
  kio_accept_now: fn([FD], INT),
  kio_connect_now: fn([FD, BUFFER, LENGTH], INT),
  kio_socket_refuse: fn([FD], INT),
  kio_socket_shutdown: fn([FD, INT], INT),
  kio_socket_name: fn([FD, BOOL, BUFFER], INT),
  kio_option_set: fn([FD, INT, INT, INT], INT),
  kio_option_get: fn([FD, INT, INT], INT),
  kio_option_set_bytes: fn([FD, INT, INT, BUFFER, LENGTH], INT),
  kio_option_get_bytes: fn([FD, INT, INT, BUFFER, LENGTH], INT),
  kio_socket_queued: fn([FD, BOOL], INT),
  kio_nonblocking_set: fn([FD, BOOL], INT),
  kio_fd_room: fn([LENGTH], INT),
  kio_pipe: fn([BUFFER, INT], INT),
  kio_readlink: fn([FD, BUFFER, BUFFER, LENGTH], INT),
  kio_unlink: fn([FD, BUFFER], INT),
  kio_file_size: fn([FD], "f64"),
  kio_file_own: fn([FD], "f64"),
  kio_file_seek: fn([FD, "i64", INT], "f64"),
  kio_file_lock: fn([FD, INT], INT),
  kio_file_times: fn([FD, "i64", "i64"], INT),
  kio_blocking_read: fn([FD, BUFFER, LENGTH], "f64"),
  kio_blocking_write: fn([FD, BUFFER, LENGTH], "f64"),
  kio_blocking_sync: fn([FD, BOOL], INT),
  kio_blocking_truncate: fn([FD, "i64"], INT),
  kio_blocking_stat: fn([FD, FLAGS, BUFFER], INT),
  kio_blocking_lock: fn([FD, INT], INT),
  kio_terminal_size: fn([], "u32"),
  kio_terminal_raw: fn([FD, BOOL, BUFFER], INT),
  kio_terminal_restore: fn([FD, BUFFER], INT),
  kio_fd_is_terminal: fn([FD], BOOL),
  kio_resolve: fn([BUFFER, BUFFER, LENGTH], INT),
  kio_lookup_begin: fn([K, ID, BUFFER], POINTER),
  kio_lookup_take: fn([K, BUFFER, BUFFER], BOOL),
  kio_lookup_cancel: fn([POINTER], BOOL),
  kio_jobs_end: fn([K], VOID),
  kio_folder_begin: fn([K, ID, FD, BUFFER, FLAGS], POINTER),
  kio_folder_take: fn([K, BUFFER, BUFFER], BOOL),
  kio_folder_more: fn([POINTER], INT),
  kio_folder_end: fn([POINTER], VOID),
  kio_cloexec_set: fn([FD], INT),
  kio_fd_dup: fn([FD], INT),
  kio_fd_target: fn([FD, BUFFER, LENGTH], INT),
  kio_fd_close: fn([FD], INT),
  kio_fd_own: fn([FD], VOID),
  kio_fd_disown: fn([FD], VOID),
  kio_fd_is_owned: fn([FD], BOOL),
  kio_fd_is_stream: fn([FD], BOOL),
  kio_pipe_has_nowait: fn([FD], BOOL),
  kio_fd_is_ring: fn([FD], BOOL),
  kio_life_begin: fn([FD], INT),

  kio_thread_id: fn([], INT),
  kio_thread_cpu_ms: fn([INT], "f64"),
  kio_thread_pin: fn([LENGTH], INT),
} satisfies Deno.ForeignLibraryInterface;

/** The one function that blocks: it runs on a thread of Deno's pool. */
export const blockingSymbols = {
  kio_event_wait: { ...fn([FD], INT), nonblocking: true },
} as const satisfies Deno.ForeignLibraryInterface;

/** The function of shim/guard.c. */
export const guardSymbols = {
  kio_guard_arm: fn([POINTER], VOID),
} satisfies Deno.ForeignLibraryInterface;

/** The functions of shim/test/fault_plan.c, which only the builds for tests
 * have. */
export const faultSymbols = {
  kio_fault_install: fn([NUMBER], INT),
  kio_fault_rule: fn([FLAGS, FD, NUMBER, LENGTH, LENGTH, FLAGS, INT], INT),
  kio_fault_clear: fn([], VOID),
  kio_fault_count: fn([], "u32"),
  kio_fault_records: fn([BUFFER, LENGTH], "u32"),
} satisfies Deno.ForeignLibraryInterface;
