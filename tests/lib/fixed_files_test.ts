import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncOpen,
  asyncRead,
  asyncReadFixed,
  asyncRecv,
  asyncSend,
  asyncWriteFixed,
  CURRENT_POSITION,
  IoContext,
  O_APPEND,
  O_RDONLY,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  contentOf,
  isOpen,
  kioTest,
  pattern,
  type TempFile,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

const NOTHING = { ok: true as const, value: undefined };

kioTest(
  "asyncReadFixed() and asyncWriteFixed() use the file at an index",
  async (ctx) => {
    await using one = await tempFile(ctx, bytes("one"));
    await using two = await tempFile(ctx, bytes("two"));
    assertEquals(ctx.registerFiles([one.fd, two]), NOTHING);
    const buffer = new Uint8Array(3);
    for (const [index, content] of [[0, "one"], [1, "two"]] as const) {
      assertEquals(value(await asyncReadFixed(ctx, index, buffer)), 3);
      assertEquals(text(buffer), content);
      assertEquals(value(await asyncWriteFixed(ctx, index, bytes("X"), 1)), 1);
    }
    assertEquals(text(await contentOf(ctx, one)), "oXe");
    assertEquals(text(await contentOf(ctx, two)), "tXo");
    assertEquals(ctx.unregisterFiles(), NOTHING);
  },
);

kioTest(
  "asyncReadFixed() gives 0 at the end of a file, and fewer before it",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abcdef"));
    value(ctx.registerFiles([file]));
    const buffer = new Uint8Array(4);
    assertEquals(value(await asyncReadFixed(ctx, 0, buffer, 4)), 2);
    assertEquals(value(await asyncReadFixed(ctx, 0, buffer, 6)), 0);
    assertEquals(value(await asyncReadFixed(ctx, 0, buffer, 2n ** 60n)), 0);
  },
);

kioTest(
  "asyncReadFixed() and asyncWriteFixed() take bigints and CURRENT_POSITION",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abcdef"));
    value(ctx.registerFiles([file]));
    const buffer = new Uint8Array(2);
    assertEquals(value(await asyncReadFixed(ctx, 0, buffer, 3n)), 2);
    assertEquals(text(buffer), "de");
    for (const expected of ["ab", "cd", "ef"]) {
      value(await asyncReadFixed(ctx, 0, buffer, CURRENT_POSITION));
      assertEquals(text(buffer), expected);
    }
    value(await asyncWriteFixed(ctx, 0, bytes("gh"), CURRENT_POSITION));
    assertEquals(text(await contentOf(ctx, file)), "abcdefgh");
    assertCode(
      await asyncWriteFixed(ctx, 0, bytes("x"), 2n ** 62n),
      "EFBIG",
    );
  },
);

kioTest("asyncWriteFixed() with O_APPEND ignores its offset", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"), O_APPEND);
  value(ctx.registerFiles([file]));
  value(await asyncWriteFixed(ctx, 0, bytes("def")));
  assertEquals(text(await contentOf(ctx, file)), "abcdef");
});

kioTest("asyncReadFixed() gives EBADF where there is no file", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const buffer = new Uint8Array(1);
  assertCode(await asyncReadFixed(ctx, 0, buffer), "EBADF");
  value(ctx.registerFiles([file, -1, file]));
  for (const index of [1, 3, 100, 65535]) {
    assertCode(await asyncReadFixed(ctx, index, buffer), "EBADF");
    assertCode(await asyncWriteFixed(ctx, index, buffer), "EBADF");
  }
  assertEquals(value(await asyncReadFixed(ctx, 2, buffer)), 1);
  value(ctx.unregisterFiles());
  assertCode(await asyncReadFixed(ctx, 0, buffer), "EBADF");
});

kioTest(
  "asyncReadFixed() does not take an index for an fd, nor asyncRead() an fd for an index",
  async (ctx) => {
    await using one = await tempFile(ctx, bytes("one"));
    await using two = await tempFile(ctx, bytes("two"));
    // Where the fd of one is an index, there is the other.
    const table = Array<number>(one.fd + 1).fill(-1);
    table[one.fd] = two.fd;
    value(ctx.registerFiles(table));
    const [plain, fixed] = [new Uint8Array(3), new Uint8Array(3)];
    const reads = [
      asyncRead(ctx, one.fd, plain),
      asyncReadFixed(ctx, one.fd, fixed),
    ];
    for (const read of reads) assertEquals(value(await read), 3);
    assertEquals([text(plain), text(fixed)], ["one", "two"]);
  },
);

