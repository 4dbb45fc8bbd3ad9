/** asyncFadvise(), asyncSyncFileRange() and asyncTee(). */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncFadvise,
  asyncPipe,
  asyncRead,
  asyncSyncFileRange,
  asyncTee,
  asyncWrite,
  IoContext,
  link,
  type PipeFds,
  POSIX_FADV_DONTNEED,
  POSIX_FADV_NOREUSE,
  POSIX_FADV_NORMAL,
  POSIX_FADV_RANDOM,
  POSIX_FADV_SEQUENTIAL,
  POSIX_FADV_WILLNEED,
  SPLICE_F_NONBLOCK,
  SYNC_FILE_RANGE_WAIT_AFTER,
  SYNC_FILE_RANGE_WAIT_BEFORE,
  SYNC_FILE_RANGE_WRITE,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  contentOf,
  kioTest,
  pattern,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

const NO_FD = 4000;

/** Both, as functions of a range. */
const RANGES: [
  name: string,
  start: (
    ctx: IoContext,
    fd: number | { fd: number },
    offset: number | bigint,
    length: number,
  ) => UringOp<void>,
][] = [
  [
    "asyncFadvise",
    (ctx, fd, offset, length) =>
      asyncFadvise(ctx, fd, offset, length, POSIX_FADV_DONTNEED),
  ],
  ["asyncSyncFileRange", (...args) => asyncSyncFileRange(...args)],
];

for (const [name, start] of RANGES) {
  kioTest(`${name}() takes any range and changes no byte`, async (ctx) => {
    const content = pattern(50_000);
    await using file = await tempFile(ctx, content);
    const ranges: [number | bigint, number][] = [
      [0, 0],
      [0, 4096],
      [4095, 1],
      [10 ** 9, 1],
      [0, 2 ** 32 - 1],
      [2 ** 53 - 1, 1],
      [2n ** 53n + 1n, 1],
    ];
    for (const [offset, length] of ranges) {
      value(await start(ctx, file, offset, length));
    }
    assertEquals(await contentOf(ctx, file), content);
  });

  kioTest(`${name}() reports what is wrong`, async (ctx) => {
    const pipe = value(await asyncPipe(ctx));
    using pair = unixPair();
    assertCode(await start(ctx, NO_FD, 0, 0), "EBADF");
    assertCode(await start(ctx, pipe.readFd, 0, 0), "ESPIPE");
    const socket = await start(ctx, pair.left, 0, 0);
    if (!socket.ok) assertCode(socket, "ESPIPE", "EINVAL");
    await closeAll(ctx, pipe);
  });

  kioTest(`${name}() that is cancelled tells so or is done`, async (ctx) => {
    await using file = await tempFile(ctx, pattern(10_000));
    for (let round = 0; round < 40; round++) {
      const ops = [
        start(ctx, file, 0, 0),
        start(ctx, file, 0, 0).withTimeout(0),
        start(ctx, file, 0, 0).withSignal(AbortSignal.timeout(0)),
      ];
      if (round % 2) await turn();
      ops[0]!.cancel();
      for (const result of await Promise.all(ops)) {
        if (!result.ok) assertCode(result, "ECANCELED", "ETIMEDOUT");
      }
    }
    const aborted = start(ctx, file, 0, 0).withSignal(AbortSignal.abort());
    assertCode(await aborted, "ECANCELED");
  });

  kioTest(`${name}() ends with its context`, async (outer) => {
    await using file = await tempFile(outer, bytes("abc"));
    const ctx = new IoContext();
    const op = start(ctx, file, 0, 0);
    ctx[Symbol.dispose]();
    const result = await op;
    if (!result.ok) assertCode(result, "ECANCELED");
    assertThrows(() => start(ctx, file, 0, 0), TypeError, "is closed");
  });
}

kioTest("asyncFadvise() takes each advice, and no other", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const all = [
    POSIX_FADV_NORMAL,
    POSIX_FADV_RANDOM,
    POSIX_FADV_SEQUENTIAL,
    POSIX_FADV_WILLNEED,
    POSIX_FADV_DONTNEED,
    POSIX_FADV_NOREUSE,
  ];
  for (const advice of all) {
    value(await asyncFadvise(ctx, file, 0, 3, advice));
  }
  assertCode(await asyncFadvise(ctx, file, 0, 3, 6), "EINVAL");
});

kioTest("asyncSyncFileRange() takes its flags, and no others", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  for (
    const flags of [
      0,
      SYNC_FILE_RANGE_WRITE,
      SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE,
      SYNC_FILE_RANGE_WAIT_AFTER,
      7,
    ]
  ) value(await asyncSyncFileRange(ctx, file, 0, 3, { flags }));
  const unknown = await asyncSyncFileRange(ctx, file, 0, 3, { flags: 8 });
  assertCode(unknown, "EINVAL");
});

kioTest(
  "asyncFadvise() that fails ends a chain, asyncSyncFileRange() not",
  async (ctx) => {
    await using file = await tempFile(ctx, bytes("abc"));
    const buffer = new Uint8Array(3);
    const [synced, read] = link(ctx, () => [
      asyncSyncFileRange(ctx, file, 0, 3, { flags: 8 }),
      asyncRead(ctx, file, buffer),
    ]);
    assertCode(await synced!, "EINVAL");
    assertEquals(value(await read!), 3);
    const [advised, other] = link(ctx, () => [
      asyncFadvise(ctx, file, 0, 3, 6),
      asyncRead(ctx, file, buffer),
    ]);
    assertCode(await advised!, "EINVAL");
    assertCode(await other!, "ECANCELED");
  },
);

