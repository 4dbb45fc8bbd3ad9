/** `BufferedReader` on a stream of leases. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  asyncRecvMultishot,
  asyncSendExact,
  asyncShutdown,
  BufferedReader,
  BufferPool,
  IoContext,
  SHUT_WR,
  Socket,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  pattern,
  randomOf,
  text,
  turn,
  value,
} from "../support.ts";

/** A socket, and a reader of what is sent to it. */
class Sides implements AsyncDisposable {
  readonly pool: BufferPool;
  readonly #pair: [Socket, Socket] = unwrap(Socket.pair());
  readonly stream;
  readonly reader: BufferedReader;

  constructor(
    readonly ctx: IoContext,
    { count = 4, size = 64, sizeMax = 65536 } = {},
  ) {
    this.pool = new BufferPool(ctx, { count, size });
    const options = { leasesMax: count };
    this.stream = asyncRecvMultishot(ctx, this.#pair[1], this.pool, options);
    this.reader = new BufferedReader(this.stream, { sizeMax });
  }

  async send(data: string | Uint8Array): Promise<void> {
    const sent = typeof data === "string" ? bytes(data) : data;
    value(await asyncSendExact(this.ctx, this.#pair[0], sent));
  }

  async end(): Promise<void> {
    value(await asyncShutdown(this.ctx, this.#pair[0], SHUT_WR));
  }

  /** Tells whether bytes lie in the memory of the pool. */
  isInPool({ buffer }: Uint8Array): boolean {
    const { count, size } = this.pool.stats();
    return buffer.byteLength >= count * size && size > 0 &&
      buffer.byteLength < 4096 + count * size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stream[Symbol.asyncDispose]();
    await Promise.all(this.#pair.map((it) => it.close()));
    assertEquals(this.pool.stats().leased, 0);
    this.pool[Symbol.dispose]();
  }
}

kioTest(
  "BufferedReader gives a view of a lease that has all of a message",
  async (ctx) => {
    await using sides = new Sides(ctx, { count: 2, size: 2 ** 16 });
    const { reader } = sides;
    await sides.send("one\ntwo\nthree");
    const one = value(await reader.until("\n", { timeoutMs: 1000 }));
    assertEquals(text(one), "one");
    assertEquals(reader.buffered, 9);
    const two = reader.takeUntil("\n")!;
    assertEquals(text(two), "two");
    assert(one.buffer === two.buffer && sides.isInPool(one));
    // The message goes on in the next lease: it is put together elsewhere.
    assertEquals(reader.takeUntil("\n"), undefined);
    await sides.send(" and\n" + "x".repeat(300) + "\nfour\n");
    const three = value(await reader.until("\n"));
    assertEquals(text(three), "three and");
    assert(!sides.isInPool(three));
    // What follows lies in the lease again.
    const xs = reader.takeUntil("\n")!;
    assertEquals(xs.length, 300);
    assert(sides.isInPool(xs));
    assertEquals(reader.takeLine(), "four");
    assertEquals(reader.buffered, 0);
  },
);

kioTest(
  "BufferedReader takes leases that wait, without a promise",
  async (ctx) => {
    await using sides = new Sides(ctx);
    await sides.send(pattern(200));
    while (sides.pool.stats().leased < 4) await turn(1);
    assertEquals(sides.reader.takeExactly(201), undefined);
    assertEquals(sides.reader.takeExactly(190), pattern(200).subarray(0, 190));
    assertEquals(sides.reader.buffered, 10);
    assertEquals(sides.reader.takeExactly(11), undefined);
    assertEquals(sides.reader.takeExactly(10), pattern(200).subarray(190));
  },
);

kioTest("BufferedReader on leases gives any pieces in order", async (ctx) => {
  const data = pattern(60_000);
  for (const [size, sizeMax] of [[64, 700], [1000, 500], [4096, 5000]]) {
    await using sides = new Sides(ctx, { size: size!, sizeMax: sizeMax! });
    const { reader } = sides;
    const random = randomOf(sizeMax!);
    const sending = (async () => {
      for (let at = 0; at < data.length;) {
        const end = at + 1 + random(2000);
        await sides.send(data.slice(at, end));
        at = end;
        if (random(3) === 0) await turn();
      }
      await sides.end();
    })();
    sending.catch(() => {}); // A failure below comes first.
    for (let at = 0; at < data.length;) {
      const count = Math.min(1 + random(sizeMax!), data.length - at);
      const how = random(4);
      let got = how === 0 ? reader.takeExactly(count) : undefined;
      if (how === 1) {
        const seen = value(await reader.peek(count));
        assertEquals(seen, data.slice(at, at + seen.length));
        assert(seen.length >= count);
      }
      got ??= value(await reader.exactly(count));
      assertEquals(got, data.slice(at, at + count));
      if (how === 2 && reader.buffered < sizeMax! - count) {
        const back = random(count + 1);
        reader.unread(got.subarray(count - back));
        at -= back;
      }
      at += count;
    }
    assertCode(await reader.exactly(1), "ENODATA");
    assertCode(await reader.exactly(1), "ENODATA");
    await sending;
  }
});

kioTest(
  "BufferedReader on leases finds a mark wherever it is cut",
  async (ctx) => {
    await using sides = new Sides(ctx, { count: 2, size: 7 });
    const parts = Array.from({ length: 300 }, (_, i) => "ab-".repeat(i % 9));
    const sending = sides.send(parts.join("--") + "--");
    for (const part of parts) {
      const expected = part.endsWith("-") ? part.slice(0, -1) : part;
      const got = text(value(await sides.reader.until("--")));
      assertEquals(got, expected);
      if (expected !== part) {
        assertEquals(
          text(value(await sides.reader.exactly(1))),
          "-",
        );
      }
    }
    await sending;
  },
);

kioTest("BufferedReader on leases is bounded by sizeMax", async (ctx) => {
  await using sides = new Sides(ctx, { size: 4096, sizeMax: 10 });
  await sides.send("0123456789abc\n");
  const { reader } = sides;
  assertCode(await reader.exactly(11), "EMSGSIZE");
  assertEquals(reader.takeExactly(11), undefined);
  assertCode(await reader.peek(11), "EMSGSIZE");
  assertCode(await reader.line(), "EMSGSIZE");
  assertEquals(reader.takeLine(), undefined);
  assertEquals(text(value(await reader.exactly(10))), "0123456789");
  assertEquals(value(await reader.line()), "abc");
});

kioTest(
  "BufferedReader on leases gives up a wait, and loses nothing",
  async (ctx) => {
    await using sides = new Sides(ctx);
    const { reader } = sides;
    await sides.send("ab");
    assertCode(await reader.exactly(4, { timeoutMs: 5 }), "ETIMEDOUT");
    assertCode(await reader.exactly(4, { timeoutMs: 0 }), "ETIMEDOUT");
    const abort = new AbortController();
    const waiting = reader.exactly(4, { signal: abort.signal });
    await turn(2);
    abort.abort();
    assertCode(await waiting, "ECANCELED");
    const { signal } = abort;
    assertCode(await reader.exactly(4, { signal }), "ECANCELED");
    await sides.send("cd");
    while (sides.pool.stats().leased < 1) await turn(1);
    assertEquals(text(reader.takeExactly(3)!), "abc");
    assertCode(await reader.exactly(2, { timeoutMs: 5 }), "ETIMEDOUT");
    await sides.send("ef");
    assertEquals(
      text(value(await reader.exactly(3, { timeoutMs: 1000 }))),
      "def",
    );
  },
);

kioTest(
  "BufferedReader on leases gives the rest, then the end",
  async (ctx) => {
    await using sides = new Sides(ctx);
    await sides.send("one\ntwo");
    await sides.end();
    const lines: string[] = [];
    for await (const line of sides.reader.lines()) lines.push(value(line));
    assertEquals(lines, ["one", "two"]);
    assertEquals(value(await sides.reader.line()), undefined);
  },
);

kioTest(
  "BufferedReader on leases keeps the error of its stream",
  async (ctx) => {
    await using sides = new Sides(ctx);
    await sides.send("ab");
    assertEquals(text(value(await sides.reader.exactly(1))), "a");
    sides.stream.cancel();
    assertCode(await sides.reader.exactly(2), "ECANCELED");
    assertCode(await sides.reader.line(), "ECANCELED");
    assertEquals(text(sides.reader.takeExactly(1)!), "b");
  },
);

kioTest(
  "BufferedReader does not show the bytes of another connection",
  async (ctx) => {
    await using sides = new Sides(ctx);
    await sides.send("secret of one\nrest");
    assertEquals(value(await sides.reader.line()), "secret of one");
    await sides.stream[Symbol.asyncDispose]();
    await assertRejects(
      async () => await sides.reader.exactly(1),
      TypeError,
      "was given back",
    );
  },
);

kioTest("pool.inspect() with trace tells where a reader is used", async () => {
  await using ctx = new IoContext({ trace: true });
  await using sides = new Sides(ctx);
  async function readLine(): Promise<unknown> {
    return await sides.reader.line();
  }
  const reading = readLine();
  await sides.send("one\n");
  await reading;
  const [lease] = sides.pool.inspect();
  assert(/^ +at readLine \(/.test(lease!.stack), lease!.stack);
});
