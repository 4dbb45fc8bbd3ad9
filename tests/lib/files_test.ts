import {
  assert,
  assertEquals,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import {
  asyncClose,
  asyncFallocate,
  asyncFstat,
  asyncFtruncate,
  asyncOpen,
  asyncRead,
  asyncRename,
  asyncUnlink,
  asyncWrite,
  AT_REMOVEDIR,
  FALLOC_FL_KEEP_SIZE,
  type FileStat,
  IoContext,
  link,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
  type OpenOptions,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  RESOLVE_BENEATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  RESOLVE_NO_XDEV,
  type UringOp,
} from "@kio/kio";
import { loadShim } from "../../ffi/load.ts";
import {
  assertCode,
  bytes,
  contentOf,
  isOpen,
  kioTest,
  pattern,
  procText,
  TempFile,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

const NO_FD = 4000;
/** A number without a constant: it opens what something is, not its content. */
const O_PATH = 0o10000000;

/** Opens a directory, to be closed at the end of the block. */
async function directory(ctx: IoContext, path: string): Promise<TempFile> {
  return new TempFile(
    ctx,
    value(await asyncOpen(ctx, path, O_RDONLY | O_DIRECTORY)),
  );
}

/** A name in /tmp that nothing has. */
function freeName(): string {
  return `/tmp/kio-test-${crypto.randomUUID()}`;
}

/** Names in /tmp, of which none is left at the end of the block. */
class Names implements AsyncDisposable {
  readonly #ctx: IoContext;
  readonly #paths: string[] = [];

  constructor(ctx: IoContext) {
    this.#ctx = ctx;
  }

  /** A name that nothing has. */
  free(): string {
    const path = freeName();
    this.#paths.push(path);
    return path;
  }

  /** A file with that content. */
  async file(content: string): Promise<string> {
    const path = this.free();
    const flags = O_WRONLY | O_CREAT | O_EXCL;
    const fd = value(await asyncOpen(this.#ctx, path, flags, 0o600));
    value(await asyncWrite(this.#ctx, fd, bytes(content)));
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

/** Reads a file; undefined if there is none. */
async function read(ctx: IoContext, path: string): Promise<string | undefined> {
  const opened = await asyncOpen(ctx, path, O_RDONLY);
  if (!opened.ok) {
    assertCode(opened, "ENOENT");
    return undefined;
  }
  await using file = new TempFile(ctx, opened.value);
  return text(await contentOf(ctx, file));
}

// ---- asyncOpen() in a directory --------------------------------------------------------

kioTest(
  "asyncOpen() in a directory opens relative to a directory",
  async (ctx) => {
    await using proc = await directory(ctx, "/proc");
    const opened = await asyncOpen(ctx, "version", O_RDONLY, { dir: proc });
    await using file = new TempFile(ctx, value(opened));
    assert(text(await contentOf(ctx, file)).startsWith("Linux version "));
  },
);

kioTest(
  "asyncOpen() in a directory takes an absolute path without rules",
  async (ctx) => {
    const opened = await asyncOpen(ctx, "/proc/version", O_RDONLY, {
      dir: NO_FD,
    });
    await using _ = new TempFile(ctx, value(opened));
  },
);

kioTest(
  "asyncOpen() in a directory gives fds that are not inherited",
  async (ctx) => {
    await using tmp = await directory(ctx, "/tmp");
    const opened = await asyncOpen(ctx, ".", O_TMPFILE | O_RDWR, { dir: tmp });
    await using file = new TempFile(ctx, value(opened));
    const info = await procText(`/proc/self/fdinfo/${file.fd}`);
    const flags = parseInt(/^flags:\s*(\d+)/m.exec(info!)![1]!, 8);
    assertEquals(flags & 0o2000000, 0o2000000);
  },
);

kioTest(
  "asyncOpen() in a directory creates with the mode given, or 0644",
  async (ctx) => {
    await using tmp = await directory(ctx, "/tmp");
    const made = async (how?: OpenOptions) => {
      const opened = await asyncOpen(ctx, ".", O_TMPFILE | O_RDWR, {
        dir: tmp,
        ...how,
      });
      await using file = new TempFile(ctx, value(opened));
      return value(await asyncFstat(ctx, file)).mode;
    };
    assertEquals(await made({ mode: 0o400 }), 0o400);
    // The umask may take something of it.
    const usual = await made();
    assertEquals(usual & ~0o644, 0);
    assertEquals(await made({ mode: 0o644 }), usual);
  },
);

kioTest(
  "asyncOpen() in a directory ignores the mode of what exists",
  async (ctx) => {
    await using names = new Names(ctx);
    await using tmp = await directory(ctx, "/tmp");
    const name = (await names.file("x")).slice("/tmp/".length);
    for (const flags of [O_RDONLY, O_RDWR | O_CREAT, O_WRONLY | O_TRUNC]) {
      const opened = await asyncOpen(ctx, name, flags, {
        dir: tmp,
        mode: 0o777,
      });
      await using file = new TempFile(ctx, value(opened));
      assertEquals(value(await asyncFstat(ctx, file)).mode, 0o600);
    }
  },
);

/** Paths from /proc, by what they may do with which rules. */
const RESOLUTIONS: [path: string, resolve: number, code: string | undefined][] =
  [
    ["version", RESOLVE_BENEATH, undefined],
    ["sys/../version", RESOLVE_BENEATH, undefined],
    ["./version", RESOLVE_BENEATH, undefined],
    ["../proc/version", RESOLVE_BENEATH, "EXDEV"],
    ["sys/../../proc/version", RESOLVE_BENEATH, "EXDEV"],
    ["..", RESOLVE_BENEATH, "EXDEV"],
    ["/proc/version", RESOLVE_BENEATH, "EXDEV"],
    ["//proc/version", RESOLVE_BENEATH, "EXDEV"],
    // A link of the ordinary kind, to the number of the process.
    ["self/stat", RESOLVE_BENEATH, undefined],
    ["self/stat", RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS, undefined],
    ["self/stat", RESOLVE_NO_SYMLINKS, "ELOOP"],
    ["self/cwd", 0, undefined],
    ["self/cwd", RESOLVE_NO_MAGICLINKS, "ELOOP"],
    ["self/root/etc/passwd", RESOLVE_NO_MAGICLINKS, "ELOOP"],
    ["self/cwd", RESOLVE_BENEATH, "EXDEV"],
    ["self/cwd", RESOLVE_NO_SYMLINKS, "ELOOP"],
    ["/version", RESOLVE_IN_ROOT, undefined],
    ["../../../version", RESOLVE_IN_ROOT, undefined],
    ["/etc/passwd", RESOLVE_IN_ROOT, "ENOENT"],
    ["../etc/passwd", RESOLVE_IN_ROOT, "ENOENT"],
    ["../etc/passwd", RESOLVE_NO_XDEV, "EXDEV"],
    ["version", RESOLVE_NO_XDEV, undefined],
    ["no/such", RESOLVE_BENEATH, "ENOENT"],
    ["version/x", RESOLVE_BENEATH, "ENOTDIR"],
    ["", RESOLVE_BENEATH, "ENOENT"],
    ["x".repeat(256), RESOLVE_BENEATH, "ENOENT"],
    ["x/".repeat(3000), RESOLVE_BENEATH, "ENAMETOOLONG"],
    // Rules that the kernel does not know, and two that contradict each other.
    ["version", 0x80, "EINVAL"],
    ["version", RESOLVE_BENEATH | RESOLVE_IN_ROOT, "EINVAL"],
  ];

for (const [path, resolve, code] of RESOLUTIONS) {
  const shown = path.length > 40 ? `${path.slice(0, 8)}…` : path;
  kioTest(
    `asyncOpen() in a directory of "${shown}" by the rules 0x${
      resolve.toString(16)
    }: ${code ?? "opened"}`,
    async (ctx) => {
      await using proc = await directory(ctx, "/proc");
      const result = await asyncOpen(ctx, path, O_RDONLY, {
        dir: proc,
        resolve,
      });
      if (result.ok) await asyncClose(ctx, result.value);
      assertEquals(result.ok ? undefined : result.error.code, code);
    },
  );
}

kioTest(
  "asyncOpen() in a directory reports what is wrong with a file",
  async (ctx) => {
    await using names = new Names(ctx);
    await using tmp = await directory(ctx, "/tmp");
    const name = (await names.file("x")).slice("/tmp/".length);
    await using file = await tempFile(ctx);
    const codes: [at: number, path: string, flags: number, code: string][] = [
      [tmp.fd, name, O_WRONLY | O_CREAT | O_EXCL, "EEXIST"],
      [tmp.fd, name, O_RDONLY | O_DIRECTORY, "ENOTDIR"],
      [tmp.fd, ".", O_WRONLY, "EISDIR"],
      [tmp.fd, ".", O_RDONLY | O_CREAT, "EISDIR"],
      [NO_FD, "x", O_RDONLY, "EBADF"],
      [file.fd, "x", O_RDONLY, "ENOTDIR"],
      // open(2) would not say anything about these.
      [tmp.fd, name, 0x40000000, "EINVAL"],
      [tmp.fd, name, O_PATH | O_TRUNC, "EINVAL"],
    ];
    for (const [at, path, flags, code] of codes) {
      assertCode(
        await asyncOpen(ctx, path, flags, {
          dir: at,
          resolve: RESOLVE_NO_MAGICLINKS,
        }),
        code,
      );
    }
  },
);

kioTest(
  "asyncOpen() in a directory keeps its path until it is submitted",
  async (ctx) => {
    await using proc = await directory(ctx, "/proc");
    const flags = O_RDONLY;
    const ops = Array.from(
      { length: 40 },
      (_, i) =>
        asyncOpen(ctx, i % 2 ? "version" : "no/such", flags, { dir: proc }),
    );
    // Has garbage collected, and its place taken.
    for (let i = 0; i < 200; i++) new Uint8Array(1 << 20);
    const others = Array.from({ length: 1000 }, () => bytes("XXXXXXXX"));
    const results = await Promise.all(ops);
    for (const [i, result] of results.entries()) {
      assertEquals(result.ok, i % 2 === 1);
      if (result.ok) value(await asyncClose(ctx, result.value));
    }
    assertEquals(others.length, 1000);
  },
);

kioTest(
  "asyncOpen() in a directory that is cancelled leaks no fd",
  async (ctx) => {
    await using proc = await directory(ctx, "/proc");
    await using tmp = await directory(ctx, "/tmp");
    const cancels: ((op: UringOp<number>) => unknown)[] = [
      (op) => op.cancel(),
      (op) => op.withTimeout(0),
      (op) => op.withSignal(AbortSignal.abort()),
      (op) => queueMicrotask(() => op.cancel()),
      (op) => turn().then(() => op.cancel()),
    ];
    for (let round = 0; round < 20; round++) {
      const ops = cancels.flatMap((cancel) =>
        [
          asyncOpen(ctx, "version", O_RDONLY, { dir: proc }),
          // An open that creates is not tried inline: a kernel worker does it.
          asyncOpen(ctx, ".", O_TMPFILE | O_RDWR, { dir: tmp }),
        ].map((op) => {
          cancel(op);
          return op;
        })
      );
      for (const op of ops) {
        const result = await op;
        if (result.ok) value(await asyncClose(ctx, result.value));
        else assertCode(result, "ECANCELED", "ETIMEDOUT");
      }
    }
  },
);

kioTest(
  "asyncOpen() in a directory of a context that is closed meanwhile leaks no fd",
  async (outer) => {
    await using tmp = await directory(outer, "/tmp");
    for (let round = 0; round < 50; round++) {
      const ctx = new IoContext();
      const op = asyncOpen(ctx, ".", O_TMPFILE | O_RDWR, { dir: tmp });
      if (round % 2) await Promise.resolve();
      ctx[Symbol.dispose]();
      const result = await op;
      if (result.ok) value(await asyncClose(outer, result.value));
      else assertCode(result, "ECANCELED");
    }
  },
);

// ---- asyncFstat ---------------------------------------------------------------------

async function stat(
  ctx: IoContext,
  file: { fd: number } | number,
): Promise<FileStat> {
  return value(await asyncFstat(ctx, file));
}

kioTest("asyncFstat() tells what a file is", async (ctx) => {
  await using file = await tempFile(ctx, pattern(5000));
  const info = await procText(`/proc/self/fdinfo/${file.fd}`);
  const status = await procText("/proc/self/status");
  const idOf = (name: string) =>
    Number(
      new RegExp(`^${name}:(?:\\s*\\d+){3}\\s*(\\d+)`, "m").exec(status!)![1],
    );
  const got = await stat(ctx, file);
  assert(Math.abs(got.modifiedMs - Date.now()) < 60_000, `${got.modifiedMs}`);
  assertEquals(got, {
    type: "file",
    mode: 0o600,
    size: 5000,
    allocated: got.allocated,
    blockSize: 4096,
    accessedMs: got.accessedMs,
    modifiedMs: got.modifiedMs,
    changedMs: got.changedMs,
    birthMs: got.birthMs,
    inode: BigInt(/^ino:\s*(\d+)/m.exec(info!)![1]!),
    device: got.device,
    rdev: 0,
    mountId: Number(/^mnt_id:\s*(\d+)/m.exec(info!)![1]),
    attributes: 0,
    links: 0,
    uid: idOf("Uid"),
    gid: idOf("Gid"),
  });
});

kioTest("asyncFstat() tells the kinds of files apart", async (ctx) => {
  using pair = unixPair();
  const fds = new Int32Array(2);
  loadShim().kio_pipe(fds, 4096);
  const kinds: [path: string, flags: number, type: string][] = [
    ["/tmp", O_RDONLY, "directory"],
    ["/dev/null", O_RDONLY, "character"],
    ["/proc/self", O_PATH | O_NOFOLLOW, "symlink"],
    ["/proc/version", O_RDONLY, "file"],
  ];
  for (const [path, flags, type] of kinds) {
    await using file = new TempFile(
      ctx,
      value(await asyncOpen(ctx, path, flags)),
    );
    assertEquals((await stat(ctx, file)).type, type);
  }
  assertEquals((await stat(ctx, fds[0]!)).type, "pipe");
  assertEquals((await stat(ctx, pair.left)).type, "socket");
  // A ring, an epoll, an eventfd have no kind of their own.
  assertEquals((await stat(ctx, ctx.ringFd)).type, "anonymous");
  for (const fd of fds) value(await asyncClose(ctx, fd));
});

kioTest("asyncFstat() tells sizes above 4 GiB and holes", async (ctx) => {
  await using file = await tempFile(ctx);
  const size = 2 ** 40 + 5;
  value(await asyncFtruncate(ctx, file, size));
  assertEquals(await stat(ctx, file).then((s) => [s.size, s.allocated]), [
    size,
    0,
  ]);
  value(await asyncFallocate(ctx, file, FALLOC_FL_KEEP_SIZE, 0, 1 << 20));
  const { allocated } = await stat(ctx, file);
  assert(allocated >= 1 << 20 && allocated < 2 << 20, `${allocated}`);
});

kioTest("asyncFstat() tells special permission bits", async (ctx) => {
  const mode = 0o6700;
  const fd = value(await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, mode));
  await using file = new TempFile(ctx, fd);
  assertEquals((await stat(ctx, file)).mode, mode);
});

kioTest("asyncFstat() tells identity by inode and device", async (ctx) => {
  await using names = new Names(ctx);
  const path = await names.file("x");
  const open = async (path: string) =>
    new TempFile(ctx, value(await asyncOpen(ctx, path, O_RDONLY)));
  await using first = await open(path);
  await using second = await open(path);
  await using other = await tempFile(ctx);
  await using proc = await open("/proc/version");
  const [a, b, c, d] = await Promise.all([
    stat(ctx, first),
    stat(ctx, second),
    stat(ctx, other),
    stat(ctx, proc),
  ]);
  assertEquals([a.inode, a.device], [b.inode, b.device]);
  assertNotEquals(a.inode, c.inode);
  assertEquals(a.device, c.device);
  assertNotEquals(a.device, d.device);
  assertEquals(a.links, 1);
});

kioTest("asyncFstat() fails with EBADF for what is not open", async (ctx) => {
  assertCode(await asyncFstat(ctx, NO_FD), "EBADF");
});

kioTest(
  "asyncFstat() that is cancelled tells so or its result",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    for (let round = 0; round < 50; round++) {
      const ops = [
        asyncFstat(ctx, file),
        asyncFstat(ctx, file).withTimeout(0),
        asyncFstat(ctx, file).withSignal(AbortSignal.timeout(0)),
      ];
      if (round % 2) await turn();
      ops[0]!.cancel();
      for (const result of await Promise.all(ops)) {
        if (result.ok) assertEquals(result.value.size, 3);
        else assertCode(result, "ECANCELED", "ETIMEDOUT");
      }
    }
  },
);

// ---- asyncRename ----------------------------------------------------------------------

kioTest("asyncRename() gives a file another name", async (ctx) => {
  await using names = new Names(ctx);
  const from = await names.file("abc");
  const to = names.free();
  value(await asyncRename(ctx, from, to));
  assertEquals(await read(ctx, from), undefined);
  assertEquals(await read(ctx, to), "abc");
});

kioTest("asyncRename() replaces what has the name", async (ctx) => {
  await using names = new Names(ctx);
  const from = await names.file("new");
  const to = await names.file("old");
  await using old = new TempFile(
    ctx,
    value(await asyncOpen(ctx, to, O_RDONLY)),
  );
  value(await asyncRename(ctx, from, to));
  assertEquals(await read(ctx, to), "new");
  // A reader that has the old one open still has all of it.
  assertEquals(text(await contentOf(ctx, old)), "old");
});

kioTest("asyncRename() with RENAME_NOREPLACE replaces nothing", async (ctx) => {
  await using names = new Names(ctx);
  const [from, to] = [await names.file("new"), await names.file("old")];
  assertCode(await asyncRename(ctx, from, to, RENAME_NOREPLACE), "EEXIST");
  assertEquals([await read(ctx, from), await read(ctx, to)], ["new", "old"]);
  const free = names.free();
  value(await asyncRename(ctx, from, free, RENAME_NOREPLACE));
  assertEquals(await read(ctx, free), "new");
});

kioTest("asyncRename() with RENAME_EXCHANGE swaps", async (ctx) => {
  await using names = new Names(ctx);
  const [left, right] = [await names.file("left"), await names.file("right")];
  value(await asyncRename(ctx, left, right, RENAME_EXCHANGE));
  assertEquals([await read(ctx, left), await read(ctx, right)], [
    "right",
    "left",
  ]);
  assertCode(
    await asyncRename(ctx, left, names.free(), RENAME_EXCHANGE),
    "ENOENT",
  );
});

kioTest("asyncRename() reports what is wrong", async (ctx) => {
  await using names = new Names(ctx);
  const path = await names.file("x");
  const codes: [from: string, to: string, flags: number, code: string][] = [
    [names.free(), path, 0, "ENOENT"],
    [path, `${freeName()}/x`, 0, "ENOENT"],
    [path, "/proc/x", 0, "EXDEV"],
    [path, "/tmp", 0, "EBUSY EISDIR EEXIST ENOTEMPTY EXDEV"],
    [path, `${path}/x`, 0, "ENOTDIR"],
    [path, `/tmp/${"x".repeat(256)}`, 0, "ENAMETOOLONG"],
    ["", path, 0, "ENOENT"],
    [path, "", 0, "ENOENT"],
    [path, names.free(), RENAME_NOREPLACE | RENAME_EXCHANGE, "EINVAL"],
    [path, names.free(), 0x40000000, "EINVAL"],
  ];
  for (const [from, to, flags, code] of codes) {
    const result = await asyncRename(ctx, from, to, flags);
    assertCode(result, ...code.split(" "));
  }
  assertEquals(await read(ctx, path), "x");
});

kioTest("asyncRename() takes names of any bytes but NUL", async (ctx) => {
  await using names = new Names(ctx);
  const from = await names.file("abc");
  const to = `${names.free()} ü\n\t"'\\\u{1f40c}\x01`;
  value(await asyncRename(ctx, from, to));
  assertEquals(await read(ctx, to), "abc");
  value(await asyncUnlink(ctx, to));
});

kioTest("asyncRename() is done or not, whatever cancels it", async (ctx) => {
  await using names = new Names(ctx);
  const from = await names.file("abc");
  const to = names.free();
  const cancels: ((op: UringOp<void>) => UringOp<void>)[] = [
    (op) => (op.cancel(), op),
    (op) => op.withTimeout(0),
    (op) => (queueMicrotask(() => op.cancel()), op),
    (op) => (void turn().then(() => op.cancel()), op),
  ];
  for (let round = 0; round < 40; round++) {
    const cancel = cancels[round % cancels.length]!;
    const result = await cancel(asyncRename(ctx, from, to));
    const [before, after] = [await read(ctx, from), await read(ctx, to)];
    if (result.ok) {
      assertEquals([before, after], [undefined, "abc"]);
      value(await asyncRename(ctx, to, from));
    } else {
      assertCode(result, "ECANCELED", "ETIMEDOUT");
      assertEquals([before, after], ["abc", undefined]);
    }
  }
});

// ---- asyncUnlink ----------------------------------------------------------------------

kioTest("asyncUnlink() removes a name, not what is open", async (ctx) => {
  await using names = new Names(ctx);
  const path = await names.file("abc");
  const fd = value(await asyncOpen(ctx, path, O_RDONLY));
  await using file = new TempFile(ctx, fd);
  value(await asyncUnlink(ctx, path));
  assertEquals(await read(ctx, path), undefined);
  assertEquals(text(await contentOf(ctx, file)), "abc");
  assertEquals((await stat(ctx, file)).links, 0);
});

kioTest("asyncUnlink() reports what is wrong", async (ctx) => {
  await using names = new Names(ctx);
  const path = await names.file("x");
  const codes: [path: string, flags: number, code: string][] = [
    [freeName(), 0, "ENOENT"],
    ["", 0, "ENOENT"],
    [`${path}/x`, 0, "ENOTDIR"],
    [path, AT_REMOVEDIR, "ENOTDIR"],
    // Without root the user may not remove it either way.
    ["/tmp", 0, "EISDIR EACCES EBUSY EROFS"],
    ["/tmp", AT_REMOVEDIR, "ENOTEMPTY EACCES EBUSY EROFS"],
    [path, 0x1, "EINVAL"],
  ];
  for (const [path, flags, code] of codes) {
    assertCode(await asyncUnlink(ctx, path, flags), ...code.split(" "));
  }
  assertEquals(await read(ctx, path), "x");
});

kioTest("asyncUnlink() never happens when cancelled at once", async (ctx) => {
  await using names = new Names(ctx);
  const path = await names.file("abc");
  const op = asyncUnlink(ctx, path);
  op.cancel();
  assertCode(await op, "ECANCELED");
  assertCode(
    await asyncUnlink(ctx, path).withSignal(AbortSignal.abort()),
    "ECANCELED",
  );
  assertEquals(await read(ctx, path), "abc");
});

kioTest("asyncUnlink() is done or not, whatever cancels it", async (ctx) => {
  await using names = new Names(ctx);
  for (let round = 0; round < 40; round++) {
    const path = await names.file("abc");
    const op = asyncUnlink(ctx, path);
    if (round % 2) void turn().then(() => op.cancel());
    else op.withTimeout(0);
    const result = await op;
    if (!result.ok) assertCode(result, "ECANCELED", "ETIMEDOUT");
    assertEquals(await read(ctx, path), result.ok ? undefined : "abc");
  }
});

kioTest("operations on files run in the order of their chain", async (ctx) => {
  await using names = new Names(ctx);
  const from = await names.file("x");
  const [first, second] = [names.free(), names.free()];
  for (let round = 0; round < 20; round++) {
    const results = await Promise.all(link(ctx, () => [
      asyncRename(ctx, from, first),
      asyncRename(ctx, first, second),
      asyncRename(ctx, second, from),
    ]));
    results.forEach(value);
  }
  assertEquals(await read(ctx, from), "x");
});

kioTest("asyncOpen() in a directory that fails ends its chain", async (ctx) => {
  await using names = new Names(ctx);
  const path = await names.file("x");
  const [opened, removed] = link(ctx, () => [
    asyncOpen(ctx, "x", O_RDONLY, { dir: NO_FD }),
    asyncUnlink(ctx, path),
  ]);
  assertCode(await opened, "EBADF");
  assertCode(await removed, "ECANCELED");
  assertEquals(await read(ctx, path), "x");
});

// ---- all of them ------------------------------------------------------------------------

kioTest("operations on files of a closed context throw", (outer) => {
  const ctx = new IoContext();
  ctx[Symbol.dispose]();
  for (
    const operation of [
      () => asyncOpen(ctx, "/x", O_RDONLY, { dir: 0 }),
      () => asyncFstat(ctx, 0),
      () => asyncRename(ctx, "/x", "/y"),
      () => asyncUnlink(ctx, "/x"),
    ]
  ) {
    assertThrows(operation, TypeError, "the IoContext is closed");
  }
  assertEquals(outer.pending, 0);
});

kioTest("operations on files are exceptions where wanted", async (ctx) => {
  const free = freeName();
  const failing: [() => UringOp<unknown>, name: string, action: string][] = [
    [() => asyncOpen(ctx, "x", 0, { dir: NO_FD }), "asyncOpen", "open x"],
    [() => asyncFstat(ctx, NO_FD), "asyncFstat", `stat (fd ${NO_FD})`],
    [
      () => asyncRename(ctx, free, "/tmp/x"),
      "asyncRename",
      `rename ${free} to /tmp/x`,
    ],
    [() => asyncUnlink(ctx, free), "asyncUnlink", `unlink ${free}`],
  ];
  for (const [start, name, action] of failing) {
    const error = await start().orThrow().then(() => undefined, (it) => it);
    assertEquals(error?.operation, name);
    assert(error.message.startsWith(`Cannot ${action}: `), error.message);
  }
});

kioTest(
  "an fd that asyncOpen() in a directory gave is the caller's",
  async (ctx) => {
    await using proc = await directory(ctx, "/proc");
    const fd = value(await asyncOpen(ctx, "version", O_RDONLY, { dir: proc }));
    assert(isOpen(fd));
    const buffer = new Uint8Array(16);
    assertEquals(value(await asyncRead(ctx, fd, buffer)), 16);
    value(await asyncClose(ctx, fd));
    assert(!isOpen(fd));
  },
);

kioTest(
  "paths with a lone surrogate are refused, as they would name another file",
  (ctx) => {
    for (const bad of ["/tmp/\ud800", "/tmp/\udc00x", "\ud83d/\ude00"]) {
      const attempts: (() => unknown)[] = [
        () => asyncOpen(ctx, bad, O_RDONLY),
        () => asyncOpen(ctx, bad, O_RDONLY, { dir: 0 }),
        () => asyncRename(ctx, bad, "/tmp/kio-x"),
        () => asyncRename(ctx, "/tmp/kio-x", bad),
        () => asyncUnlink(ctx, bad),
      ];
      for (const attempt of attempts) {
        assertThrows(attempt, TypeError, "lone surrogate");
      }
    }
    assertEquals(ctx.pending, 0);
  },
);

// ---- asyncRename() and asyncUnlink() in directories -------------------------------------

const baseOf = (path: string) => path.slice("/tmp/".length);

kioTest("asyncRename() starts from the directories given", async (ctx) => {
  await using names = new Names(ctx);
  await using tmp = await directory(ctx, "/tmp");
  await using proc = await directory(ctx, "/proc");
  await using file = await tempFile(ctx);
  const [from, to] = [await names.file("abc"), names.free()];
  // The second path starts from the same one.
  value(await asyncRename(ctx, baseOf(from), baseOf(to), { dir: tmp }));
  assertEquals(await read(ctx, to), "abc");
  const crossed = { dir: proc, toDir: tmp };
  value(await asyncRename(ctx, `self/root${to}`, baseOf(from), crossed));
  assertEquals(await read(ctx, from), "abc");
  const flags = RENAME_NOREPLACE;
  const other = await names.file("other");
  assertCode(
    await asyncRename(ctx, baseOf(from), baseOf(other), { dir: tmp, flags }),
    "EEXIST",
  );
  const wrong: [dir: number, toDir: number | undefined, code: string][] = [
    [NO_FD, undefined, "EBADF"],
    [NO_FD, tmp.fd, "EBADF"],
    [tmp.fd, NO_FD, "EBADF"],
    [file.fd, undefined, "ENOTDIR"],
    [tmp.fd, proc.fd, "EXDEV"],
  ];
  for (const [dir, toDir, code] of wrong) {
    const result = await asyncRename(ctx, baseOf(from), "x", { dir, toDir });
    assertCode(result, code);
  }
  assertEquals([await read(ctx, from), await read(ctx, other)], [
    "abc",
    "other",
  ]);
});

kioTest("asyncUnlink() starts from the directory given", async (ctx) => {
  await using names = new Names(ctx);
  await using tmp = await directory(ctx, "/tmp");
  const path = await names.file("abc");
  const flags = AT_REMOVEDIR;
  const name = baseOf(path);
  assertCode(await asyncUnlink(ctx, name, { dir: tmp, flags }), "ENOTDIR");
  assertCode(await asyncUnlink(ctx, name, { dir: NO_FD }), "EBADF");
  value(await asyncUnlink(ctx, name, { dir: tmp }));
  assertEquals(await read(ctx, path), undefined);
});

kioTest("ctx.inspect() names the directory of an operation", async (ctx) => {
  const flags = O_RDONLY | O_DIRECTORY;
  const dir = value(await asyncOpen(ctx, "/tmp", flags));
  const op = asyncRename(ctx, "no", "such", { dir });
  assertEquals(ctx.inspect().map(({ fd }) => fd), [dir]);
  assertCode(await op, "ENOENT");
  value(await asyncClose(ctx, dir));
});
