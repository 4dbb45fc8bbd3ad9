/** The findings of doctor.ts about this system, and about worse ones. */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { IoContext } from "@kio/kio";
import { ROWS } from "../../lib/ops/rows.ts";
import { FEATURE_NAMES } from "../../lib/ring/features.ts";
import { compile } from "../../ffi/compile.ts";
import {
  type Ended,
  hasProgram,
  hasStrace,
  ROOT,
  run,
  temporaryFolder,
} from "./support.ts";

function examine(
  env: Record<string, string> = {},
  under: string[] = [],
  flags = ["-A"],
  options: string[] = [],
): Promise<Ended> {
  const [command, ...args] = [
    ...under,
    Deno.execPath(),
    "run",
    "--no-prompt",
    ...flags,
    `${ROOT}doctor.ts`,
    ...options,
  ];
  return run(command!, args, {
    env: { KIO_LIB: "", KIO_DISABLE: "", CC: "", ...env },
  });
}

/** Gives the last line, the verdict; all of it must fit one screen. */
function verdictOf({ out }: Ended): string {
  const lines = out.trimEnd().split("\n");
  assert(lines.length < 24, out);
  // A path has no place to break it.
  const wide = lines.filter((it) => it.length > 80 && !/ \/\S+$/.test(it));
  assertEquals(wide, []);
  assertEquals(lines.at(-2), "");
  return lines.at(-1)!;
}

Deno.test("doctor finds nothing wrong where the tests run", async () => {
  const ended = await examine();
  const { code, out, err } = ended;
  assertEquals([code, err], [0, ""]);
  assertEquals(verdictOf(ended), "kio works here");
  assert(!/^(note|WRONG)/m.test(out), out);
  assertMatch(out, /^kio \d+\.\d+\.\d+\n/);
  assertMatch(out, /^ok +compiler, headers +cc, liburing\.h$/m);
  assertMatch(out, /^ok +library +\/.*\/ffi\/build\/libkio\.so$/m);
  assertMatch(out, /^ok +io_uring +works$/m);
});

Deno.test("doctor --all prints what IoContext.probe() finds", async () => {
  const { out } = await examine({}, [], ["-A"], ["--all"]);
  const { operations, features, flags } = IoContext.probe();
  const minor = (since: string) => Number(since.split(".")[1]);
  for (const { name, since } of ROWS) {
    // An operation of two opcodes needs both; the majors here are the same.
    const isLater = (row: { name: string; since: string }) =>
      row.name === name && minor(row.since) > minor(since);
    if (ROWS.some(isLater)) continue;
    const by = operations[name]!;
    const line = since === "" ? by : `${by.padEnd(8)} since Linux ${since}`;
    assertStringIncludes(out, `${name.padEnd(20)} ${line}\n`);
  }
  for (const [name, { support, reason }] of Object.entries(features)) {
    const line = `${name.padEnd(20)} ${support.padEnd(8)} ${reason}`.trimEnd();
    assertStringIncludes(out, `${line}\n`);
  }
  for (const [name, isThere] of Object.entries(flags)) {
    assertStringIncludes(out, `${name.padEnd(20)} ${isThere ? "yes" : "no"}\n`);
  }
  assertMatch(out, /\n\nkio works here\n$/);
  const plain = await examine();
  assert(!plain.out.includes("asyncRead"));
});

Deno.test("doctor says how to build a library that is missing", async () => {
  const ended = await examine({ KIO_LIB: "/nowhere/libkio.so" });
  assertEquals(ended.code, 1);
  assertMatch(
    ended.out,
    /^WRONG +library .*\n.*; unset KIO_LIB[^/]*KIO_LIB=\/nowhere/m,
  );
  assertEquals(verdictOf(ended), "kio does not work here: library");
});

Deno.test("doctor says what to install when the compiler is needed", async () => {
  const missing = { CC: "no-such-compiler" };
  const ended = await examine(missing);
  assertEquals(ended.code, 0);
  // The final image of a container has none.
  assertMatch(ended.out, /^ok +compiler, headers +not usable, and not needed/m);
  assertEquals(verdictOf(ended), "kio works here");
  const worse = await examine({ KIO_LIB: "/nowhere/libkio.so", ...missing });
  assertEquals(worse.code, 1);
  assertMatch(
    worse.out,
    /^WRONG +compiler, headers .*\n[^]*"no-such-compiler"/m,
  );
  assertMatch(worse.out, /apt-get install gcc libc6-dev liburing-dev/);
  assertEquals(
    verdictOf(worse),
    "kio does not work here: compiler, headers; library",
  );
});

Deno.test("doctor tells of features that are switched off", async () => {
  const ended = await examine({ KIO_DISABLE: "sendZc" });
  assertEquals(ended.code, 0);
  assertMatch(
    ended.out,
    /^ok +features +not all native\n +sendZc is emulated: KIO_DISABLE$/m,
  );
  assertEquals(verdictOf(ended), "kio works here");
});

