import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  type Ended,
  Program,
  ROOT,
  run,
  sleep,
  temporaryFolder,
} from "./support.ts";

const COPY = ["run", "--allow-ffi", "--allow-sys", "examples/file_copy.ts"];

function copy(...args: string[]): Promise<Ended> {
  return run(Deno.execPath(), [...COPY, ...args]);
}

/** Bytes that tell where they are. */
function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8)) & 255);
}

/** The names in a folder. */
function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

const SUMMARY = /^copied [\d.]+ ([GMK]i)?B in \d+\.\d\d s \(.*\/s\)\n$/;

Deno.test("file_copy copies every byte of files of any size", async () => {
  using folder = temporaryFolder();
  const source = `${folder.path}/source`;
  const target = `${folder.path}/target`;
  const sizes = [0, 1, 4095, 4096, 4097, 262_143, 262_144, 262_145, 5_000_001];
  for (const size of sizes) {
    const data = pattern(size);
    Deno.writeFileSync(source, data);
    const { code, out, err } = await copy(source, target);
    assertEquals([code, out], [0, ""], err);
    assertMatch(err, SUMMARY);
    assertEquals(Deno.readFileSync(target), data);
  }
  assertEquals(namesIn(folder.path), ["source", "target"]);
});

for (
  const [depth, size] of [
    ["1", "4K"],
    ["3", "8K"],
    ["64", "4096"],
    ["2", "4M"],
  ] as const
) {
  Deno.test(`file_copy copies with ${depth} × ${size} in flight`, async () => {
    using folder = temporaryFolder();
    const data = pattern(3_000_001);
    Deno.writeFileSync(`${folder.path}/source`, data);
    const ended = await copy(
      ...["--queue-depth", depth, "--block-size", size, "--quiet"],
      ...[`${folder.path}/source`, `${folder.path}/target`],
    );
    assertEquals(ended, { code: 0, signal: null, out: "", err: "" });
    assertEquals(Deno.readFileSync(`${folder.path}/target`), data);
  });
}

Deno.test("file_copy keeps permission bits, whatever the umask", async () => {
  using folder = temporaryFolder();
  const source = `${folder.path}/source`;
  Deno.writeTextFileSync(source, "x");
  for (const mode of [0o751, 0o666, 0o400]) {
    Deno.chmodSync(source, mode);
    const target = `${folder.path}/${mode}`;
    const { code, err } = await run("sh", [
      ...["-c", 'umask 077; exec "$@"', "sh"],
      ...[Deno.execPath(), ...COPY, source, target],
    ]);
    assertEquals(code, 0, err);
    assertEquals(Deno.statSync(target).mode! & 0o7777, mode);
  }
});

Deno.test("file_copy replaces a file in one step", async () => {
  using folder = temporaryFolder();
  const target = `${folder.path}/target`;
  Deno.writeTextFileSync(`${folder.path}/source`, "new");
  Deno.writeTextFileSync(target, "old and longer");
  using old = Deno.openSync(target);
  assertEquals((await copy(`${folder.path}/source`, target)).code, 0);
  assertEquals(Deno.readTextFileSync(target), "new");
  // A reader that has the old one open still has all of it.
  const buffer = new Uint8Array(64);
  assertEquals(old.readSync(buffer), 14);
});

Deno.test("file_copy keeps holes", async () => {
  using folder = temporaryFolder();
  const source = `${folder.path}/source`;
  const target = `${folder.path}/target`;
  const size = 40 * 2 ** 20 + 5;
  {
    using file = Deno.openSync(source, { write: true, create: true });
    // Within a block, over the end of one, far away, and nothing at the end.
    for (const at of [4096 * 3 + 7, 262_144 - 2, 30 * 2 ** 20]) {
      file.seekSync(at, Deno.SeekMode.Start);
      file.writeSync(new TextEncoder().encode("data"));
    }
    file.truncateSync(size);
  }
  const { code, err } = await copy(source, target);
  assertEquals(code, 0, err);
  assertEquals(Deno.readFileSync(target), Deno.readFileSync(source));
  const [from, to] = [Deno.statSync(source), Deno.statSync(target)];
  assertEquals(to.size, size);
  assert(to.blocks! <= from.blocks!, `${to.blocks} blocks, not ${from.blocks}`);
});

