/** asyncStat(), asyncLstat() and asyncFstat() against the other ways to look. */
import { assert, assertEquals, equal } from "@std/assert";
import {
  asyncClose,
  asyncFstat,
  asyncLstat,
  asyncOpen,
  asyncStat,
  type FileStat,
  type FileStatNs,
  IoContext,
  O_RDONLY,
  type UringOp,
} from "@kio/kio";
import { run, temporaryFolder } from "./support.ts";

/** The number that stat(2) has for a device. */
function makedev(device: number): number {
  const [major, minor] = [Math.floor(device / 2 ** 32), device % 2 ** 32];
  return major * 256 + (minor & 0xff) + (minor >> 8) * 2 ** 20;
}

/** The facts that Deno has of a file, too. */
function factsOf(stat: FileStat) {
  return {
    isFile: stat.type === "file",
    isDirectory: stat.type === "directory",
    isSymlink: stat.type === "symlink",
    isBlockDevice: stat.type === "block",
    isCharDevice: stat.type === "character",
    isFifo: stat.type === "pipe",
    isSocket: stat.type === "socket",
    size: stat.size,
    mode: stat.mode,
    ino: Number(stat.inode),
    dev: makedev(stat.device),
    rdev: makedev(stat.rdev),
    nlink: stat.links,
    uid: stat.uid,
    gid: stat.gid,
    blksize: stat.blockSize,
    blocks: stat.allocated / 512,
    mtime: stat.modifiedMs,
    atime: stat.accessedMs,
    // Deno has whole seconds.
    ctime: Math.floor(stat.changedMs / 1000) * 1000,
    birthtime: stat.birthMs,
  };
}

function denos(info: Deno.FileInfo): ReturnType<typeof factsOf> {
  return {
    isFile: info.isFile,
    isDirectory: info.isDirectory,
    isSymlink: info.isSymlink,
    isBlockDevice: info.isBlockDevice ?? false,
    isCharDevice: info.isCharDevice ?? false,
    isFifo: info.isFifo ?? false,
    isSocket: info.isSocket ?? false,
    size: info.size,
    mode: info.mode! & 0o7777,
    ino: info.ino!,
    dev: info.dev,
    rdev: info.rdev!,
    nlink: info.nlink!,
    uid: info.uid!,
    gid: info.gid!,
    blksize: info.blksize!,
    blocks: info.blocks!,
    mtime: info.mtime!.getTime(),
    atime: info.atime!.getTime(),
    ctime: info.ctime!.getTime(),
    birthtime: info.birthtime?.getTime(),
  };
}

const SOME = [
  "/",
  "/tmp",
  "/proc",
  "/proc/version",
  "/proc/self",
  "/dev/null",
  "/dev/shm",
  "/dev/fd",
  "/etc/passwd",
  "/sys",
  Deno.execPath(),
];

Deno.test("asyncStat() and asyncLstat() tell what Deno tells", async () => {
  using folder = temporaryFolder();
  using ctx = new IoContext();
  const made = `${folder.path}/file`;
  Deno.writeFileSync(made, new Uint8Array(5000), { mode: 0o640 });
  Deno.linkSync(made, `${folder.path}/other`);
  Deno.utimeSync(made, new Date(123_456), new Date(-98_765));
  Deno.symlinkSync("file", `${folder.path}/link`);
  await run("mkfifo", [`${folder.path}/fifo`]);
  const own = ["file", "other", "link", "fifo", "."];
  for (const path of [...SOME, ...own.map((it) => `${folder.path}/${it}`)]) {
    for (
      const [look, denosLook] of [
        [asyncStat, Deno.statSync],
        [asyncLstat, Deno.lstatSync],
      ] as const
    ) {
      let expected, given;
      // Again if others have changed it meanwhile: /proc has a link a process.
      do {
        expected = denos(denosLook(path));
        given = factsOf(await look(ctx, path).orThrow());
      } while (!equal(expected, denos(denosLook(path))));
      assertEquals(given, expected, path);
    }
  }
});

