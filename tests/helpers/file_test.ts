import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  asyncClose,
  asyncOpen,
  asyncPipe,
  asyncRead,
  asyncReadExact,
  asyncUnlink,
  File,
  IoContext,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  Socket,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  isOpen,
  kioTest,
  pattern,
  text,
  turn,
  value,
} from "../support.ts";

/** A file without a name. */
async function open(ctx: IoContext, content = ""): Promise<File> {
  const file = unwrap(await File.open(ctx, "/tmp", O_TMPFILE | O_RDWR));
  if (content !== "") await file.writeAt(bytes(content), 0);
  return file;
}

kioTest("File has the members of Deno.FsFile", async (ctx) => {
  await using file = await open(ctx, "abcdef");
  // The type test.
  const like: Deno.FsFile = file;
  const buffer = new Uint8Array(4);
  assertEquals(await like.read(buffer), 4);
  assertEquals(text(buffer), "abcd");
  assertEquals(await like.read(buffer), 2);
  assertEquals(await like.read(buffer), null);
  assertEquals(await like.read(new Uint8Array(0)), 0);
  assertEquals(await like.write(new Uint8Array(0)), 0);
  assertEquals(await like.seek(2, Deno.SeekMode.Start), 2);
  assertEquals(await like.write(bytes("CD")), 2);
  assertEquals(await like.seek(0n, Deno.SeekMode.Current), 4);
  assertEquals(await like.seek(-1, Deno.SeekMode.End), 5);
  assertEquals(await like.read(buffer), 1);
  await like.truncate(3);
  assertEquals((await like.stat()).size, 3);
  await like.truncate();
  assertEquals((await like.stat()).size, 0);
  await Promise.all([like.sync(), like.syncData()]);
  assertEquals(like.isTerminal(), false);
  like.close();
  assertEquals(file.fd, -1);
});

kioTest("File has the synchronous members of Deno.FsFile", async (ctx) => {
  await using file = await open(ctx, "abcdef");
  const like: Deno.FsFile = file;
  const buffer = new Uint8Array(4);
  assertEquals(like.readSync(buffer), 4);
  assertEquals(text(buffer), "abcd");
  assertEquals(like.readSync(buffer), 2);
  assertEquals(like.readSync(buffer), null);
  assertEquals(like.readSync(new Uint8Array(0)), 0);
  assertEquals(like.writeSync(new Uint8Array(0)), 0);
  assertEquals(like.seekSync(2, Deno.SeekMode.Start), 2);
  assertEquals(like.writeSync(bytes("CD")), 2);
  assertEquals(like.seekSync(-2n, Deno.SeekMode.End), 4);
  like.truncateSync(5);
  like.utimeSync(1, new Date(2000));
  const { size, atime, mtime, ...facts } = like.statSync();
  assertEquals([size, +atime!, +mtime!], [5, 1000, 2000]);
  const { size: _1, atime: _2, mtime: _3, ...same } = await like.stat();
  assertEquals(facts, same);
  like.truncateSync();
  assertEquals(like.statSync().size, 0);
  like.syncSync();
  like.syncDataSync();
  like.lockSync();
  assertEquals(like.tryLockSync(false), true);
  like.unlockSync();
});

kioTest("File's synchronous members refuse what cannot be", async (ctx) => {
  const file = unwrap(await File.open(ctx, "/proc/self/stat"));
  const { fd } = file;
  const calls: [string, (() => unknown)][] = [
    ["EBADF", () => file.writeSync(new Uint8Array(1))],
    ["EINVAL", () => file.seekSync(-1, Deno.SeekMode.Start)],
    ["EINVAL", () => file.truncateSync(1)],
    ["ENOTTY", () => file.setRaw(true)],
  ];
  for (const [code, call] of calls) {
    const error = assertThrows(call) as Error & { code: string };
    assertEquals([code, error.message.includes(`(fd ${fd})`)], [
      error.code,
      true,
    ]);
  }
  const gone = new Uint8Array(4);
  gone.buffer.transfer();
  assertThrows(() => file.readSync(gone), TypeError, "detached");
  assertThrows(() => file.readSync("x" as never), TypeError, "Uint8Array");
  assertThrows(() => file.truncateSync(-1), RangeError);
  assertThrows(() => file.seekSync(0.5, 0), RangeError);
  assertThrows(() => file.utimeSync(NaN, 0), RangeError);
  assertThrows(() => file.lockSync(1 as never), TypeError, "boolean");
  assertThrows(() => file.setRaw(1 as never), TypeError, "boolean");
  assertThrows(() => file.setRaw(true, null as never), TypeError, "options");
  await file.close();
  const all = [
    () => file.readSync(new Uint8Array(1)),
    () => file.writeSync(new Uint8Array(1)),
    () => file.seekSync(0, 0),
    () => file.statSync(),
    () => file.truncateSync(),
    () => file.syncSync(),
    () => file.syncDataSync(),
    () => file.utimeSync(0, 0),
    () => file.lockSync(),
    () => file.tryLockSync(),
    () => file.unlockSync(),
    () => file.isTerminal(),
    () => file.setRaw(false),
  ];
  for (const call of all) assertThrows(call, TypeError, "closed");
});