Deno.test("file_copy copies zeros that are no holes as data", async () => {
  using folder = temporaryFolder();
  const source = `${folder.path}/source`;
  const target = `${folder.path}/target`;
  Deno.writeFileSync(source, new Uint8Array(1 << 20));
  assertEquals((await copy(source, target)).code, 0);
  assert(Deno.statSync(target).blocks! * 512 >= 1 << 20);
});

/** A file that is on its way to the disk long before all of it is copied. */
function writeLarge(path: string): void {
  using file = Deno.createSync(path);
  const numbers = new Uint32Array(1 << 18);
  for (let i = 0; i < 80; i++) {
    numbers.forEach((_, at) => numbers[at] = (i << 18) + at);
    file.writeSync(new Uint8Array(numbers.buffer));
  }
}

Deno.test("file_copy copies a file that is synced meanwhile", async () => {
  using folder = temporaryFolder();
  const source = `${folder.path}/source`;
  const target = `${folder.path}/target`;
  writeLarge(source);
  const { code, err } = await copy(source, target);
  assertEquals(code, 0, err);
  assertEquals((await run("cmp", [source, target])).code, 0);
});

Deno.test("file_copy fails if any of its syncs does", async () => {
  using folder = temporaryFolder();
  const source = `${folder.path}/source`;
  const target = `${folder.path}/target`;
  writeLarge(source);
  // The system tells of an error once, so the last sync succeeds.
  for (const nth of [1, 2]) {
    const input = `
      import { FaultPlan } from "@kio/kio/testing";
      FaultPlan.install({
        rules: [{ operation: "fsync", fault: "error", code: "EIO", nth: ${nth} }],
      });
      await import("${ROOT}examples/file_copy.ts");
    `;
    const args = ["run", "--allow-ffi", "--allow-sys", "-", source, target];
    const { code, err } = await run(Deno.execPath(), args, { input });
    assertEquals(code, 1, err);
    assertMatch(
      err,
      /: Input\/output error, after \d+\.\d MiB of 80\.0 MiB\n$/,
    );
    assertEquals(namesIn(folder.path), ["source"]);
  }
});

Deno.test("file_copy copies files of /proc and /sys to their end", async () => {
  using folder = temporaryFolder();
  const target = `${folder.path}/target`;
  // Files with a size of 0, and one with that of a page and less content.
  const sources = [
    "/proc/version",
    "/proc/filesystems",
    "/sys/kernel/mm/transparent_hugepage/enabled",
  ];
  for (const source of sources) {
    const { code, err } = await copy(source, target);
    assertEquals(code, 0, err);
    assertMatch(err, SUMMARY);
    const content = Deno.readTextFileSync(source);
    assert(content.length > 0);
    assertEquals(Deno.readTextFileSync(target), content);
  }
  // Far more than one read gives. Its end changes when modules are loaded.
  const { code, err } = await copy("/proc/kallsyms", target);
  assertEquals(code, 0, err);
  const from = Deno.readTextFileSync("/proc/kallsyms");
  const to = Deno.readTextFileSync(target);
  assert(to.length > 400_000, `${to.length} characters`);
  assertEquals(to.slice(0, 400_000), from.slice(0, 400_000));
});

/** Copies a file that changes when its size is known and nothing is read. */
async function copyChanging(
  { path }: { path: string },
  content: Uint8Array,
  change: (source: string) => void,
): Promise<Uint8Array> {
  const source = `${path}/source`;
  const target = `${path}/target`;
  Deno.writeFileSync(source, content);
  // The third file that is opened is the copy, under another name.
  const input = `
    import { FaultPlan } from "@kio/kio/testing";
    FaultPlan.install({
      rules: [{ operation: "open", fault: "delay", ms: 3000, nth: 3 }],
    });
    await import("${ROOT}examples/file_copy.ts");
  `;
  const args = ["run", "--allow-ffi", "--allow-sys", "-", source, target];
  await using program = new Program(Deno.execPath(), args, { input });
  while (namesIn(path).length < 2) await sleep(10);
  change(source);
  const { code, err } = await program.ended();
  assertEquals(code, 0, err);
  assertEquals(namesIn(path), ["source", "target"]);
  return Deno.readFileSync(target);
}

