import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  BufferedReader,
  type BufferedReaderOptions,
  type ByteSource,
  type IoContext,
  type Result,
  Socket,
  SocketTransport,
  type Transport,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  pattern,
  randomOf,
  tcpPair,
  text,
  turn,
  value,
} from "../support.ts";

/** A source that gives these pieces, then the end. */
function sourceOf(...pieces: (string | Uint8Array)[]): ByteSource {
  const left = pieces.map((it) => typeof it === "string" ? bytes(it) : it);
  return {
    recv(buffer) {
      const piece = left.shift() ?? new Uint8Array(0);
      const count = Math.min(piece.length, buffer.length);
      buffer.set(piece.subarray(0, count));
      if (count < piece.length) left.unshift(piece.subarray(count));
      return Promise.resolve({ ok: true, value: count });
    },
  };
}

function readerOf(...pieces: (string | Uint8Array)[]): BufferedReader {
  return new BufferedReader(sourceOf(...pieces));
}

/** The text of a result, or the code of its error. */
function shown(result: Result<Uint8Array | string | undefined>): unknown {
  if (!result.ok) return result.error.code;
  return result.value instanceof Uint8Array ? text(result.value) : result.value;
}

Deno.test("BufferedReader.exactly() gives as many bytes", async () => {
  const reader = readerOf("ab", "cde", "fghij");
  assertEquals(shown(await reader.exactly(1)), "a");
  assertEquals(reader.buffered, 1);
  assertEquals(shown(await reader.exactly(5)), "bcdef");
  assertEquals(shown(await reader.exactly(0)), "");
  assertEquals(shown(await reader.exactly(5)), "ENODATA");
  assertEquals(reader.buffered, 4);
  assertEquals(shown(await reader.exactly(4)), "ghij");
  assertEquals(shown(await reader.exactly(1)), "ENODATA");
});

Deno.test("BufferedReader.until() finds a mark wherever it is cut", async () => {
  const message = "one--two----three-";
  for (let a = 0; a <= message.length; a++) {
    for (let b = a; b <= message.length; b++) {
      const pieces = [
        message.slice(0, a),
        message.slice(a, b),
        message.slice(b),
      ];
      const reader = readerOf(...pieces.filter((it) => it !== ""));
      assertEquals(shown(await reader.until("--")), "one");
      assertEquals(shown(await reader.until(bytes("--"))), "two");
      assertEquals(shown(await reader.until("--")), "");
      assertEquals(shown(await reader.until("--")), "ENODATA");
      assertEquals(reader.buffered, 6);
      assertEquals(shown(await reader.exactly(6)), "three-");
    }
  }
});

Deno.test("BufferedReader.until() finds marks that overlap themselves", async () => {
  const reader = readerOf("aaab", "xaab");
  assertEquals(shown(await reader.until("aab")), "a");
  assertEquals(shown(await reader.until("aab")), "x");
});

Deno.test("BufferedReader.line() and lines() split lines", async () => {
  const source = ["one\r\nt", "wo\n\n\r", "\nlä", "st"];
  const lines = ["one", "two", "", "", "läst"];
  const reader = readerOf(...source);
  for (const line of lines) assertEquals(shown(await reader.line()), line);
  assertEquals(shown(await reader.line()), undefined);
  const got: unknown[] = [];
  for await (const line of readerOf(...source).lines()) got.push(shown(line));
  assertEquals(got, lines);
});

Deno.test("BufferedReader.lines() ends with a failure", async () => {
  const got: unknown[] = [];
  const reader = readerOf("a\n", "bcdefgh\n", "i\n");
  for await (const line of reader.lines({ max: 3 })) got.push(shown(line));
  assertEquals(got, ["a", "EMSGSIZE"]);
});

Deno.test("BufferedReader.line() of cut characters decodes them whole", async () => {
  const data = bytes("grüße ☃\n");
  const pieces = Array.from(data, (byte) => new Uint8Array([byte]));
  assertEquals(shown(await readerOf(...pieces).line()), "grüße ☃");
});

