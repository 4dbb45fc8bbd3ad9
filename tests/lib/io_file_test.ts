import { assert, assertEquals } from "@std/assert";
import {
  asyncClose,
  asyncFallocate,
  asyncFdatasync,
  asyncFsync,
  asyncFtruncate,
  asyncOpen,
  asyncRead,
  asyncReadv,
  asyncWrite,
  asyncWritev,
  CURRENT_POSITION,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  O_APPEND,
  O_CREAT,
  O_DIRECT,
  O_DIRECTORY,
  O_DSYNC,
  O_EXCL,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TMPFILE,
  O_TRUNC,
  O_WRONLY,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  contentOf,
  isOpen,
  kioTest,
  overwriteGarbage,
  pattern,
  procText,
  tempFile,
  text,
  unixPair,
  value,
} from "../support.ts";

// ---- asyncOpen -----------------------------------------------------------------

kioTest("asyncOpen() gives an fd that can be read", async (ctx) => {
  const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
  const buffer = new Uint8Array(4096);
  const count = value(await asyncRead(ctx, fd, buffer));
  value(await asyncClose(ctx, fd));
  assert(text(buffer.subarray(0, count)).startsWith("Linux version "));
});

kioTest(
  "asyncOpen() takes a path relative to the current directory",
  async (ctx) => {
    const fd = value(await asyncOpen(ctx, ".", O_RDONLY | O_DIRECTORY));
    value(await asyncClose(ctx, fd));
  },
);

kioTest("asyncOpen() sets O_CLOEXEC", async (ctx) => {
  await using file = await tempFile(ctx);
  const info = await procText(`/proc/self/fdinfo/${file.fd}`);
  const flags = parseInt(/^flags:\s*([0-7]+)$/m.exec(info ?? "")![1]!, 8);
  assertEquals(flags & 0o2000000, 0o2000000);
});

kioTest("asyncOpen() passes its flags on", async (ctx) => {
  for (const flags of [O_APPEND, O_NONBLOCK, O_DSYNC, O_SYNC, O_DIRECT]) {
    await using file = await tempFile(ctx, undefined, flags);
    const info = await procText(`/proc/self/fdinfo/${file.fd}`);
    const got = parseInt(/^flags:\s*([0-7]+)$/m.exec(info ?? "")![1]!, 8);
    assertEquals(got & flags, flags, flags.toString(8));
  }
});

kioTest("asyncOpen() gives the errors of open(2)", async (ctx) => {
  const cases: [string, number, string][] = [
    ["/no/such/file", O_RDONLY, "ENOENT"],
    ["", O_RDONLY, "ENOENT"],
    ["/proc/version/x", O_RDONLY, "ENOTDIR"],
    ["/proc/version", O_RDONLY | O_DIRECTORY, "ENOTDIR"],
    ["/tmp", O_WRONLY, "EISDIR"],
    ["/tmp", O_CREAT | O_EXCL | O_WRONLY, "EEXIST"],
    ["/proc/self", O_RDONLY | O_NOFOLLOW, "ELOOP"],
    ["/proc/self/exe", O_WRONLY | O_TRUNC, "ETXTBSY EROFS"],
    [`/${"x".repeat(256)}`, O_RDONLY, "ENAMETOOLONG"],
    [`/${"x/".repeat(3000)}`, O_RDONLY, "ENAMETOOLONG"],
  ];
  for (const [path, flags, code] of cases) {
    const result = await asyncOpen(ctx, path, flags);
    if (result.ok) value(await asyncClose(ctx, result.value));
    assertCode(result, ...code.split(" "));
  }
});

kioTest("asyncOpen() takes a path beyond ASCII", async (ctx) => {
  assertCode(await asyncOpen(ctx, "/tmp/☃/é/𝒳", O_RDONLY), "ENOENT");
});

