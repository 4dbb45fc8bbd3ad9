import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncOpen,
  asyncReadExact,
  asyncRecv,
  asyncRecvExact,
  asyncSend,
  asyncSendExact,
  asyncShutdown,
  asyncWrite,
  asyncWriteExact,
  CURRENT_POSITION,
  IoContext,
  link,
  O_WRONLY,
  type Result,
  SHUT_WR,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  contentOf,
  kioTest,
  pattern,
  randomOf,
  tcpPair,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

/** More than any socket holds: it cannot be sent in one piece. */
const LARGE = 8 << 20;

/** Gives the bytes that a failed transfer has moved. */
function movedOf(result: Result<number>): number {
  return result.ok ? -1 : result.error.bytesTransferred!;
}

function assertShort(
  result: Result<number>,
  code: string,
  bytesTransferred: number,
): void {
  assertCode(result, code);
  assertEquals(movedOf(result), bytesTransferred);
  const message = result.ok ? "" : result.error.message;
  assert(message.endsWith(`, after ${bytesTransferred} bytes`), message);
}

kioTest("asyncSendExact() and asyncRecvExact() move all, TCP", async (ctx) => {
  using pair = await tcpPair(ctx);
  const data = pattern(LARGE);
  const buffer = new Uint8Array(LARGE);
  const [sent, received] = await Promise.all([
    asyncSendExact(ctx, pair.left, data),
    asyncRecvExact(ctx, pair.right, buffer),
  ]);
  assertEquals([value(sent), value(received)], [LARGE, LARGE]);
  assertEquals(buffer, data);
});

kioTest("asyncSendExact() and asyncRecvExact() of pieces meet", async (ctx) => {
  using pair = unixPair();
  const data = pattern(1 << 20, 7);
  const buffer = new Uint8Array(data.length);
  const random = randomOf(3);
  const send = async () => {
    for (let at = 0; at < data.length;) {
      const piece = data.subarray(at, at + 1 + random(70_000));
      at += value(await asyncSendExact(ctx, pair.left, piece));
    }
  };
  const receive = async () => {
    for (let at = 0; at < data.length;) {
      const piece = buffer.subarray(at, at + 1 + random(70_000));
      at += value(await asyncRecvExact(ctx, pair.right, piece));
    }
  };
  await Promise.all([send(), receive()]);
  assertEquals(buffer, data);
});

kioTest(
  "asyncSendExact() of several buffers sends all, in order",
  async (ctx) => {
    const lengths = [1, 0, 70_000, 5, 1 << 20, 0, 3 << 20, 17];
    const data = pattern(lengths.reduce((sum, length) => sum + length, 0), 2);
    let at = 0;
    const buffers = lengths.map((length) => data.subarray(at, at += length));
    for (const pair of [await tcpPair(ctx), unixPair()]) {
      const buffer = new Uint8Array(data.length);
      const given = [...buffers, new DataView(new ArrayBuffer(0))];
      const sending = asyncSendExact(ctx, pair.left, given);
      // The array is the caller's again.
      given.length = 0;
      const receiving = asyncRecvExact(ctx, pair.right, buffer);
      assertEquals(value(await sending), data.length);
      assertEquals(value(await receiving), data.length);
      assertEquals(buffer, data);
      pair[Symbol.dispose]();
    }
  },
);

kioTest("asyncSendExact() of 1024 buffers is one operation", async (ctx) => {
  using pair = unixPair();
  const buffers = Array.from({ length: 1024 }, (_, i) => pattern(3, i));
  assertEquals(value(await asyncSendExact(ctx, pair.left, buffers)), 3072);
  const buffer = new Uint8Array(3072);
  assertEquals(value(await asyncRecvExact(ctx, pair.right, buffer)), 3072);
  assertEquals(buffer.subarray(3069), pattern(3, 1023));
});

kioTest("asyncSendExact() of several buffers is one datagram", async (ctx) => {
  using pair = unixPair("datagram");
  const buffers = [bytes("abc"), bytes(""), bytes("de")];
  assertEquals(value(await asyncSendExact(ctx, pair.left, buffers)), 5);
  const buffer = new Uint8Array(9);
  assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 5);
  assertEquals(text(buffer.subarray(0, 5)), "abcde");
});

kioTest(
  "asyncSendExact() of several buffers that times out tells what was taken",
  async (ctx) => {
    using pair = unixPair();
    const data = pattern(LARGE, 9);
    const buffers = [data.subarray(0, 100_001), data.subarray(100_001)];
    const sent = await asyncSendExact(ctx, pair.left, buffers, {
      timeoutMs: 30,
    });
    assertCode(sent, "ETIMEDOUT");
    const taken = movedOf(sent);
    assert(taken > 0 && taken < LARGE);
    const buffer = new Uint8Array(taken);
    assertEquals(value(await asyncRecvExact(ctx, pair.right, buffer)), taken);
    assertEquals(buffer, data.subarray(0, taken));
  },
);