// ---- asyncTee ------------------------------------------------------------------

async function closeAll(
  ctx: IoContext,
  ...pipes: readonly PipeFds[]
): Promise<void> {
  for (const { readFd, writeFd } of pipes) {
    value(await asyncClose(ctx, readFd));
    value(await asyncClose(ctx, writeFd));
  }
}

async function readFrom(ctx: IoContext, { readFd }: PipeFds): Promise<string> {
  const buffer = new Uint8Array(100);
  const count = value(await asyncRead(ctx, readFd, buffer));
  return text(buffer.subarray(0, count));
}

kioTest("asyncTee() gives the bytes to both pipes", async (ctx) => {
  const [one, two] = [value(await asyncPipe(ctx)), value(await asyncPipe(ctx))];
  value(await asyncWrite(ctx, one.writeFd, bytes("abcdef")));
  const op = asyncTee(ctx, { fd: one.readFd }, { fd: two.writeFd }, 4);
  assertEquals(value(await op), 4);
  assertEquals(await readFrom(ctx, two), "abcd");
  assertEquals(await readFrom(ctx, one), "abcdef");
  await closeAll(ctx, one, two);
});

kioTest("asyncTee() gives as many bytes as there are", async (ctx) => {
  const [one, two] = [value(await asyncPipe(ctx)), value(await asyncPipe(ctx))];
  value(await asyncWrite(ctx, one.writeFd, bytes("abc")));
  const flags = SPLICE_F_NONBLOCK;
  const length = 0x7ffff000;
  const op = asyncTee(ctx, one.readFd, two.writeFd, length, { flags });
  assertEquals(value(await op), 3);
  await closeAll(ctx, one, two);
});

kioTest("asyncTee() reports what is wrong", async (ctx) => {
  const [one, two] = [value(await asyncPipe(ctx)), value(await asyncPipe(ctx))];
  await using file = await tempFile(ctx, bytes("abc"));
  const codes: [from: number, to: number, code: string][] = [
    [one.readFd, two.writeFd, "EAGAIN"],
    [NO_FD, two.writeFd, "EBADF"],
    [one.readFd, NO_FD, "EBADF"],
    [file.fd, two.writeFd, "EINVAL"],
    [one.readFd, file.fd, "EINVAL"],
    [one.readFd, one.writeFd, "EINVAL"],
    [one.writeFd, two.writeFd, "EBADF"],
  ];
  for (const [from, to, code] of codes) {
    assertCode(await asyncTee(ctx, from, to, 1), code);
  }
  value(await asyncWrite(ctx, one.writeFd, bytes("abc")));
  const unknown = asyncTee(ctx, one.readFd, two.writeFd, 1, { flags: 0x100 });
  assertCode(await unknown, "EINVAL");
  value(await asyncClose(ctx, two.readFd));
  assertCode(await asyncTee(ctx, one.readFd, two.writeFd, 1), "EPIPE");
  value(await asyncClose(ctx, two.writeFd));
  await closeAll(ctx, one);
});

kioTest(
  "asyncTee() gives 0 at the end",
  async (ctx) => {
    const [one, two] = [
      value(await asyncPipe(ctx)),
      value(await asyncPipe(ctx)),
    ];
    value(await asyncClose(ctx, one.writeFd));
    assertEquals(value(await asyncTee(ctx, one.readFd, two.writeFd, 1)), 0);
    value(await asyncClose(ctx, one.readFd));
    await closeAll(ctx, two);
  },
);

kioTest(
  "asyncTee() that is cancelled or closed loses nothing",
  async (outer) => {
    const [one, two] = [
      value(await asyncPipe(outer)),
      value(await asyncPipe(outer)),
    ];
    value(await asyncWrite(outer, one.writeFd, bytes("abc")));
    let moved = 0;
    for (let round = 0; round < 30; round++) {
      const ctx = new IoContext();
      const op = asyncTee(ctx, one.readFd, two.writeFd, 3);
      if (round % 3 === 0) op.cancel();
      else if (round % 3 === 1) op.withTimeout(0);
      else await Promise.resolve();
      ctx[Symbol.dispose]();
      const result = await op;
      if (result.ok) moved += result.value;
      else assertCode(result, "ECANCELED", "ETIMEDOUT");
    }
    assertEquals(await readFrom(outer, one), "abc");
    if (moved > 0) {
      assertEquals((await readFrom(outer, two)).length, Math.min(moved, 100));
    }
    await closeAll(outer, one, two);
  },
);

kioTest(
  "asyncTee() is a link of a chain, which a failure ends",
  async (ctx) => {
    const [one, two] = [
      value(await asyncPipe(ctx)),
      value(await asyncPipe(ctx)),
    ];
    const buffer = new Uint8Array(3);
    const [written, teed, read] = link(ctx, () => [
      asyncWrite(ctx, one.writeFd, bytes("abc")),
      asyncTee(ctx, one.readFd, two.writeFd, 3),
      asyncRead(ctx, two.readFd, buffer),
    ]);
    for (const op of [written, teed, read]) assertEquals(value(await op!), 3);
    const [short, other] = link(ctx, () => [
      asyncTee(ctx, one.readFd, two.writeFd, 4),
      asyncRead(ctx, two.readFd, buffer),
    ]);
    assertEquals(value(await short!), 3);
    assertCode(await other!, "ECANCELED");
    assert(await readFrom(ctx, two));
    await closeAll(ctx, one, two);
  },
);
