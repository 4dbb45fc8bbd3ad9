/** readDir() and walk(), where this process needs no permission but FFI: what is
 * there is made by operations. Against find(1) they are tested in
 * tests/process/folders.process.ts. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncMkdir,
  asyncOpen,
  asyncSymlink,
  asyncUnlink,
  AT_REMOVEDIR,
  type DirEntry,
  IoContext,
  O_CREAT,
  O_DIRECTORY,
  O_WRONLY,
  type Path,
  readDir,
  type Result,
  type UringStream,
  walk,
  type WalkEntry,
} from "@kio/kio";
import {
  assertCode,
  kioTest,
  overwriteGarbage,
  turn,
  value,
  within,
} from "../support.ts";

/** A folder of its own, whose content goes with it. */
class Folder implements AsyncDisposable {
  readonly path: string;
  readonly #ctx: IoContext;

  constructor(ctx: IoContext, path: string) {
    this.#ctx = ctx;
    this.path = path;
  }

  async file(name: Path): Promise<void> {
    const dir = await asyncOpen(this.#ctx, this.path, O_DIRECTORY).orThrow();
    const flags = O_CREAT | O_WRONLY;
    const fd = await asyncOpen(this.#ctx, name, flags, { dir }).orThrow();
    await asyncClose(this.#ctx, fd).orThrow();
    await asyncClose(this.#ctx, dir).orThrow();
  }

  folder(name: string): Promise<void> {
    return asyncMkdir(this.#ctx, `${this.path}/${name}`, { recursive: true })
      .orThrow();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ctx = this.#ctx;
    const all: WalkEntry[] = [];
    for await (const it of walk(ctx, this.path).orThrow()) all.push(it);
    all.sort((a, b) => b.depth - a.depth);
    for (const { path, isDirectory } of all) {
      value(await asyncUnlink(ctx, path, isDirectory ? AT_REMOVEDIR : 0));
    }
  }
}

/** A folder with more entries than a stream reads ahead: names of links, which
 * are made by one operation each. */
const many = {
  path: "",
  names: Array.from({ length: 10_000 }, (_, i) => `${i}`).sort(),
};

Deno.test.beforeAll(async () => {
  using ctx = new IoContext();
  const { path } = await folder(ctx);
  many.path = path;
  for (let at = 0; at < many.names.length; at += 500) {
    const some = many.names.slice(at, at + 500);
    await Promise.all(
      some.map((it) => asyncSymlink(ctx, "x", `${path}/${it}`).orThrow()),
    );
  }
});

Deno.test.afterAll(async () => {
  using ctx = new IoContext();
  await new Folder(ctx, many.path)[Symbol.asyncDispose]();
});

async function folder(ctx: IoContext): Promise<Folder> {
  const made = new Folder(ctx, `/tmp/kio-folder-${crypto.randomUUID()}`);
  await asyncMkdir(ctx, made.path).orThrow();
  return made;
}

/** The values of a stream, and its errors. */
async function all<T>(stream: UringStream<T>): Promise<[T[], string[]]> {
  const values: T[] = [];
  const codes: string[] = [];
  for await (const result of stream) {
    if (result.ok) values.push(result.value);
    else codes.push(result.error.code);
  }
  return [values, codes];
}

async function namesOf(stream: UringStream<DirEntry>): Promise<string[]> {
  const [entries, codes] = await all(stream);
  assertEquals(codes, []);
  return entries.map(({ name }) => name).sort();
}

/** Both, on the same directory; a walk gives the directory itself as well. */
const WAYS = {
  readDir,
  walk: walk as (...args: Parameters<typeof readDir>) => UringStream<DirEntry>,
};

kioTest("readDir() tells names and types", async (ctx) => {
  await using made = await folder(ctx);
  await made.file("file");
  await made.folder("folder");
  await asyncSymlink(ctx, "file", `${made.path}/link`).orThrow();
  const [entries] = await all(readDir(ctx, made.path));
  const byName = entries.sort((a, b) => a.name < b.name ? -1 : 1).map((it) => ({
    ...it,
    inode: typeof it.inode,
  }));
  const common = { bytes: undefined, inode: "bigint", stat: undefined };
  const not = { isFile: false, isDirectory: false, isSymlink: false };
  assertEquals(
    byName,
    [
      { ...common, ...not, name: "file", type: "file", isFile: true },
      {
        ...common,
        ...not,
        name: "folder",
        type: "directory",
        isDirectory: true,
      },
      { ...common, ...not, name: "link", type: "symlink", isSymlink: true },
    ] as unknown as typeof byName,
  );
});

kioTest("readDir() of an empty directory gives nothing", async (ctx) => {
  await using made = await folder(ctx);
  assertEquals(await all(readDir(ctx, made.path)), [[], []]);
  assertEquals(await all(readDir(ctx, made.path, { stat: true })), [[], []]);
});

kioTest("readDir() gives each of 10,000 entries once", async (ctx) => {
  const { path, names } = many;
  assertEquals(await namesOf(readDir(ctx, path)), names);
  for (const stat of [false, true]) {
    // A consumer that takes what is there, and is slow in between.
    const stream = readDir(ctx, path, { stat });
    const taken: string[] = [];
    for await (const result of stream) {
      taken.push(value(result).name);
      for (let next; (next = stream.take()) !== undefined;) {
        taken.push(value(next).name);
      }
      await turn();
    }
    assertEquals(taken.sort(), names);
  }
});

kioTest("readDir() reads no further than the consumer", async (ctx) => {
  const { path, names } = many;
  const stream = readDir(ctx, path);
  while (ctx.pending > 0) {
    const before = ctx.stats().wakeUps;
    await turn(20);
    if (ctx.stats().wakeUps === before) break;
  }
  assertEquals(ctx.pending, 1, "it waits for the consumer");
  let waiting = 0;
  const taken: string[] = [];
  for (let next; (next = stream.take()) !== undefined; waiting++) {
    taken.push(value(next).name);
    // No turn of the event loop: no batch can come.
  }
  assert(waiting > 2000 && waiting < 7000, `${waiting}`);
  for await (const next of stream.orThrow()) taken.push(next.name);
  assertEquals(taken.sort(), names);
});

kioTest(
  "readDir() gives names that are no UTF-8 as bytes, too",
  async (ctx) => {
    await using made = await folder(ctx);
    const bytes = Uint8Array.of(0x66, 0xff, 0x80);
    await made.file(bytes);
    await made.file("\ufeffmark");
    await made.file("ünï");
    const [entries] = await all(readDir(ctx, made.path, { stat: true }));
    const found = entries.map((it) => [it.name, it.bytes, it.stat.ok]);
    assertEquals(found.sort(), [
      ["f\\xff\\x80", bytes, true],
      ["ünï", undefined, true],
      ["\ufeffmark", undefined, true],
    ]);
    const dir = await asyncOpen(ctx, made.path, O_DIRECTORY).orThrow();
    for (const { name, bytes } of entries) {
      const fd = await asyncOpen(ctx, bytes ?? name, 0, { dir }).orThrow();
      await asyncClose(ctx, fd);
    }
    await asyncClose(ctx, dir);
  },
);

kioTest("readDir() takes dir, which may be closed at once", async (ctx) => {
  await using made = await folder(ctx);
  await made.folder("a/b");
  await made.file("a/b/c");
  const dir = await asyncOpen(ctx, made.path, O_DIRECTORY).orThrow();
  const stream = readDir(ctx, "a/b", { dir });
  await asyncClose(ctx, dir);
  assertEquals(await namesOf(stream), ["c"]);
});

kioTest("readDir() gives an error as its last result", async (ctx) => {
  const path = "/no/such/folder";
  assertEquals(await all(readDir(ctx, path)), [[], ["ENOENT"]]);
  assertEquals(await all(readDir(ctx, "/proc/version")), [[], ["ENOTDIR"]]);
  assertEquals(await all(readDir(ctx, "/".repeat(5000))), [[], [
    "ENAMETOOLONG",
  ]]);
  assertEquals(await all(readDir(ctx, ".", { dir: 4000 })), [[], ["EBADF"]]);
  const error = await readDir(ctx, path).orThrow()[Symbol.asyncIterator]()
    .next().catch((error) => error);
  assert(error instanceof Deno.errors.NotFound);
  assertEquals(
    error.message,
    "Cannot read the directory /no/such/folder: No such file or directory (ENOENT)",
  );
});

for (const [name, start] of Object.entries(WAYS)) {
  kioTest(`${name}() refuses what is no argument of it`, (ctx) => {
    const bad: [unknown[], typeof TypeError | typeof RangeError, string][] = [
      [[5], TypeError, "must be a string or a Uint8Array"],
      [["a\0b"], TypeError, "without NUL"],
      [["/", null], TypeError, "options must be an object"],
      [["/", { dir: "x" }], TypeError, "expected an fd"],
      [["/", { dir: -1 }], RangeError, "fd must be"],
      [["/", { stat: 1 }], TypeError, "stat must be a boolean"],
      [["/", { timeoutMs: -1 }], RangeError, "timeoutMs"],
      [["/", { signal: 1 }], TypeError, "AbortSignal"],
    ];
    for (const [args, Class, message] of bad) {
      assertThrows(
        () => (start as (...args: unknown[]) => void)(ctx, ...args),
        Class,
        message,
      );
      assertEquals(ctx.pending, 0);
    }
    assertThrows(() => start({} as IoContext, "/"), TypeError, "IoContext");
  });

  kioTest(`${name}() ends with the loop that leaves it`, async (ctx) => {
    for (const leaveAt of [0, 1, 1400, 9998]) {
      let count = 0;
      for await (const _ of start(ctx, many.path, { stat: true })) {
        if (count++ === leaveAt) break;
      }
      assertEquals(ctx.pending, 0);
    }
    const fail = async () => {
      for await (const _ of start(ctx, many.path).orThrow()) throw "enough";
    };
    assertEquals(await fail().catch((error) => error), "enough");
    assertEquals(ctx.pending, 0);
    {
      await using stream = start(ctx, many.path);
      assertEquals((await stream[Symbol.asyncIterator]().next()).done, false);
    }
    assertEquals(ctx.pending, 0);
  });

  kioTest(`${name}() ends by cancel, signal and timeout`, async (ctx) => {
    const reason = new AbortController();
    const ends: [
      (stream: UringStream<DirEntry>) => unknown,
      string,
    ][] = [
      [(it) => it.cancel(), "ECANCELED"],
      [(it) => it.withSignal(AbortSignal.abort()), "ECANCELED"],
      [(it) => it.withTimeout(0), "ETIMEDOUT"],
    ];
    for (const [end, code] of ends) {
      for (const afterMs of [-1, 0, 1, 5, 20]) {
        const stream = start(ctx, many.path, { stat: true });
        if (afterMs >= 0) await turn(afterMs);
        end(stream);
        const [entries, codes] = await all(stream);
        assertEquals(codes, [code]);
        assert(entries.length < many.names.length);
      }
    }
    const { signal } = reason;
    const stream = start(ctx, many.path, { signal, timeoutMs: 10_000 });
    reason.abort();
    assertEquals(await all(stream), [[], ["ECANCELED"]]);
    const late = start(ctx, many.path, { timeoutMs: 0 });
    assertEquals(await all(late), [[], ["ETIMEDOUT"]]);
    const wrong = start(ctx, many.path);
    assertThrows(() => wrong.withTimeout(NaN), RangeError);
    assertEquals(await all(wrong), [[], ["ECANCELED"]]);
  });

  kioTest(`${name}() ends with its context`, async () => {
    for (const close of [Symbol.dispose, Symbol.asyncDispose] as const) {
      for (const afterMs of [-1, 0, 2, 30]) {
        const other = new IoContext(4);
        const streams = [0, 1].map(() => start(other, many.path));
        if (afterMs >= 0) await turn(afterMs);
        await other[close]();
        for (const stream of streams) {
          assertEquals(await all(stream), [[], ["ECANCELED"]]);
          assertEquals(stream.take(), undefined);
        }
        assertThrows(() => start(other, "/"), TypeError, "closed");
      }
    }
  });

  kioTest(`${name}() that is dropped ends with its context`, async () => {
    const other = new IoContext(4);
    const iterator = start(other, many.path)[Symbol.asyncIterator]();
    assertEquals((await iterator.next()).done, false);
    await turn(5);
    assertEquals(other.inspect().map((it) => it.operation), [name]);
    other[Symbol.dispose]();
  });

  kioTest(`${name}() gives waiting consumers their results`, async (ctx) => {
    await using made = await folder(ctx);
    for (const name of ["1", "2", "3"]) await made.file(name);
    const iterator = start(ctx, made.path)[Symbol.asyncIterator]();
    const steps = await within(
      10_000,
      Promise.all(Array.from({ length: 6 }, () => iterator.next())),
      "the last consumer",
    );
    const count = name === "walk" ? 4 : 3;
    assertEquals(steps.map(({ done }) => done === true).indexOf(true), count);
    assertEquals((await iterator.next()).done, true);
    assertEquals(await iterator.return!(), { done: true, value: undefined });
  });
}

kioTest("readDir() of a directory that is removed meanwhile", async (ctx) => {
  for (let i = 0; i < 50; i++) {
    const path = `/tmp/kio-gone-${crypto.randomUUID()}`;
    await asyncMkdir(ctx, path).orThrow();
    const stream = readDir(ctx, path);
    const removed = asyncUnlink(ctx, path, AT_REMOVEDIR).orThrow();
    const [entries, codes] = await all(stream);
    assertEquals(entries, []);
    assert(["", "ENOENT"].includes(`${codes}`), `${codes}`);
    await removed;
  }
});

// ---- walk ----------------------------------------------------------------------

/** The paths below a root, sorted. */
async function pathsOf(
  stream: UringStream<WalkEntry>,
  root: string,
): Promise<string[]> {
  const [entries] = await all(stream);
  return entries.map(({ path }) => `${path}`.slice(root.length)).sort();
}

kioTest("walk() gives the root and all that is below it", async (ctx) => {
  await using made = await folder(ctx);
  await made.folder("a/b/c");
  await made.file("a/b/file");
  const [entries] = await all(walk(ctx, made.path));
  const found = entries.map((it) => [it.path, it.name, it.depth, it.type]);
  const name = made.path.slice("/tmp/".length);
  assertEquals(found.sort(), [
    [made.path, name, 0, "directory"],
    [`${made.path}/a`, "a", 1, "directory"],
    [`${made.path}/a/b`, "b", 2, "directory"],
    [`${made.path}/a/b/c`, "c", 3, "directory"],
    [`${made.path}/a/b/file`, "file", 3, "file"],
  ]);
  for (const entry of entries) assert(entry.inode > 0n);
});

kioTest("walk() joins paths as they were given", async (ctx) => {
  await using made = await folder(ctx);
  await made.file("file");
  const dir = await asyncOpen(ctx, "/tmp", O_DIRECTORY).orThrow();
  const name = made.path.slice("/tmp/".length);
  for (
    const [root, options] of [
      [`${made.path}/`, {}],
      [name, { dir }],
      [`./${name}`, { dir }],
      [`../tmp/${name}//`, { dir }],
    ] as const
  ) {
    const [entries] = await all(walk(ctx, root, options));
    const below = root.endsWith("/") ? `${root}file` : `${root}/file`;
    assertEquals(entries.map(({ path }) => path), [root, below]);
    assertEquals(entries.map((it) => it.name), [name, "file"]);
  }
  await asyncClose(ctx, dir);
  const [[root]] = await all(walk(ctx, "/", { maxDepth: 0 }));
  assertEquals([root!.path, root!.name], ["/", "/"]);
});

kioTest("walk() keeps bytes that are no UTF-8 on the way down", async (ctx) => {
  await using made = await folder(ctx);
  const odd = Uint8Array.of(...new TextEncoder().encode("o"), 0xfe);
  const path = Uint8Array.of(
    ...new TextEncoder().encode(`${made.path}/`),
    ...odd,
  );
  await asyncMkdir(ctx, path).orThrow();
  await asyncMkdir(
    ctx,
    Uint8Array.of(...path, ...new TextEncoder().encode("/ü")),
  ).orThrow();
  const [entries, codes] = await all(walk(ctx, made.path));
  assertEquals([entries.length, codes], [3, []]);
  assertEquals(entries[1]!.path, path);
  assertEquals(entries[2]!.name, "ü");
  for (const root of [path, Uint8Array.of(...path, 0x2f)]) {
    const [[first, second]] = await all(walk(ctx, root));
    assertEquals([first!.bytes, first!.name], [odd, "o\\xfe"]);
    assertEquals(second!.path, entries[2]!.path);
  }
  // The caller may change the bytes of the root at once.
  const root = path.slice();
  const stream = walk(ctx, root);
  root.fill(0x61);
  assertEquals((await all(stream))[1], []);
  const skipped = await all(walk(ctx, made.path, { skip: [/o\\xfe/] }));
  assertEquals(skipped[0].length, 1);
});

kioTest("walk() filters as its options say", async (ctx) => {
  await using made = await folder(ctx);
  await made.folder("a/b.ts/c");
  await made.file("a/one.ts");
  await made.file("a/two.js");
  await made.file("a/b.ts/three.ts");
  await asyncSymlink(ctx, "one.ts", `${made.path}/a/link.ts`).orThrow();
  const all = [
    "",
    "/a",
    "/a/b.ts",
    "/a/b.ts/c",
    "/a/b.ts/three.ts",
    "/a/link.ts",
    "/a/one.ts",
    "/a/two.js",
  ];
  const dirs = ["", "/a", "/a/b.ts", "/a/b.ts/c"];
  const global = /one|two/g;
  for (
    const [options, expected] of [
      [{}, all],
      [{ maxDepth: 0 }, [""]],
      [{ maxDepth: 1 }, ["", "/a"]],
      [{ maxDepth: 2, includeDirs: false, includeSymlinks: false }, [
        "/a/one.ts",
        "/a/two.js",
      ]],
      [{ includeFiles: false }, [...dirs, "/a/link.ts"].sort()],
      [{ includeFiles: false, includeSymlinks: false }, dirs],
      [{ includeDirs: false, includeFiles: false }, ["/a/link.ts"]],
      [{ exts: ["ts"], includeDirs: false }, [
        "/a/b.ts/three.ts",
        "/a/link.ts",
        "/a/one.ts",
      ]],
      [{ exts: [".js", ".c"] }, ["/a/two.js"]],
      [{ match: [/three/, /\/c$/] }, ["/a/b.ts/c", "/a/b.ts/three.ts"]],
      [{ match: [global] }, ["/a/one.ts", "/a/two.js"]],
      [{ skip: [/b\.ts/] }, ["", "/a", "/a/link.ts", "/a/one.ts", "/a/two.js"]],
      [{ skip: [/kio-folder/] }, []],
      [{ exts: [] }, []],
    ] as const
  ) {
    const got = await pathsOf(walk(ctx, made.path, options), made.path);
    assertEquals(got, expected, JSON.stringify(options));
  }
});

kioTest("walk() keeps no batch for a few entries of it", async (ctx) => {
  const options = { match: [/77$/], stat: true } as const;
  // The first makes the memory that all batches come through.
  await all(walk(ctx, many.path, options));
  overwriteGarbage();
  const before = Deno.memoryUsage().external;
  const stream = walk(ctx, many.path, options);
  value(await stream.closed);
  overwriteGarbage();
  const kept = Deno.memoryUsage().external - before;
  assert(kept < 1_000_000, `${kept} bytes for what waits`);
  assertEquals((await all(stream))[0].length, 100);
});

kioTest("walk() refuses options that are none", (ctx) => {
  for (
    const [options, Class, message] of [
      [{ maxDepth: -1 }, RangeError, "maxDepth must be"],
      [{ maxDepth: 1.5 }, RangeError, "maxDepth must be"],
      [{ maxDepth: "1" }, RangeError, "maxDepth must be"],
      [{ includeDirs: 1 }, TypeError, "includeDirs must be a boolean"],
      [{ followSymlinks: 1 }, TypeError, "followSymlinks must be a boolean"],
      [{ exts: ".ts" }, TypeError, "an array of exts"],
      [{ exts: [1] }, TypeError, "exts must be strings"],
      [{ match: /x/ }, TypeError, "an array of match"],
      [{ skip: ["x"] }, TypeError, "skip must be regular expressions"],
    ] as const
  ) {
    assertThrows(
      () => walk(ctx, "/", options as unknown as { stat: true }),
      Class,
      message,
    );
    assertEquals(ctx.pending, 0);
  }
});

kioTest(
  "walk() follows links, and ends where they are a circle",
  async (ctx) => {
    await using made = await folder(ctx);
    await made.folder("a/b");
    await made.file("a/file");
    for (
      const [target, link] of [
        [".", "self"],
        ["../..", "a/b/up"],
        ["file", "a/link"],
        ["nowhere", "a/dangling"],
        ["me", "a/me"],
      ] as const
    ) await asyncSymlink(ctx, target, `${made.path}/${link}`).orThrow();
    const results: Result<WalkEntry>[] = [];
    const options = { followSymlinks: true, stat: true } as const;
    for await (const it of walk(ctx, made.path, options)) results.push(it);
    const show = (it: Result<WalkEntry>) =>
      it.ok
        ? `${it.value.path} ${it.value.type} ${
          it.value.stat!.ok && it.value.stat!.value.type
        }`
        : `${it.error.path} ${it.error.code}`;
    const root = made.path;
    assertEquals(results.map(show).sort(), [
      `${root} directory directory`,
      `${root}/a directory directory`,
      `${root}/a/b directory directory`,
      `${root}/a/b/up ELOOP`,
      `${root}/a/b/up directory directory`,
      `${root}/a/dangling symlink symlink`,
      `${root}/a/file file file`,
      `${root}/a/link file file`,
      `${root}/a/me symlink symlink`,
      `${root}/self ELOOP`,
      `${root}/self directory directory`,
    ]);
    const error = await Array.fromAsync(
      walk(ctx, `${root}/a/b`, options).orThrow(),
    ).catch((error) => error);
    assert(error instanceof Deno.errors.FilesystemLoop, `${error}`);
    assertEquals(ctx.pending, 0);
  },
);

kioTest("walk() goes on after a directory that it cannot read", async (ctx) => {
  assertEquals(await all(walk(ctx, "/no/such")), [[], ["ENOENT"]]);
  assertEquals(await all(walk(ctx, "/proc/version")), [[], ["ENOTDIR"]]);
  await using made = await folder(ctx);
  const deep = `${"d".repeat(250)}/`.repeat(16);
  await made.folder(deep.slice(0, 3900));
  await made.folder("other/b");
  const before = (await all(walk(ctx, made.path)))[0].length;
  // By its parent it can be made, but its own path is too long.
  const parent = `${made.path}/${deep.slice(0, 3900)}`;
  const dir = await asyncOpen(ctx, parent, O_DIRECTORY).orThrow();
  const name = "e".repeat(250);
  await asyncMkdir(ctx, name, { dir }).orThrow();
  const failed: Path[] = [];
  let count = 0;
  for await (const it of walk(ctx, made.path)) {
    if (it.ok) count++;
    else {
      assertCode(it, "ENAMETOOLONG");
      failed.push(it.error.path!);
    }
  }
  assertEquals(count, before + 1);
  assertEquals(failed, [`${parent}/${name}`]);
  await asyncUnlink(ctx, name, { dir, flags: AT_REMOVEDIR }).orThrow();
  await asyncClose(ctx, dir);
});

kioTest("walk() of a tree that vanishes meanwhile ends", async (ctx) => {
  for (let i = 0; i < 20; i++) {
    const made = await folder(ctx);
    const paths = Array.from({ length: 40 }, (_, i) => `a/${i}/b`);
    for (const path of paths) await made.folder(path);
    const stream = walk(ctx, made.path, { stat: true });
    const removing = (async () => {
      for (const path of paths.flatMap((it) => [it, it.slice(0, -2)])) {
        const whole = `${made.path}/${path}`;
        await asyncUnlink(ctx, whole, AT_REMOVEDIR).orThrow();
      }
    })();
    const [, codes] = await all(stream);
    for (const code of codes) assertEquals(code, "ENOENT");
    await removing;
    await made[Symbol.asyncDispose]();
  }
});

kioTest(
  "walk() follows no directory that became a link meanwhile",
  async (ctx) => {
    await using made = await folder(ctx);
    await made.folder("target/inside");
    await made.folder("root");
    const root = `${made.path}/root`;
    const numbers = Array.from({ length: 40 }, (_, i) => i);
    const folders = numbers.map((i) => `${root}/folder-${i}`);
    for (const path of folders) await asyncMkdir(ctx, path).orThrow();
    // So many that the walk waits for its consumer, before it enters any.
    const links = Array.from({ length: 8000 }, (_, i) => `${root}/${i}`);
    await Promise.all(links.map((it) => asyncSymlink(ctx, "x", it).orThrow()));
    const stream = walk(ctx, root);
    await stream[Symbol.asyncIterator]().next();
    await turn(50);
    for (const path of folders) {
      await asyncUnlink(ctx, path, AT_REMOVEDIR).orThrow();
      await asyncSymlink(ctx, "../target", path).orThrow();
    }
    const [entries, codes] = await all(stream);
    assertEquals(entries.filter(({ depth }) => depth > 1), []);
    const seen = entries.filter((it) =>
      it.isDirectory && it.name.startsWith("folder-")
    );
    assert(seen.length > 0);
    assertEquals(codes, seen.map(() => "ENOTDIR"));
  },
);

kioTest("closed is the end of readDir() without a loop", async (ctx) => {
  await using made = await folder(ctx);
  const stream = readDir(ctx, made.path);
  assertEquals(await stream.closed, { ok: true, value: undefined });
  assertCode(await readDir(ctx, `${made.path}/none`).closed, "ENOENT");
});