kioTest("asyncRecvExact() waits for the last byte", async (ctx) => {
  using pair = unixPair();
  const buffer = new Uint8Array(9);
  const receiving = asyncRecvExact(ctx, pair.left, buffer);
  for (const piece of ["abc", "def", "ghi"]) {
    assertEquals(ctx.pending, 1);
    value(await asyncSend(ctx, pair.right, bytes(piece)));
    await turn();
  }
  assertEquals(value(await receiving), 9);
  assertEquals(text(buffer), "abcdefghi");
});

kioTest("asyncRecvExact() gives ENODATA when the peer closes", async (ctx) => {
  using pair = unixPair();
  const buffer = new Uint8Array(10);
  value(await asyncSend(ctx, pair.right, bytes("abc")));
  value(await asyncShutdown(ctx, pair.right, SHUT_WR));
  assertShort(await asyncRecvExact(ctx, pair.left, buffer), "ENODATA", 3);
  assertEquals(text(buffer.subarray(0, 3)), "abc");
  assertShort(await asyncRecvExact(ctx, pair.left, buffer), "ENODATA", 0);
});

kioTest("asyncRecvExact() that times out tells what it has", async (ctx) => {
  using pair = unixPair();
  const buffer = new Uint8Array(10);
  value(await asyncSend(ctx, pair.right, bytes("abcd")));
  const first = asyncRecvExact(ctx, pair.left, buffer, { timeoutMs: 20 });
  assertShort(await first, "ETIMEDOUT", 4);
  // Nothing is lost: later bytes are for the next receive.
  value(await asyncSend(ctx, pair.right, bytes("efghij")));
  const rest = buffer.subarray(4);
  assertEquals(value(await asyncRecvExact(ctx, pair.left, rest)), 6);
  assertEquals(text(buffer), "abcdefghij");
});

kioTest("asyncRecvExact() that is cancelled tells what it has", async (ctx) => {
  using pair = unixPair();
  for (const how of ["cancel", "signal", "before"]) {
    const buffer = new Uint8Array(10);
    const abort = new AbortController();
    value(await asyncSend(ctx, pair.right, bytes("abc")));
    if (how === "before") abort.abort();
    const { signal } = abort;
    const op = asyncRecvExact(ctx, pair.left, buffer, { signal });
    if (how !== "before") await turn(5);
    if (how === "cancel") op.cancel();
    else abort.abort();
    const moved = how === "before" ? 0 : 3;
    assertShort(await op, "ECANCELED", moved);
    if (moved === 0) value(await asyncRecv(ctx, pair.left, buffer));
  }
});

kioTest("asyncRecvExact() with many aborts loses no byte", async (ctx) => {
  using pair = unixPair();
  const data = pattern(64 << 10, 5);
  const buffer = new Uint8Array(data.length);
  const random = randomOf(11);
  const sending = (async () => {
    for (let at = 0; at < data.length; at += 256) {
      value(await asyncSendExact(ctx, pair.left, data.subarray(at, at + 256)));
      if (random(4) === 0) await turn();
    }
  })();
  for (let at = 0; at < data.length;) {
    const rest = buffer.subarray(at, at + 1 + random(1000));
    const op = asyncRecvExact(ctx, pair.right, rest);
    if (random(2) === 0) op.withTimeout(random(2));
    else queueMicrotask(() => op.cancel());
    const result = await op;
    at += result.ok ? result.value : result.error.bytesTransferred!;
  }
  await sending;
  assertEquals(buffer, data);
});

kioTest("asyncSendExact() that times out tells what was taken", async (ctx) => {
  using pair = unixPair();
  const data = pattern(LARGE, 9);
  const sent = await asyncSendExact(ctx, pair.left, data, { timeoutMs: 30 });
  assertCode(sent, "ETIMEDOUT");
  const taken = movedOf(sent);
  assert(taken > 0 && taken < LARGE);
  const buffer = new Uint8Array(taken);
  assertEquals(value(await asyncRecvExact(ctx, pair.right, buffer)), taken);
  assertEquals(buffer, data.subarray(0, taken));
  const more = asyncRecv(ctx, pair.right, buffer).withTimeout(10);
  assertCode(await more, "ETIMEDOUT");
});

kioTest("asyncSendExact() gives EPIPE when the peer is gone", async (ctx) => {
  using pair = unixPair();
  const sending = asyncSendExact(ctx, pair.left, pattern(LARGE));
  await turn(5);
  await pair.right.close();
  const sent = await sending;
  assertCode(sent, "EPIPE", "ECONNRESET");
  assert(movedOf(sent) > 0);
});

