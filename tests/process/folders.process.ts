/** readDir() and walk() against find(1) and stat(1), on disk and in memory, and
 * where they may not read. */
import { assert, assertEquals } from "@std/assert";
import {
  IoContext,
  type Path,
  readDir,
  unwrap,
  type UringStream,
  walk,
  type WalkEntry,
} from "@kio/kio";
import { run, runScript, temporaryFolder } from "./support.ts";

/** Letters of find(1) for types. */
const LETTERS: Record<string, string> = {
  file: "f",
  directory: "d",
  symlink: "l",
  socket: "s",
  pipe: "p",
  block: "b",
  character: "c",
  unknown: "U",
};

/** Any bytes as text, one to one. */
function latin(path: Path): string {
  const bytes = typeof path === "string"
    ? new TextEncoder().encode(path)
    : path;
  return Array.from(bytes, (byte) => String.fromCharCode(byte)).join("");
}

/** The lines of find(1), which end with a NUL, sorted. */
async function found(args: string[]): Promise<string[]> {
  const { stdout } = await new Deno.Command("find", { args }).output();
  return latin(stdout).split("\0").slice(0, -1).sort();
}

/** The same of a walk, without facts about the entries. */
async function walked(stream: UringStream<WalkEntry>): Promise<string[]> {
  const lines: string[] = [];
  for await (const { path, type, depth } of stream.orThrow()) {
    lines.push(`${LETTERS[type]} ${depth} ${latin(path)}`);
  }
  return lines.sort();
}

/** The same with facts. */
async function walkedWithFacts(
  stream: UringStream<WalkEntry>,
): Promise<string[]> {
  const lines: string[] = [];
  for await (const { path, inode, stat } of stream.orThrow()) {
    const its = unwrap(stat!);
    assertEquals(its.inode, inode);
    const facts = [
      LETTERS[its.type],
      inode,
      its.size,
      its.mode.toString(8),
      its.links,
      its.uid,
      its.gid,
      its.allocated / 512,
      Math.floor(its.modifiedMs / 1000),
    ];
    lines.push(`${facts.join(" ")} ${latin(path)}`);
  }
  return lines.sort();
}

const FACTS = "%y %i %s %m %n %U %G %b %Ts %p\\0";

/** Fills a folder with what is not easy: each byte in a name, each type, depth,
 * links of all kinds. */
async function fill(folder: string): Promise<void> {
  await run("bash", ["-c", FILL, "bash", folder]);
}

const FILL = `
set -e; cd "$1"
mkdir bytes types deep links empty
for i in $(seq 1 255); do
  printf -v hex '%02x' $i; printf -v name "bytes/a\\\\x$hex"b.
  [ $i = 47 ] || : > "$name"
done
mkdir "bytes/"$'\\xff\\xfe' && touch "bytes/"$'\\xff\\xfe/in' "bytes/"$'\\xff\\xfe/\\x80'
mkfifo types/fifo; touch types/file; ln -s file types/link; mkdir types/dir
[ "$(id -u)" != 0 ] || mknod types/null c 1 3 || true
at=deep; for i in $(seq 1 200); do at=$at/d; done; mkdir -p $at; touch $at/end
ln -s .. links/up; ln -s nowhere links/none; ln -s ../types links/types
ln -s "$1" links/root; ln -s me links/me; ln types/file links/hard
mkdir links/many; for i in $(seq 1 3000); do : > links/many/$i; done
`;

/** A folder in memory, if the system has that. */
const PLACES = ["/tmp", "/dev/shm"].filter((path) => {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
});

