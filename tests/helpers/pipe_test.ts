import { assertEquals, assertRejects } from "@std/assert";
import {
  asyncRecv,
  asyncSendExact,
  asyncShutdown,
  File,
  IoContext,
  O_RDWR,
  O_TMPFILE,
  pipe,
  SHUT_WR,
  Socket,
  SocketAddress,
  TcpListener,
  TcpStream,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioTest,
  pattern,
  turn,
  unixPair,
  value,
} from "../support.ts";

/** A test with a context of its own: the pipes that it keeps for the next move go
 * with it. */
function pipeTest(name: string, body: (ctx: IoContext) => Promise<void>): void {
  kioTest(name, async () => {
    await using ctx = new IoContext(64);
    await body(ctx);
    assertEquals(ctx.pending, 0);
  });
}

/** Both ends of a TCP connection. */
async function tcp(ctx: IoContext): Promise<[TcpStream, TcpStream]> {
  const address = SocketAddress.v4(0, "127.0.0.1");
  await using listener = unwrap(TcpListener.bind(address, { ctx }));
  const accepting = listener.accept();
  const { port } = listener.addr;
  const client = unwrap(await TcpStream.connect(ctx, "127.0.0.1", port));
  return [client, await accepting];
}

async function bytesOf(stream: TcpStream): Promise<Uint8Array> {
  return new Uint8Array(
    await new Response(stream.readable as never).arrayBuffer(),
  );
}

pipeTest("pipe() moves a connection, and passes its end on", async (ctx) => {
  const [source, from] = await tcp(ctx);
  const [to, target] = await tcp(ctx);
  const data = pattern(3_000_000);
  const piping = pipe(ctx, from, to);
  const got = bytesOf(target);
  value(await asyncSendExact(ctx, source, data));
  await source.closeWrite();
  assertEquals(value(await piping), data.length);
  assertEquals(await got, data);
  // The other direction goes on.
  await target.write(bytes("answer"));
  assertEquals(await to.read(new Uint8Array(16)), 6);
  await Promise.all([source, from, to, target].map((it) => it.close()));
});

pipeTest(
  "pipe() sends a file from its position, and moves that",
  async (ctx) => {
    await using file = unwrap(await File.open(ctx, "/tmp", O_TMPFILE | O_RDWR));
    const data = pattern(300_000);
    await file.write(data);
    await file.seek(100, Deno.SeekMode.Start);
    const [to, target] = await tcp(ctx);
    const got = bytesOf(target);
    assertEquals(value(await pipe(ctx, file, to)), 299_900);
    assertEquals(await got, data.subarray(100));
    assertEquals(await file.seek(0, Deno.SeekMode.Current), 300_000);
    await Promise.all([to.close(), target.close()]);
    const { left, right } = unixPair();
    assertEquals(value(await pipe(ctx, file, left)), 0);
    assertEquals(value(await asyncRecv(ctx, right, new Uint8Array(1))), 0);
    await Promise.all([left.close(), right.close()]);
  },
);

pipeTest("pipe() passes a failure on as a reset", async (ctx) => {
  const failures: [string, (source: TcpStream, from: TcpStream) => unknown][] =
    [
      ["ECONNRESET", (source) => source.reset()],
      ["ECANCELED", (_, from) => from.close()],
      ["ETIMEDOUT", () => {}],
    ];
  for (const [code, fail] of failures) {
    const [source, from] = await tcp(ctx);
    const [to, target] = await tcp(ctx);
    const options = code === "ETIMEDOUT" ? { timeoutMs: 30 } : {};
    const piping = pipe(ctx, from, to, options);
    await source.write(bytes("part"));
    assertEquals(await target.read(new Uint8Array(16)), 4);
    await turn();
    await fail(source, from);
    const result = await piping;
    assertCode(result, code);
    assertEquals(!result.ok && result.error.bytesTransferred, 4);
    assertEquals(to.fd, -1);
    const end = await asyncRecv(ctx, target, new Uint8Array(1));
    assertCode(end, "ECONNRESET");
    await Promise.all([source, from, target].map((it) => it.close()));
  }
});

pipeTest("pipe() tells that its target is gone", async (ctx) => {
  const [source, from] = await tcp(ctx);
  const [to, target] = await tcp(ctx);
  const piping = pipe(ctx, from, to);
  await target.reset();
  await turn();
  await source.write(bytes("x"));
  await asyncShutdown(ctx, source, SHUT_WR);
  assertCode(await piping, "EPIPE", "ECONNRESET");
  await Promise.all([source.close(), from.close()]);
});

pipeTest("pipe() refuses what it cannot move", async (ctx) => {
  const { left, right } = unixPair();
  await assertRejects(() => pipe(ctx, left, left), TypeError, "another");
  await assertRejects(() => pipe(ctx, 1 as never, left), TypeError);
  await assertRejects(() => pipe(ctx, left, 1 as never), TypeError);
  await assertRejects(
    () => pipe(ctx, left, right, { timeoutMs: -1 }),
    RangeError,
  );
  await assertRejects(() => pipe(null as never, left, right), TypeError);
  await using file = unwrap(await File.open(ctx, "/proc/self/stat"));
  assertCode(await pipe(ctx, file, left), "EINVAL");
  const gone = unwrap(Socket.open("unix"));
  await gone.close();
  await assertRejects(() => pipe(ctx, right, gone), RangeError, "closed");
  await right.close();
});