Deno.test("BufferedReader.take…() takes what is there, without a promise", async () => {
  const reader = readerOf("one\ntwo\nab", "c");
  assertEquals(reader.takeLine(), undefined);
  assertEquals(shown(await reader.line()), "one");
  assertEquals(reader.takeLine(), "two");
  assertEquals(reader.takeLine(), undefined);
  assertEquals(reader.takeExactly(3), undefined);
  assertEquals(text(reader.takeUntil("b")!), "a");
  assertEquals(reader.takeExactly(1), undefined);
  assertEquals(shown(await reader.exactly(1)), "c");
  assertEquals(reader.takeExactly(0)!.length, 0);
});

Deno.test("BufferedReader.unread() puts bytes back", async () => {
  const reader = new BufferedReader(sourceOf("abcdef"), { sizeMax: 8 });
  const head = unwrap(await reader.exactly(3));
  reader.unread(head);
  assertEquals(shown(await reader.exactly(2)), "ab");
  reader.unread(bytes("1234"));
  assertEquals(reader.buffered, 8);
  assertThrows(() => reader.unread(bytes("5")), RangeError, "sizeMax");
  assertThrows(() => reader.unread("5" as never), TypeError);
  assertEquals(shown(await reader.exactly(8)), "1234cdef");
  const empty = new BufferedReader(sourceOf("b"), { sizeMax: 4 });
  empty.unread(bytes("xyz"));
  assertEquals(shown(await empty.exactly(4)), "xyzb");
});

Deno.test("BufferedReader is bounded by sizeMax and max", async () => {
  const sizeMax = 10;
  const made = (...pieces: string[]) =>
    new BufferedReader(sourceOf(...pieces), { sizeMax });
  // A length that a peer sends costs no memory.
  assertEquals(shown(await made("a").exactly(11)), "EMSGSIZE");
  assertEquals(shown(await made("a").exactly(2 ** 53 - 1)), "EMSGSIZE");
  const endless = made("0123456789abcdef");
  assertEquals(shown(await endless.until("\n")), "EMSGSIZE");
  assertEquals(endless.buffered, 10);
  assertEquals(shown(await made("012345678\n").line()), "012345678");
  assertEquals(shown(await made("0123\n").line({ max: 3 })), "EMSGSIZE");
  assertEquals(shown(await made("012\n").line({ max: 3 })), "012");
  assertEquals(shown(await made("\n").line({ max: 0 })), "");
});

Deno.test("BufferedReader gives any pieces in order", async () => {
  const data = pattern(300_000);
  for (const sizeMax of [700, 5000, 2 ** 16]) {
    const random = randomOf(sizeMax);
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < data.length;) {
      const piece = data.subarray(at, at + 1 + random(2000));
      pieces.push(piece);
      at += piece.length;
    }
    const reader = new BufferedReader(sourceOf(...pieces), { sizeMax });
    for (let at = 0; at < data.length;) {
      const count = Math.min(1 + random(sizeMax), data.length - at);
      const got = unwrap(await reader.exactly(count));
      assertEquals(got, data.subarray(at, at + count));
      if (random(4) === 0) {
        const back = random(Math.min(count, sizeMax - reader.buffered) + 1);
        reader.unread(got.subarray(count - back));
        at -= back;
      }
      at += count;
    }
    assertEquals(shown(await reader.exactly(1)), "ENODATA");
  }
});

Deno.test("BufferedReader gives views that nobody can take away", async () => {
  const reader = readerOf("abc");
  const view = unwrap(await reader.exactly(1));
  assertThrows(() => view.buffer.transfer(), TypeError);
  assertEquals(shown(await reader.exactly(2)), "bc");
});

Deno.test("BufferedReader has one call at a time", async () => {
  const reader = readerOf("ab");
  const first = reader.exactly(2);
  assertThrows(() => reader.takeExactly(1), TypeError, "another call");
  assertThrows(() => reader.unread(new Uint8Array(1)), TypeError);
  assertThrows(() => reader.exactly(1), TypeError, "another call");
  assertEquals(shown(await first), "ab");
});

Deno.test("BufferedReader goes on after a source that throws or lies", async () => {
  const good = sourceOf("ab");
  let how = "throw";
  const reader = new BufferedReader({
    recv(buffer, options) {
      if (how === "throw") throw new Error("mine");
      if (how === "lie") {
        return Promise.resolve({ ok: true, value: buffer.length + 1 });
      }
      return good.recv(buffer, options);
    },
  });
  await assertRejects(() => reader.exactly(1), Error, "mine");
  how = "lie";
  await assertRejects(() => reader.exactly(1), RangeError, "bytes received");
  how = "good";
  assertEquals(shown(await reader.exactly(2)), "ab");
});