kioTest(
  "File.setRaw() turns the echo of a terminal off, and back on",
  async (ctx) => {
    const O_NOCTTY = 0o400;
    const opened = await File.open(ctx, "/dev/ptmx", O_RDWR | O_NOCTTY);
    await using terminal = unwrap(opened);
    assertEquals(terminal.isTerminal(), true);
    const buffer = new Uint8Array(16);
    const echoed = async (): Promise<string> => {
      await terminal.write(bytes("a"));
      const read = await asyncRead(ctx, terminal, buffer).withTimeout(20);
      return read.ok ? text(buffer.subarray(0, read.value)) : read.error.code;
    };
    terminal.setRaw(false); // nothing to bring back
    assertEquals(await echoed(), "a");
    terminal.setRaw(true);
    terminal.setRaw(true, { cbreak: true });
    assertEquals(await echoed(), "ETIMEDOUT");
    terminal.setRaw(false);
    assertEquals(await echoed(), "a");
  },
);

kioTest("File.readAt() and writeAt() leave the position alone", async (ctx) => {
  await using file = await open(ctx, "abcdef");
  const buffer = new Uint8Array(3);
  assertEquals(await file.readAt(buffer, 3n), 3);
  assertEquals(text(buffer), "def");
  assertEquals(await file.writeAt(bytes("XY"), 1), 2);
  assertEquals(await file.readAt(buffer, 6), null);
  assertEquals(await file.read(buffer), 3);
  assertEquals(text(buffer), "aXY");
});

kioTest("File.open() gives the error of the system", async (ctx) => {
  assertCode(await File.open(ctx, "/no/such/file"), "ENOENT");
  const abort = AbortSignal.abort();
  const given = await File.open(ctx, "/etc/passwd", O_RDONLY, {
    signal: abort,
  });
  assertCode(given, "ECANCELED");
  await assertRejects(() => File.open(ctx, "a\0b"), TypeError, "NUL");
  const timeoutMs = -1;
  await assertRejects(
    () => File.open(ctx, "/etc/passwd", O_RDONLY, { timeoutMs }),
    RangeError,
  );
});

kioTest("File is an fd for operations", async (ctx) => {
  await using file = await open(ctx, "abc");
  const buffer = new Uint8Array(3);
  assertEquals(value(await asyncReadExact(ctx, file, buffer)), 3);
  const { fd } = file;
  const other = new File(ctx, file.release());
  assertEquals([file.fd, other.fd], [-1, fd]);
  await other.close();
  await other.close();
  assert(!isOpen(fd));
});

kioTest("File.stat() tells the kind of the file", async (ctx) => {
  const kinds = {
    "/etc/passwd": "isFile",
    "/tmp": "isDirectory",
    "/dev/null": "isCharDevice",
  } as const;
  for (const [path, kind] of Object.entries(kinds)) {
    await using file = unwrap(await File.open(ctx, path));
    const info = await file.stat();
    assertEquals(
      Object.entries(info).filter(([, it]) => it === true),
      [[kind, true]],
    );
  }
});

kioTest("File.utime() sets the times", async (ctx) => {
  await using file = await open(ctx);
  const times: [number | Date, number | Date][] = [
    [new Date(1_000), new Date(-1_500)],
    [12.5, -12.25],
  ];
  for (const [accessed, modified] of times) {
    await file.utime(accessed, modified);
    const { atime, mtime } = await file.stat();
    const ms = (time: number | Date) =>
      time instanceof Date ? +time : time * 1e3;
    assertEquals([+atime!, +mtime!], [ms(accessed), ms(modified)]);
  }
  for (const wrong of [NaN, Infinity, new Date(NaN), 1e300, "1" as never]) {
    await assertRejects(() => file.utime(wrong, 0), RangeError, "expected");
  }
});

