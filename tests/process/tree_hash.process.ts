/** examples/tree_hash.ts against sha256sum(1). */
import { assertEquals, assertMatch } from "@std/assert";
import { type Ended, ROOT, run, temporaryFolder } from "./support.ts";

const HASH = ["run", "--allow-ffi", "examples/tree_hash.ts"];
/** Workers load their modules. */
const WORKERS = ["run", "--allow-ffi", "--allow-read=.", HASH.at(-1)!];

function hash(...args: string[]): Promise<Ended> {
  return run(Deno.execPath(), [...HASH, ...args]);
}

/** Gives the lines that sha256sum prints for the files of a folder. */
async function sha256sum(folder: string): Promise<string> {
  const script =
    `find "$0" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum`;
  return (await run("sh", ["-c", script, folder])).out;
}

Deno.test("tree_hash prints what sha256sum prints", async () => {
  using folder = temporaryFolder();
  const { path } = folder;
  const sizes = [0, 1, 2000, 65535, 65536, 65537, 200_000, 1_000_000];
  for (const [i, size] of sizes.entries()) {
    Deno.mkdirSync(`${path}/${i}/in`, { recursive: true });
    const data = Uint8Array.from({ length: size }, (_, i) => i * 31 + size);
    Deno.writeFileSync(`${path}/${i}/${size}`, data);
    Deno.writeFileSync(`${path}/${i}/in/${size}`, data.subarray(1));
  }
  for (const name of ["a b", "ünï", "new\nline", "back\\slash", "re\rturn"]) {
    Deno.writeTextFileSync(`${path}/${name}`, name);
  }
  Deno.symlinkSync("0", `${path}/link`);
  await run("mkfifo", [`${path}/fifo`]);
  const expected = await sha256sum(path);
  for (const inFlight of ["1", "7", "64"]) {
    const ended = await hash(path, "--in-flight", inFlight);
    assertEquals(ended, { code: 0, signal: null, out: expected, err: "" });
  }
  for (const options of [["1"], ["3", "--in-flight", "1"]]) {
    const args = [...WORKERS, path, "--workers", ...options];
    const { code, out, err } = await run(Deno.execPath(), args);
    assertEquals({ code, out, err }, { code: 0, out: expected, err: "" });
  }
  const { out } = await hash(path, "--summary");
  const { files } = JSON.parse(out);
  assertEquals(files, 2 * sizes.length + 5);
  const skipped = await hash(path, "--skip", "/[1-7]$|[\\n\\\\]");
  assertEquals(skipped.code, 0);
  assertMatch(skipped.out, /\/0\/in\/0\n/);
});

Deno.test("tree_hash prints names that are no UTF-8 as they are", async () => {
  using folder = temporaryFolder();
  const { path } = folder;
  await run("bash", ["-c", `: > "$0"/$'\\xff\\xfe'`, path]);
  const compare = `diff <(find "$0" -type f -exec sha256sum {} +) <("$@")`;
  const args = ["-c", compare, path, Deno.execPath(), ...HASH, path];
  assertEquals((await run("bash", args)).code, 0);
});

Deno.test("tree_hash of files without a size reads to the end", async () => {
  const path = "/proc/self/net";
  const { out, code } = await hash(path);
  assertEquals(code, 0);
  const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852";
  const line = out.split("\n").find((it) => it.endsWith("/net/protocols"));
  assertEquals(line?.startsWith(empty), false);
});

Deno.test("tree_hash names what it cannot read, and goes on", async () => {
  const gone = await hash("/no/such/folder");
  assertEquals(gone, {
    code: 1,
    signal: null,
    out: "",
    err: "/no/such/folder: No such file or directory\n",
  });
  const wrong = await hash();
  assertEquals([wrong.code, wrong.out], [2, ""]);
});

Deno.test("tree_hash names what a worker cannot read", async () => {
  const skip = "^/proc/self/(?!clear_refs$)";
  const args = [...WORKERS, "/proc/self", "--skip", skip, "--workers", "1"];
  const { code, out, err } = await run(Deno.execPath(), args);
  assertEquals([code, out], [1, ""]);
  // It can be written only.
  assertEquals(err, "/proc/self/clear_refs: Invalid argument\n");
});

Deno.test("deno task hash takes a folder relative to where it is started", async () => {
  using folder = temporaryFolder();
  Deno.writeTextFileSync(`${folder.path}/deno.json`, '{ "imports": {} }');
  Deno.mkdirSync(`${folder.path}/a b`);
  Deno.writeTextFileSync(`${folder.path}/a b/file`, "");
  const task = ["task", "-q", `--config=${ROOT}deno.json`, "hash", "a b"];
  const { out, err } = await run(
    "env",
    ["-u", "INIT_CWD", Deno.execPath(), ...task],
    { cwd: folder.path },
  );
  assertEquals(err, "");
  assertMatch(out, /^[0-9a-f]{64} {2}a b\/file\n$/);
});
