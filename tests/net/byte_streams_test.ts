import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { LimitedBytesTransformStream, TextLineStream } from "@std/streams";
import {
  asyncRecv,
  asyncSend,
  asyncSleep,
  IoContext,
  Socket,
  SocketAddress,
  TcpListener,
  TcpStream,
  UnixStream,
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
  within,
} from "../support.ts";

/** A stream, and the other end of its connection. */
function streamAndPeer(ctx: IoContext): [UnixStream, Socket] {
  const [stream, peer] = unwrap(Socket.pair());
  return [new UnixStream(stream.release(), ctx), peer];
}

/** The same over TCP. */
async function tcp(ctx: IoContext): Promise<[TcpStream, TcpStream]> {
  const address = SocketAddress.v4(0, "127.0.0.1");
  await using listener = unwrap(TcpListener.bind(address, { ctx }));
  const accepting = listener.accept();
  const { port } = listener.addr;
  const client = unwrap(await TcpStream.connect(ctx, "127.0.0.1", port));
  return [client, await accepting];
}

async function send(ctx: IoContext, to: Socket, message: string) {
  value(await asyncSend(ctx, to, bytes(message)));
}

const END = { done: true, value: undefined };

kioTest(
  "readable has the kernel write into the buffer of a BYOB reader",
  async (ctx) => {
    const [stream, peer] = streamAndPeer(ctx);
    const reader = stream.readable.getReader({ mode: "byob" });
    // Its other bytes come back with it: nothing was copied out of other memory.
    const own = new Uint8Array(64).fill(7);
    const reading = reader.read(own.subarray(8, 40));
    assertEquals(own.buffer.detached, true);
    await send(ctx, peer, "hello");
    const { value: got } = await reading;
    assertEquals(text(got!), "hello");
    assertEquals([got!.byteOffset, got!.buffer.byteLength], [8, 64]);
    assertEquals(new Uint8Array(got!.buffer)[13], 7);
    // A view of larger elements, whose second half comes later.
    const wide = reader.read(new Uint16Array(4));
    await send(ctx, peer, "a");
    await turn(2);
    await send(ctx, peer, "b");
    assertEquals([...(await wide).value!], [0x6261]);
    const last = reader.read(new Uint8Array(4));
    await peer.close();
    assertEquals((await last).done, true);
    await stream.close();
  },
);

kioTest(
  "readable copies short chunks and gives long ones away",
  async (ctx) => {
    const [stream, peer] = await tcp(ctx);
    const data = pattern(300_000);
    const writer = peer.writable.getWriter();
    const writing = writer.write(data).then(() => writer.close());
    const chunks: Uint8Array[] = [];
    for await (const chunk of stream.readable) chunks.push(chunk);
    await writing;
    const got = new Uint8Array(await new Blob(chunks as never).arrayBuffer());
    assertEquals(got, data);
    await Promise.all([stream.close(), peer.close()]);
  },
);

kioTest(
  "readable receives only when somebody reads, once at a time",
  async (ctx) => {
    const [stream, peer] = streamAndPeer(ctx);
    const { readable } = stream;
    await turn();
    assertEquals(ctx.pending, 0);
    const reader = readable.getReader();
    const [first, second] = [reader.read(), reader.read()];
    await turn();
    assertEquals(ctx.pending, 1);
    await send(ctx, peer, "a");
    assertEquals(text((await first).value!), "a");
    await send(ctx, peer, "b");
    assertEquals(text((await second).value!), "b");
    await turn();
    assertEquals(ctx.pending, 0);
    await send(ctx, peer, "unread");
    await turn();
    assertEquals(unwrap(stream.unreadBytes()), 6);
    await Promise.all([stream.close(), peer.close()]);
  },
);

kioTest("a lock that is released during a read loses no byte", async (ctx) => {
  const [stream, peer] = streamAndPeer(ctx);
  for (const mode of ["byob", undefined] as const) {
    const reader = stream.readable.getReader({ mode } as never);
    const read = assertRejects(
      () => reader.read(new Uint8Array(16) as never),
      TypeError,
    );
    await turn();
    reader.releaseLock();
    await read;
    assertEquals(ctx.pending, 1);
    await send(ctx, peer, "hello");
    const next = stream.readable.getReader();
    assertEquals(text((await next.read()).value!), "hello");
    next.releaseLock();
  }
  await Promise.all([stream.close(), peer.close()]);
});