/** The times of a file in nanoseconds, as stat(1) prints them. */
async function timesOf(path: string, follow: boolean): Promise<bigint[]> {
  const format = "--printf=%.9X %.9Y %.9Z %.9W";
  const args = follow ? ["-L", format, path] : [format, path];
  const { out } = await run("stat", args);
  return out.trim().split(" ").map((time) => BigInt(time.replace(".", "")));
}

Deno.test("asyncStat() with nanoseconds tells what stat(1) tells", async () => {
  using folder = temporaryFolder();
  using ctx = new IoContext();
  const path = `${folder.path}/file`;
  const link = `${folder.path}/link`;
  Deno.writeTextFileSync(path, "abc");
  Deno.symlinkSync("file", link);
  const times = (stat: FileStatNs) => [
    stat.accessedNs,
    stat.modifiedNs,
    stat.changedNs,
    stat.birthNs,
  ];
  const options = { nanoseconds: true } as const;
  for (const time of [undefined, "@-3", "@-2.25", "@0", "@1.000000007"]) {
    if (time !== undefined) await run("touch", ["-d", time, path]);
    const got = await asyncStat(ctx, link, options).orThrow();
    assertEquals(times(got), await timesOf(path, true), time);
    for (
      const [ms, ns] of [
        [got.accessedMs, got.accessedNs],
        [got.modifiedMs, got.modifiedNs],
        [got.changedMs, got.changedNs],
        [got.birthMs!, got.birthNs!],
      ] as const
    ) {
      // Rounded down, before 1970 as well.
      const rest = ns - BigInt(ms) * 1_000_000n;
      assert(rest >= 0n && rest < 1_000_000n, `${ms} ${ns}`);
    }
  }
  const got = await asyncLstat(ctx, link, options).orThrow();
  assertEquals(times(got), await timesOf(link, false));
});

Deno.test("asyncStat() tells attributes and mounts", async () => {
  using folder = temporaryFolder();
  using ctx = new IoContext();
  const look = (path: string) => asyncStat(ctx, path).orThrow();
  const STATX_ATTR_MOUNT_ROOT = 0x2000;
  const mounts = Deno.readTextFileSync("/proc/self/mountinfo").split("\n");
  const idOf = (point: string) =>
    mounts.map((line) => line.split(" "))
      .findLast((words) => words[4] === point)?.[0];
  for (const point of ["/", "/proc"]) {
    const { mountId, attributes } = await look(point);
    assertEquals(`${mountId}`, idOf(point));
    assertEquals(attributes & STATX_ATTR_MOUNT_ROOT, STATX_ATTR_MOUNT_ROOT);
  }
  const { attributes } = await look(folder.path);
  assertEquals(attributes & STATX_ATTR_MOUNT_ROOT, 0);
});

Deno.test("asyncStat() of thousands of files at once tells each its own", async () => {
  using folder = temporaryFolder();
  using ctx = new IoContext({ entries: 64 });
  const sizes = Array.from({ length: 3000 }, (_, i) => i);
  for (const size of sizes) {
    Deno.writeFileSync(`${folder.path}/${size}`, new Uint8Array(size));
  }
  const dir = await asyncOpen(ctx, folder.path, O_RDONLY).orThrow();
  const ops = sizes.map((size) => asyncStat(ctx, `${size}`, { dir }).orThrow());
  const stats = await Promise.all(ops);
  assertEquals(stats.map(({ size }) => size), sizes);
  await asyncClose(ctx, dir);
});

Deno.test("asyncFstat() tells the same as asyncStat()", async () => {
  using ctx = new IoContext();
  const path = Deno.execPath();
  const fd = await asyncOpen(ctx, path, O_RDONLY).orThrow();
  const looks: UringOp<FileStat>[] = [
    asyncFstat(ctx, fd, { nanoseconds: true }),
    asyncStat(ctx, path, { nanoseconds: true }),
  ];
  const [one, two] = await Promise.all(looks.map((op) => op.orThrow()));
  assertEquals(one, two);
  await asyncClose(ctx, fd);
});