Deno.test("file_copy copies what a file has got meanwhile", async () => {
  using folder = temporaryFolder();
  const content = pattern(1_500_000);
  const copied = await copyChanging(
    folder,
    content.subarray(0, 300_001),
    (source) =>
      Deno.writeFileSync(source, content.subarray(300_001), { append: true }),
  );
  assertEquals(copied, content);
});

Deno.test("file_copy copies what is left of a file that shrinks", async () => {
  using folder = temporaryFolder();
  const content = pattern(1_500_000);
  for (const size of [0, 300_001, 524_288]) {
    const copied = await copyChanging(
      folder,
      content,
      (source) => Deno.truncateSync(source, size),
    );
    assertEquals(copied, content.subarray(0, size));
    Deno.removeSync(`${folder.path}/target`);
  }
});

/** Takes from root what lets it read all files; others have not got that. */
const NO_PRIVILEGES = Deno.uid() === 0
  ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
  : ["env"];

Deno.test("file_copy replaces a file that it may not read", async () => {
  using folder = temporaryFolder();
  const target = `${folder.path}/target`;
  Deno.writeTextFileSync(`${folder.path}/source`, "new");
  Deno.writeTextFileSync(target, "old", { mode: 0o200 });
  const [command, ...args] = NO_PRIVILEGES;
  const { code, err } = await run(command!, [
    ...args,
    ...[Deno.execPath(), ...COPY, `${folder.path}/source`, target],
  ]);
  assertEquals(code, 0, err);
  assertEquals(Deno.readTextFileSync(target), "new");
});

Deno.test("file_copy refuses what would do harm, and leaves it alone", async () => {
  using folder = temporaryFolder();
  const path = (name: string) => `${folder.path}/${name}`;
  Deno.writeTextFileSync(path("file"), "content");
  Deno.linkSync(path("file"), path("same"));
  Deno.symlinkSync(path("file"), path("link"));
  Deno.mkdirSync(path("folder"));
  const before = namesIn(folder.path);
  const attempts: [source: string, target: string, says: RegExp][] = [
    [path("file"), path("file"), /are the same file$/],
    [path("file"), path("same"), /are the same file$/],
    [path("link"), path("file"), /are the same file$/],
    [path("same"), path("link"), /is a symbolic link; /],
    [path("file"), path("folder"), /it is a directory$/],
    [path("file"), "/dev/null", /it is a character device$/],
    [path("folder"), path("new"), /it is a directory, not a file$/],
    ["/dev/zero", path("new"), /it is a character device, not a file$/],
    [path("missing"), path("new"), /missing: No such file or directory$/],
    [path("file"), path("no/new"), /no: No such file or directory$/],
    [path("file"), path("file/new"), /new: Not a directory$/],
  ];
  for (const [source, target, says] of attempts) {
    const { code, out, err } = await copy(source, target);
    assertEquals([code, out], [1, ""], err);
    assertMatch(err.trim(), says);
    assertEquals(err.split("\n").length, 2, err);
  }
  assertEquals(namesIn(folder.path), before);
  assertEquals(Deno.readTextFileSync(path("file")), "content");
});

/** A folder on a disk of 1 MiB, in a name space of its own. */
const SMALL_DISK = [
  "unshare",
  "--map-root-user",
  "--mount",
  "sh",
  "-c",
] as const;
const { code: unshared } = await run(SMALL_DISK[0], [
  ...SMALL_DISK.slice(1),
  "mount -t tmpfs -o size=1M tmpfs /mnt",
]);

