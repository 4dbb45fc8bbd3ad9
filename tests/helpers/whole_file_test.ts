import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncMkdir,
  asyncOpen,
  asyncPipe,
  asyncReadlink,
  asyncStat,
  asyncSymlink,
  asyncUnlink,
  asyncWriteExact,
  AT_REMOVEDIR,
  File,
  IoContext,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  readFile,
  type ReadFileOptions,
  readTextFile,
  unwrap,
  writeFile,
  type WriteFileOptions,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  overwriteGarbage,
  pattern,
  text,
  turn,
  value,
} from "../support.ts";

/** A folder that is empty again at its end: else it could not be removed. */
class Folder implements AsyncDisposable {
  readonly #ctx: IoContext;
  readonly path: string;

  private constructor(ctx: IoContext, path: string) {
    this.#ctx = ctx;
    this.path = path;
  }

  static async make(ctx: IoContext): Promise<Folder> {
    const path = `/tmp/kio-${crypto.randomUUID()}`;
    value(await asyncMkdir(ctx, path));
    return new Folder(ctx, path);
  }

  /** Removes a file, which must be there. */
  async remove(name: string): Promise<void> {
    value(await asyncUnlink(this.#ctx, `${this.path}/${name}`));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    value(await asyncUnlink(this.#ctx, this.path, AT_REMOVEDIR));
  }
}

const WAYS: WriteFileOptions[] = [
  {},
  { durable: true },
  { atomic: true },
  { atomic: true, durable: true },
];

for (const way of WAYS) {
  const name = `writeFile() with ${JSON.stringify(way)}`;

  kioTest(`${name} is what readFile() reads`, async (ctx) => {
    await using folder = await Folder.make(ctx);
    const path = `${folder.path}/a`;
    for (const data of [pattern(300_000), pattern(10), new Uint8Array(0)]) {
      value(await writeFile(ctx, path, data, way));
      assertEquals(value(await readFile(ctx, path)), data);
    }
    value(await writeFile(ctx, path, "grüße\n", way));
    assertEquals(value(await readTextFile(ctx, path)), "grüße\n");
    const array = [bytes("a"), new Uint8Array(0), bytes("bc").buffer];
    value(await writeFile(ctx, path, array, way));
    assertEquals(value(await readTextFile(ctx, path)), "abc");
    await folder.remove("a");
  });

  kioTest(`${name} takes a directory, bytes and a mode`, async (ctx) => {
    await using folder = await Folder.make(ctx);
    const flags = O_RDONLY | O_DIRECTORY;
    const dir = value(await asyncOpen(ctx, folder.path, flags));
    const path = new Uint8Array([0xff, 0xfe]);
    value(await writeFile(ctx, path, "abc", { ...way, dir, mode: 0o600 }));
    assertEquals(value(await readTextFile(ctx, path, { dir })), "abc");
    assertEquals(value(await asyncStat(ctx, path, { dir })).mode, 0o600);
    value(await asyncUnlink(ctx, path, { dir }));
    value(await asyncClose(ctx, dir));
  });

  kioTest(`${name} gives the error, and leaves nothing`, async (ctx) => {
    await using folder = await Folder.make(ctx);
    const into = `${folder.path}/no/such/file`;
    const missing = await writeFile(ctx, into, "abc", way);
    assertCode(missing, "ENOENT");
    assertThrows(
      () => unwrap(missing),
      Deno.errors.NotFound,
      `Cannot write ${into}: `,
    );
    assertCode(await writeFile(ctx, folder.path, "abc", way), "EISDIR");
    assertCode(await writeFile(ctx, "", "abc", way), "ENOENT", "EROFS");
    for (const limit of [{ signal: AbortSignal.abort() }, { timeoutMs: 0 }]) {
      const path = `${folder.path}/a`;
      const given = await writeFile(ctx, path, "abc", { ...way, ...limit });
      if (given.ok) await folder.remove("a");
      else assertCode(given, "ECANCELED", "ETIMEDOUT");
      // An open, or a rename, that has begun is done without what comes after it.
      if (!way.atomic || way.durable) await asyncUnlink(ctx, path);
    }
  });

  kioTest(`${name} that is aborted at any time leaves nothing`, async (ctx) => {
    await using folder = await Folder.make(ctx);
    const path = `${folder.path}/a`;
    const [old, next] = [pattern(50_000, 1), pattern(70_000, 2)];
    for (let round = 0; round < 30; round++) {
      value(await writeFile(ctx, path, old));
      const abort = new AbortController();
      const writing = writeFile(ctx, path, next, {
        ...way,
        signal: abort.signal,
      });
      setTimeout(() => abort.abort(), round / 10);
      const result = await writing;
      const content = value(await readFile(ctx, path));
      if (result.ok) assertEquals(content, next);
      else {
        assertCode(result, "ECANCELED");
        const either = content.length === old.length ? old : next;
        if (way.atomic) assertEquals(content, either);
      }
    }
    await folder.remove("a");
  });

  kioTest(`${name} leaves nothing when its context is closed`, async (ctx) => {
    await using folder = await Folder.make(ctx);
    const path = `${folder.path}/a`;
    for (let round = 0; round < 20; round++) {
      const other = new IoContext(8);
      const writing = writeFile(other, path, pattern(50_000), way)
        .catch((error) => error);
      await turn(round / 10);
      other[Symbol.dispose]();
      const result = await writing;
      assert(
        result instanceof TypeError || result.ok || result.error.code,
        `${result}`,
      );
      await asyncUnlink(ctx, path);
    }
  });
}

kioTest(
  "writeFile() with atomic replaces a symbolic link itself",
  async (ctx) => {
    await using folder = await Folder.make(ctx);
    const [file, link] = ["file", "link"].map((it) =>
      `${folder.path}/${it}`
    ) as [
      string,
      string,
    ];
    value(await writeFile(ctx, file, "old"));
    value(await asyncSymlink(ctx, "file", link));
    value(await writeFile(ctx, link, "through"));
    assertEquals(value(await readTextFile(ctx, file)), "through");
    value(await writeFile(ctx, link, "new", { atomic: true }));
    assertEquals(value(await readTextFile(ctx, file)), "through");
    assertCode(await asyncReadlink(ctx, link), "EINVAL");
    await folder.remove("file");
    await folder.remove("link");
  },
);

kioTest(
  "writeFile() with atomic keeps the file that others have open",
  async (ctx) => {
    await using folder = await Folder.make(ctx);
    const path = `${folder.path}/a`;
    value(await writeFile(ctx, path, "old"));
    await using file = unwrap(await File.open(ctx, path));
    value(await writeFile(ctx, path, "new", { atomic: true }));
    assertEquals(await new Response(file.readable).text(), "old");
    assertEquals(value(await readTextFile(ctx, path)), "new");
    await folder.remove("a");
  },
);

kioTest("writeFile() keeps its data and its names", async (ctx) => {
  await using folder = await Folder.make(ctx);
  const names = Array.from({ length: 50 }, (_, i) => `${i}`);
  const writing = names.map((name) =>
    writeFile(ctx, `${folder.path}/${name}`, `content of ${name}`, {
      atomic: true,
    })
  );
  overwriteGarbage();
  for (const result of await Promise.all(writing)) value(result);
  for (const name of names) {
    const read = await readTextFile(ctx, `${folder.path}/${name}`);
    assertEquals(value(read), `content of ${name}`);
    await folder.remove(name);
  }
});

kioTest("readFile() reads what has no size", async (ctx) => {
  const version = value(await readTextFile(ctx, "/proc/version"));
  assert(version.startsWith("Linux version"));
  const maps = value(await readFile(ctx, "/proc/self/maps"));
  assert(maps.length > 1000);
  assertEquals(value(await readFile(ctx, "/dev/null")).length, 0);
});

kioTest("readFile() of a pipe reads to its end", async (ctx) => {
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  const data = pattern(500_000);
  const reading = readFile(ctx, `/proc/self/fd/${readFd}`);
  value(await asyncWriteExact(ctx, writeFd, data));
  value(await asyncClose(ctx, writeFd));
  assertEquals(value(await reading), data);
  const waiting = readFile(ctx, `/proc/self/fd/${readFd}`, { timeoutMs: 1000 });
  assertEquals(value(await waiting).length, 0);
  value(await asyncClose(ctx, readFd));
});

kioTest(
  "readFile() takes operations for what the kernel cannot do at once",
  async (ctx) => {
    await using folder = await Folder.make(ctx);
    const path = `${folder.path}/a`;
    using restricted = new IoContext({ allow: ["open", "read"] });
    for (
      const [size, started] of [[1, 0], [65_536, 0], [65_537, 1], [0, 1]]
    ) {
      const data = pattern(size!);
      value(await writeFile(ctx, path, data));
      for (const other of [ctx, restricted]) {
        const before = other.stats().started;
        assertEquals(value(await readFile(other, path)), data);
        const count = other.stats().started - before;
        // The path may be looked up elsewhere at this moment.
        const expected = other === ctx ? [started, 2] : [2];
        assert(expected.includes(count), `${size}: ${count} operations`);
      }
    }
    await folder.remove("a");
  },
);

kioTest("readFile() of a context that may not open fails", async () => {
  using restricted = new IoContext({ allow: ["read"] });
  assertCode(await readFile(restricted, "/etc/passwd"), "EACCES");
});

kioTest("readFile() of cached files lets Deno have its turn", async (ctx) => {
  for (const path of ["/etc/passwd", bytes("/etc/passwd")]) {
    let isOver = false;
    setTimeout(() => isOver = true, 1);
    for (let i = 0; i < 100_000 && !isOver; i++) {
      value(await readFile(ctx, path));
    }
    assert(isOver);
  }
});

kioTest(
  "readFile() that waits for its turn ends with its context",
  async () => {
    let ended = 0;
    // Deno has its turn in between on a slow machine, and is not due then.
    for (let tries = 0; tries < 50 && ended === 0; tries++) {
      const ctx = new IoContext(8);
      const read = () => readFile(ctx, "/etc/passwd");
      for (let i = 0; i < 100; i++) value(await read());
      // So Deno is due.
      const endMs = performance.now() + 15;
      while (performance.now() < endMs);
      const reads = Array.from({ length: 20 }, read);
      ctx[Symbol.dispose]();
      for (const it of await Promise.all(reads)) {
        if (it.ok) continue;
        assertCode(it, "ECANCELED");
        ended++;
      }
      await assertRejects(read, TypeError, "closed");
    }
    assert(ended > 0);
  },
);

kioTest("readFile() with a buffer gives a part of it", async (ctx) => {
  await using folder = await Folder.make(ctx);
  const path = `${folder.path}/a`;
  const memory = new Uint8Array(70_010).subarray(10);
  const sizes = [0, 1, 65_536, 65_537, 69_999, 70_000, 70_001];
  for (const size of sizes) {
    const data = pattern(size);
    value(await writeFile(ctx, path, data));
    for (const timeoutMs of [undefined, 10_000]) {
      const options = { buffer: memory, timeoutMs };
      const found = value(await readFile(ctx, path, options));
      assertEquals(found, data);
      assertEquals(found.buffer === memory.buffer, size < 70_000);
    }
  }
  const small = { buffer: new Uint8Array(1) };
  const maps = value(await readTextFile(ctx, "/proc/version", small));
  assert(maps.startsWith("Linux version"));
  assertCode(
    await readFile(ctx, path, { buffer: memory, sizeMax: 9 }),
    "EFBIG",
  );
  await folder.remove("a");
});

kioTest("readFile() with flags neither follows nor waits", async (ctx) => {
  await using folder = await Folder.make(ctx);
  const link = `${folder.path}/link`;
  value(await asyncSymlink(ctx, "/etc/passwd", link));
  for (const flags of [O_NOFOLLOW, O_NOFOLLOW | O_NONBLOCK]) {
    assertCode(await readFile(ctx, link, { flags }), "ELOOP");
    assert(value(await readFile(ctx, "/etc/passwd", { flags })).length > 0);
  }
  assert(value(await readFile(ctx, link)).length > 0);
  await folder.remove("link");
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  const options = { flags: O_NONBLOCK, timeoutMs: 20 };
  const pipe = `/proc/self/fd/${readFd}`;
  assertCode(await readFile(ctx, pipe, options), "ETIMEDOUT", "EAGAIN");
  value(await asyncClose(ctx, writeFd));
  assertEquals(value(await readFile(ctx, pipe, options)).length, 0);
  value(await asyncClose(ctx, readFd));
});

kioTest("readFile() is bounded", async (ctx) => {
  assertCode(await readFile(ctx, "/dev/zero", { sizeMax: 1 << 20 }), "EFBIG");
  await using folder = await Folder.make(ctx);
  const path = `${folder.path}/a`;
  value(await writeFile(ctx, path, "abcd"));
  assertCode(await readFile(ctx, path, { sizeMax: 3 }), "EFBIG");
  assertEquals(value(await readFile(ctx, path, { sizeMax: 4 })).length, 4);
  await folder.remove("a");
  const timeoutMs = 20;
  assertCode(await readFile(ctx, "/dev/zero", { timeoutMs }), "ETIMEDOUT");
});

kioTest("readFile() gives the error with the path", async (ctx) => {
  for (const [path, code] of [["/tmp", "EISDIR"], ["/no/such", "ENOENT"]]) {
    const result = await readFile(ctx, path!);
    assertCode(result, code!);
    assertThrows(() => unwrap(result), Error, `${path}: `);
  }
  const signal = AbortSignal.abort();
  assertCode(await readFile(ctx, "/etc/passwd", { signal }), "ECANCELED");
});

kioTest(
  "readTextFile() replaces what is no UTF-8, and keeps a mark",
  async (ctx) => {
    await using folder = await Folder.make(ctx);
    const path = `${folder.path}/a`;
    const data = new Uint8Array([0xef, 0xbb, 0xbf, 0x61, 0xff]);
    value(await writeFile(ctx, path, data));
    assertEquals(value(await readTextFile(ctx, path)), "\uFEFFa\uFFFD");
    assertEquals(text(value(await readFile(ctx, path)).subarray(3, 4)), "a");
    await folder.remove("a");
  },
);

kioTest(
  "readFile() and writeFile() refuse what makes no sense",
  async (ctx) => {
    const reads: [unknown, unknown, ErrorConstructor][] = [
      ["a\0b", {}, TypeError],
      [5, {}, TypeError],
      ["a", null, TypeError],
      ["a", { sizeMax: -1 }, RangeError],
      ["a", { sizeMax: 2 ** 31 }, RangeError],
      ["a", { timeoutMs: NaN }, RangeError],
      ["a", { dir: -5 }, RangeError],
      ["a", { flags: 1 }, RangeError],
      ["a", { flags: "x" }, RangeError],
      ["a", { buffer: new Uint8Array(0) }, RangeError],
      ["a", { buffer: new DataView(new ArrayBuffer(9)) }, TypeError],
      ["a", { buffer: "x" }, TypeError],
    ];
    for (const [path, options, error] of reads) {
      const read = () =>
        readFile(ctx, path as string, options as ReadFileOptions);
      await assertRejects(read, error, "Cannot ");
    }
    const gone = bytes("abc");
    gone.buffer.transfer();
    const writes: [unknown, unknown, unknown, ErrorConstructor][] = [
      ["a\0b", "", {}, TypeError],
      ["a", 5, {}, TypeError],
      ["a", [5], {}, TypeError],
      ["a", gone, {}, TypeError],
      ["a", "", null, TypeError],
      ["a", "", { atomic: 1 }, TypeError],
      ["a", "", { durable: "yes" }, TypeError],
      ["a", "", { mode: 0o10000 }, RangeError],
      ["a", "", { dir: "x" }, TypeError],
      ["a", "", { signal: {} }, TypeError],
    ];
    for (const [path, data, options, error] of writes) {
      const write = () =>
        writeFile(
          ctx,
          path as string,
          data as string,
          options as WriteFileOptions,
        );
      await assertRejects(write, error, "Cannot ");
    }
    assertEquals(ctx.pending, 0);
    await assertRejects(() => readFile({} as IoContext, "a"), TypeError);
  },
);