kioTest(
  "registerFiles() keeps a file open whatever happens to its fd",
  async (ctx) => {
    const file = await tempFile(ctx, bytes("abc"));
    value(ctx.registerFiles([file.fd]));
    await file[Symbol.asyncDispose]();
    assert(!isOpen(file.fd));
    const buffer = new Uint8Array(3);
    assertEquals(value(await asyncReadFixed(ctx, 0, buffer)), 3);
    // The number means another file by now, the index the same as before.
    await using opened = new AsyncDisposableStack();
    let other: TempFile;
    // Lower ones may be free as well.
    do {
      other = opened.use(await tempFile(ctx, bytes("xyz")));
    } while (other.fd < file.fd);
    assertEquals(other.fd, file.fd);
    value(await asyncReadFixed(ctx, 0, buffer));
    assertEquals(text(buffer), "abc");
  },
);

kioTest(
  "registerFiles() keeps the peer of a socket waiting until it is unregistered",
  async (ctx) => {
    using pair = unixPair();
    value(ctx.registerFiles([pair.left]));
    const receiving = asyncRecv(ctx, pair.right, new Uint8Array(8));
    value(await asyncClose(ctx, pair.left));
    await turn(5);
    assertEquals(ctx.pending, 1);
    value(await asyncWriteFixed(ctx, 0, bytes("still")));
    assertEquals(value(await receiving), 5);
    const last = asyncRecv(ctx, pair.right, new Uint8Array(8));
    value(ctx.unregisterFiles());
    assertEquals(value(await last.withTimeout(10_000)), 0);
  },
);

kioTest("registerFiles() gives EBUSY the second time", async (ctx) => {
  await using file = await tempFile(ctx);
  value(ctx.registerFiles([file]));
  assertCode(ctx.registerFiles([file]), "EBUSY");
  value(ctx.unregisterFiles());
  value(ctx.registerFiles([file]));
});

kioTest(
  "registerFiles() gives EBADF for an fd that is not open, and registers none",
  async (ctx) => {
    await using file = await tempFile(ctx);
    assertCode(ctx.registerFiles([file.fd, 4000]), "EBADF");
    assertCode(ctx.unregisterFiles(), "ENXIO");
  },
);

kioTest(
  "registerFiles() takes 4096 places, and none but 1 to 65536",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const table = Array<number>(4096).fill(-1);
    table[4095] = file.fd;
    value(ctx.registerFiles(table));
    assertEquals(value(await asyncReadFixed(ctx, 4095, new Uint8Array(8))), 3);
    for (const fds of [[], Array<number>(65537).fill(-1)]) {
      assertThrows(
        () => ctx.registerFiles(fds),
        RangeError,
        "Cannot register files: ",
      );
    }
  },
);

kioTest("updateFiles() replaces, empties and fills places", async (ctx) => {
  await using one = await tempFile(ctx, bytes("one"));
  await using two = await tempFile(ctx, bytes("two"));
  value(ctx.registerFiles([one, one, -1]));
  assertEquals(ctx.updateFiles(1, [two, two]), NOTHING);
  assertEquals(ctx.updateFiles(0, [-1]), NOTHING);
  const buffer = new Uint8Array(3);
  assertCode(await asyncReadFixed(ctx, 0, buffer), "EBADF");
  for (const index of [1, 2]) {
    value(await asyncReadFixed(ctx, index, buffer));
    assertEquals(text(buffer), "two");
  }
});

kioTest("updateFiles() gives the errors of the kernel", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  assertCode(ctx.updateFiles(0, [file]), "ENXIO");
  value(ctx.registerFiles([file, file]));
  assertCode(ctx.updateFiles(1, [file, file]), "EINVAL");
  assertCode(ctx.updateFiles(65535, [file]), "EINVAL");
  assertCode(ctx.updateFiles(0, [4000]), "EBADF");
});

/** The files that are registered, by what they hold. */
async function registered(ctx: IoContext, count: number): Promise<string[]> {
  const names: string[] = [];
  for (let index = 0; index < count; index++) {
    const buffer = new Uint8Array(3);
    const read = await asyncReadFixed(ctx, index, buffer);
    names.push(read.ok ? text(buffer) : read.error.code);
  }
  return names;
}

kioTest(
  "updateFiles() tells how many it replaced before one that is not open",
  async (ctx) => {
    await using old = await tempFile(ctx, bytes("old"));
    await using fresh = await tempFile(ctx, bytes("new"));
    const cases = [
      { fds: [fresh, 19999, fresh], done: 1, then: ["new", "EBADF", "old"] },
      { fds: [19999, fresh, fresh], done: 0, then: ["EBADF", "old", "old"] },
      { fds: [-1, fresh, 19999], done: 2, then: ["EBADF", "new", "EBADF"] },
    ];
    value(ctx.registerFiles([old, old, old]));
    for (const { fds, done, then } of cases) {
      value(ctx.updateFiles(0, [old, old, old]));
      const updated = ctx.updateFiles(0, fds);
      assertCode(updated, "EBADF");
      const error = updated.ok ? undefined : updated.error;
      assertEquals(error?.filesUpdated, done);
      const part = done === 0 ? "" : `, after ${done} of them`;
      assertEquals(error?.message, `Bad file descriptor${part}`);
      assertEquals(await registered(ctx, 3), then);
    }
    assertEquals(ctx.updateFiles(0, [-1, fresh, -1]), NOTHING);
    assertEquals(await registered(ctx, 3), ["EBADF", "new", "EBADF"]);
  },
);