kioTest(
  "cancel() ends a receive in the kernel, and gives no buffer back before",
  async (ctx) => {
    const [stream, peer] = streamAndPeer(ctx);
    const reader = stream.readable.getReader({ mode: "byob" });
    const own = new Uint8Array(16);
    const reading = reader.read(own);
    await turn();
    assertEquals(ctx.pending, 1);
    await reader.cancel("enough");
    assertEquals(ctx.pending, 0);
    // The stream keeps it: nobody can take it away from the kernel.
    assertEquals(await reading, END as never);
    assertEquals(own.buffer.detached, true);
    assertEquals((await reader.read(new Uint8Array(1))).done, true);
    // The other side goes on.
    const writer = stream.writable.getWriter();
    await writer.write(bytes("still there"));
    assertEquals(unwrap(peer.unreadBytes()), 11);
    const { fd } = stream;
    await writer.close();
    assertEquals([stream.fd, isOpen(fd)], [-1, false]);
    await peer.close();
  },
);

kioTest(
  "a buffer that the kernel writes to cannot be transferred",
  async (ctx) => {
    const [stream, peer] = streamAndPeer(ctx);
    const reader = stream.readable.getReader({ mode: "byob" });
    const own = new Uint8Array(16);
    const reading = reader.read(own);
    await turn();
    assertThrows(
      () => structuredClone(own, { transfer: [own.buffer] }),
      DOMException,
    );
    assertThrows(() => own.buffer.transfer(), TypeError);
    await send(ctx, peer, "mine");
    const { value: view } = await reading;
    const moved = structuredClone(view!, { transfer: [view!.buffer] });
    assertEquals(text(moved), "mine");
    // A buffer of the stream's own, too.
    reader.releaseLock();
    const other = stream.readable.getReader();
    await send(ctx, peer, "yours");
    const chunk = (await other.read()).value!;
    structuredClone(chunk, { transfer: [chunk.buffer] });
    await send(ctx, peer, "again");
    assertEquals(text((await other.read()).value!), "again");
    await Promise.all([stream.close(), peer.close()]);
  },
);

kioTest(
  "writable sends all in order, and close() ends the sending side only",
  async (ctx) => {
    const [stream, peer] = await tcp(ctx);
    const data = pattern(3_000_000);
    const writer = stream.writable.getWriter();
    const writes = [
      writer.write(data.subarray(0, 2_000_000)),
      writer.write(new Uint8Array(0)),
      writer.write(data.subarray(2_000_000)),
      writer.close(),
    ];
    const got = new Uint8Array(
      await new Response(peer.readable as never).arrayBuffer(),
    );
    await Promise.all(writes);
    assertEquals(got, data);
    assert(stream.fd >= 0);
    await peer.write(bytes("answer"));
    assertEquals(await stream.read(new Uint8Array(16)), 6);
    await Promise.all([stream.close(), peer.close()]);
  },
);

kioTest("writable waits for a peer that does not read", async (ctx) => {
  const [stream, peer] = streamAndPeer(ctx);
  const writer = stream.writable.getWriter();
  let written = 0;
  const writing = (async () => {
    for (; written < 100; written++) {
      await writer.ready;
      await writer.write(new Uint8Array(65536));
    }
  })();
  await turn(5);
  const stuck = written;
  assert(stuck < 100);
  await turn(5);
  assertEquals([written, ctx.pending], [stuck, 1]);
  const buffer = new Uint8Array(1 << 20);
  for (let left = 100 * 65536; left > 0;) {
    left -= value(await asyncRecv(ctx, peer, buffer));
  }
  await writing;
  await Promise.all([stream.close(), peer.close()]);
});