kioTest(
  "asyncOpen() keeps its path while nobody else refers to it",
  async (ctx) => {
    const ops = Array.from(
      { length: 500 },
      (_, i) =>
        asyncOpen(
          ctx,
          `/proc/self/../self/./${i % 2 ? "stat" : "status"}`,
          O_RDONLY,
        ),
    );
    overwriteGarbage();
    const buffer = new Uint8Array(5);
    for (const [i, op] of ops.entries()) {
      const fd = value(await op);
      value(await asyncRead(ctx, fd, buffer));
      value(await asyncClose(ctx, fd));
      assertEquals(text(buffer) === "Name:", i % 2 === 0);
    }
  },
);

// ---- asyncRead and asyncWrite ------------------------------------------------------

kioTest("asyncRead() gives what asyncWrite() wrote", async (ctx) => {
  await using file = await tempFile(ctx);
  const data = pattern(10_000);
  assertEquals(value(await asyncWrite(ctx, file, data)), 10_000);
  const buffer = new Uint8Array(10_000);
  assertEquals(value(await asyncRead(ctx, file, buffer)), 10_000);
  assertEquals(buffer, data);
});

kioTest("asyncRead() gives 0 at the end of a file", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const buffer = new Uint8Array(8);
  assertEquals(value(await asyncRead(ctx, file, buffer, 3)), 0);
  assertEquals(value(await asyncRead(ctx, file, buffer, 1_000_000)), 0);
  assertEquals(buffer, new Uint8Array(8));
});

kioTest("asyncRead() gives 0 for an empty file", async (ctx) => {
  await using file = await tempFile(ctx);
  assertEquals(value(await asyncRead(ctx, file, new Uint8Array(8))), 0);
});

kioTest(
  "asyncRead() gives fewer bytes before the end of a file",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abcdef"));
    const buffer = new Uint8Array(8).fill(0x2e);
    assertEquals(value(await asyncRead(ctx, file, buffer, 4)), 2);
    assertEquals(text(buffer), "ef......");
  },
);

kioTest("asyncRead() starts at its offset", async (ctx) => {
  const data = pattern(9000);
  await using file = await tempFile(ctx, data);
  const buffer = new Uint8Array(10);
  for (const offset of [0, 1, 4095, 4096, 4097, 8990]) {
    assertEquals(value(await asyncRead(ctx, file, buffer, offset)), 10);
    assertEquals(buffer, data.slice(offset, offset + 10), `at ${offset}`);
  }
});

kioTest("asyncRead() takes -0 as offset 0", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const buffer = new Uint8Array(3);
  assertEquals(value(await asyncRead(ctx, file, buffer, -0)), 3);
  assertEquals(text(buffer), "abc");
});

kioTest(
  "asyncRead() takes a bigint offset as the number it is",
  async (ctx) => {
    const data = pattern(100);
    await using file = await tempFile(ctx, data);
    const buffer = new Uint8Array(10);
    assertEquals(value(await asyncRead(ctx, file, buffer, 7n)), 10);
    assertEquals(buffer, data.slice(7, 17));
  },
);

kioTest("asyncRead() keeps bigint offsets of one batch apart", async (ctx) => {
  const data = pattern(1000);
  await using file = await tempFile(ctx, data);
  const buffers = Array.from({ length: 300 }, () => new Uint8Array(3));
  // More than the queue holds, mixed with offsets that are numbers.
  const ops = buffers.map((buffer, i) =>
    asyncRead(ctx, file, buffer, i % 3 === 0 ? i : BigInt(i))
  );
  for (const [i, op] of ops.entries()) {
    assertEquals(value(await op), 3);
    assertEquals(buffers[i], data.slice(i, i + 3), `at ${i}`);
  }
});

kioTest(
  "asyncWrite() and asyncRead() reach 2^40 of a sparse file",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const at = 2 ** 40 + 3;
    assertEquals(value(await asyncWrite(ctx, file, bytes("far"), at)), 3);
    const buffer = new Uint8Array(8).fill(0x2e);
    assertEquals(value(await asyncRead(ctx, file, buffer, at - 2)), 5);
    assertEquals(text(buffer), "\0\0far...");
    assertEquals(value(await asyncRead(ctx, file, buffer, 2 ** 32 + 3)), 8);
    assertEquals(buffer, new Uint8Array(8), "nothing wrapped around at 2^32");
    assertEquals(value(await asyncRead(ctx, file, buffer, 3)), 8);
    assertEquals(buffer, new Uint8Array(8));
  },
);

