import { assertEquals, assertThrows } from "@std/assert";
import {
  asyncGetxattr,
  asyncLink,
  asyncOpen,
  asyncRead,
  asyncSetxattr,
  asyncUnlink,
  AT_SYMLINK_FOLLOW,
  IoContext,
  link,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  type Path,
  type Result,
  type UringOp,
  XATTR_CREATE,
  XATTR_REPLACE,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  overwriteGarbage,
  pattern,
  TempFile,
  tempFile,
  turn,
  unixPair,
  value,
} from "../support.ts";

const NO_FD = 4000;
const NAME = "user.kio";

/** A file with a name, and that name. */
class Named implements AsyncDisposable {
  readonly path: string;
  readonly file: TempFile;
  readonly #ctx: IoContext;

  constructor(ctx: IoContext, path: string, file: TempFile) {
    this.#ctx = ctx;
    this.path = path;
    this.file = file;
  }

  static async make(ctx: IoContext): Promise<Named> {
    const file = await tempFile(ctx, bytes("abc"));
    const path = `/tmp/kio-test-${crypto.randomUUID()}`;
    const flags = AT_SYMLINK_FOLLOW;
    value(await asyncLink(ctx, `/proc/self/fd/${file.fd}`, path, { flags }));
    return new Named(ctx, path, file);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file[Symbol.asyncDispose]();
    value(await asyncUnlink(this.#ctx, this.path));
  }
}

/** Tells whether the file system of /tmp has attributes that users set. */
async function hasAttributes(ctx: IoContext, file: TempFile): Promise<boolean> {
  const result = await asyncSetxattr(ctx, file, "user.probe", bytes("1"));
  if (!result.ok) assertCode(result, "EOPNOTSUPP");
  return result.ok;
}

/** A test with a file that has attributes. */
function xattrTest(
  name: string,
  body: (ctx: IoContext, named: Named) => Promise<void>,
): void {
  kioTest(name, async (ctx) => {
    await using named = await Named.make(ctx);
    if (await hasAttributes(ctx, named.file)) await body(ctx, named);
  });
}

xattrTest(
  "asyncGetxattr() gets what asyncSetxattr() set",
  async (ctx, named) => {
    const { path, file } = named;
    const targets: (Path | TempFile)[] = [path, bytes(path), file];
    for (const [i, target] of targets.entries()) {
      const given = bytes(`value ${i}`);
      value(await asyncSetxattr(ctx, target, NAME, given));
      for (const other of targets) {
        assertEquals(value(await asyncGetxattr(ctx, other, NAME)), given);
      }
    }
    assertEquals(
      value(await asyncGetxattr(ctx, file.fd, NAME)),
      bytes("value 2"),
    );
  },
);

xattrTest(
  "asyncGetxattr() gets a value of any size, whole",
  async (ctx, named) => {
    for (const target of [named.path, named.file]) {
      for (const size of [0, 1, 511, 512, 513, 1000, 3000]) {
        const given = pattern(size, size + 1);
        value(await asyncSetxattr(ctx, target, NAME, given));
        const got = value(await asyncGetxattr(ctx, target, NAME));
        assertEquals(got, given, `${size}`);
        // It is the caller's: nothing else is in its memory.
        assertEquals(got.buffer.byteLength, size);
      }
    }
  },
);

xattrTest(
  "asyncSetxattr() takes parts of buffers and values of any kind",
  async (ctx, { file }) => {
    const memory = pattern(100);
    const values = [
      memory.subarray(10, 20),
      memory.buffer,
      new DataView(memory.buffer, 3, 5),
      new ArrayBuffer(0),
      new Uint16Array(memory.buffer.slice(0, 8)),
    ];
    for (const given of values) {
      value(await asyncSetxattr(ctx, file, NAME, given));
      const { buffer, byteOffset, byteLength } = ArrayBuffer.isView(given)
        ? given
        : new Uint8Array(given);
      assertEquals(
        value(await asyncGetxattr(ctx, file, NAME)),
        new Uint8Array(buffer.slice(byteOffset, byteOffset + byteLength)),
      );
    }
  },
);

xattrTest(
  "asyncSetxattr() makes or replaces, as its flags say",
  async (ctx, { path }) => {
    const set = (text: string, flags: number) =>
      asyncSetxattr(ctx, path, NAME, bytes(text), { flags });
    assertCode(await set("a", XATTR_REPLACE), "ENODATA");
    value(await set("b", XATTR_CREATE));
    assertCode(await set("c", XATTR_CREATE), "EEXIST");
    value(await set("d", XATTR_REPLACE));
    value(await set("e", 0));
    assertEquals(value(await asyncGetxattr(ctx, path, NAME)), bytes("e"));
    assertCode(await set("f", 4), "EINVAL");
  },
);

xattrTest(
  "asyncGetxattr() and asyncSetxattr() report what is wrong",
  async (ctx, { path, file }) => {
    const one = bytes("x");
    const codes: [Path | { fd: number }, name: string, code: string][] = [
      [path, "user.none", "ENODATA"],
      [file, "user.none", "ENODATA"],
      [path, "user.", "EINVAL"],
      [path, "kio", "EOPNOTSUPP"],
      [path, "", "ERANGE"],
      [file, "", "ERANGE"],
      [path, `user.${"x".repeat(251)}`, "ERANGE"],
      ["/no/such", NAME, "ENOENT"],
      ["", NAME, "ENOENT"],
      [`${path}/x`, NAME, "ENOTDIR"],
      ["x".repeat(256), NAME, "ENAMETOOLONG"],
      ["/proc/version", NAME, "EOPNOTSUPP"],
      [{ fd: NO_FD }, NAME, "EBADF"],
    ];
    for (const [target, name, code] of codes) {
      assertCode(await asyncGetxattr(ctx, target, name), code);
      if (code === "ENODATA") continue;
      assertCode(await asyncSetxattr(ctx, target, name, one), code);
    }
    value(await asyncSetxattr(ctx, path, `user.${"x".repeat(250)}`, one));
    const long = new Uint8Array(65537);
    assertCode(await asyncSetxattr(ctx, path, NAME, long), "E2BIG");
    const most = await asyncSetxattr(ctx, path, NAME, long.subarray(1));
    if (!most.ok) assertCode(most, "ENOSPC", "E2BIG");
  },
);

kioTest("asyncGetxattr() of a socket and of what has none", async (ctx) => {
  using pair = unixPair();
  // Not its own: Linux has one for each socket.
  const got = await asyncGetxattr(ctx, pair.left, "system.sockprotoname");
  assertEquals(value(got), bytes("UNIX-STREAM\0"));
  const none = await asyncGetxattr(ctx, pair.left, "user.none");
  assertCode(none, "EOPNOTSUPP", "ENODATA");
});

kioTest("asyncSetxattr() needs no fd that is open for writing", async (ctx) => {
  await using named = await Named.make(ctx);
  if (!await hasAttributes(ctx, named.file)) return;
  const fd = value(await asyncOpen(ctx, named.path, O_RDONLY));
  await using file = new TempFile(ctx, fd);
  value(await asyncSetxattr(ctx, file, NAME, bytes("x")));
});

xattrTest(
  "asyncGetxattr() and asyncSetxattr() keep what they were given until they are complete",
  async (ctx, { path, file }) => {
    const names = Array.from({ length: 10 }, (_, i) => `user.${i}`);
    const sets = names.map((name, i) =>
      asyncSetxattr(ctx, i % 2 ? path : file, name, pattern(30 * i, i))
    );
    overwriteGarbage();
    for (const result of await Promise.all(sets)) value(result);
    const gets = names.map((name, i) =>
      asyncGetxattr(ctx, i % 2 ? file : bytes(path), name)
    );
    overwriteGarbage();
    await turn();
    overwriteGarbage();
    for (const [i, result] of (await Promise.all(gets)).entries()) {
      assertEquals(value(result), pattern(30 * i, i));
    }
  },
);

xattrTest(
  "asyncGetxattr() that is cancelled tells so or all of its value",
  async (ctx, { path }) => {
    const given = pattern(2000);
    value(await asyncSetxattr(ctx, path, NAME, given));
    const cancels: ((op: UringOp<Uint8Array>) => unknown)[] = [
      (op) => op.cancel(),
      (op) => op.withTimeout(0),
      (op) => op.withSignal(AbortSignal.abort()),
      (op) => queueMicrotask(() => op.cancel()),
      (op) => turn().then(() => op.cancel()),
      (op) => setImmediate(() => op.cancel()),
    ];
    for (let round = 0; round < 60; round++) {
      const op = asyncGetxattr(ctx, path, NAME);
      cancels[round % cancels.length]!(op);
      const result = await op;
      if (result.ok) assertEquals(result.value, given);
      else assertCode(result, "ECANCELED", "ETIMEDOUT");
    }
  },
);

xattrTest(
  "asyncSetxattr() is done or not, whatever cancels it",
  async (ctx, { path }) => {
    let before = bytes("none");
    value(await asyncSetxattr(ctx, path, NAME, before));
    for (let round = 0; round < 40; round++) {
      const given = bytes(`${round}`);
      const op = asyncSetxattr(ctx, path, NAME, given);
      if (round % 3 === 0) op.cancel();
      else if (round % 3 === 1) op.withTimeout(0);
      else void turn().then(() => op.cancel());
      const result = await op;
      if (result.ok) before = given;
      else assertCode(result, "ECANCELED", "ETIMEDOUT");
      assertEquals(value(await asyncGetxattr(ctx, path, NAME)), before);
    }
  },
);

kioTest(
  "asyncGetxattr() and asyncSetxattr() end with their context",
  async () => {
    for (let round = 0; round < 20; round++) {
      const ctx = new IoContext();
      const ops: UringOp<unknown>[] = [
        asyncGetxattr(ctx, "/", NAME),
        asyncSetxattr(ctx, "/proc", NAME, bytes("x")),
      ];
      if (round % 2) await turn();
      ctx[Symbol.dispose]();
      for (const op of ops) {
        const result = await op as Result<unknown>;
        assertCode(result, "ECANCELED", "ENODATA", "EOPNOTSUPP");
      }
      const get = () => asyncGetxattr(ctx, "/", NAME);
      assertThrows(get, TypeError, "the IoContext is closed");
    }
  },
);

xattrTest(
  "asyncGetxattr() and asyncSetxattr() are links of a chain, and their failure no end",
  async (ctx, { path, file }) => {
    const given = pattern(2000);
    const [set, get, none, replaced, read] = link(ctx, () => [
      asyncSetxattr(ctx, path, NAME, given),
      asyncGetxattr(ctx, path, NAME),
      asyncGetxattr(ctx, path, "user.none"),
      asyncSetxattr(ctx, path, "user.none", given, { flags: XATTR_REPLACE }),
      asyncRead(ctx, file, new Uint8Array(3)),
    ]);
    value(await set!);
    assertEquals(value(await get!), given);
    assertCode(await none!, "ENODATA");
    assertCode(await replaced!, "ENODATA");
    assertEquals(value(await read!), 3);
  },
);

xattrTest(
  "asyncGetxattr() names file and attribute in its exception",
  async (ctx, { path, file }) => {
    const messageOf = (op: UringOp<unknown>) =>
      op.orThrow().then(() => "", (error: Error) => error.message);
    assertEquals(
      await messageOf(asyncGetxattr(ctx, path, "user.none")),
      `Cannot get the attribute user.none of ${path}: No data available (ENODATA)`,
    );
    const flags = XATTR_REPLACE;
    const set = asyncSetxattr(ctx, file, "user.none", bytes("x"), { flags });
    assertEquals(
      await messageOf(set),
      `Cannot set the attribute user.none of fd ${file.fd}: No data available (ENODATA)`,
    );
  },
);

xattrTest(
  "asyncGetxattr() needs one submission for a small value",
  async (ctx, { file }) => {
    const submissions: number[] = [];
    for (const size of [512, 513]) {
      value(await asyncSetxattr(ctx, file, NAME, pattern(size)));
      // The driver has some of its own if it has to wait.
      let fewest = Infinity;
      for (let i = 0; i < 100; i++) {
        const before = ctx.stats().submissions;
        value(await asyncGetxattr(ctx, file, NAME));
        fewest = Math.min(fewest, ctx.stats().submissions - before);
      }
      submissions.push(fewest);
    }
    assertEquals(submissions, [1, 2]);
  },
);

kioTest(
  "asyncGetxattr() gets the longest value that Linux has",
  async (ctx) => {
    const opened = await asyncOpen(ctx, "/dev/shm", O_TMPFILE | O_RDWR, 0o600);
    await using file = new TempFile(ctx, value(opened));
    const given = pattern(65536);
    const set = await asyncSetxattr(ctx, file, NAME, given);
    if (!set.ok) {
      // tmpfs has them since Linux 6.6, and not as many bytes everywhere.
      return assertCode(set, "EOPNOTSUPP", "ENOSPC");
    }
    assertEquals(value(await asyncGetxattr(ctx, file, NAME)), given);
    const path = `/proc/self/fd/${file.fd}`;
    assertEquals(value(await asyncGetxattr(ctx, path, NAME)), given);
  },
);
