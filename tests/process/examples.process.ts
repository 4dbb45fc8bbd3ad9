/** Tests of what all examples have in common. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { ROOT, run, temporaryFolder } from "./support.ts";

/** The examples that are started; the other files are parts of them. */
const PROGRAMS = [...Deno.readDirSync("examples")]
  .filter(({ name, isFile }) =>
    isFile && !/_worker\.ts$|^(pool_echo|command_line)\.ts$/.test(name)
  )
  .map(({ name }) => name)
  .sort();

function start(program: string, ...args: string[]) {
  return run(Deno.execPath(), ["run", "-A", `examples/${program}`, ...args]);
}

for (const program of PROGRAMS) {
  Deno.test(`${program} has a --help`, async () => {
    const { code, out, err } = await start(program, "--help");
    assertEquals([code, err], [0, ""]);
    const [about = "", usage = "", options = "", ...rest] = out.split("\n\n");
    assertEquals(rest, []);
    assertMatch(about, /^[A-Z][^\n]+\.$/);
    assertMatch(usage, /^usage: deno (task|run) [^\n]+$/);
    // Each option of the usage is explained, with its default if it has one.
    const lines = options.trimEnd().split("\n");
    assertMatch(lines.pop()!, /^ {2}--help +print this$/);
    const named = usage.match(/--(?!allow-)[\w-]+( [A-Z]+)?/g) ?? [];
    assertEquals(lines.length, named.length, out);
    for (const [i, name] of named.entries()) {
      assert(lines[i]?.startsWith(`  ${name} `), `${lines[i]} is not ${name}`);
    }
  });

  Deno.test(`${program} refuses options that it does not have`, async () => {
    const { code, out, err } = await start(program, "--no-such-option");
    assertEquals([code, out], [2, ""]);
    assertMatch(err, /^Unknown option '--no-such-option'.*\nusage: deno .*\n$/);
  });
}

// ---- relative paths ------------------------------------------------------------

/** A folder with a configuration of its own, where a task of the checkout is
 * started: deno task goes to the checkout. */
function elsewhere() {
  const folder = temporaryFolder();
  Deno.writeTextFileSync(`${folder.path}/deno.json`, '{ "imports": {} }');
  Deno.writeTextFileSync(`${folder.path}/a b.txt`, "here");
  return folder;
}

/** Without the folder of a task that these tests are part of. */
const TASK = [
  ...["-u", "INIT_CWD", Deno.execPath()],
  ...["task", "-q", `--config=${ROOT}deno.json`],
];

Deno.test("deno task copy takes paths relative to where it is started", async () => {
  using folder = elsewhere();
  const args = [...TASK, "copy", "a b.txt", "c.txt", "--quiet"];
  const { code, err } = await run("env", args, { cwd: folder.path });
  assertEquals([code, err], [0, ""]);
  assertEquals(Deno.readTextFileSync(`${folder.path}/c.txt`), "here");
});

Deno.test("deno task static takes a --root relative to where it is started", async () => {
  using folder = elsewhere();
  // A file is no root: nothing is served, and the message names it.
  const args = [...TASK, "static", "--root", "a b.txt", "--port", "0"];
  const { code, err } = await run("env", args, { cwd: folder.path });
  assertEquals(code, 1);
  assertEquals(err, "Cannot serve a b.txt: Not a directory\n");
});

Deno.test("deno task redis takes a log relative to where it is started", async () => {
  using folder = elsewhere();
  // No log: it stays as it is, and the message names it.
  const args = [...TASK, "redis", "--appendonly", "a b.txt", "--port", "0"];
  const { code, err } = await run("env", args, { cwd: folder.path });
  assertEquals(code, 1);
  assertEquals(err, "Cannot load a b.txt: a b.txt is no log of this server\n");
});