kioTest("asyncSendExact() ends when its socket is closed", async (ctx) => {
  using pair = unixPair();
  const sending = asyncSendExact(ctx, pair.left, pattern(LARGE));
  await turn(5);
  await pair.left.close();
  assertCode(await sending, "ECANCELED", "EPIPE");
});

kioTest("asyncReadExact() and asyncWriteExact() move all", async (ctx) => {
  await using file = await tempFile(ctx);
  const data = pattern(3 << 20);
  assertEquals(value(await asyncWriteExact(ctx, file, data, 5)), data.length);
  const buffer = new Uint8Array(data.length);
  const read = await asyncReadExact(ctx, file, buffer, 5n);
  assertEquals(value(read), data.length);
  assertEquals(buffer, data);
});

kioTest("asyncReadExact() gives ENODATA at the end of a file", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abcdef"));
  const buffer = new Uint8Array(10);
  assertShort(await asyncReadExact(ctx, file, buffer, 2), "ENODATA", 4);
  assertEquals(text(buffer.subarray(0, 4)), "cdef");
  assertShort(await asyncReadExact(ctx, file, buffer, 6), "ENODATA", 0);
});

kioTest("asyncReadExact() goes on after each short read", async (ctx) => {
  // A pipe gives the bytes that are there, which is never all.
  using pair = unixPair();
  const buffer = new Uint8Array(6);
  const reading = asyncReadExact(ctx, pair.left, buffer, CURRENT_POSITION);
  for (const piece of ["a", "bc", "def"]) {
    value(await asyncWrite(ctx, pair.right, bytes(piece), CURRENT_POSITION));
    await turn(2);
  }
  assertEquals(value(await reading), 6);
  assertEquals(text(buffer), "abcdef");
});

kioTest("asyncReadExact() at CURRENT_POSITION moves it", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abcdef"));
  const buffer = new Uint8Array(3);
  for (const expected of ["abc", "def"]) {
    value(await asyncReadExact(ctx, file, buffer, CURRENT_POSITION));
    assertEquals(text(buffer), expected);
  }
});

kioTest(
  "asyncReadExact() takes any offset that asyncRead() takes",
  async (ctx) => {
    await using file = await tempFile(ctx);
    for (const at of [2 ** 53 - 1, 2n ** 53n - 1n, 2n ** 62n]) {
      const result = await asyncReadExact(ctx, file, new Uint8Array(2), at);
      assertCode(result, "ENODATA");
    }
  },
);

kioTest("asyncWriteExact() tells how far it came", async (ctx) => {
  const full = value(await asyncOpen(ctx, "/dev/full", O_WRONLY));
  assertShort(await asyncWriteExact(ctx, full, bytes("abc")), "ENOSPC", 0);
  value(await asyncClose(ctx, full));
});

kioTest("asyncWriteExact() writes more than 4 GiB", async (ctx) => {
  // Nobody looks at the memory, so there is none: step_test.c reads that far.
  const sink = value(await asyncOpen(ctx, "/dev/null", O_WRONLY));
  for (const length of [2 ** 31 + 5, 2 ** 32 + 5]) {
    const result = await asyncWriteExact(ctx, sink, new Uint8Array(length));
    assertEquals(value(result), length);
  }
  value(await asyncClose(ctx, sink));
});

kioTest("asyncRecvExact() 10 000 at a time", async (ctx) => {
  using pair = unixPair();
  const ops = Array.from({ length: 10_000 }, () => {
    const buffer = new Uint8Array(2);
    return { buffer, op: asyncRecvExact(ctx, pair.left, buffer) };
  });
  const data = pattern(20_000);
  const sending = asyncSendExact(ctx, pair.right, data);
  // In what order they get the bytes is the kernel's affair.
  for (const { op } of ops) assertEquals(value(await op), 2);
  assertEquals(value(await sending), 20_000);
  const sum = (array: Uint8Array) => array.reduce((a, b) => a + b, 0);
  assertEquals(
    ops.reduce((total, { buffer }) => total + sum(buffer), 0),
    sum(data),
  );
});

kioTest("asyncRecvExact() pending when its context is closed", async () => {
  using pair = unixPair();
  const ctx = new IoContext(4);
  const buffer = new Uint8Array(10);
  value(await asyncSend(ctx, pair.right, bytes("abc")));
  const op = asyncRecvExact(ctx, pair.left, buffer);
  await turn(2);
  ctx[Symbol.dispose]();
  assertShort(await op, "ECANCELED", 3);
});

