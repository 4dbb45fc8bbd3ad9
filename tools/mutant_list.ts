/** A safety rule, taken away. */
export interface Mutant {
  /** What the rule says. */
  rule: string;
  file: string;
  /** Text that is once in the file. */
  from: string;
  to: string;
  /** Test files that are to notice, "C" for the C tests. */
  tests: readonly string[];
}

const FAULTS = "tests/process/faults.process.ts";

export const MUTANTS: readonly Mutant[] = [
  {
    rule: "an fd that comes while the context closes is closed",
    file: "lib/ring.ts",
    from: "      ring.shim.kio_fd_close(result);\n      result = -ECANCELED;",
    to: "      result = -ECANCELED;",
    tests: [FAULTS, "tests/lib/nothing_lost_test.ts", "tests/lib/"],
  },
  {
    rule: "an fd that nobody will hear of is closed with the isolate",
    file: "ffi/kio.c",
    from: "\t\tclose(cqe->res);\n",
    to: "\t\t(void)cqe;\n",
    tests: ["C"],
  },
  {
    rule: "a pipe that may hold bytes is not used again",
    file: "helpers/sendfile.ts",
    from:
      "if (this.moved === this.total) this.#pool.give(pipe);\n    else destroy(pipe);",
    to: "this.#pool.give(pipe);\n    void destroy;",
    tests: ["tests/helpers/sendfile_test.ts"],
  },
  {
    rule: "a completion is matched with the generation of its slot",
    file: "lib/ring.ts",
    from: "      this.#generations[low] === (high & GENERATION_MASK);",
    to: "      true;",
    tests: ["tests/lib/", FAULTS],
  },
  {
    rule: "a result counts more than a timeout that came as well",
    file: "lib/ring.ts",
    from: "    if (result >= 0) return result;\n    // EAGAIN is",
    to:
      "    if (result >= 0 && !(flags & TIMED_OUT)) return result;\n    if (result >= 0) return -ETIMEDOUT;\n    // EAGAIN is",
    tests: ["tests/lib/timeout_test.ts", FAULTS],
  },
  {
    rule: "what the kernel did not take of a submission is submitted again",
    file: "ffi/kio.c",
    from: "\t\t\t   tail - io_uring_smp_load_acquire(sq->khead),\n",
    to:
      "\t\t\t   tail - io_uring_smp_load_acquire(sq->khead) > 1 ? 1 :\n\t\t\t   tail - io_uring_smp_load_acquire(sq->khead),\n",
    tests: ["C", "tests/lib/"],
  },
  {
    rule: "no context before the guard is armed",
    file: "ffi/kio.c",
    from: "\tif (isolate || !napi_add_env_cleanup_hook)\n\t\treturn exports;\n",
    to:
      "\tif (!isolate)\n\t\tisolate = isolate_begin();\n\tif (isolate || !napi_add_env_cleanup_hook)\n\t\treturn exports;\n",
    tests: ["C"],
  },
  {
    rule: "the guard waits for the kernel",
    file: "ffi/kio.c",
    from: "\t\tcontext_drain(isolate->contexts);\n",
    to: "\t\t(void)context_drain;\n",
    tests: ["C"],
  },
  {
    rule: "the guard counts a pump as one operation",
    file: "ffi/kio.c",
    from:
      "\t\tif (sqe->user_data & UD_INTERNAL ||\n\t\t    sqe->flags & IOSQE_CQE_SKIP_SUCCESS)",
    to: "\t\tif (sqe->user_data & UD_INTERNAL)",
    tests: ["C"],
  },
  {
    rule: "a buffer that is gone at completion ends the process",
    file: "lib/ring.ts",
    from:
      "if (pinned !== null && pinned.byteLength === 0 && isDetached(pinned)) {",
    to: "if (pinned !== null && pinned.byteLength < 0 && isDetached(pinned)) {",
    tests: ["tests/process/buffers.process.ts"],
  },
  {
    rule: "a slot is freed by its completion, not by a cancel",
    file: "lib/ring.ts",
    from:
      "    if (this.#flags & ASLEEP) this.#end(-ECANCELED);\n    else ring.requestCancel(this);",
    to: "    ring.requestCancel(this);\n    this.#end(-ECANCELED);",
    tests: ["tests/lib/cancel_test.ts"],
  },
  {
    rule: "a chain reaches the kernel whole",
    file: "ffi/kio.c",
    from: "\t\tret = enter(k, k->chain_length, 0, 0);\n",
    to: "\t\tret = enter(k, 0, 0, 0);\n",
    tests: ["C", "tests/lib/io_link_test.ts"],
  },
  {
    rule: "the eventfd is armed before the last look",
    file: "ffi/kio.c",
    from:
      "\tif (enter(k, 0, 0, IORING_ENTER_GETEVENTS) >= 0 &&\n\t    !io_uring_sq_ready(&k->ring) && poll(&ring, 1, 0) == 0)\n",
    to: "\t(void)ring;\n\tif (!io_uring_sq_ready(&k->ring))\n",
    tests: ["C", "tests/lib/"],
  },
  {
    rule: "the kernel is asked by poll(2) before the thread sleeps",
    file: "ffi/kio.c",
    from: " && poll(&ring, 1, 0) == 0)",
    to: " && ring.fd >= 0)",
    tests: ["C", "tests/lib/"],
  },
  {
    rule: "an accept without fds is answered late",
    file: "lib/ring.ts",
    from: "if (op.#flags === 0 && isShortOf(op.#operation, -result)) {",
    to: "if (op.#flags < 0 && isShortOf(op.#operation, -result)) {",
    tests: ["tests/process/echo_server.process.ts"],
  },
  {
    rule: "-512 and its like do not get out",
    file: "lib/ring.ts",
    from: "if (result <= -512 && result >= -516) result = -EINTR;",
    to: "",
    tests: [FAULTS],
  },
  {
    rule: "what a last try gives is not why an operation ended",
    file: "lib/ring.ts",
    from: "result !== -EINTR && result !== -EAGAIN) {",
    to: "result !== -EINTR) {",
    tests: [FAULTS],
  },
  {
    rule: "Socket.close() waits before it closes the fd",
    file: "net/net.ts",
    from: "    await cancelOn(fd);\n    loadShim().kio_fd_close(fd);",
    to: "    loadShim().kio_fd_close(fd);\n    await cancelOn(fd);",
    tests: ["tests/net/net_test.ts"],
  },
  {
    rule: "Socket.close() tells the peer first",
    file: "net/net.ts",
    from:
      "    loadShim().kio_socket_shutdown(fd, SHUT_RDWR);\n    await cancelOn(fd);",
    to: "    await cancelOn(fd);",
    tests: ["tests/net/net_test.ts"],
  },
  {
    rule: "the second fd of a splice is known",
    file: "lib/ring.ts",
    from: "    return op.#extra?.otherFd === fd;",
    to: "    return op.#extra === undefined && fd < 0;",
    tests: ["tests/helpers/sendfile_test.ts", "tests/lib/io_file_test.ts"],
  },
  {
    rule: "a signal is not listened to after completion",
    file: "lib/ring.ts",
    from: '        signal.removeEventListener("abort", extra.onAbort);',
    to: "        void signal;",
    tests: ["tests/lib/cancel_test.ts", "tests/lib/memory_test.ts"],
  },
  {
    rule: "the deadline of a slot goes with it",
    file: "lib/ring.ts",
    from: "    if (this.timers.size > 0) this.timers.delete(slot);",
    to: "",
    tests: ["tests/lib/timeout_test.ts"],
  },
  {
    rule: "an overflow of the completion queue is fetched",
    file: "ffi/kio.c",
    from: "(IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)",
    to: "IORING_SQ_TASKRUN",
    tests: ["C", "tests/lib/nothing_lost_test.ts"],
  },
  {
    rule: "an exact transfer ends with a cancel",
    file: "lib/ring.ts",
    from:
      "if (!transfer.advance(result, step) || this.#flags !== 0) return false;",
    to: "if (!transfer.advance(result, step)) return false;",
    tests: ["tests/helpers/", FAULTS],
  },
  {
    rule: "EAGAIN from the kernel's entry is tried again",
    file: "lib/ring.ts",
    from: "        setTimeout(() => this.#onWake(), SUBMIT_RETRY_MS);".slice(8),
    to: "",
    tests: [FAULTS],
  },
  {
    rule: "what the kernel does not wait for is waited for",
    file: "lib/waiting.ts",
    from: "    return result === -EAGAIN;",
    to: "    return result > 0 && result === -EAGAIN;",
    tests: ["tests/lib/io_message_test.ts"],
  },
  {
    rule: "a peer that only receives is waited for without spinning",
    file: "lib/waiting.ts",
    from: "if (poll === Poll.ONCE && isVain) this.#poll = Poll.CHANGES;",
    to: "void isVain;",
    tests: ["tests/helpers/sendfile_test.ts"],
  },
  {
    rule: "a cancel that found nothing is repeated",
    file: "lib/ring.ts",
    from:
      "        this.timers.set(low, this.shim.kio_now_ms() + CANCEL_RETRY_MS);",
    to: "        void CANCEL_RETRY_MS;",
    tests: ["tests/lib/io_link_test.ts", "tests/lib/cancel_test.ts"],
  },
];
