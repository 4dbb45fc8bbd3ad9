/** Paths as bytes, wherever an operation takes a path. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncGetxattr,
  asyncLink,
  asyncLstat,
  asyncMkdir,
  asyncOpen,
  asyncReadlink,
  asyncRename,
  asyncSetxattr,
  asyncStat,
  asyncSymlink,
  asyncUnlink,
  AT_REMOVEDIR,
  type IoContext,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_RDONLY,
  O_WRONLY,
  type Path,
  type UringOp,
} from "@kio/kio";
import { decodePath, shownPath } from "../../lib/path_text.ts";
import { assertCode, bytes, kioTest, TempFile, value } from "../support.ts";

/** Each byte that a name may have. */
const ALL = Uint8Array.from({ length: 255 }, (_, i) => i + 1)
  .filter((byte) => byte !== 0x2f);
const NAMES = [
  ALL,
  new Uint8Array([0xff]),
  new Uint8Array([0x61, 0xc3]),
  new Uint8Array([0xed, 0xa0, 0x80]),
  bytes("\ufeffü"),
  bytes("plain"),
];

/** A directory, open, which is empty again at the end. */
class Root implements AsyncDisposable {
  readonly path = `/tmp/kio-test-${crypto.randomUUID()}`;
  readonly #ctx: IoContext;
  fd = -1;

  constructor(ctx: IoContext) {
    this.#ctx = ctx;
  }

  static async make(ctx: IoContext): Promise<Root> {
    const root = new Root(ctx);
    value(await asyncMkdir(ctx, root.path));
    const flags = O_RDONLY | O_DIRECTORY;
    root.fd = value(await asyncOpen(ctx, root.path, flags));
    return root;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    value(await asyncClose(this.#ctx, this.fd));
    value(await asyncUnlink(this.#ctx, this.path, AT_REMOVEDIR));
  }
}

for (const name of NAMES) {
  kioTest(
    `operations on paths take the name ${
      JSON.stringify(shownPath(name)).slice(0, 40)
    }`,
    async (ctx) => {
      await using dir = await Root.make(ctx);
      const flags = O_WRONLY | O_CREAT | O_EXCL;
      const fd = value(await asyncOpen(ctx, name, flags, { dir }));
      await using _ = new TempFile(ctx, fd);
      const { inode } = value(await asyncStat(ctx, name, { dir }));
      assertEquals(value(await asyncLstat(ctx, name, { dir })).inode, inode);

      const whole = new Uint8Array([...bytes(`${dir.path}/`), ...name]);
      assertEquals(value(await asyncStat(ctx, whole)).inode, inode);
      const set = await asyncSetxattr(ctx, whole, "user.kio", name);
      if (set.ok) {
        assertEquals(value(await asyncGetxattr(ctx, whole, "user.kio")), name);
      } else assertCode(set, "EOPNOTSUPP");

      value(await asyncRename(ctx, name, "other", { dir }));
      assertCode(await asyncStat(ctx, name, { dir }), "ENOENT");
      value(await asyncLink(ctx, "other", name, { dir }));
      assertEquals(value(await asyncStat(ctx, name, { dir })).inode, inode);
      value(await asyncUnlink(ctx, name, { dir }));
      value(await asyncUnlink(ctx, "other", { dir }));

      value(await asyncSymlink(ctx, name, name, { dir }));
      const target = value(await asyncReadlink(ctx, name, { dir }));
      assertEquals(typeof target === "string" ? bytes(target) : target, name);
      value(await asyncUnlink(ctx, name, { dir }));

      value(await asyncMkdir(ctx, name, { dir }));
      const inner = new Uint8Array([...name, ...bytes("/"), ...name]);
      value(await asyncMkdir(ctx, inner, { dir, recursive: true }));
      for (const path of [inner, name]) {
        value(await asyncUnlink(ctx, path, { dir, flags: AT_REMOVEDIR }));
      }
    },
  );
}

/** Each operation, with a path in each place where it takes one. */
const CALLS: Record<string, (ctx: IoContext, path: Path) => UringOp<unknown>> =
  {
    asyncOpen: (ctx, path) => asyncOpen(ctx, path, O_RDONLY),
    asyncStat: (ctx, path) => asyncStat(ctx, path),
    asyncLstat: (ctx, path) => asyncLstat(ctx, path),
    asyncMkdir: (ctx, path) => asyncMkdir(ctx, path),
    "asyncLink from": (ctx, path) => asyncLink(ctx, path, "/no/such"),
    "asyncLink to": (ctx, path) => asyncLink(ctx, "/no/such", path),
    "asyncSymlink target": (ctx, path) => asyncSymlink(ctx, path, "/no/such"),
    "asyncSymlink path": (ctx, path) => asyncSymlink(ctx, "/no/such", path),
    asyncReadlink: (ctx, path) => asyncReadlink(ctx, path),
    "asyncRename from": (ctx, path) => asyncRename(ctx, path, "/no/such"),
    "asyncRename to": (ctx, path) => asyncRename(ctx, "/no/such", path),
    asyncUnlink: (ctx, path) => asyncUnlink(ctx, path),
    asyncGetxattr: (ctx, path) => asyncGetxattr(ctx, path, "user.kio"),
    asyncSetxattr: (ctx, path) =>
      asyncSetxattr(ctx, path, "user.kio", new Uint8Array(1)),
  };

for (const [name, call] of Object.entries(CALLS)) {
  kioTest(
    `${name}: bytes with a NUL or without memory are refused`,
    async (ctx) => {
      const nul = [new Uint8Array(1), bytes("a\0b"), bytes("/tmp\0")];
      for (const path of nul) {
        assertThrows(() => call(ctx, path), TypeError, "without NUL");
      }
      const gone = bytes("/tmp");
      gone.buffer.transfer();
      assertThrows(() => call(ctx, gone), TypeError, "detached");
      assertEquals(ctx.pending, 0);
      assertCode(await call(ctx, new Uint8Array()), "ENOENT");
    },
  );

  kioTest(`${name}: an error shows bytes`, async (ctx) => {
    const message = await call(ctx, bytes("/no/\xffü\n")).orThrow()
      .then(() => "", (error: Error) => error.message);
    assertEquals(message.includes("/no/ÿü\n"), true, message);
    const path = new Uint8Array([...bytes("/no/"), 0xff, 0x0a, 0x41]);
    const escaped = await call(ctx, path).orThrow()
      .then(() => "", (error: Error) => error.message);
    assertEquals(escaped.includes("/no/\\xff\\x0aA"), true, escaped);
  });
}

kioTest("a path of bytes is copied at the call", async (ctx) => {
  const path = bytes("/proc/version");
  const ops = [asyncStat(ctx, path), asyncStat(ctx, path.subarray(0, 5))];
  path.fill(0x58);
  const [file, folder] = await Promise.all(ops);
  assertEquals(value(file!).type, "file");
  assertEquals(value(folder!).type, "directory");
  const transferred = bytes("/proc/version");
  const op = asyncStat(ctx, transferred);
  transferred.buffer.transfer();
  value(await op);
  const shared = new Uint8Array(new SharedArrayBuffer(4));
  shared.set(bytes("/tmp"));
  assertEquals(value(await asyncStat(ctx, shared)).type, "directory");
});

Deno.test("decodePath() gives a string or the same bytes", () => {
  for (const name of NAMES) {
    const path = decodePath(name);
    assertEquals(typeof path === "string" ? bytes(path) : path, name);
  }
  assertEquals(typeof decodePath(ALL), "object");
  assertEquals(decodePath(bytes("\ufeffü")), "\ufeffü");
});