for (const place of PLACES) {
  Deno.test(`walk() finds what find(1) finds, below ${place}`, async () => {
    const folder = Deno.makeTempDirSync({ dir: place });
    try {
      using ctx = new IoContext();
      await fill(folder);
      const list = "%y %d %p\\0";
      assertEquals(
        await walked(walk(ctx, folder)),
        await found([folder, "-printf", list]),
      );
      assertEquals(
        await walked(walk(ctx, folder, { maxDepth: 2, includeFiles: false })),
        await found([
          ...[folder, "-maxdepth", "2", "(", "-type", "d", "-o"],
          ...["-type", "l", ")", "-printf", list],
        ]),
      );
      assertEquals(
        await walkedWithFacts(walk(ctx, folder, { stat: true })),
        await found([folder, "-printf", FACTS]),
      );
      for (const name of ["bytes", "types", "empty", "links/many"]) {
        const lines: string[] = [];
        const path = `${folder}/${name}`;
        for await (const it of readDir(ctx, path, { stat: true }).orThrow()) {
          assertEquals(it.isFile, it.type === "file");
          const size = it.stat.ok ? it.stat.value.size : it.stat.error.code;
          const given = latin(it.bytes ?? it.name);
          lines.push(`${LETTERS[it.type]} ${it.inode} ${size} ${given}`);
        }
        const all = ["-mindepth", "1", "-maxdepth", "1"];
        const format = "%y %i %s %f\\0";
        const expected = await found([path, ...all, "-printf", format]);
        assert(name !== "bytes" || expected.length === 255);
        assertEquals(lines.sort(), expected);
      }
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  });

  Deno.test(`walk() follows links as find(1) does, below ${place}`, async () => {
    const folder = Deno.makeTempDirSync({ dir: place });
    try {
      using ctx = new IoContext();
      await fill(folder);
      const lines: string[] = [];
      const loops: string[] = [];
      const options = { followSymlinks: true, stat: true } as const;
      for await (const it of walk(ctx, folder, options)) {
        if (it.ok) {
          const { type, inode, path } = it.value;
          lines.push(`${LETTERS[type]} ${inode} ${latin(path)}`);
        } else loops.push(`${it.error.code} ${it.error.path}`);
      }
      const ends = ["links/up", "links/root"].map((it) => `${folder}/${it}`);
      assertEquals(loops.sort(), ends.map((it) => `ELOOP ${it}`).sort());
      // find(1) leaves out a link that is a circle, or leads to itself.
      const left = [...ends, `${folder}/links/me`];
      const others = lines.filter((line) =>
        !left.some((it) => line.endsWith(it))
      );
      const format = "%y %i %p\\0";
      const expected = await found(["-L", folder, "-printf", format]);
      assertEquals(others.sort(), expected);
      assertEquals(lines.length, others.length + left.length);
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  });
}

Deno.test("walk() of a real tree finds what find(1) finds", async () => {
  using ctx = new IoContext();
  for (const root of ["/usr/share", "/etc", "/sys/class"]) {
    assertEquals(
      await walked(walk(ctx, root)),
      await found([root, "-printf", "%y %d %p\\0"]),
    );
  }
});

const UID = 65534;

Deno.test("readDir() and walk() tell what they may not read", async () => {
  using folder = temporaryFolder();
  const { path } = folder;
  Deno.chmodSync(path, 0o755);
  // One that may not be read, and one whose entries may not be looked at.
  for (const name of ["closed", "listed"]) {
    Deno.mkdirSync(`${path}/${name}/in`, { recursive: true });
  }
  const script = `
    using ctx = new kio.IoContext();
    const lines = [];
    for await (const it of kio.walk(ctx, "${path}", { stat: true })) {
      lines.push(it.ok
        ? it.value.path + " " + it.value.type + " " +
          (it.value.stat.ok || it.value.stat.error.code)
        : it.error.path + " " + it.error.code);
    }
    for await (const it of kio.readDir(ctx, "${path}/closed")) {
      lines.push(it.ok || it.error.code);
    }
    console.log(lines.sort().join("\\n"));`;
  try {
    Deno.chmodSync(`${path}/closed`, 0);
    Deno.chmodSync(`${path}/listed`, 0o744);
    if (Deno.uid() !== 0) Deno.chmodSync(`${path}/listed`, 0o644);
    const under = Deno.uid() === 0
      ? ["setpriv", `--reuid=${UID}`, "--clear-groups"]
      : [];
    const env = { DENO_DIR: Deno.makeTempDirSync({ dir: path }) };
    Deno.chmodSync(env.DENO_DIR, 0o777);
    const { out, err } = await runScript(script, { under, env });
    const own = out.split("\n").filter((line) =>
      !line.startsWith(env.DENO_DIR) && line !== ""
    );
    assertEquals([own, err], [[
      `${path} directory true`,
      `${path}/closed EACCES`,
      `${path}/closed directory true`,
      `${path}/listed directory true`,
      `${path}/listed/in EACCES`,
      `${path}/listed/in directory EACCES`,
      "EACCES",
    ], ""]);
  } finally {
    for (const name of ["closed", "listed"]) {
      Deno.chmodSync(`${path}/${name}`, 0o700);
    }
  }
});

Deno.test("walk() leaves nothing of a worker that is terminated", async () => {
  using folder = temporaryFolder();
  for (let i = 0; i < 40; i++) {
    Deno.mkdirSync(`${folder.path}/${i}`);
    Deno.writeTextFileSync(`${folder.path}/${i}/file`, "");
  }
  // Deno leaves an eventfd of such a worker; these are the directories.
  const fds = () => linksIn("fd").filter((it) => it.startsWith(folder.path));
  const threads = () =>
    linksIn("task").filter((it) => it.startsWith("kio-folders"));
  const source = `
    import { IoContext, walk } from ${
    JSON.stringify(import.meta.resolve("../../mod.ts"))
  };
    const ctx = new IoContext();
    postMessage("");
    for (;;) for await (const _ of walk(ctx, "${folder.path}", { stat: true }));`;
  const url = URL.createObjectURL(
    new Blob([source], { type: "text/javascript" }),
  );
  const runOne = async (ms: number) => {
    const worker = new Worker(url, { type: "module" });
    await new Promise((resolve) => worker.onmessage = resolve);
    await new Promise((resolve) => setTimeout(resolve, ms));
    worker.terminate();
  };
  for (let i = 0; i < 10; i++) await runOne(i);
  const endMs = performance.now() + 10_000;
  while (fds().length + threads().length > 0 && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assertEquals([fds(), threads()], [[], []]);
});

/** The files that fds of this process are, or the names of its threads. */
function linksIn(kind: "fd" | "task"): string[] {
  return [...Deno.readDirSync(`/proc/self/${kind}`)].map(({ name }) => {
    const path = `/proc/self/${kind}/${name}`;
    try {
      return kind === "fd"
        ? Deno.readLinkSync(path)
        : Deno.readTextFileSync(`${path}/comm`);
    } catch {
      return ""; // gone meanwhile
    }
  });
}