kioTest(
  "registerFiles() with one that is not open in the middle registers none",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    assertCode(ctx.registerFiles([file, 19999, file]), "EBADF");
    assertCode(ctx.unregisterFiles(), "ENXIO");
    value(ctx.registerFiles([file, -1, file]));
    assertEquals(await registered(ctx, 3), ["abc", "EBADF", "abc"]);
  },
);

kioTest("unregisterFiles() gives ENXIO if there are none", (ctx) => {
  assertCode(ctx.unregisterFiles(), "ENXIO");
});

kioTest(
  "unregisterFiles() gives EBUSY while they are in use, and does not wait",
  async (ctx) => {
    using pair = unixPair();
    value(ctx.registerFiles([pair.left]));
    const buffer = new Uint8Array(8);
    const reading = asyncReadFixed(ctx, 0, buffer);
    assertCode(ctx.unregisterFiles(), "EBUSY");
    await turn();
    assertCode(ctx.unregisterFiles(), "EBUSY");
    value(await asyncSend(ctx, pair.right, bytes("abc")));
    assertEquals(value(await reading), 3);
    value(ctx.unregisterFiles());
  },
);

kioTest(
  "updateFiles() with -1 leaves operations in flight their files",
  async (ctx) => {
    using pair = unixPair();
    value(ctx.registerFiles([pair.left]));
    const buffer = new Uint8Array(8);
    const reading = asyncReadFixed(ctx, 0, buffer);
    await turn();
    value(ctx.updateFiles(0, [-1]));
    assertCode(await asyncReadFixed(ctx, 0, buffer), "EBADF");
    value(await asyncSend(ctx, pair.right, bytes("abc")));
    assertEquals(value(await reading), 3);
  },
);

kioTest(
  "asyncReadFixed() can be cancelled and bounded in time",
  async (ctx) => {
    using pair = unixPair();
    value(ctx.registerFiles([pair.left]));
    const buffer = new Uint8Array(8);
    assertCode(
      await asyncReadFixed(ctx, 0, buffer).withTimeout(5),
      "ETIMEDOUT",
    );
    const op = asyncReadFixed(ctx, 0, buffer);
    await turn();
    op.cancel();
    assertCode(await op, "ECANCELED");
  },
);

kioTest(
  "registerFiles() of one context means nothing to another",
  async (ctx) => {
    using other = new IoContext(4);
    await using one = await tempFile(ctx, bytes("one"));
    await using two = await tempFile(ctx, bytes("two"));
    value(ctx.registerFiles([one]));
    value(other.registerFiles([two]));
    const [a, b] = [new Uint8Array(3), new Uint8Array(3)];
    await Promise.all([asyncReadFixed(ctx, 0, a), asyncReadFixed(other, 0, b)]);
    assertEquals([text(a), text(b)], ["one", "two"]);
  },
);

kioTest(
  "registerFiles() of a context that is closed lets go of the files",
  async (ctx) => {
    using pair = unixPair();
    const other = new IoContext(4);
    value(other.registerFiles([pair.left]));
    value(await asyncClose(ctx, pair.left));
    const receiving = asyncRecv(ctx, pair.right, new Uint8Array(8));
    await turn();
    assertEquals(ctx.pending, 1);
    other[Symbol.dispose]();
    assertEquals(value(await receiving.withTimeout(10_000)), 0);
  },
);

kioTest("asyncReadFixed() of many at a time", async (ctx) => {
  const data = pattern(1000);
  await using file = await tempFile(ctx, data);
  const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
  value(ctx.registerFiles([file, fd]));
  const buffers = Array.from({ length: 500 }, () => new Uint8Array(2));
  const ops = buffers.map((buffer, i) =>
    asyncReadFixed(ctx, i % 2, buffer, i % 2 === 0 ? i : 0)
  );
  for (const [i, op] of ops.entries()) {
    assertEquals(value(await op), 2);
    if (i % 2 === 0) assertEquals(buffers[i], data.slice(i, i + 2));
    else assertEquals(text(buffers[i]!), "Li");
  }
  value(await asyncClose(ctx, fd));
});
