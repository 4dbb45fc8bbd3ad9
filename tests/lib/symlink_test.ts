import { assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncFstat,
  asyncLink,
  asyncLstat,
  asyncOpen,
  asyncRead,
  asyncReadlink,
  asyncStat,
  asyncSymlink,
  asyncUnlink,
  AT_EMPTY_PATH,
  AT_SYMLINK_FOLLOW,
  IoContext,
  link,
  type LinkOptions,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_WRONLY,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  contentOf,
  kioTest,
  TempFile,
  tempFile,
  text,
  turn,
  value,
} from "../support.ts";

const NO_FD = 4000;

/** Names in /tmp, of which none is left at the end of the block. */
class Names implements AsyncDisposable {
  readonly #ctx: IoContext;
  readonly #paths: string[] = [];

  constructor(ctx: IoContext) {
    this.#ctx = ctx;
  }

  free(): string {
    const path = `/tmp/kio-test-${crypto.randomUUID()}`;
    this.#paths.push(path);
    return path;
  }

  async file(): Promise<string> {
    const path = this.free();
    const fd = value(await asyncOpen(this.#ctx, path, O_WRONLY | O_CREAT));
    value(await asyncClose(this.#ctx, fd));
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const path of this.#paths) {
      const result = await asyncUnlink(this.#ctx, path);
      if (!result.ok) assertCode(result, "ENOENT");
    }
  }
}

async function directory(ctx: IoContext, path: string): Promise<TempFile> {
  const flags = O_RDONLY | O_DIRECTORY;
  return new TempFile(ctx, value(await asyncOpen(ctx, path, flags)));
}

const baseOf = (path: string) => path.slice("/tmp/".length);

// ---- asyncLink -------------------------------------------------------------------

kioTest("asyncLink() gives a file one more name", async (ctx) => {
  await using names = new Names(ctx);
  const [from, to] = [await names.file(), names.free()];
  value(await asyncLink(ctx, from, to));
  const [one, two] = [
    value(await asyncStat(ctx, from)),
    value(await asyncStat(ctx, to)),
  ];
  assertEquals([one.inode, one.links], [two.inode, 2]);
});

kioTest("asyncLink() starts from the directories given", async (ctx) => {
  await using names = new Names(ctx);
  await using tmp = await directory(ctx, "/tmp");
  await using proc = await directory(ctx, "/proc");
  const [from, both, other] = [await names.file(), names.free(), names.free()];
  value(await asyncLink(ctx, baseOf(from), baseOf(both), { dir: tmp }));
  const crossed = { dir: proc, toDir: tmp };
  value(await asyncLink(ctx, `self/root${from}`, baseOf(other), crossed));
  assertEquals(value(await asyncStat(ctx, other)).links, 3);
  const wrong: [LinkOptions, string][] = [
    [{ dir: NO_FD }, "EBADF"],
    [{ dir: tmp, toDir: NO_FD }, "EBADF"],
    [{ dir: NO_FD, toDir: tmp }, "EBADF"],
    [{ dir: tmp, toDir: proc }, "EXDEV ENOENT EPERM"],
  ];
  for (const [options, code] of wrong) {
    const result = await asyncLink(ctx, baseOf(from), "x", options);
    assertCode(result, ...code.split(" "));
  }
});

kioTest(
  "asyncLink() follows a link only with AT_SYMLINK_FOLLOW",
  async (ctx) => {
    await using names = new Names(ctx);
    const [file, symlink] = [await names.file(), names.free()];
    value(await asyncSymlink(ctx, file, symlink));
    const [itself, followed] = [names.free(), names.free()];
    value(await asyncLink(ctx, symlink, itself));
    const flags = AT_SYMLINK_FOLLOW;
    value(await asyncLink(ctx, symlink, followed, { flags }));
    assertEquals(value(await asyncLstat(ctx, itself)).type, "symlink");
    assertEquals(value(await asyncLstat(ctx, followed)).type, "file");
  },
);

kioTest("asyncLink() gives a file without a name one", async (ctx) => {
  await using names = new Names(ctx);
  await using file = await tempFile(ctx, bytes("whole"));
  const flags = AT_SYMLINK_FOLLOW;
  const path = names.free();
  value(await asyncLink(ctx, `/proc/self/fd/${file.fd}`, path, { flags }));
  assertEquals(value(await asyncFstat(ctx, file)).links, 1);
  // As root, or by a kernel that lets the opener do it.
  const empty = { dir: file, flags: AT_EMPTY_PATH };
  const result = await asyncLink(ctx, "", names.free(), empty);
  if (!result.ok) assertCode(result, "ENOENT", "EPERM");
});

kioTest("asyncLink() reports what is wrong", async (ctx) => {
  await using names = new Names(ctx);
  const file = await names.file();
  const codes: [from: string, to: string, flags: number, code: string][] = [
    [file, file, 0, "EEXIST"],
    ["/no/such", names.free(), 0, "ENOENT"],
    [file, "/no/such/x", 0, "ENOENT"],
    [file, `${file}/x`, 0, "ENOTDIR"],
    [file, "/proc/x", 0, "EXDEV ENOENT EPERM"],
    ["/tmp", names.free(), 0, "EPERM"],
    ["", names.free(), 0, "ENOENT"],
    [file, "", 0, "ENOENT"],
    [file, `/tmp/${"x".repeat(256)}`, 0, "ENAMETOOLONG"],
    [file, names.free(), 1, "EINVAL"],
  ];
  for (const [from, to, flags, code] of codes) {
    const result = await asyncLink(ctx, from, to, { flags });
    assertCode(result, ...code.split(" "));
  }
});

// ---- asyncSymlink, asyncReadlink ------------------------------------------------------

kioTest("asyncReadlink() gives what asyncSymlink() was given", async (ctx) => {
  await using names = new Names(ctx);
  const targets = [
    "no/such",
    "/tmp",
    "..",
    "ü\n\t\u{1f40c}",
    "\ufeffmark",
    "x".repeat(4095),
    "x/".repeat(2047),
  ];
  for (const target of targets) {
    const path = names.free();
    value(await asyncSymlink(ctx, target, path));
    assertEquals(await asyncReadlink(ctx, path).orThrow(), target);
  }
});

kioTest("asyncReadlink() gives bytes where they are no UTF-8", async (ctx) => {
  await using names = new Names(ctx);
  const any = Uint8Array.from({ length: 255 }, (_, i) => i + 1);
  for (const target of [any, new Uint8Array([0x61, 0xff])]) {
    const path = names.free();
    value(await asyncSymlink(ctx, target, path));
    const got = value(await asyncReadlink(ctx, path));
    assertEquals(got, target);
    // It names the same again.
    const again = names.free();
    value(await asyncSymlink(ctx, got, again));
    assertEquals(value(await asyncReadlink(ctx, again)), target);
  }
  const path = names.free();
  value(await asyncSymlink(ctx, bytes("ü"), path));
  assertEquals(value(await asyncReadlink(ctx, path)), "ü");
});

kioTest(
  "asyncSymlink() and asyncReadlink() start from the directory given",
  async (ctx) => {
    await using names = new Names(ctx);
    await using tmp = await directory(ctx, "/tmp");
    await using file = await tempFile(ctx);
    const path = baseOf(names.free());
    value(await asyncSymlink(ctx, "target", path, { dir: tmp }));
    assertEquals(value(await asyncReadlink(ctx, path, { dir: tmp })), "target");
    for (
      const [dir, code] of [[NO_FD, "EBADF"], [file.fd, "ENOTDIR"]] as const
    ) {
      assertCode(await asyncSymlink(ctx, "target", "x", { dir }), code);
      assertCode(await asyncReadlink(ctx, "x", { dir }), code);
    }
  },
);

kioTest(
  "asyncSymlink() and asyncReadlink() report what is wrong",
  async (ctx) => {
    await using names = new Names(ctx);
    const file = await names.file();
    const codes: [target: string, path: string, code: string][] = [
      ["x", file, "EEXIST"],
      ["x", "/no/such/x", "ENOENT"],
      ["x", `${file}/x`, "ENOTDIR"],
      ["", names.free(), "ENOENT"],
      ["x", "", "ENOENT"],
      ["x".repeat(4096), names.free(), "ENAMETOOLONG"],
      ["x", "/proc/x", "ENOENT EPERM EACCES"],
    ];
    for (const [target, path, code] of codes) {
      assertCode(await asyncSymlink(ctx, target, path), ...code.split(" "));
    }
    const reads: [path: string, code: string][] = [
      [file, "EINVAL"],
      ["/tmp", "EINVAL"],
      ["/no/such", "ENOENT"],
      ["", "ENOENT"],
      [`${file}/x`, "ENOTDIR"],
      ["x".repeat(4096), "ENAMETOOLONG"],
    ];
    for (const [path, code] of reads) {
      assertCode(await asyncReadlink(ctx, path), code);
    }
  },
);

kioTest("asyncReadlink() is pending until it settles, once", async (ctx) => {
  const op = asyncReadlink(ctx, "/proc/self");
  assertEquals(ctx.pending, 1);
  await op;
  assertEquals(ctx.pending, 0);
  const cancelled = asyncReadlink(ctx, "/proc/self");
  cancelled.cancel();
  assertCode(await cancelled, "ECANCELED");
  const aborted = asyncReadlink(ctx, "/proc/self")
    .withSignal(AbortSignal.abort());
  assertCode(await aborted, "ECANCELED");
  value(await asyncReadlink(ctx, "/proc/self").withTimeout(0));
});

kioTest(
  "asyncReadlink() is refused in link(), and of a closed context",
  async (ctx) => {
    assertThrows(
      () => link(ctx, () => [asyncReadlink(ctx, "/proc/self")]),
      TypeError,
      "Cannot read the symbolic link in link()",
    );
    const other = new IoContext();
    const op = asyncReadlink(other, "/proc/self");
    other[Symbol.dispose]();
    assertCode(await op, "ECANCELED");
    assertThrows(() => asyncReadlink(other, "/"), TypeError, "is closed");
    assertThrows(() => asyncLink(other, "/", "/x"), TypeError, "is closed");
    assertThrows(() => asyncSymlink(other, "/", "/x"), TypeError, "is closed");
    assertEquals(ctx.pending, 0);
    value(await asyncReadlink(ctx, "/proc/self"));
  },
);

// ---- both ------------------------------------------------------------------------------

kioTest(
  "asyncLink() and asyncSymlink() are done or not, whatever cancels them",
  async (ctx) => {
    await using names = new Names(ctx);
    const file = await names.file();
    for (let round = 0; round < 40; round++) {
      const paths = [names.free(), names.free()];
      const ops = [
        asyncLink(ctx, file, paths[0]!),
        asyncSymlink(ctx, file, paths[1]!),
      ];
      for (const op of ops) {
        if (round % 4 === 0) op.cancel();
        else if (round % 4 === 1) op.withTimeout(0);
        else if (round % 4 === 2) queueMicrotask(() => op.cancel());
        else void turn().then(() => op.cancel());
      }
      for (const [i, result] of (await Promise.all(ops)).entries()) {
        const isThere = (await asyncLstat(ctx, paths[i]!)).ok;
        assertEquals(isThere, result.ok);
        if (!result.ok) assertCode(result, "ECANCELED", "ETIMEDOUT");
      }
    }
  },
);

kioTest(
  "asyncLink() and asyncSymlink() that fail do not end a chain",
  async (ctx) => {
    await using names = new Names(ctx);
    await using file = await tempFile(ctx, bytes("abc"));
    const [path, made] = [await names.file(), names.free()];
    const [linked, symlinked, read] = link(ctx, () => [
      asyncLink(ctx, path, path),
      asyncSymlink(ctx, path, path),
      asyncRead(ctx, file, new Uint8Array(3)),
    ]);
    assertCode(await linked!, "EEXIST");
    assertCode(await symlinked!, "EEXIST");
    assertEquals(value(await read!), 3);
    const whole = link(ctx, () => [
      asyncSymlink(ctx, "/proc/version", made),
      asyncOpen(ctx, made, O_RDONLY),
    ]);
    value(await whole[0]);
    await using opened = new TempFile(ctx, value(await whole[1]));
    assertEquals(text(await contentOf(ctx, opened)).slice(0, 5), "Linux");
  },
);