Deno.test("BufferedReader refuses what makes no sense", async () => {
  const wrong: [unknown, unknown, ErrorConstructor][] = [
    [null, {}, TypeError],
    [{}, {}, TypeError],
    [sourceOf(), null, TypeError],
    [sourceOf(), { sizeMax: 0 }, RangeError],
    [sourceOf(), { sizeMax: 2 ** 30 + 1 }, RangeError],
  ];
  for (const [source, options, error] of wrong) {
    assertThrows(
      () =>
        new BufferedReader(
          source as ByteSource,
          options as BufferedReaderOptions,
        ),
      error,
      "Cannot read a message",
    );
  }
  const reader = readerOf("abc");
  // deno-lint-ignore no-explicit-any
  const any = (it: unknown) => it as any;
  const calls: [() => unknown, ErrorConstructor][] = [
    [() => reader.exactly(-1), RangeError],
    [() => reader.exactly(1.5), RangeError],
    [() => reader.exactly(1, { timeoutMs: -1 }), RangeError],
    [() => reader.exactly(1, any(null)), TypeError],
    [() => reader.until(""), RangeError],
    [() => reader.until("x".repeat(257)), RangeError],
    [() => reader.until(any(5)), TypeError],
    [() => reader.until("x", { max: -1 }), RangeError],
    [() => reader.takeUntil(any(null)), TypeError],
    [() => reader.takeExactly(NaN), RangeError],
  ];
  for (const [call, error] of calls) assertThrows(call, error, "Cannot ");
  await assertRejects(() => reader.line({ signal: any({}) }), TypeError);
  assertEquals(shown(await reader.exactly(3)), "abc");
});

// ---- with a transport ---------------------------------------------------------

function transports(ctx: IoContext): [SocketTransport, SocketTransport] {
  const [left, right] = unwrap(Socket.pair());
  return [new SocketTransport(ctx, left), new SocketTransport(ctx, right)];
}

kioTest(
  "BufferedReader has a deadline for the whole of a message",
  async (ctx) => {
    const [left, right] = transports(ctx);
    await using _ = left;
    await using __ = right;
    const reader = new BufferedReader(right);
    // A byte now and then does not extend it.
    let isOver = false;
    const dripping = (async () => {
      let count = 0;
      for (; !isOver; count++) {
        value(await left.send(bytes("x")));
        await turn(2);
      }
      return count;
    })();
    assertCode(await reader.line({ timeoutMs: 40 }), "ETIMEDOUT");
    isOver = true;
    const count = await dripping;
    // Nothing is lost.
    assertEquals(
      value(await reader.exactly(count, { timeoutMs: 1000 })).length,
      count,
    );
  },
);

kioTest("BufferedReader ends with a peer that is never slow", async () => {
  const reader = new BufferedReader({
    recv: (buffer) => {
      buffer[0] = 1;
      return Promise.resolve({ ok: true, value: 1 });
    },
  }, { sizeMax: 2 ** 28 });
  assertCode(await reader.until("\n", { timeoutMs: 20 }), "ETIMEDOUT");
});

Deno.test("BufferedReader.peek() shows all that is there, and takes none", async () => {
  const reader = readerOf("ab", "cdef", "g");
  assertEquals(shown(await reader.peek(0)), "");
  assertEquals(shown(await reader.peek(1)), "ab");
  assertEquals(shown(await reader.peek(2)), "ab");
  assertEquals(shown(await reader.peek(reader.buffered + 1)), "abcdef");
  assertEquals(text(reader.takeExactly(3)!), "abc");
  assertEquals(shown(await reader.peek(3)), "def");
  assertEquals(shown(await reader.peek(5)), "ENODATA");
  assertEquals(shown(await reader.exactly(4)), "defg");
  assertEquals(shown(await reader.peek(1)), "ENODATA");
  const small = new BufferedReader(sourceOf("abcdef"), { sizeMax: 4 });
  assertEquals(shown(await small.peek(5)), "EMSGSIZE");
  assertEquals(shown(await small.peek(4)), "abcd");
  assertThrows(() => reader.peek(-1), RangeError, "Cannot read");
  assertThrows(() => reader.peek(1, { timeoutMs: -1 }), RangeError);
});

