/**
 * Runs the tests with a library that watches over memory (ffi/shim/test/watch.c), in a Deno
 * whose allocations AddressSanitizer knows. V8 collects garbage at bad moments:
 *
 *     deno task test:asan [--short | number …]
 *
 * An error of memory ends the run, with the name of the operation and the places
 * where the memory was allocated and freed. The end of a run reports memory that
 * the library has lost.
 */
import { readArguments, wholeNumber } from "../examples/command_line.ts";
import { ASAN_LIBRARY, pathOf } from "../ffi/compile.ts";
import { tidily } from "./tidy.ts";

/** Tests that move bytes, and that close while bytes move. */
const CORE = [
  "tests/lib/cancel_test.ts",
  "tests/lib/io_file_test.ts",
  "tests/lib/io_message_test.ts",
  "tests/lib/io_socket_test.ts",
  "tests/lib/memory_test.ts",
  "tests/lib/recv_multishot_test.ts",
  "tests/lib/recvmsg_multishot_test.ts",
  "tests/lib/send_to_test.ts",
  "tests/helpers",
  "tests/net/UdpSocket_test.ts",
];
const FUZZ = ["tests/fuzz/fuzz.ts", "--seed", "1", "--faults", "--ops"];

interface Run {
  v8Flags: string;
  /** Tests, or a program and its arguments. */
  what: readonly string[];
}

const RUNS: readonly Run[] = [
  { v8Flags: "--expose-gc", what: ["tests/lib"] },
  { v8Flags: "--expose-gc", what: ["tests/net", "tests/helpers"] },
  { v8Flags: "--expose-gc,--gc-interval=200", what: CORE },
  {
    v8Flags: "--expose-gc,--random-gc-interval=500,--stress-compaction",
    what: CORE,
  },
  { v8Flags: "--expose-gc,--stress-scavenge=50", what: CORE },
  { v8Flags: "--expose-gc,--jitless", what: CORE },
  { v8Flags: "--expose-gc", what: [...FUZZ, "20000"] },
];
const SHORT_RUNS: readonly Run[] = [
  { v8Flags: "--expose-gc,--gc-interval=1000", what: CORE.slice(2, 5) },
];

/** Leaks of Deno's own, which does not free everything when it ends; and of a
 * look-up that the end of the process meets at work, in the C library. */
const SUPPRESSIONS = "leak:deno\nleak:res_context_send\n";

/** The environment of a Deno that runs under the sanitizers. */
export function sanitizedEnv(suppressionsPath: string): Record<string, string> {
  const command = Deno.env.get("CC") || "cc";
  const { stdout } = new Deno.Command(command, {
    args: ["-print-file-name=libasan.so"],
  }).outputSync();
  Deno.writeTextFileSync(suppressionsPath, SUPPRESSIONS);
  return {
    LD_PRELOAD: new TextDecoder().decode(stdout).trim(),
    // Two frames: the frame below the allocating one is mostly Deno's, and
    // would suppress leaks of the library as well.
    ASAN_OPTIONS:
      "abort_on_error=1:allocator_may_return_null=1:malloc_context_size=2",
    LSAN_OPTIONS: `suppressions=${suppressionsPath}:print_suppressions=0`,
    UBSAN_OPTIONS: "print_stacktrace=1",
    KIO_LIB: pathOf(ASAN_LIBRARY),
  };
}

function runOne({ v8Flags, what }: Run, env: Record<string, string>): boolean {
  const command = what[0]!.endsWith("fuzz.ts") ? "run" : "test";
  const { success } = new Deno.Command(Deno.execPath(), {
    args: [
      command,
      "--no-check",
      "--allow-ffi",
      "--allow-env=KIO_LIB",
      `--v8-flags=${v8Flags}`,
      ...what,
    ],
    env,
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).outputSync();
  return success;
}

function main(): number {
  const runs = readArguments({
    command: "deno task test:asan",
    about: "Runs tests with a library and a Deno that watch over memory.",
    operands: `[1 to ${RUNS.length} ...]`,
    options: { short: { help: "one run of a few tests" } },
  }, ({ short }, operands) => {
    const numbers = operands.map((text) =>
      wholeNumber("a run", text, 1, RUNS.length)
    );
    return short
      ? SHORT_RUNS
      : RUNS.filter((_, i) => operands.length === 0 || numbers.includes(i + 1));
  });
  const suppressionsPath = Deno.makeTempFileSync();
  try {
    const env = sanitizedEnv(suppressionsPath);
    const failed = runs.filter((run, i) => {
      const { what, v8Flags } = run;
      console.log(`\n${i + 1} of ${runs.length}: ${what.join(" ")}`);
      console.log(`V8 with ${v8Flags}`);
      return !runOne(run, env);
    });
    return failed.length > 0 ? 1 : 0;
  } finally {
    Deno.removeSync(suppressionsPath);
  }
}

if (import.meta.main) await tidily(import.meta.url, main);