kioTest("asyncRecvExact() is no link of a chain", (ctx) => {
  using pair = unixPair();
  const buffer = new Uint8Array(1);
  const ops = [
    () => asyncRecvExact(ctx, pair.left, buffer),
    () => asyncSendExact(ctx, pair.left, buffer),
    () => asyncReadExact(ctx, pair.left, buffer),
    () => asyncWriteExact(ctx, pair.left, buffer),
  ];
  for (const op of ops) {
    assertThrows(() => link(ctx, op), TypeError, "in link()");
  }
  assertEquals(ctx.pending, 0);
});

kioTest("exact transfers refuse what makes no sense", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  const buffer = new Uint8Array(4);
  const gone = new Uint8Array(4);
  gone.buffer.transfer();
  // deno-lint-ignore no-explicit-any
  const bad = (value: unknown) => value as any;
  const calls: [() => unknown, ErrorConstructor][] = [
    [() => asyncRecvExact(ctx, -1, buffer), RangeError],
    [() => asyncRecvExact(ctx, 1.5, buffer), RangeError],
    [() => asyncRecvExact(ctx, 2 ** 32 + 3, buffer), RangeError],
    [() => asyncRecvExact(ctx, file, new Uint8Array(0)), RangeError],
    [() => asyncRecvExact(ctx, file, gone), TypeError],
    [() => asyncRecvExact(ctx, file, bad("abc")), TypeError],
    [() => asyncRecvExact(bad({}), file, buffer), TypeError],
    [() => asyncRecvExact(ctx, file, buffer, bad(null)), TypeError],
    [() => asyncRecvExact(ctx, file, buffer, { timeoutMs: -1 }), RangeError],
    [() => asyncRecvExact(ctx, file, buffer, { timeoutMs: NaN }), RangeError],
    [() => asyncSendExact(ctx, file, buffer, { signal: bad({}) }), TypeError],
    [() => asyncReadExact(ctx, file, buffer, -1), RangeError],
    [() => asyncReadExact(ctx, file, buffer, NaN), RangeError],
    [() => asyncReadExact(ctx, file, buffer, 2n ** 63n - 2n), RangeError],
    [() => asyncWriteExact(ctx, file, buffer, bad("1")), TypeError],
  ];
  for (const [call, error] of calls) assertThrows(call, error, "Cannot ");
  assertEquals(ctx.pending, 0);
  assertEquals(text(await contentOf(ctx, file)), "abc");
});

for (const offset of [undefined, CURRENT_POSITION] as const) {
  const name = offset === undefined ? "the default offset" : "CURRENT_POSITION";
  kioTest(
    `asyncReadExact() of a socket goes on after a part, with ${name}`,
    async (ctx) => {
      using pair = unixPair();
      const buffer = new Uint8Array(6);
      const read = asyncReadExact(ctx, pair.right, buffer, offset);
      for (const part of ["a", "bcd", "ef"]) {
        value(await asyncSend(ctx, pair.left, bytes(part)));
        await turn();
      }
      assertEquals(value(await read), 6);
      assertEquals(text(buffer), "abcdef");
    },
  );

  kioTest(
    `asyncWriteExact() to a socket goes on after a part, with ${name}`,
    async (ctx) => {
      using pair = unixPair();
      const data = pattern(LARGE);
      const copy = new Uint8Array(LARGE);
      const [written, received] = await Promise.all([
        asyncWriteExact(ctx, pair.left, data, offset),
        asyncRecvExact(ctx, pair.right, copy),
      ]);
      assertEquals([value(written), value(received)], [LARGE, LARGE]);
      assertEquals(copy, data);
    },
  );
}

kioTest(
  "asyncReadExact() and asyncWriteExact() of a socket at an offset give ESPIPE",
  async (ctx) => {
    using pair = unixPair();
    value(await asyncSend(ctx, pair.left, bytes("abcd")));
    const buffer = new Uint8Array(4);
    assertShort(
      await asyncReadExact(ctx, pair.right, buffer, 1),
      "ESPIPE",
      0,
    );
    assertShort(await asyncWriteExact(ctx, pair.right, buffer, 1), "ESPIPE", 0);
    assertEquals(value(await asyncRecvExact(ctx, pair.right, buffer)), 4);
  },
);

for (const type of ["datagram", "seqpacket"] as const) {
  for (
    const [name, receive] of [
      ["asyncRecvExact", asyncRecvExact],
      ["asyncReadExact", asyncReadExact],
    ] as const
  ) {
    kioTest(
      `${name}() of a ${type} socket ends with a shorter message`,
      async (ctx) => {
        using pair = unixPair(type);
        value(await asyncSend(ctx, pair.left, bytes("abc")));
        value(await asyncSend(ctx, pair.left, bytes("whole")));
        assertShort(
          await receive(ctx, pair.right, new Uint8Array(4)),
          "ENODATA",
          3,
        );
        const next = new Uint8Array(5);
        assertEquals(value(await receive(ctx, pair.right, next)), 5);
        assertEquals(text(next), "whole");
      },
    );
  }
}