kioTest("asyncRead() gives 0 far beyond the end", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const buffer = new Uint8Array(1);
  const offsets = [
    Number.MAX_SAFE_INTEGER,
    2n ** 53n,
    2n ** 53n + 1n,
    2n ** 62n,
  ];
  for (const offset of offsets) {
    assertEquals(value(await asyncRead(ctx, file, buffer, offset)), 0);
  }
});

kioTest(
  "asyncRead() refuses what would end beyond 2^63 with EINVAL or EOVERFLOW",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const result = await asyncRead(
      ctx,
      file,
      new Uint8Array(16),
      2n ** 63n - 1n,
    );
    assertCode(result, "EINVAL", "EOVERFLOW");
  },
);

kioTest(
  "asyncWrite() and asyncRead() tell offsets above 2^53 apart",
  async (ctx) => {
    // A file system without a limit of its own; nothing stays there either.
    const flags = O_TMPFILE | O_RDWR;
    const fd = value(await asyncOpen(ctx, "/dev/shm", flags, 0o600));
    const at = 2n ** 53n;
    value(await asyncWrite(ctx, fd, bytes("b"), at + 1n));
    value(await asyncWritev(ctx, fd, [bytes("d")], at + 3n));
    const buffer = new Uint8Array(8);
    assertEquals(value(await asyncRead(ctx, fd, buffer, at)), 4);
    assertEquals(text(buffer), "\0b\0d\0\0\0\0");
    assertEquals(value(await asyncReadv(ctx, fd, [buffer], at + 1n)), 3);
    assertEquals(text(buffer), "b\0dd\0\0\0\0");
    value(await asyncFtruncate(ctx, fd, at + 2n));
    assertEquals(value(await asyncRead(ctx, fd, buffer, at)), 2);
    value(await asyncClose(ctx, fd));
  },
);

kioTest(
  "asyncWrite() gives EFBIG beyond what the file system holds",
  async (ctx) => {
    await using file = await tempFile(ctx);
    for (const offset of [2 ** 53 - 1, 2n ** 53n, 2n ** 62n]) {
      assertCode(await asyncWrite(ctx, file, bytes("x"), offset), "EFBIG");
    }
    assertEquals((await contentOf(ctx, file)).length, 0);
  },
);

kioTest("asyncWrite() beyond the end leaves a hole of zeros", async (ctx) => {
  await using file = await tempFile(ctx);
  assertEquals(value(await asyncWrite(ctx, file, bytes("x"), 4)), 1);
  assertEquals(text(await contentOf(ctx, file)), "\0\0\0\0x");
});

kioTest("asyncWrite() overwrites only its range", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abcdef"));
  assertEquals(value(await asyncWrite(ctx, file, bytes("XY"), 2)), 2);
  assertEquals(text(await contentOf(ctx, file)), "abXYef");
});

kioTest("asyncWrite() with O_APPEND ignores its offset", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"), O_APPEND);
  assertEquals(value(await asyncWrite(ctx, file, bytes("de"), 0)), 2);
  assertEquals(value(await asyncWrite(ctx, file, bytes("f"), 1)), 1);
  assertEquals(text(await contentOf(ctx, file)), "abcdef");
});

kioTest(
  "asyncRead() at CURRENT_POSITION goes on where the last one ended",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abcdef"));
    const buffer = new Uint8Array(4);
    const reads: string[] = [];
    for (let i = 0; i < 3; i++) {
      const count = value(await asyncRead(ctx, file, buffer, CURRENT_POSITION));
      reads.push(text(buffer.subarray(0, count)));
    }
    assertEquals(reads, ["abcd", "ef", ""]);
  },
);

