import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncFstat,
  asyncLstat,
  asyncOpen,
  asyncRead,
  asyncStat,
  asyncSymlink,
  asyncUnlink,
  type FileStat,
  IoContext,
  link,
  O_DIRECTORY,
  O_RDONLY,
  type StatOptions,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  overwriteGarbage,
  TempFile,
  tempFile,
  turn,
  value,
} from "../support.ts";

const NO_FD = 4000;

type Look = (
  ctx: IoContext,
  path: string,
  options?: StatOptions,
) => UringOp<FileStat>;

const LOOKS: [name: string, look: Look][] = [
  ["asyncStat", (...args) => asyncStat(...args)],
  ["asyncLstat", (...args) => asyncLstat(...args)],
];

async function directory(ctx: IoContext, path: string): Promise<TempFile> {
  const flags = O_RDONLY | O_DIRECTORY;
  return new TempFile(ctx, value(await asyncOpen(ctx, path, flags)));
}

kioTest(
  "asyncStat() follows a link that asyncLstat() looks at",
  async (ctx) => {
    const itself = value(await asyncLstat(ctx, "/proc/self"));
    const followed = value(await asyncStat(ctx, "/proc/self"));
    assertEquals([itself.type, followed.type], ["symlink", "directory"]);
  },
);

kioTest("asyncLstat() looks at a link that leads nowhere", async (ctx) => {
  const path = `/tmp/kio-${crypto.randomUUID()}`;
  value(await asyncSymlink(ctx, "no/such", path));
  assertCode(await asyncStat(ctx, path), "ENOENT");
  const { type, size } = value(await asyncLstat(ctx, path));
  assertEquals([type, size], ["symlink", "no/such".length]);
  value(await asyncUnlink(ctx, path));
});

for (const [name, look] of LOOKS) {
  kioTest(`${name}() starts from the directory given`, async (ctx) => {
    await using proc = await directory(ctx, "/proc");
    const [inside, whole, absolute] = await Promise.all([
      look(ctx, "version", { dir: proc }).orThrow(),
      look(ctx, "/proc/version").orThrow(),
      look(ctx, "/proc/version", { dir: NO_FD }).orThrow(),
    ]);
    assertEquals([inside.inode, inside.device], [whole.inode, whole.device]);
    assertEquals([absolute.inode, absolute.type], [whole.inode, "file"]);
  });

  kioTest(`${name}() reports what is wrong`, async (ctx) => {
    await using file = await tempFile(ctx);
    const codes: [path: string, dir: number | undefined, code: string][] = [
      ["/no/such", undefined, "ENOENT"],
      ["", undefined, "ENOENT"],
      ["", file.fd, "ENOENT"],
      ["/proc/version/x", undefined, "ENOTDIR"],
      ["x", file.fd, "ENOTDIR"],
      ["x", NO_FD, "EBADF"],
      ["x".repeat(256), undefined, "ENAMETOOLONG"],
      ["x/".repeat(3000), undefined, "ENAMETOOLONG"],
    ];
    for (const [path, dir, code] of codes) {
      assertCode(await look(ctx, path, { dir }), code);
    }
  });

  kioTest(`${name}() that is cancelled tells so or its result`, async (ctx) => {
    for (let round = 0; round < 50; round++) {
      const ops = [
        look(ctx, "/proc/version"),
        look(ctx, "/proc/version").withTimeout(0),
        look(ctx, "/proc/version").withSignal(AbortSignal.timeout(0)),
      ];
      if (round % 2) await turn();
      ops[0]!.cancel();
      for (const result of await Promise.all(ops)) {
        if (result.ok) assertEquals(result.value.type, "file");
        else assertCode(result, "ECANCELED", "ETIMEDOUT");
      }
    }
    const aborted = look(ctx, "/proc").withSignal(AbortSignal.abort());
    assertCode(await aborted, "ECANCELED");
  });

  kioTest(`${name}() ends with its context`, async () => {
    const other = new IoContext();
    const op = look(other, "/proc/version");
    other[Symbol.dispose]();
    const result = await op;
    if (!result.ok) assertCode(result, "ECANCELED");
    assertThrows(() => look(other, "/"), TypeError, "the IoContext is closed");
  });

  kioTest(`${name}() that fails does not end a chain`, async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const [looked, read] = link(ctx, () => [
      look(ctx, "/no/such"),
      asyncRead(ctx, file, new Uint8Array(3)),
    ]);
    assertCode(await looked!, "ENOENT");
    assertEquals(await read!.orThrow(), 3);
  });
}

kioTest("asyncStat() keeps path and room until it is complete", async (ctx) => {
  const paths = ["/proc/version", "/no/such", "/tmp"];
  const ops = Array.from(
    { length: 60 },
    (_, i) => asyncStat(ctx, paths[i % 3]!),
  );
  overwriteGarbage();
  await turn();
  overwriteGarbage();
  const types = (await Promise.all(ops)).map((it) =>
    it.ok ? it.value.type : it.error.code
  );
  assertEquals(
    types,
    Array.from({ length: 20 }, () => ["file", "ENOENT", "directory"]).flat(),
  );
});

kioTest("asyncStat() has nanoseconds only on request", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const plain = value(await asyncFstat(ctx, file));
  assertEquals(Object.keys(plain).filter((it) => it.endsWith("Ns")), []);
  const exact = value(await asyncFstat(ctx, file, { nanoseconds: true }));
  const { accessedNs, modifiedNs, changedNs, birthNs, ...rest } = exact;
  assertEquals(rest, plain);
  assertEquals(modifiedNs / 1_000_000n, BigInt(plain.modifiedMs));
  assert(birthNs! <= modifiedNs && modifiedNs <= changedNs && accessedNs > 0n);
  const off = await asyncStat(ctx, "/", { nanoseconds: false }).orThrow();
  assertEquals("modifiedNs" in off, false);
});

kioTest(
  "asyncStat() has no birth where the file system knows none",
  async (ctx) => {
    const { birthMs } = value(await asyncStat(ctx, "/proc/version"));
    assertEquals(birthMs, undefined);
    const exact = await asyncStat(ctx, "/proc/version", { nanoseconds: true })
      .orThrow();
    assertEquals(exact.birthNs, undefined);
  },
);

kioTest("asyncStat() names the device that a file stands for", async (ctx) => {
  const { type, rdev } = value(await asyncStat(ctx, "/dev/null"));
  assertEquals([type, rdev], ["character", 2 ** 32 + 3]);
});