kioTest(
  "abort() resets the connection, also while a write is stuck",
  async (ctx) => {
    const [stream, peer] = await tcp(ctx);
    const reading = assertRejects(
      () => stream.readable.getReader().read(),
      Deno.errors.Interrupted,
    );
    const writer = stream.writable.getWriter();
    const writing = assertRejects(() =>
      writer.write(new Uint8Array(64_000_000))
    );
    await turn(5);
    assertEquals(ctx.pending, 2);
    await within(5000, writer.abort(new Error("no more")), "the abort");
    await Promise.all([writing, reading]);
    assertEquals([stream.fd, ctx.pending], [-1, 0]);
    const buffer = new Uint8Array(1 << 20);
    let received = await asyncRecv(ctx, peer, buffer);
    while (received.ok && received.value > 0) {
      received = await asyncRecv(ctx, peer, buffer);
    }
    assertCode(received, "ECONNRESET");
    await peer.close();
  },
);

kioTest("both streams at their end close the connection", async (ctx) => {
  const [stream, peer] = streamAndPeer(ctx);
  const { fd } = stream;
  const echo = stream.readable.pipeTo(stream.writable);
  await send(ctx, peer, "there and back");
  assertEquals(value(await asyncRecv(ctx, peer, new Uint8Array(64))), 14);
  peer[Symbol.dispose]();
  await echo;
  assertEquals([stream.fd, isOpen(fd)], [-1, false]);
});

kioTest(
  "an error of a receive is that of readable, and closes the connection",
  async (ctx) => {
    const [stream, peer] = await tcp(ctx);
    const reading = assertRejects(
      () => stream.readable.getReader().read(),
      Deno.errors.ConnectionReset,
    );
    await turn();
    await peer.reset();
    await reading;
    assertEquals(stream.fd, -1);
    const [other, gone] = await tcp(ctx);
    await gone.reset();
    await turn();
    const writer = other.writable.getWriter();
    await assertRejects(async () => {
      for (;;) await writer.write(bytes("x"));
    });
    assert(other.fd >= 0);
    await other.close();
  },
);

kioTest("an echo whose write fails leaves no fd", async (ctx) => {
  const [stream, peer] = await tcp(ctx);
  const echo = assertRejects(() => stream.readable.pipeTo(stream.writable));
  await peer.write(new Uint8Array(60_000));
  // The bytes are read before the reset is met, by the write.
  await peer.reset();
  await echo;
  await turn();
  assertEquals([stream.fd, ctx.pending], [-1, 0]);

  const [half, other] = await tcp(ctx);
  await half.readable.cancel();
  await other.reset();
  const writer = half.writable.getWriter();
  await assertRejects(async () => {
    for (;;) await writer.write(bytes("x"));
  });
  await turn();
  assertEquals(half.fd, -1);
});

kioTest("an end that cannot be sent leaves no fd", async (ctx) => {
  const [stream, peer] = await tcp(ctx);
  const { readable } = stream;
  await peer.closeWrite();
  assertEquals((await readable.getReader().read()).done, true);
  await peer.reset();
  await turn();
  await assertRejects(
    () => stream.writable.close(),
    Deno.errors.NotConnected,
  );
  assertEquals(stream.fd, -1);
});

kioTest("a pipe passes an error on as a reset", async (ctx) => {
  const [from, source] = await tcp(ctx);
  const [to, target] = await tcp(ctx);
  const piping = assertRejects(() => from.readable.pipeTo(to.writable));
  await source.write(bytes("part"));
  assertEquals(await target.read(new Uint8Array(64)), 4);
  await source.reset();
  await piping;
  assertEquals([from.fd, to.fd], [-1, -1]);
  assertCode(await asyncRecv(ctx, target, new Uint8Array(1)), "ECONNRESET");
  await target.close();
});

kioTest("close() ends the streams of a connection", async (ctx) => {
  const [stream, peer] = streamAndPeer(ctx);
  const reading = assertRejects(
    () => stream.readable.getReader().read(),
    Deno.errors.Interrupted,
  );
  const writer = stream.writable.getWriter();
  await turn();
  await stream.close();
  await reading;
  await assertRejects(() => writer.write(bytes("x")));
  await peer.close();
});