kioTest(
  "asyncRead() at an offset leaves the file's own position alone",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abcdef"));
    const buffer = new Uint8Array(2);
    value(await asyncRead(ctx, file, buffer, CURRENT_POSITION));
    value(await asyncRead(ctx, file, buffer, 0));
    value(await asyncRead(ctx, file, buffer, CURRENT_POSITION));
    assertEquals(text(buffer), "cd");
  },
);

kioTest("asyncWrite() at CURRENT_POSITION moves the position", async (ctx) => {
  await using file = await tempFile(ctx);
  value(await asyncWrite(ctx, file, bytes("abc"), CURRENT_POSITION));
  value(await asyncWrite(ctx, file, bytes("def"), CURRENT_POSITION));
  assertEquals(text(await contentOf(ctx, file)), "abcdef");
});

kioTest("asyncReadv() and asyncWritev() take CURRENT_POSITION", async (ctx) => {
  await using file = await tempFile(ctx, bytes("......"));
  const [one, two] = [bytes("ab"), bytes("cd")];
  value(await asyncWritev(ctx, file, [one, two], CURRENT_POSITION));
  const buffer = new Uint8Array(6);
  assertEquals(
    value(await asyncReadv(ctx, file, [buffer], CURRENT_POSITION)),
    2,
  );
  assertEquals(text(await contentOf(ctx, file)), "abcd..");
});

kioTest(
  "asyncRead() takes the fd as a number and as what owns one",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    for (const fd of [file.fd, { fd: file.fd }, file]) {
      const buffer = new Uint8Array(3);
      assertEquals(value(await asyncRead(ctx, fd, buffer)), 3);
      assertEquals(text(buffer), "abc");
    }
  },
);

kioTest(
  "asyncRead() fills a socket's data whatever the offset",
  async (ctx) => {
    using pair = unixPair();
    value(await asyncWrite(ctx, pair.left, bytes("abc")));
    const buffer = new Uint8Array(8);
    assertEquals(value(await asyncRead(ctx, pair.right, buffer)), 3);
    assertEquals(text(buffer.subarray(0, 3)), "abc");
  },
);

kioTest(
  "asyncRead() waits for a socket though it is non-blocking",
  async (ctx) => {
    using pair = unixPair();
    const buffer = new Uint8Array(8);
    const op = asyncRead(ctx, pair.right, buffer).withTimeout(5000);
    value(await asyncWrite(ctx, pair.left, bytes("abc")));
    assertEquals(value(await op), 3);
  },
);

kioTest(
  "asyncRead() and asyncWrite() give EBADF for an fd that is not open",
  async (ctx) => {
    for (const fd of [4000, 2 ** 31 - 1]) {
      assert(!isOpen(fd));
      assertCode(await asyncRead(ctx, fd, new Uint8Array(1)), "EBADF");
      assertCode(await asyncWrite(ctx, fd, new Uint8Array(1)), "EBADF");
      assertCode(await asyncReadv(ctx, fd, [new Uint8Array(1)]), "EBADF");
      assertCode(await asyncWritev(ctx, fd, [new Uint8Array(1)]), "EBADF");
    }
  },
);

kioTest(
  "asyncRead() gives EBADF for a file open for writing only",
  async (ctx) => {
    const fd = value(await asyncOpen(ctx, "/tmp", O_TMPFILE | O_WRONLY, 0o600));
    assertCode(await asyncRead(ctx, fd, new Uint8Array(1)), "EBADF");
    value(await asyncClose(ctx, fd));
  },
);

kioTest(
  "asyncWrite() gives EBADF for a file open for reading only",
  async (ctx) => {
    const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
    assertCode(await asyncWrite(ctx, fd, new Uint8Array(1)), "EBADF");
    value(await asyncClose(ctx, fd));
  },
);

kioTest("asyncRead() gives EISDIR for a folder", async (ctx) => {
  const fd = value(await asyncOpen(ctx, "/tmp", O_RDONLY | O_DIRECTORY));
  assertCode(await asyncRead(ctx, fd, new Uint8Array(1)), "EISDIR");
  value(await asyncClose(ctx, fd));
});