kioTest("File.seek() refuses what is no place", async (ctx) => {
  await using file = await open(ctx);
  const { Start } = Deno.SeekMode;
  for (const wrong of [1.5, NaN, 2 ** 53, 2n ** 63n, "1" as never]) {
    await assertRejects(() => file.seek(wrong, Start), RangeError, "offset");
  }
  await assertRejects(() => file.seek(0, 3 as never), RangeError, "whence");
  const before = await assertRejects(() => file.seek(-1, Start), Error);
  assertEquals((before as Error & { code?: string }).code, "EINVAL");
});

kioTest(
  "File.close() waits for the end of a close() before it",
  async (ctx) => {
    const { readFd, writeFd } = value(await asyncPipe(ctx));
    await using _ = new File(ctx, writeFd);
    const file = new File(ctx, readFd);
    const reading = asyncRead(ctx, file, new Uint8Array(8));
    await turn();
    void file.close();
    assert(isOpen(readFd), "the kernel still has it");
    await file.close();
    assert(!isOpen(readFd));
    assertCode(await reading, "ECANCELED");
  },
);

kioTest("File that is closed says so", async (ctx) => {
  const file = await open(ctx);
  await file.close();
  const buffer = new Uint8Array(1);
  const calls: (() => unknown)[] = [
    () => file.read(buffer),
    () => file.writeAt(buffer, 0),
    () => file.stat(),
    () => file.sync(),
    () => file.syncData(),
    () => file.truncate(1),
    () => file.isTerminal(),
    () => file.blocks(),
    () => file.readable,
    () => file.writable,
  ];
  for (const call of calls) assertThrows(call, TypeError, "closed or released");
  const later: (() => Promise<unknown>)[] = [
    () => file.seek(0, 0),
    () => file.lock(),
    () => file.tryLock(),
    () => file.unlock(),
    () => file.utime(0, 0),
  ];
  for (const call of later) {
    await assertRejects(call, TypeError, "closed or released");
  }
});

kioTest("new File() refuses what it cannot own", (ctx) => {
  assertThrows(() => new File(ctx, -1), RangeError);
  assertThrows(() => new File(ctx, ctx.ringFd), TypeError, "ring");
  assertThrows(() => new File({} as never, 5), TypeError, "IoContext");
});

kioTest("File.close() ends what is pending before the fd", async (ctx) => {
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  const [reader, writer] = [new File(ctx, readFd), new File(ctx, writeFd)];
  for (const how of ["close", "dispose"] as const) {
    const file = how === "close" ? reader : writer;
    if (how === "dispose") {
      file[Symbol.dispose]();
      assert(!isOpen(writeFd), "nothing is pending on it");
      continue;
    }
    const reading = file.read(new Uint8Array(1));
    await turn();
    const closing = file.close();
    assert(isOpen(readFd), "the kernel still has an operation on it");
    await assertRejects(() => reading, Deno.errors.Interrupted, "ECANCELED");
    await closing;
    assert(!isOpen(readFd));
  }
});

// ---- locks --------------------------------------------------------------------

kioTest("File.lock() waits without a thread, and ends", async (ctx) => {
  const path = `/tmp/kio-${crypto.randomUUID()}`;
  const flags = O_RDWR | O_CREAT;
  await using first = unwrap(await File.open(ctx, path, flags));
  await using second = unwrap(await File.open(ctx, path, flags));
  await using third = unwrap(await File.open(ctx, path, flags));
  value(await asyncUnlink(ctx, path));

  await first.lock();
  assertEquals(await second.tryLock(), false);
  assertEquals(await second.tryLock(false), false);
  const late = second.lock(true, { timeoutMs: 10 });
  await assertRejects(() => late, Deno.errors.TimedOut, "ETIMEDOUT");
  const abort = new AbortController();
  const aborted = second.lock(true, { signal: abort.signal });
  await turn(2);
  abort.abort();
  await assertRejects(() => aborted, Deno.errors.Interrupted, "ECANCELED");

  const waiting = second.lock(false);
  await turn(2);
  await first.unlock();
  await waiting;
  assertEquals(await third.tryLock(false), true);
  assertEquals(await first.tryLock(), false);

  const closed = first.lock();
  await turn(2);
  await first.close();
  await assertRejects(() => closed, TypeError, "closed or released");
  await assertRejects(() => second.lock(1 as never), TypeError, "exclusive");
});