Deno.test("BufferedReader that is empty receives with all of its memory", async () => {
  const rooms: number[] = [];
  const reader = new BufferedReader({
    recv(buffer) {
      rooms.push(buffer.length);
      return Promise.resolve({ ok: true, value: 60 });
    },
  }, { sizeMax: 100 });
  for (let i = 0; i < 3; i++) await reader.exactly(60);
  assertEquals(rooms, [100, 100, 100]);
});

kioTest("BufferedReader that is aborted keeps what came", async (ctx) => {
  const [left, right] = transports(ctx);
  await using _ = left;
  await using __ = right;
  const reader = new BufferedReader(right);
  const abort = new AbortController();
  const reading = reader.exactly(4, { signal: abort.signal });
  value(await left.send(bytes("ab")));
  await turn(2);
  abort.abort();
  assertCode(await reading, "ECANCELED");
  value(await left.send(bytes("cd")));
  assertEquals(shown(await reader.exactly(4)), "abcd");
});

kioTest("BufferedReader gives the error of the connection", async (ctx) => {
  const [left, right] = transports(ctx);
  const reading = new BufferedReader(right).line();
  await turn(2);
  await right.close();
  assertCode(await reading, "ECANCELED", "ECONNRESET");
  await left.close();
});

/** Answers each line; it knows nothing of sockets. */
async function serve(peer: Transport): Promise<void> {
  const reader = new BufferedReader(peer);
  for await (const line of reader.lines({ max: 1000, timeoutMs: 5000 })) {
    unwrap(await peer.send(bytes(`${unwrap(line).toUpperCase()}\n`)));
  }
  unwrap(await peer.shutdown());
  await peer.close();
}

async function assertServed(
  client: Transport,
  serving: Promise<void>,
): Promise<void> {
  const names = Array.from({ length: 200 }, (_, i) => `line ${i}`);
  unwrap(await client.send(bytes(names.join("\r\n"))));
  unwrap(await client.shutdown());
  const answers: string[] = [];
  for await (const line of new BufferedReader(client).lines()) {
    answers.push(unwrap(line));
  }
  assertEquals(answers, names.map((it) => it.toUpperCase()));
  await Promise.all([serving, client.close()]);
}

kioTest("Transport: the same server runs on unix sockets", async (ctx) => {
  const [client, server] = transports(ctx);
  await assertServed(client, serve(server));
});

kioTest("Transport: the same server runs on TCP", async (ctx) => {
  const { left, right } = await tcpPair(ctx);
  const client = new SocketTransport(ctx, left);
  await assertServed(client, serve(new SocketTransport(ctx, right)));
});

kioTest("Transport: the same server runs on another stack", async (ctx) => {
  const [client, other] = transports(ctx);
  // As a layer of TLS would be: it wraps another transport, and changes bytes.
  const flip = (data: Uint8Array) => data.map((byte) => byte ^ 0x80);
  const layer = (inner: Transport): Transport => ({
    async recv(buffer, options) {
      const received = await inner.recv(buffer, options);
      if (received.ok) buffer.set(flip(buffer.subarray(0, received.value)));
      return received;
    },
    send: (data, options) => inner.send(flip(data), options),
    shutdown: () => inner.shutdown(),
    close: () => inner.close(),
    [Symbol.asyncDispose]: () => inner.close(),
  });
  await assertServed(layer(client), serve(layer(other)));
});

kioTest("SocketTransport owns its socket", async (ctx) => {
  const [left, right] = transports(ctx);
  const waiting = left.recv(new Uint8Array(1));
  await turn();
  {
    await using _ = left;
  }
  assertEquals(left.socket.fd, -1);
  const ended = await waiting;
  if (ended.ok) assertEquals(ended.value, 0);
  else assertCode(ended, "ECANCELED");
  assertEquals(value(await right.recv(new Uint8Array(1))), 0);
  assertThrows(() => left.recv(new Uint8Array(1)), RangeError, "closed");
  await right.close();
  assertThrows(
    () => new SocketTransport({} as IoContext, left.socket),
    TypeError,
  );
});