kioTest("asyncWrite() gives ENOSPC on a full device", async (ctx) => {
  const fd = value(await asyncOpen(ctx, "/dev/full", O_RDWR));
  assertCode(await asyncWrite(ctx, fd, bytes("x")), "ENOSPC");
  value(await asyncClose(ctx, fd));
});

kioTest("asyncWrite() gives EPIPE when nobody reads any more", async (ctx) => {
  using pair = unixPair();
  await pair.right.close();
  assertCode(await asyncWrite(ctx, pair.left, bytes("x")), "EPIPE");
});

kioTest(
  "asyncRead() gives EINVAL for O_DIRECT that is not aligned",
  async (ctx) => {
    await using file = await tempFile(ctx, undefined, O_DIRECT);
    const memory = ctx.allocate(8192);
    assertEquals(
      value(await asyncWrite(ctx, file, memory.subarray(0, 4096).fill(7))),
      4096,
    );
    assertCode(await asyncRead(ctx, file, memory.subarray(1, 4097)), "EINVAL");
    assertEquals(
      value(await asyncRead(ctx, file, memory.subarray(4096))),
      4096,
    );
    assertEquals(memory.subarray(4096), memory.subarray(0, 4096));
  },
);

// ---- kinds of buffers -------------------------------------------------------------

kioTest("asyncRead() fills only the range of a subarray", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abcdef"));
  const memory = new Uint8Array(10).fill(0x2e);
  assertEquals(value(await asyncRead(ctx, file, memory.subarray(3, 6), 1)), 3);
  assertEquals(text(memory), "...bcd....");
});

kioTest("asyncWrite() writes only the range of a subarray", async (ctx) => {
  await using file = await tempFile(ctx);
  const memory = bytes("0123456789");
  assertEquals(value(await asyncWrite(ctx, file, memory.subarray(3, 6))), 3);
  assertEquals(text(await contentOf(ctx, file)), "345");
});

kioTest("asyncRead() counts bytes whatever the kind of view", async (ctx) => {
  const data = pattern(64);
  await using file = await tempFile(ctx, data);
  const memory = new ArrayBuffer(64);
  const views = [
    memory,
    new DataView(memory),
    new Uint8Array(memory),
    new Int8Array(memory),
    new Uint8ClampedArray(memory),
    new Uint16Array(memory),
    new Float16Array(memory),
    new Int32Array(memory),
    new Float32Array(memory),
    new Float64Array(memory),
    new BigInt64Array(memory),
  ];
  for (const view of views) {
    new Uint8Array(memory).fill(0);
    assertEquals(value(await asyncRead(ctx, file, view)), 64, view.toString());
    assertEquals(new Uint8Array(memory), data);
  }
});

kioTest(
  "asyncRead() honours the offset of a DataView and of wide elements",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abcdefgh"));
    const memory = new ArrayBuffer(32);
    value(await asyncRead(ctx, file, new DataView(memory, 5, 3)));
    value(await asyncRead(ctx, file, new Uint32Array(memory, 12, 2)));
    assertEquals(
      text(new Uint8Array(memory)).replaceAll("\0", "."),
      ".....abc....abcdefgh............",
    );
  },
);

kioTest("asyncWrite() takes an ArrayBuffer and wide elements", async (ctx) => {
  await using file = await tempFile(ctx);
  const words = new Uint16Array([0x6261, 0x6463]);
  assertEquals(value(await asyncWrite(ctx, file, words)), 4);
  assertEquals(value(await asyncWrite(ctx, file, words.buffer, 4)), 4);
  assertEquals(text(await contentOf(ctx, file)), "abcdabcd");
});

kioTest("asyncRead() fills a view of a SharedArrayBuffer", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const view = new Uint8Array(new SharedArrayBuffer(8), 2, 3);
  assertEquals(value(await asyncRead(ctx, file, view)), 3);
  assertEquals(text(view.slice()), "abc");
  assertEquals(value(await asyncWrite(ctx, file, view, 3)), 3);
  assertEquals(text(await contentOf(ctx, file)), "abcabc");
});