kioTest("File.lock() ends with its context", async () => {
  const ctx = new IoContext(4);
  const [one, two] = [0, 0].map(() => asyncOpen(ctx, "/dev/null", O_RDWR));
  using a = new File(ctx, value(await one!));
  using b = new File(ctx, value(await two!));
  await a.lock();
  const waiting = b.lock();
  await turn(2);
  ctx[Symbol.dispose]();
  await assertRejects(() => waiting, Error);
});

// ---- streams ------------------------------------------------------------------

kioTest(
  "File.readable gives all from the position, and closes",
  async (ctx) => {
    const data = pattern(1_500_000);
    const file = await open(ctx);
    const { fd } = file;
    await file.writeAt(data, 0);
    await file.seek(7, Deno.SeekMode.Start);
    assertStrictEquals(file.readable, file.readable);
    const got = new Uint8Array(await new Response(file.readable).arrayBuffer());
    assertEquals(got, data.subarray(7));
    assertEquals(file.fd, -1);
    assert(!isOpen(fd));
  },
);

kioTest("File.readable is a byte stream", async (ctx) => {
  await using file = await open(ctx, "abcdef");
  const reader = file.readable.getReader({ mode: "byob" });
  const first = await reader.read(new Uint8Array(4));
  assertEquals(text(first.value!), "abcd");
  const rest = await reader.read(new Uint8Array(4));
  assertEquals(text(rest.value!), "ef");
  const end = await reader.read(new Uint8Array(4));
  assertEquals([end.done, end.value!.length], [true, 0]);
});

kioTest("File.readable that is cancelled closes the file", async (ctx) => {
  const file = await open(ctx, "abc");
  const reader = file.readable.getReader();
  await reader.read();
  await reader.cancel();
  assertEquals(file.fd, -1);
});

kioTest("File.writable writes all chunks, and closes", async (ctx) => {
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  await using reader = new File(ctx, readFd);
  const writer = new File(ctx, writeFd);
  const data = pattern(300_000);
  const chunks = [data.subarray(0, 9), new Uint8Array(0), data.subarray(9)];
  const [got] = await Promise.all([
    new Response(reader.readable).arrayBuffer(),
    ReadableStream.from(chunks).pipeTo(writer.writable),
  ]);
  assertEquals(new Uint8Array(got), data);
  assertEquals(writer.fd, -1);
});

kioTest("File.close() ends what a stream asks for only later", async (ctx) => {
  for (const end of ["readable", "writable"] as const) {
    const { readFd: from, writeFd: to } = value(await asyncPipe(ctx));
    const [mine, other] = end === "readable" ? [from, to] : [to, from];
    const file = new File(ctx, mine);
    const waiting = end === "readable"
      ? file.readable.getReader().read()
      : file.writable.getWriter().write(bytes("x"));
    const rejected = assertRejects(
      () => waiting as Promise<unknown>,
      Deno.errors.Interrupted,
    );
    await file.close();
    await rejected;
    value(await asyncClose(ctx, other));
  }
});

kioTest("File.readable and writable that fail close the file", async (ctx) => {
  const gone = new Uint8Array(4);
  gone.buffer.transfer();
  for (
    const fails of [
      (file: File) => file.writable.getWriter().write(gone),
      (file: File) =>
        file.writable.getWriter().write("text" as unknown as Uint8Array),
    ]
  ) {
    const file = await open(ctx);
    await assertRejects(() => fails(file), TypeError);
    assertEquals(file.fd, -1);
  }
  const folder = unwrap(await File.open(ctx, "/tmp", O_RDONLY));
  await assertRejects(() => folder.readable.getReader().read());
  assertEquals(folder.fd, -1);
});

kioTest("File.writable that fails gives the error", async (ctx) => {
  const file = unwrap(await File.open(ctx, "/dev/full", O_RDWR));
  const writer = file.writable.getWriter();
  await assertRejects(() => writer.write(bytes("a")), Error, "ENOSPC");
  await assertRejects(() => writer.closed);
  await file.close();
});

kioTest("a socket is no file of a File", async (ctx) => {
  const [left, right] = unwrap(Socket.pair());
  await using file = new File(ctx, left.release());
  await assertRejects(() => file.seek(0, 0), Error, "ESPIPE");
  await right.close();
});