kioTest("close() ends what a stream asks for only later", async (ctx) => {
  const { Interrupted } = Deno.errors;
  const [stream, peer] = streamAndPeer(ctx);
  const reader = stream.readable.getReader();
  await asyncSend(ctx, peer, bytes("abc"));
  await reader.read();
  const reading = assertRejects(() => reader.read(), Interrupted);
  await stream.close();
  await reading;
  await peer.close();
  const [other, far] = streamAndPeer(ctx);
  const writer = other.writable.getWriter();
  const writing = assertRejects(() => writer.write(bytes("x")), Interrupted);
  await other.close();
  await writing;
  await far.close();
});

kioTest("writable takes Uint8Array only, and resets", async (ctx) => {
  const lost = bytes("lost");
  lost.buffer.transfer();
  for (const chunk of ["text", "", new ArrayBuffer(1), undefined, lost]) {
    const [stream, peer] = await tcp(ctx);
    const writer = stream.writable.getWriter();
    await assertRejects(() => writer.write(chunk as never), TypeError);
    // No cut that the peer takes for an end.
    assertCode(await asyncRecv(ctx, peer, new Uint8Array(1)), "ECONNRESET");
    assertEquals(stream.fd, -1);
    await peer.close();
  }
});

kioTest("streams of a full context close the connection", async (ctx) => {
  using full = new IoContext({ operationsMax: 1 });
  const sleep = asyncSleep(full, 60_000);
  for (const use of ["read", "write"]) {
    const [stream, peer] = await tcp(ctx);
    const other = new TcpStream(stream.release(), full);
    await assertRejects(
      () =>
        use === "read"
          ? other.readable.getReader().read()
          : other.writable.getWriter().write(bytes("x")),
      RangeError,
    );
    await turn();
    assertEquals(other.fd, -1);
    await peer.close();
  }
  sleep.cancel();
  await sleep;
});

kioTest("close() cuts a write off, which rejects as cancelled", async (ctx) => {
  const [stream, peer] = streamAndPeer(ctx);
  const writer = stream.writable.getWriter();
  const writing = assertRejects(
    () => writer.write(new Uint8Array(1 << 26)),
    Deno.errors.Interrupted,
  );
  await turn(5);
  await stream.close();
  await writing;
  await peer.close();

  const [closed, other] = streamAndPeer(ctx);
  const idle = closed.writable.getWriter();
  await closed.close();
  await assertRejects(() => idle.write(bytes("x")), Deno.errors.Interrupted);
  await other.close();
});

kioTest("streams go through those of the platform", async (ctx) => {
  const [stream, peer] = await tcp(ctx);
  const lines = "one line\n".repeat(20_000);
  const sending = new Blob([lines]).stream()
    .pipeThrough(new CompressionStream("gzip"))
    .pipeTo(stream.writable);
  const got = peer.readable
    .pipeThrough(new DecompressionStream("gzip"))
    .pipeThrough(new TextDecoderStream());
  let all = "";
  for await (const part of got) all += part;
  await sending;
  assertEquals(all, lines);
  await Promise.all([stream.close(), peer.close()]);
});

kioTest("streams go through those of @std/streams", async (ctx) => {
  const [stream, peer] = await tcp(ctx);
  const writer = peer.writable.getWriter();
  const writing = (async () => {
    for (const part of ["one\nt", "wo\n", "thr", "ee\n"]) {
      await writer.write(bytes(part));
      await turn();
    }
    await writer.close();
  })();
  const lines = stream.readable
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream());
  assertEquals(await Array.fromAsync(lines), ["one", "two", "three"]);
  await writing;
  // The error of a transform resets the connection.
  const limited = ReadableStream.from([bytes("part"), bytes("too much")])
    .pipeThrough(new LimitedBytesTransformStream(4, { error: true }));
  await assertRejects(() => limited.pipeTo(stream.writable), RangeError);
  assertEquals([stream.fd, peer.fd >= 0], [-1, true]);
  await assertRejects(async () => {
    while (await peer.read(new Uint8Array(16)) !== null);
  }, Deno.errors.ConnectionReset);
  await peer.close();
});

kioTest("streams can be split by tee()", async (ctx) => {
  const [stream, peer] = streamAndPeer(ctx);
  const [left, right] = stream.readable.tee();
  await send(ctx, peer, "for both");
  await peer.close();
  const texts = [left, right].map((it) => new Response(it as never).text());
  assertEquals(await Promise.all(texts), ["for both", "for both"]);
  await stream.close();
});