// With --jitless V8 has no WebAssembly.
if ("WebAssembly" in globalThis) {
  kioTest("asyncRead() fills memory of WebAssembly", async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const memory = new WebAssembly.Memory({ initial: 1 });
    const view = new Uint8Array(memory.buffer, 100, 3);
    assertEquals(value(await asyncRead(ctx, file, view)), 3);
    assertEquals(text(view), "abc");
  });
}

kioTest("asyncRead() fills a large buffer", async (ctx) => {
  const data = pattern(3 * 2 ** 20 + 17);
  await using file = await tempFile(ctx, data);
  const buffer = new Uint8Array(data.length + 100);
  assertEquals(value(await asyncRead(ctx, file, buffer)), data.length);
  assertEquals(
    digest(buffer.subarray(0, data.length)),
    digest(data),
  );
});

/** A digest that shows where two large arrays differ without printing them. */
function digest(data: Uint8Array): string {
  let sum = 0;
  for (const byte of data) sum = Math.imul(sum, 31) + byte | 0;
  return `${data.length} bytes, ${sum}`;
}

// ---- asyncReadv and asyncWritev ---------------------------------------------------

kioTest("asyncReadv() fills its buffers one after the other", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abcdefgh"));
  const buffers = [1, 3, 2].map((length) => new Uint8Array(length));
  assertEquals(value(await asyncReadv(ctx, file, buffers, 1)), 6);
  assertEquals(buffers.map(text), ["b", "cde", "fg"]);
});

kioTest(
  "asyncReadv() fills the first buffers at the end of a file, then gives 0",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abcd"));
    const buffers = [3, 3, 3].map((length) => new Uint8Array(length).fill(46));
    assertEquals(value(await asyncReadv(ctx, file, buffers)), 4);
    assertEquals(buffers.map(text), ["abc", "d..", "..."]);
    assertEquals(value(await asyncReadv(ctx, file, buffers, 4)), 0);
  },
);

kioTest("asyncWritev() writes its buffers one after the other", async (ctx) => {
  await using file = await tempFile(ctx);
  const buffers = [bytes("a"), new DataView(bytes("bcd").buffer), bytes("ef")];
  assertEquals(value(await asyncWritev(ctx, file, buffers, 2)), 6);
  assertEquals(text(await contentOf(ctx, file)), "\0\0abcdef");
});

kioTest(
  "asyncWritev() and asyncReadv() take one buffer several times",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const data = bytes("ab");
    assertEquals(value(await asyncWritev(ctx, file, [data, data, data])), 6);
    assertEquals(text(await contentOf(ctx, file)), "ababab");
  },
);

kioTest("asyncWritev() and asyncReadv() take 1024 buffers", async (ctx) => {
  await using file = await tempFile(ctx);
  const data = pattern(3 * 1024);
  const parts = Array.from(
    { length: 1024 },
    (_, i) => data.subarray(3 * i, 3 * i + 3),
  );
  assertEquals(value(await asyncWritev(ctx, file, parts)), 3072);
  const buffers = parts.map(() => new Uint8Array(3));
  assertEquals(value(await asyncReadv(ctx, file, buffers)), 3072);
  assertEquals(buffers.flatMap((buffer) => [...buffer]), [...data]);
});

kioTest("asyncWritev() and asyncReadv() skip empty buffers", async (ctx) => {
  await using file = await tempFile(ctx);
  const [none, head, body] = [new Uint8Array(0), bytes("head"), bytes("body")];
  for (const parts of [[head, none], [none, head], [none, head, none, body]]) {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    assertEquals(value(await asyncWritev(ctx, file, parts)), length);
    const buffers = parts.map((part) => new Uint8Array(part.length));
    assertEquals(value(await asyncReadv(ctx, file, buffers)), length);
    assertEquals(buffers, parts);
  }
});

kioTest("asyncReadv() does not mind that its list changes", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abcdef"));
  const [one, two] = [new Uint8Array(3), new Uint8Array(3)];
  const buffers = [one, two];
  const op = asyncReadv(ctx, file, buffers);
  buffers.length = 0;
  assertEquals(value(await op), 6);
  assertEquals([one, two].map(text), ["abc", "def"]);
});

