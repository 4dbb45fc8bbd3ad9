/** The findings of doctor.ts about this system, and about worse ones. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { IoContext } from "@kio/kio";
import { ROWS } from "../../lib/ops/rows.ts";
import { compile } from "../../ffi/compile.ts";
import {
  type Ended,
  hasStrace,
  ROOT,
  run,
  temporaryFolder,
} from "./support.ts";

function examine(
  env: Record<string, string> = {},
  under: string[] = [],
  flags = ["-A"],
): Promise<Ended> {
  const [command, ...args] = [
    ...under,
    Deno.execPath(),
    "run",
    "--no-prompt",
    ...flags,
    `${ROOT}doctor.ts`,
  ];
  return run(command, args, { env: { KIO_LIB: "", CC: "", ...env } });
}

Deno.test("doctor finds nothing wrong where the tests run", async () => {
  const { code, out, err } = await examine();
  assertEquals([code, err], [0, ""]);
  assertMatch(out, /^kio \d+\.\d+\.\d+\n/);
  assertMatch(out, /^ok +compiler, headers +cc, liburing\.h$/m);
  assertMatch(out, /^ok +library +\/.*\/ffi\/build\/libkio\.so$/m);
  assertMatch(out, /^ok +io_uring +works$/m);
});

Deno.test("doctor prints what IoContext.probe() finds", async () => {
  const { out } = await examine();
  const { operations, features } = IoContext.probe();
  const minor = (since: string) => Number(since.split(".")[1]);
  for (const { name, since } of ROWS) {
    // An operation of two opcodes needs both; the majors here are the same.
    const isLater = (row: { name: string; since: string }) =>
      row.name === name && minor(row.since) > minor(since);
    if (ROWS.some(isLater)) continue;
    const by = operations[name]!;
    const line = since === "" ? by : `${by.padEnd(8)} since Linux ${since}`;
    assertStringIncludes(out, `${name.padEnd(18)} ${line}\n`);
  }
  for (const [name, isThere] of Object.entries(features)) {
    assertStringIncludes(out, `${name.padEnd(18)} ${isThere ? "yes" : "no"}\n`);
  }
});

Deno.test("doctor says how to build a library that is missing", async () => {
  const { code, out } = await examine({ KIO_LIB: "/nowhere/libkio.so" });
  assertEquals(code, 1);
  assertMatch(
    out,
    /^WRONG +library .*\n.*; unset KIO_LIB.*\n.*KIO_LIB=\/nowhere/m,
  );
});

Deno.test("doctor says what to install when the compiler is needed", async () => {
  const missing = { CC: "no-such-compiler" };
  const { code, out } = await examine(missing);
  assertEquals(code, 0);
  assertMatch(out, /^note +compiler, headers .*\n.*"no-such-compiler"/m);
  assertMatch(out, /apt-get install gcc libc6-dev liburing-dev/);
  const worse = await examine({ KIO_LIB: "/nowhere/libkio.so", ...missing });
  assertEquals(worse.code, 1);
  assertMatch(worse.out, /^WRONG +compiler, headers /m);
});

Deno.test({
  name: "doctor says that io_uring is forbidden",
  ignore: !await hasStrace(),
  async fn() {
    const { code, out } = await examine({}, [
      "strace",
      "--follow-forks",
      "--output=/dev/null",
      "--trace=io_uring_setup",
      "--inject=io_uring_setup:error=EPERM",
    ]);
    assertEquals(code, 1);
    assertMatch(out, /^WRONG +io_uring +refused\n.*seccomp filter/m);
  },
});

Deno.test("doctor prints what to add to a container's seccomp profile", async () => {
  using folder = temporaryFolder();
  const forbid = `${folder.path}/forbid`;
  compile(["-o", forbid, `${ROOT}tests/process/forbid.c`]);
  const { code, out } = await examine({}, [forbid]);
  assertEquals(code, 1);
  assertMatch(out, /^ok +seccomp +a filter, as containers have it$/m);
  assertMatch(out, /^WRONG +io_uring +refused\n.*\(EPERM\).*seccomp filter/m);
  const [rule = "{}"] = /\{[^}]*\}/.exec(out) ?? [];
  assertEquals(JSON.parse(rule), {
    names: ["io_uring_setup", "io_uring_enter", "io_uring_register"],
    action: "SCMP_ACT_ALLOW",
  });
  const plain = await examine();
  assert(!plain.out.includes("SCMP_ACT_ALLOW"));
});

Deno.test("doctor notes low limits", async () => {
  const script = 'ulimit -n 200; ulimit -l 64; exec "$@"';
  const { out } = await examine({}, ["sh", "-c", script, "sh"]);
  assertMatch(out, /^note +open files +200\n.*ulimit -n/m);
  assertMatch(out, /locked memory +64 KiB$/m);
});

Deno.test("doctor needs all permissions, and says so", async () => {
  for (const flags of [["--allow-ffi"], ["-A", "--deny-read=/proc"]]) {
    assertEquals(await examine({}, [], flags), {
      code: 1,
      signal: null,
      out: "",
      err:
        "Cannot examine this system: run it with deno run -A, and no --deny-…\n",
    });
  }
});