Deno.test({
  name: "file_copy leaves nothing behind when the disk is full",
  ignore: unshared !== 0,
  async fn() {
    using folder = temporaryFolder();
    const source = `${folder.path}/source`;
    Deno.writeFileSync(source, pattern(3_000_000));
    const [command, ...args] = SMALL_DISK;
    const { out, err } = await run(command, [
      ...args,
      `mount -t tmpfs -o size=1M tmpfs /mnt
       echo old > /mnt/target
       "$0" "$@" /mnt/target
       echo $?; ls -A /mnt; cat /mnt/target`,
      ...[Deno.execPath(), ...COPY, source],
    ]);
    assertEquals(out, "1\ntarget\nold\n");
    assertMatch(
      err,
      /^Cannot copy .*: No space left on device, after ([\d.]+ [KM]i)?B of 2\.9 MiB\n$/,
    );
    assert(!err.includes("after 0"), err);
  },
});

for (const [signal, code] of [["SIGINT", 130], ["SIGTERM", 143]] as const) {
  Deno.test(`file_copy leaves nothing behind on ${signal}`, async () => {
    using folder = temporaryFolder();
    Deno.writeTextFileSync(`${folder.path}/target`, "old");
    const source = `${folder.path}/source`;
    Deno.createSync(source).close();
    // It takes minutes to look for data in that.
    Deno.truncateSync(source, 2 ** 41);
    await using program = new Program(Deno.execPath(), [
      ...COPY,
      source,
      `${folder.path}/target`,
    ]);
    while (namesIn(folder.path).length < 3) await sleep(10);
    program.kill(signal);
    assertEquals(await program.ended(), {
      code,
      signal: null,
      out: "",
      err: "interrupted\n",
    });
    assertEquals(namesIn(folder.path), ["source", "target"]);
    assertEquals(Deno.readTextFileSync(`${folder.path}/target`), "old");
  });
}

Deno.test("file_copy shows its progress on a terminal", async () => {
  using folder = temporaryFolder();
  Deno.writeFileSync(`${folder.path}/source`, pattern(100_000));
  const command = [Deno.execPath(), ...COPY, "source", "target"]
    .map((part) => part.replace("examples/", `${Deno.cwd()}/examples/`));
  const { out, code } = await run(
    "script",
    ["--quiet", "--return", "--command", command.join(" "), "/dev/null"],
    { cwd: folder.path },
  );
  assertEquals(code, 0, out);
  // The bar, which is taken away again, and the summary.
  assertMatch(
    out.replaceAll("\r", "|"),
    // deno-lint-ignore no-control-regex -- What clears a line begins with ESC.
    /^\|\x1b\[K\[ {20}\] 0 %, 0 B of 97\.7 KiB, 0 B\/s.*\|\x1b\[Kcopied 97\.7 KiB/,
  );
});

Deno.test("file_copy explains its arguments", async () => {
  const depth = /^--queue-depth must be a whole number from 1 to 1024, got "/;
  const size = /^--block-size must be a multiple of 4K up to 1024M, got "/;
  const files = ["/tmp/a", "/tmp/b"];
  const wrong: [args: string[], says: RegExp][] = [
    [[], /^expected the names of two files\n/],
    [["/tmp/a"], /^expected the names of two files\n/],
    [[...files, "/tmp/c"], /^expected the names of two files\n/],
    [[...files, "--queue-depth", "0"], depth],
    [[...files, "--queue-depth=-1"], depth],
    [[...files, "--queue-depth", "1.5"], depth],
    [[...files, "--queue-depth", "x"], depth],
    [[...files, "--queue-depth="], depth],
    [[...files, "--queue-depth", "1e2"], depth],
    [[...files, "--queue-depth", "1025"], depth],
    [[...files, "--queue-depth", "9".repeat(400)], depth],
    [[...files, "--block-size", "0"], size],
    [[...files, "--block-size", "1000"], size],
    [[...files, "--block-size", "4G"], size],
    [[...files, "--block-size", "x"], size],
    [[...files, "--block-size", "9".repeat(400) + "M"], size],
    [
      [...files, "--block-size", "2M", "--queue-depth", "1000"],
      /^queue depth times block size must not exceed 1G\n/,
    ],
    [[...files, "--fast"], /^Unknown option '--fast'/],
  ];
  for (const [args, says] of wrong) {
    const { code, out, err } = await copy(...args);
    assertEquals([code, out], [2, ""], args.join(" "));
    assertMatch(err, says);
    assertMatch(err, /\nusage: deno task copy SOURCE TARGET \[--queue-depth /);
  }
});