kioTest(
  "asyncReadv() takes fds as numbers and as what owns one",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    for (const fd of [file.fd, file]) {
      const buffer = new Uint8Array(3);
      assertEquals(value(await asyncReadv(ctx, fd, [buffer])), 3);
      assertEquals(value(await asyncWritev(ctx, fd, [buffer], 3)), 3);
    }
  },
);

kioTest(
  "asyncReadv() and asyncWritev() reach offsets beyond 2^53",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const buffer = new Uint8Array(3);
    const far = 2n ** 53n + 1n;
    assertEquals(value(await asyncReadv(ctx, file, [buffer], far)), 0);
    assertCode(await asyncWritev(ctx, file, [buffer], far), "EFBIG");
    assertEquals(value(await asyncReadv(ctx, file, [buffer], 1n)), 2);
    assertEquals(text(buffer.subarray(0, 2)), "bc");
  },
);

// ---- asyncClose -----------------------------------------------------------------------

kioTest("asyncClose() closes an fd, once", async (ctx) => {
  const fd = value(await asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600));
  assert(isOpen(fd));
  const result = await asyncClose(ctx, fd);
  assertEquals(result, { ok: true, value: undefined });
  assert(!isOpen(fd));
  assertCode(await asyncClose(ctx, fd), "EBADF");
});

kioTest("asyncClose() takes a socket and releases it", async (ctx) => {
  using pair = unixPair();
  const fd = pair.left.fd;
  const closing = asyncClose(ctx, pair.left);
  assertEquals(pair.left.fd, -1, "nobody else may close it from now on");
  value(await closing);
  assert(!isOpen(fd));
});

kioTest("asyncClose() does not release what is no socket", async (ctx) => {
  const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
  const owner = { fd };
  value(await asyncClose(ctx, owner));
  assertEquals(owner, { fd });
});

// ---- asyncFsync and asyncFdatasync -----------------------------------------------------

kioTest(
  "asyncFsync() and asyncFdatasync() give nothing for a file",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const nothing = { ok: true as const, value: undefined };
    assertEquals(await asyncFsync(ctx, file), nothing);
    assertEquals(await asyncFsync(ctx, file.fd), nothing);
    assertEquals(await asyncFdatasync(ctx, file), nothing);
    assertEquals(await asyncFdatasync(ctx, file.fd), nothing);
  },
);

kioTest(
  "asyncFsync() and asyncFdatasync() give EINVAL for a socket, EBADF for none",
  async (ctx) => {
    using pair = unixPair();
    assertCode(await asyncFsync(ctx, pair.left), "EINVAL");
    assertCode(await asyncFdatasync(ctx, pair.left), "EINVAL");
    assertCode(await asyncFsync(ctx, 4000), "EBADF");
    assertCode(await asyncFdatasync(ctx, 4000), "EBADF");
  },
);

// ---- asyncFallocate --------------------------------------------------------------------

async function positionOf(fd: number): Promise<number> {
  const info = await procText(`/proc/self/fdinfo/${fd}`);
  return Number(/^pos:\s*(\d+)$/m.exec(info ?? "")![1]);
}

kioTest("asyncFallocate() extends a file with zeros", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const result = await asyncFallocate(ctx, file, 0, 2, 4);
  assertEquals(result, { ok: true, value: undefined });
  assertEquals(text(await contentOf(ctx, file)), "abc\0\0\0");
});

kioTest(
  "asyncFallocate() keeps the size with FALLOC_FL_KEEP_SIZE",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    value(await asyncFallocate(ctx, file, FALLOC_FL_KEEP_SIZE, 0, 100_000));
    assertEquals(text(await contentOf(ctx, file)), "abc");
  },
);