Deno.test("doctor notes features whose trial fails", async () => {
  const ended = await examine({
    KIO_LIB: `${ROOT}ffi/build/libkio_faults.so`,
    KIO_MASK: "RECV_MULTISHOT",
  });
  assertEquals(ended.code, 0);
  assertMatch(
    ended.out,
    /^note +features +not all native\n +recvMultishot, recvmsgMultishot are emulated: its trial/m,
  );
  assertEquals(verdictOf(ended), "kio works here; see the notes: features");
});

Deno.test("doctor takes an older kernel for one that works", async () => {
  const ended = await examine({
    KIO_LIB: `${ROOT}ffi/build/libkio_faults.so`,
    KIO_MASK: "NO_IOWAIT,SYNC_MSG_RING,FTRUNCATE",
  });
  assertEquals(ended.code, 0);
  assertMatch(ended.out, /^note +operations +without asyncInstallFd$/m);
  assertEquals(
    verdictOf(ended),
    "kio works here; see the notes: operations; features",
  );
});

Deno.test({
  name: "doctor says that io_uring is forbidden",
  ignore: !await hasStrace(),
  async fn() {
    const errors = { EPERM: "seccomp filter", ENOSYS: "has no io_uring" };
    for (const [error, reason] of Object.entries(errors)) {
      const ended = await examine({}, [
        "strace",
        "--follow-forks",
        "--output=/dev/null",
        "--trace=io_uring_setup",
        `--inject=io_uring_setup:error=${error}`,
      ]);
      assertEquals(ended.code, 1);
      assertMatch(
        ended.out,
        new RegExp(`^WRONG +io_uring +refused\n[^]*`, "m"),
      );
      assertStringIncludes(ended.out.replace(/\s+/g, " "), reason);
      assertEquals(verdictOf(ended), "kio does not work here: io_uring");
    }
  },
});

Deno.test("doctor prints what to add to a container's seccomp profile", async () => {
  using folder = temporaryFolder();
  const forbid = `${folder.path}/forbid`;
  await compile(["-o", forbid, `${ROOT}tests/process/forbid.c`]);
  const ended = await examine({}, [forbid]);
  const { code, out } = ended;
  assertEquals(code, 1);
  assertEquals(verdictOf(ended), "kio does not work here: io_uring");
  assertMatch(out, /^ok +seccomp +a filter, as containers have it$/m);
  assertMatch(
    out,
    /^WRONG +io_uring +refused\n.*\(EPERM\)[^{]*seccomp filter/m,
  );
  const [rule = "{}"] = /\{[^}]*\}/.exec(out) ?? [];
  assertEquals(JSON.parse(rule), {
    names: ["io_uring_setup", "io_uring_enter", "io_uring_register"],
    action: "SCMP_ACT_ALLOW",
  });
  const plain = await examine();
  assert(!plain.out.includes("SCMP_ACT_ALLOW"));
});

Deno.test("doctor fits one screen at its worst", async () => {
  using folder = temporaryFolder();
  const forbid = `${folder.path}/forbid`;
  await compile(["-o", forbid, `${ROOT}tests/process/forbid.c`]);
  const script = 'ulimit -n 200; ulimit -l 64; exec "$@"';
  const all = { KIO_DISABLE: FEATURE_NAMES.join(",") };
  verdictOf(await examine(all, ["sh", "-c", script, "sh"]));
  verdictOf(await examine(all, ["sh", "-c", script, "sh", forbid]));
  const missing = { CC: "no-such-compiler", KIO_LIB: "/nowhere/libkio.so" };
  verdictOf(await examine(missing, ["sh", "-c", script, "sh"]));
});

Deno.test({
  name: "doctor has colours on a terminal, and none with NO_COLOR",
  ignore: !await hasProgram("script"),
  async fn() {
    const doctor = `${Deno.execPath()} run -A ${ROOT}doctor.ts`;
    const outOf = async (command: string) => {
      const args = ["--quiet", "--return", "--command", command, "/dev/null"];
      return (await run("script", args)).out;
    };
    const coloured = await outOf(`NO_COLOR= ${doctor}`);
    assertStringIncludes(coloured, "\x1b[32mok     \x1b[0mio_uring");
    assert(!(await outOf(doctor)).includes("\x1b["));
  },
});

Deno.test("doctor notes low limits", async () => {
  const script = 'ulimit -n 200; ulimit -l 64; exec "$@"';
  const ended = await examine({}, ["sh", "-c", script, "sh"]);
  assertMatch(ended.out, /^note +open files +200: .*ulimit -n/m);
  assertMatch(ended.out, /locked memory +64 KiB$/m);
  const isRoot = Deno.uid() === 0;
  assertMatch(
    verdictOf(ended),
    isRoot ? /see the notes: open files$/ : /see the notes: .*open files$/,
  );
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
