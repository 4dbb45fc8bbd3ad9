import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncLstat,
  asyncMkdir,
  asyncOpen,
  asyncRead,
  asyncStat,
  asyncSymlink,
  asyncUnlink,
  AT_REMOVEDIR,
  IoContext,
  link,
  type MkdirOptions,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_WRONLY,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  TempFile,
  tempFile,
  turn,
  value,
} from "../support.ts";

const NO_FD = 4000;
const recursive = { recursive: true };

/** A directory that is gone with what was noted below it at the end. */
class Root implements AsyncDisposable {
  readonly path = `/tmp/kio-test-${crypto.randomUUID()}`;
  readonly #ctx: IoContext;

  constructor(ctx: IoContext) {
    this.#ctx = ctx;
  }

  static async make(ctx: IoContext): Promise<Root> {
    const root = new Root(ctx);
    value(await asyncMkdir(ctx, root.path));
    return root;
  }

  /** Removes directories, from the inside out; what is not there is ignored. */
  async remove(...paths: readonly string[]): Promise<void> {
    for (const path of paths) {
      const parts = path.split("/");
      for (let { length } = parts; length > 0; length--) {
        const part = `${this.path}/${parts.slice(0, length).join("/")}`;
        const flags = AT_REMOVEDIR;
        const result = await asyncUnlink(this.#ctx, part, flags);
        if (!result.ok) assertCode(result, "ENOENT", "ENOTEMPTY");
      }
    }
  }

  /** The kind of what is there; undefined for nothing. */
  async type(path: string): Promise<string | undefined> {
    const result = await asyncLstat(this.#ctx, `${this.path}/${path}`);
    return result.ok ? result.value.type : undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    value(await asyncUnlink(this.#ctx, this.path, AT_REMOVEDIR));
  }
}

async function makeFile(ctx: IoContext, path: string): Promise<void> {
  const fd = value(await asyncOpen(ctx, path, O_WRONLY | O_CREAT));
  value(await asyncClose(ctx, fd));
}

// ---- one directory ---------------------------------------------------------------

kioTest("asyncMkdir() makes a directory", async (ctx) => {
  await using root = await Root.make(ctx);
  value(await asyncMkdir(ctx, `${root.path}/a`));
  assertEquals(await root.type("a"), "directory");
  assertCode(await asyncMkdir(ctx, `${root.path}/a`), "EEXIST");
  await root.remove("a");
});

kioTest(
  "asyncMkdir() makes it with the mode given, less the umask",
  async (ctx) => {
    await using root = await Root.make(ctx);
    for (const mode of [0o700, 0o500, 0o1700, 0]) {
      value(await asyncMkdir(ctx, `${root.path}/a`, { mode }));
      const stat = value(await asyncStat(ctx, `${root.path}/a`));
      assertEquals(stat.mode, mode);
      await root.remove("a");
    }
    value(await asyncMkdir(ctx, `${root.path}/a`));
    const { mode } = value(await asyncStat(ctx, `${root.path}/a`));
    assertEquals(mode & ~0o777, 0);
    assertEquals(mode & 0o700, 0o700);
    await root.remove("a");
  },
);

kioTest("asyncMkdir() starts from the directory given", async (ctx) => {
  await using root = await Root.make(ctx);
  const flags = O_RDONLY | O_DIRECTORY;
  const fd = value(await asyncOpen(ctx, root.path, flags));
  await using dir = new TempFile(ctx, fd);
  value(await asyncMkdir(ctx, "a", { dir }));
  value(await asyncMkdir(ctx, "b/c/d", { dir, recursive: true }));
  value(await asyncMkdir(ctx, `${root.path}/e`, { dir: NO_FD }));
  for (const path of ["a", "b/c/d", "e"]) {
    assertEquals(await root.type(path), "directory");
  }
  await root.remove("a", "b/c/d", "e");
});

kioTest("asyncMkdir() reports what is wrong", async (ctx) => {
  await using root = await Root.make(ctx);
  const file = `${root.path}/file`;
  await makeFile(ctx, file);
  const codes: [path: string, options: MkdirOptions, code: string][] = [
    [file, {}, "EEXIST"],
    [`${file}/x`, {}, "ENOTDIR"],
    [`${root.path}/no/such`, {}, "ENOENT"],
    ["", {}, "ENOENT"],
    ["/", {}, "EEXIST"],
    ["/proc/x", {}, "ENOENT"],
    [`/tmp/${"x".repeat(256)}`, {}, "ENAMETOOLONG"],
    ["x/".repeat(3000), {}, "ENAMETOOLONG"],
    ["x", { dir: NO_FD }, "EBADF"],
    // The same with its parents.
    [file, recursive, "EEXIST"],
    [`${file}/`, recursive, "EEXIST"],
    [`${file}/x`, recursive, "ENOTDIR"],
    [`${file}/x/y`, recursive, "ENOTDIR"],
    ["", recursive, "ENOENT"],
    ["/proc/x", recursive, "ENOENT"],
    ["/proc/x/y/z", recursive, "ENOENT"],
    [`/tmp/${"x".repeat(256)}`, recursive, "ENAMETOOLONG"],
    ["x", { dir: NO_FD, recursive: true }, "EBADF"],
  ];
  for (const [path, options, code] of codes) {
    assertCode(await asyncMkdir(ctx, path, options), code);
  }
  value(await asyncUnlink(ctx, file));
});

// ---- with its parents ------------------------------------------------------------------

kioTest("asyncMkdir() with recursive makes what is missing", async (ctx) => {
  await using root = await Root.make(ctx);
  const deep = Array.from({ length: 40 }, (_, i) => `d${i}`).join("/");
  for (const path of [deep, `${deep}/e`, "x", "y//z///", "y/z/./w", "v/../u"]) {
    value(await asyncMkdir(ctx, `${root.path}/${path}`, recursive));
    assertEquals(await root.type(path), "directory", path);
  }
  await root.remove(`${deep}/e`, "x", "y/z/w", "v", "u");
});

kioTest(
  "asyncMkdir() with recursive is content with a directory",
  async (ctx) => {
    await using root = await Root.make(ctx);
    value(await asyncMkdir(ctx, `${root.path}/a`));
    value(await asyncSymlink(ctx, "a", `${root.path}/link`));
    for (
      const path of ["", "/", "/.", "/a", "/a/", "/link", "/link/", "/a/.."]
    ) {
      value(await asyncMkdir(ctx, root.path + path, recursive));
    }
    for (const path of ["/", ".", "..", "/proc/self"]) {
      value(await asyncMkdir(ctx, path, recursive));
    }
    value(await asyncMkdir(ctx, `${root.path}/link/b/c`, recursive));
    assertEquals(await root.type("a/b/c"), "directory");
    value(await asyncUnlink(ctx, `${root.path}/link`));
    await root.remove("a/b/c");
  },
);

kioTest(
  "asyncMkdir() with recursive refuses a link that leads nowhere",
  async (ctx) => {
    await using root = await Root.make(ctx);
    const path = `${root.path}/link`;
    value(await asyncSymlink(ctx, "no/such", path));
    assertCode(await asyncMkdir(ctx, path, recursive), "EEXIST");
    // As mkdir -p says.
    assertCode(
      await asyncMkdir(ctx, `${path}/x`, recursive),
      "ENOENT",
      "EEXIST",
    );
    value(await asyncUnlink(ctx, path));
  },
);

kioTest(
  "asyncMkdir() with recursive gives the mode to the last only",
  async (ctx) => {
    await using root = await Root.make(ctx);
    const options = { recursive: true, mode: 0o500 };
    value(await asyncMkdir(ctx, `${root.path}/a/b`, options));
    const modeOf = async (path: string) =>
      value(await asyncStat(ctx, `${root.path}/${path}`)).mode;
    assertEquals(await modeOf("a/b"), 0o500);
    assertEquals(await modeOf("a") & 0o700, 0o700);
    await root.remove("a/b");
  },
);

kioTest(
  "asyncMkdir() with recursive many times at once makes it once",
  async (ctx) => {
    await using root = await Root.make(ctx);
    for (let round = 0; round < 20; round++) {
      const ops = Array.from(
        { length: 20 },
        (_, i) => asyncMkdir(ctx, `${root.path}/a/b/c/${i % 4}/d`, recursive),
      );
      for (const result of await Promise.all(ops)) value(result);
      await root.remove("a/b/c/0/d", "a/b/c/1/d", "a/b/c/2/d", "a/b/c/3/d");
      assertEquals(await root.type("a"), undefined);
    }
  },
);

kioTest("asyncMkdir() with recursive ends while others remove", async (ctx) => {
  await using root = await Root.make(ctx);
  const path = `${root.path}/a/b/c`;
  const others = new AbortController();
  const removing = (async () => {
    while (!others.signal.aborted) await root.remove("a/b/c");
  })();
  for (let round = 0; round < 100; round++) {
    const result = await asyncMkdir(ctx, path, recursive);
    if (!result.ok) assertCode(result, "ENOENT");
  }
  others.abort();
  await removing;
  await root.remove("a/b/c");
});

kioTest(
  "asyncMkdir() with recursive that is cancelled is not a success",
  async (ctx) => {
    await using root = await Root.make(ctx);
    const path = `${root.path}/a/b/c/d/e`;
    const cancels: ((op: UringOp<void>) => unknown)[] = [
      (op) => op.cancel(),
      (op) => op.withTimeout(0),
      (op) => op.withSignal(AbortSignal.abort()),
      (op) => queueMicrotask(() => op.cancel()),
      (op) => turn().then(() => op.cancel()),
      (op) => turn(1).then(() => op.cancel()),
      (op) => setImmediate(() => op.cancel()),
    ];
    let cancelled = 0;
    for (let round = 0; round < 70; round++) {
      const op = asyncMkdir(ctx, path, recursive);
      cancels[round % cancels.length]!(op);
      const result = await op;
      const type = await root.type("a/b/c/d/e");
      if (result.ok) assertEquals(type, "directory");
      else {
        cancelled++;
        assertCode(result, "ECANCELED", "ETIMEDOUT");
      }
      await root.remove("a/b/c/d/e");
    }
    assert(cancelled > 0);
  },
);

kioTest("asyncMkdir() with recursive ends with its context", async (ctx) => {
  await using root = await Root.make(ctx);
  for (let round = 0; round < 20; round++) {
    const other = new IoContext();
    const op = asyncMkdir(other, `${root.path}/a/b/c`, recursive);
    if (round % 2) await turn();
    if (round % 4 < 2) other[Symbol.dispose]();
    else await other[Symbol.asyncDispose]();
    const result = await op;
    if (!result.ok) assertCode(result, "ECANCELED");
    else assertEquals(await root.type("a/b/c"), "directory");
    assertThrows(() => asyncMkdir(other, "/x"), TypeError, "is closed");
    await root.remove("a/b/c");
  }
});

// ---- in a chain --------------------------------------------------------------------------

kioTest(
  "asyncMkdir() is a link of a chain, and its failure no end",
  async (ctx) => {
    await using root = await Root.make(ctx);
    await using file = await tempFile(ctx, bytes("abc"));
    const path = `${root.path}/a`;
    const [first, second, read] = link(ctx, () => [
      asyncMkdir(ctx, path),
      asyncMkdir(ctx, path),
      asyncRead(ctx, file, new Uint8Array(3)),
    ]);
    value(await first!);
    assertCode(await second!, "EEXIST");
    assertEquals(value(await read!), 3);
    await root.remove("a");
  },
);

kioTest("asyncMkdir() with recursive is refused in link()", async (ctx) => {
  assertThrows(
    () => link(ctx, () => [asyncMkdir(ctx, "/tmp", recursive)]),
    TypeError,
    "Cannot make the directory with its parents in link()",
  );
  assertEquals(ctx.pending, 0);
  value(await asyncMkdir(ctx, "/tmp", recursive));
});