kioTest("asyncFallocate() punches holes and zeroes ranges", async (ctx) => {
  for (
    const mode of [
      FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
      FALLOC_FL_ZERO_RANGE,
    ]
  ) {
    const data = pattern(12288).map((byte) => byte | 1);
    await using file = await tempFile(ctx, data);
    value(await asyncFallocate(ctx, file, mode, 4096, 4096));
    data.fill(0, 4096, 8192);
    assertEquals(await contentOf(ctx, file), data);
  }
});

kioTest("asyncFallocate() takes a bigint offset", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  value(await asyncFallocate(ctx, file, 0, 3n, 2));
  assertEquals((await contentOf(ctx, file)).length, 5);
  assertCode(
    await asyncFallocate(ctx, file, 0, 2n ** 62n, 4096),
    "EFBIG",
  );
});

kioTest("asyncFallocate() gives the errors of fallocate(2)", async (ctx) => {
  await using file = await tempFile(ctx);
  using pair = unixPair();
  assertCode(await asyncFallocate(ctx, pair.left, 0, 0, 1), "ESPIPE", "ENODEV");
  assertCode(await asyncFallocate(ctx, 4000, 0, 0, 1), "EBADF");
  assertCode(
    await asyncFallocate(ctx, file, 0x4000_0000, 0, 1),
    "EOPNOTSUPP",
    "EINVAL",
  );
  assertCode(
    await asyncFallocate(ctx, file, 0, 0, Number.MAX_SAFE_INTEGER),
    "EFBIG",
    "ENOSPC",
  );
  assertEquals((await contentOf(ctx, file)).length, 0);
});

// ---- asyncFtruncate --------------------------------------------------------------------

kioTest(
  "asyncFtruncate() cuts a file off and extends it with zeros",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abcdef"));
    const result = await asyncFtruncate(ctx, file, 2);
    assertEquals(result, { ok: true, value: undefined });
    assertEquals(text(await contentOf(ctx, file)), "ab");
    value(await asyncFtruncate(ctx, file.fd, 4n));
    assertEquals(text(await contentOf(ctx, file)), "ab\0\0");
    value(await asyncFtruncate(ctx, file, 0));
    assertEquals((await contentOf(ctx, file)).length, 0);
  },
);

kioTest(
  "asyncFtruncate() does not move the position of the file",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abcdef"));
    value(await asyncRead(ctx, file, new Uint8Array(5), CURRENT_POSITION));
    value(await asyncFtruncate(ctx, file, 2));
    assertEquals(await positionOf(file.fd), 5);
  },
);

kioTest("asyncFtruncate() makes a file of 2^40 bytes", async (ctx) => {
  await using file = await tempFile(ctx);
  value(await asyncFtruncate(ctx, file, 2 ** 40));
  const buffer = new Uint8Array(8);
  assertEquals(value(await asyncRead(ctx, file, buffer, 2 ** 40 - 3)), 3);
});

kioTest("asyncFtruncate() gives the errors of ftruncate(2)", async (ctx) => {
  const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
  assertCode(await asyncFtruncate(ctx, fd, 0), "EINVAL");
  value(await asyncClose(ctx, fd));
  assertCode(await asyncFtruncate(ctx, 4000, 0), "EBADF");
  await using file = await tempFile(ctx, bytes("abc"));
  assertCode(
    await asyncFtruncate(ctx, file, 2n ** 63n - 1n),
    "EFBIG",
    "EINVAL",
  );
  assertEquals(text(await contentOf(ctx, file)), "abc");
});

// ---- many at once -----------------------------------------------------------------------

kioTest(
  "asyncWrite() and asyncRead() of one file do not disturb each other",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const data = pattern(500 * 16);
    const writes = Array.from(
      { length: 500 },
      (_, i) =>
        asyncWrite(ctx, file, data.subarray(16 * i, 16 * i + 16), 16 * i),
    );
    for (const write of writes) assertEquals(value(await write), 16);
    const buffer = new Uint8Array(data.length);
    const reads = Array.from(
      { length: 500 },
      (_, i) =>
        asyncRead(ctx, file, buffer.subarray(16 * i, 16 * i + 16), 16 * i),
    );
    for (const read of reads) assertEquals(value(await read), 16);
    assertEquals(buffer, data);
  },
);
