/** The tests that would notice most of a kernel that has less, or is another. */
export const SHORT_TESTS: readonly string[] = [
  "cancel",
  "drive",
  "fixed_files",
  "io_file",
  "io_link",
  "io_socket",
  "msg_ring",
  "recv_multishot",
  "recvmsg_multishot",
  "send_to",
  "socket_setup",
  "wake",
  "zero_copy",
].map((name) => `tests/lib/${name}_test.ts`);
