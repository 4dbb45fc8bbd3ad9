/** Examples that take paths, started in another folder than the checkout's. */
import { assertEquals } from "@std/assert";
import { ROOT, run, temporaryFolder } from "./support.ts";

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
