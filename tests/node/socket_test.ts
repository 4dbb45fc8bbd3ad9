import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncRecv,
  asyncSend,
  asyncShutdown,
  type Result,
  SHUT_RD,
  SO_KEEPALIVE,
  SocketTransport,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_NODELAY,
  type Transport,
} from "@kio/kio";
import { IPPROTO_TCP } from "@kio/kio/constants";
import { toNodeSocket } from "@kio/kio/node";
import { once } from "node:events";
import net from "node:net";
import {
  bytes,
  kioTest,
  optionOf,
  pattern,
  tcpPair,
  text,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";
import {
  closed,
  eventsOf,
  nodePair,
  nodeSocket,
  noted,
  textOf,
} from "./support.ts";

/** Bytes that no socket buffer on 127.0.0.1 takes. */
const PLENTY = 32 * 1024 * 1024;

function joined(chunks: Uint8Array[]): Promise<Uint8Array> {
  return new Blob(chunks as BlobPart[]).bytes();
}

kioTest(
  "toNodeSocket() passes bytes and text both ways, to the end",
  async (ctx) => {
    const [left, right] = await nodePair(ctx);
    const [ofLeft, ofRight] = [eventsOf(left), eventsOf(right)];
    right.pipe(right);
    const data = pattern(300_000);
    const parts = [1, 0, 200_000, 70_000, 3].map((it) => data.subarray(0, it));
    const received: Uint8Array[] = [];
    left.on("data", (chunk) => received.push(chunk as Uint8Array));
    left.write("hé ", "utf8");
    left.write("6869", "hex");
    left.write(" \xe9", "latin1");
    left.write(" ascii", "latin1");
    left.cork();
    for (const part of parts) left.write(part);
    left.uncork();
    left.end(data);
    await closed(left, right);
    const expected = await joined([
      bytes("hé hi "),
      new Uint8Array([0xe9]),
      bytes(" ascii"),
      ...parts,
      data,
    ]);
    assertEquals(await joined(received), expected);
    for (const { bytesRead, bytesWritten } of [left, right]) {
      assertEquals([bytesRead, bytesWritten], [
        expected.length,
        expected.length,
      ]);
    }
    assertEquals(ofLeft, ["finish", "end", "close false"]);
    assertEquals(ofRight, ["end", "finish", "close false"]);
  },
);

kioTest(
  "toNodeSocket() joins small chunks, and keeps the order of large ones",
  async (ctx) => {
    const [left, right] = await nodePair(ctx);
    left.cork();
    const parts = Array.from(
      { length: 3000 },
      (_, i) => pattern(i % 500 === 0 ? 300_000 : i % 97, i),
    );
    for (const part of parts) {
      left.write(part);
    }
    const before = ctx.stats().started;
    left.uncork();
    left.end();
    const received: Uint8Array[] = [];
    right.on("data", (chunk) => received.push(chunk as Uint8Array));
    await closed(left, right);
    assertEquals(await joined(received), await joined(parts));
    // Some dozens of sends and receives, and not 3000.
    assert(ctx.stats().started - before < 300);
  },
);

kioTest("toNodeSocket() stops a writer whose peer is slow", async (ctx) => {
  const [left, right] = await nodePair(ctx);
  assertEquals(left.write(new Uint8Array(PLENTY)), false);
  // Nobody reads on the right: it takes no more than its own buffer holds.
  await turn(50);
  const { bytesRead } = right;
  assert(bytesRead < 2 * right.readableHighWaterMark + 65536, `${bytesRead}`);
  assert(left.writableNeedDrain);
  right.resume();
  await once(left, "drain");
  left.end();
  await closed(left, right);
  assertEquals(right.bytesRead, PLENTY);
});

kioTest(
  "toNodeSocket() stops at pause(), and goes on at resume()",
  async (ctx) => {
    const [left, right] = await nodePair(ctx);
    const chunks: string[] = [];
    right.on("data", (chunk) => chunks.push(`${chunk}`));
    left.write("one");
    await once(right, "data");
    right.pause();
    left.write("two");
    await turn(10);
    assertEquals(chunks, ["one"]);
    right.resume();
    left.end("three");
    await closed(left, right);
    assertEquals(chunks.join(""), "onetwothree");
  },
);

kioTest(
  "toNodeSocket() keeps its own side open with allowHalfOpen",
  async (ctx) => {
    const [left, right] = await nodePair(ctx, { allowHalfOpen: true });
    left.end("question");
    assertEquals(
      await textOf(right.iterator({ destroyOnReturn: false })),
      "question",
    );
    assertEquals(right.readyState, "writeOnly");
    right.end("answer");
    assertEquals(await textOf(left), "answer");
    await closed(left, right);
  },
);

kioTest(
  "toNodeSocket() ends its own side when the peer has, if nobody reads",
  async (ctx) => {
    const [left, right] = await nodePair(ctx);
    const seen = eventsOf(right);
    right.resume();
    left.end();
    await closed(left, right);
    assertEquals(seen, ["end", "finish", "close false"]);
  },
);

kioTest("toNodeSocket() has the errors of Node", async (ctx) => {
  const [left, right] = await nodePair(ctx);
  const seen = eventsOf(left);
  right.resetAndDestroy();
  const [error] = await once(left, "error");
  assertEquals(
    { ...error, message: error.message },
    {
      message: "read ECONNRESET",
      errno: -104,
      code: "ECONNRESET",
      syscall: "read",
    },
  );
  await closed(left, right);
  assertEquals(seen, ["read ECONNRESET", "close true"]);
});

kioTest(
  "toNodeSocket() tells of a write that failed by its callback",
  async (ctx) => {
    const pair = unixPair();
    const left = nodeSocket(ctx, pair.left);
    const seen = eventsOf(left);
    const written = new Promise<NodeJS.ErrnoException>((resolve) =>
      left.write(new Uint8Array(PLENTY), (error) => resolve(error!))
    );
    await turn(5);
    value(await asyncShutdown(ctx, pair.right, SHUT_RD));
    const { code, syscall, message } = await written;
    assertEquals({ code, syscall, message }, {
      code: "EPIPE",
      syscall: "write",
      message: "write EPIPE",
    });
    await closed(left);
    assertEquals(seen, ["write EPIPE", "close true"]);
    await pair.right.close();
  },
);

kioTest("toNodeSocket() is destroyed with what it waits for", async (ctx) => {
  const [left, right] = await nodePair(ctx);
  const seen = eventsOf(left);
  right.on("error", () => {});
  right.pause();
  let lost: unknown;
  left.write(new Uint8Array(PLENTY), (error) => lost = error);
  left.end();
  await turn(5);
  left.destroy(new Error("enough"));
  left.destroy(new Error("twice"));
  assertEquals(left.destroyed, true);
  await closed(left);
  assertEquals(seen, ["enough", "close true"]);
  assertEquals((lost as { code: string }).code, "ECANCELED");
  right.destroy();
  await closed(right);
});

kioTest(
  "toNodeSocket() sends what was written right before destroy()",
  async (ctx) => {
    const [left, right] = await nodePair(ctx);
    left.write("last words");
    left.destroy();
    assertEquals(await textOf(right), "last words");
    await closed(left, right);
  },
);

kioTest("toNodeSocket() has addresses, also after its end", async (ctx) => {
  const [left, right] = await nodePair(ctx);
  assertEquals(left.remoteAddress, "127.0.0.1");
  assertEquals(left.remoteFamily, "IPv4");
  assertEquals(left.remotePort, right.localPort);
  assertEquals(right.address(), {
    address: "127.0.0.1",
    family: "IPv4",
    port: left.remotePort!,
  });
  assertEquals([left.readyState, left.pending, left.connecting], [
    "open",
    false,
    false,
  ]);
  left.destroy();
  right.destroy();
  await closed(left, right);
  assertEquals([left.remoteAddress, left.readyState, left.pending], [
    "127.0.0.1",
    "closed",
    true,
  ]);
});

kioTest("toNodeSocket() sets options of TCP", async (ctx) => {
  const { left, right } = await tcpPair(ctx);
  const socket = nodeSocket(ctx, left);
  const nodelay = () => optionOf(left.fd, IPPROTO_TCP, TCP_NODELAY);
  socket.setNoDelay();
  assertEquals(nodelay(), 1);
  socket.setNoDelay(false);
  assertEquals(nodelay(), 0);
  socket.setKeepAlive(true, 45_000);
  assertEquals(optionOf(left.fd, SOL_SOCKET, SO_KEEPALIVE), 1);
  assertEquals(optionOf(left.fd, IPPROTO_TCP, TCP_KEEPIDLE), 45);
  socket.setKeepAlive(true, 1e12);
  assertEquals(optionOf(left.fd, IPPROTO_TCP, TCP_KEEPIDLE), 32767);
  socket.setKeepAlive(false);
  assertEquals(optionOf(left.fd, SOL_SOCKET, SO_KEEPALIVE), 0);
  socket.destroy();
  await right.close();
  await closed(socket);
});

kioTest(
  "toNodeSocket() leaves out of a unix socket what only TCP has",
  async (ctx) => {
    const pair = unixPair();
    const socket = nodeSocket(ctx, pair.left);
    socket.setNoDelay().setKeepAlive(true, 1000);
    assertEquals(socket.remoteAddress, undefined);
    assertEquals(socket.address(), {});
    const seen = eventsOf(socket);
    socket.resetAndDestroy();
    await closed(socket);
    await pair.right.close();
    assertEquals(seen.length, 2);
  },
);

kioTest(
  'toNodeSocket() tells of silence by "timeout", and not of a slow peer',
  async (ctx) => {
    const [left, right] = await nodePair(ctx);
    const seen = eventsOf(left);
    let lastMs = performance.now();
    left.on("data", () => lastMs = performance.now());
    left.setTimeout(100);
    for (let i = 0; i < 4; i++) {
      await turn(30);
      right.write("x");
    }
    await once(left, "timeout");
    // Timers of Node have whole milliseconds.
    assert(performance.now() - lastMs >= 98);
    const { length } = seen;
    left.setTimeout(1);
    left.destroy();
    await turn(20);
    assertEquals(seen.slice(length), ["close false"]);
    right.destroy();
    await closed(right);
  },
);

kioTest(
  "toNodeSocket() ends with an error when the context closes",
  async (ctx) => {
    const [left, right] = await nodePair(ctx);
    const seen = [eventsOf(left), eventsOf(right)];
    const both = closed(left, right);
    await ctx[Symbol.asyncDispose]();
    await both;
    for (const events of seen) {
      assertEquals(events, ["read ECANCELED", "close true"]);
    }
  },
);

kioTest("toNodeSocket() tells of a closed context by an error", async (ctx) => {
  const { left, right } = await tcpPair(ctx);
  const transport = new SocketTransport(ctx, left);
  await ctx[Symbol.asyncDispose]();
  const socket = noted(toNodeSocket(transport));
  const [error] = await once(socket, "error");
  assert(error instanceof TypeError);
  await closed(socket);
  await right.close();
});

kioTest("toNodeSocket() takes any transport", async (ctx) => {
  const sent: string[] = [];
  const coming = ["some ", "bytes"];
  let isClosed = false;
  const transport: Transport = {
    recv: (buffer) => {
      const next = bytes(coming.shift() ?? "");
      buffer.set(next);
      return Promise.resolve({ ok: true, value: next.length });
    },
    send: (data) => {
      sent.push(text(data));
      return Promise.resolve({ ok: true, value: data.length });
    },
    shutdown: () => {
      sent.push("end");
      return Promise.resolve({ ok: true, value: undefined });
    },
    close: () => {
      isClosed = true;
      return Promise.resolve();
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const socket = noted(toNodeSocket(transport));
  assert(socket instanceof net.Socket);
  socket.setNoDelay().setKeepAlive();
  socket.write("hello");
  assertEquals(await textOf(socket), "some bytes");
  await closed(socket);
  assertEquals(sent, ["hello", "end"]);
  assertEquals(isClosed, true);
  assertEquals(ctx.pending, 0);
});

kioTest("toNodeSocket() closes a transport whose send never ends", async () => {
  const closing = Promise.withResolvers<Result<number>>();
  const transport: Transport = {
    recv: () => closing.promise,
    send: () => closing.promise,
    shutdown: () => Promise.reject(new Error("unused")),
    close: () => {
      closing.resolve({ ok: false, error });
      return Promise.resolve();
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
  const error = { errno: 125, code: "ECANCELED", message: "" };
  const socket = noted(toNodeSocket(transport));
  const seen = eventsOf(socket);
  socket.write("x");
  await turn();
  socket.destroy();
  await within(5000, closed(socket), "the end");
  assertEquals(seen, ["close false"]);
});

kioTest(
  "toNodeSocket() leaves the errors of listeners to the program",
  async (ctx) => {
    const [left, right] = await nodePair(ctx);
    const thrown: unknown[] = [];
    const note = (event: ErrorEvent) => {
      event.preventDefault();
      thrown.push(event.error.message);
    };
    addEventListener("error", note);
    try {
      right.once("data", () => {
        throw new Error("of data");
      });
      left.write("x", () => {
        throw new Error("of write");
      });
      await turn(20);
      left.destroy();
      await closed(left);
      right.once("close", () => {
        throw new Error("of close");
      });
      right.destroy();
      await closed(right);
      await turn(5);
    } finally {
      removeEventListener("error", note);
    }
    assertEquals(thrown.sort(), ["of close", "of data", "of write"]);
  },
);

kioTest("toNodeSocket() shares a context with operations", async (ctx) => {
  const { left, right } = await tcpPair(ctx);
  const socket = nodeSocket(ctx, left);
  socket.write("to kio");
  const buffer = new Uint8Array(64);
  const count = value(await asyncRecv(ctx, right, buffer));
  assertEquals(text(buffer.subarray(0, count)), "to kio");
  value(await asyncSend(ctx, right, bytes("to Node")));
  assertEquals(`${(await once(socket, "data"))[0]}`, "to Node");
  socket.destroy();
  await right.close();
  await closed(socket);
});

kioTest("toNodeSocket() refuses what is no transport", async (ctx) => {
  const { left, right } = unixPair();
  const make = toNodeSocket as (...args: unknown[]) => unknown;
  for (const wrong of [undefined, null, 7, ctx, left]) {
    assertThrows(() => make(wrong), TypeError, "expected a Transport");
  }
  const transport = new SocketTransport(ctx, left);
  assertThrows(() => make(transport, null), TypeError, "options");
  assertThrows(
    () => make(transport, { allowHalfOpen: 1 }),
    TypeError,
    "allowHalfOpen",
  );
  await Promise.all([left.close(), right.close()]);
});
