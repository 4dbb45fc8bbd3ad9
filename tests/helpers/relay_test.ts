import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncRecv,
  asyncRecvExact,
  asyncSend,
  asyncSendExact,
  asyncShutdown,
  IoContext,
  link,
  MSG_DONTWAIT,
  relay,
  type RelayOptions,
  SHUT_WR,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  isOpen,
  kioTest,
  openFds,
  type Pair,
  pattern,
  randomOf,
  turn,
  value,
} from "../support.ts";
import {
  emptyPool,
  type Ends,
  KINDS,
  openEnds,
  receivedAll,
} from "./relay_support.ts";

const SIZE = 12 << 20;

/** Ends that are joined. */
async function joined(
  ctx: IoContext,
  options?: RelayOptions,
  open?: (ctx: IoContext) => Promise<Pair>,
) {
  const ends = await openEnds(ctx, open);
  return { ends, done: relay(ctx, ends.left, ends.right, options) };
}

/** Sends a few bytes each way, so that it is under way. */
async function exchange(ctx: IoContext, { client, server }: Ends) {
  for (const [from, to] of [[client, server], [server, client]] as const) {
    value(await asyncSend(ctx, from, bytes("hello")));
    value(await asyncRecvExact(ctx, to, new Uint8Array(5)));
  }
}

/** Receives once: bytes, an end, or an error. */
async function next(ctx: IoContext, socket: Ends["client"]): Promise<string> {
  const result = await asyncRecv(ctx, socket, new Uint8Array(64))
    .withTimeout(5000);
  return result.ok ? `${result.value}` : result.error.code;
}

function assertClosed({ left, right }: Ends, fds: readonly number[]): void {
  assertEquals([left.fd, right.fd], [-1, -1]);
  assertEquals(fds.filter(isOpen), []);
}

for (const [kind, open] of KINDS) {
  kioTest(`relay() moves bytes both ways, ${kind}`, async (ctx) => {
    const random = randomOf(31);
    const { ends, done } = await joined(ctx, {}, open);
    using _ = ends;
    const fds = [ends.left.fd, ends.right.fd];
    const [there, back] = [pattern(SIZE, 1), pattern(SIZE / 2, 2)];
    const send = async (socket: Ends["client"], data: Uint8Array) => {
      for (let at = 0; at < data.length;) {
        const to = at + 1 + random(500_000);
        at += value(await asyncSendExact(ctx, socket, data.subarray(at, to)));
      }
      value(await asyncShutdown(ctx, socket, SHUT_WR));
    };
    const [atServer, atClient] = await Promise.all([
      receivedAll(ctx, ends.server, SIZE),
      receivedAll(ctx, ends.client, SIZE / 2),
      send(ends.client, there),
      send(ends.server, back),
    ]);
    assert(atServer.length === SIZE && atClient.length === SIZE / 2);
    assert(atServer.every((byte, i) => byte === there[i]));
    assert(atClient.every((byte, i) => byte === back[i]));
    assertEquals(value(await done), {
      leftToRight: SIZE,
      rightToLeft: SIZE / 2,
    });
    assertClosed(ends, fds);
    emptyPool(ctx);
  });

  for (const first of ["client", "server"] as const) {
    const second = first === "client" ? "server" : "client";
    kioTest(
      `relay() passes the end of the ${first} on first, ${kind}`,
      async (ctx) => {
        const { ends, done } = await joined(ctx, {}, open);
        using _ = ends;
        value(await asyncSend(ctx, ends[first], bytes("question")));
        value(await asyncShutdown(ctx, ends[first], SHUT_WR));
        assertEquals(await next(ctx, ends[second]), "8");
        assertEquals(await next(ctx, ends[second]), "0");
        // The other direction goes on.
        for (let i = 0; i < 3; i++) {
          value(await asyncSend(ctx, ends[second], bytes("answer")));
          assertEquals(await next(ctx, ends[first]), "6");
        }
        value(await asyncShutdown(ctx, ends[second], SHUT_WR));
        assertEquals(await next(ctx, ends[first]), "0");
        const [there, back] = first === "client" ? [8, 18] : [18, 8];
        assertEquals(value(await done), {
          leftToRight: there,
          rightToLeft: back,
        });
        emptyPool(ctx);
      },
    );
  }
}

for (
  const [dies, other] of [["client", "server"], ["server", "client"]] as const
) {
  kioTest(`relay() passes a reset of the ${dies} on`, async (ctx) => {
    const { ends, done } = await joined(ctx);
    using _ = ends;
    const fds = [ends.left.fd, ends.right.fd];
    await exchange(ctx, ends);
    await ends[dies].reset();
    assertEquals(await next(ctx, ends[other]), "ECONNRESET");
    const result = await done;
    assertCode(result, "ECONNRESET");
    assertEquals(!result.ok && result.error.bytesTransferred, 10);
    assertClosed(ends, fds);
    emptyPool(ctx);
  });

  kioTest(`relay() sees a reset of the ${dies} after its end`, async (ctx) => {
    const { ends, done } = await joined(ctx);
    using _ = ends;
    await exchange(ctx, ends);
    value(await asyncShutdown(ctx, ends[dies], SHUT_WR));
    assertEquals(await next(ctx, ends[other]), "0");
    // Nobody sends anything: only the watch can see it.
    await ends[dies].reset();
    assertCode(await done, "ECONNRESET", "EPIPE");
    const sent = await asyncSend(ctx, ends[other], bytes("late"));
    assertCode(sent, "ECONNRESET", "EPIPE");
    emptyPool(ctx);
  });

  kioTest(
    `relay() sees a reset of the ${dies} together with its end`,
    async (ctx) => {
      const { ends, done } = await joined(ctx);
      using _ = ends;
      await exchange(ctx, ends);
      value(await asyncSend(ctx, ends[other], bytes("unread")));
      await turn(5);
      void asyncShutdown(ctx, ends[dies], SHUT_WR);
      void ends[dies].reset();
      assertCode(await done, "ECONNRESET", "EPIPE");
      assert(/^(0|ECONNRESET)$/.test(await next(ctx, ends[other])));
      emptyPool(ctx);
    },
  );
}

kioTest(
  "relay() moves what came before a reset to a slow reader",
  async (ctx) => {
    const { ends, done } = await joined(ctx);
    using _ = ends;
    const sending = asyncSendExact(ctx, ends.client, pattern(SIZE));
    await turn(30);
    sending.cancel();
    const sent = await sending;
    const count = sent.ok ? sent.value : sent.error.bytesTransferred!;
    await ends.client.reset();
    await turn(30);
    // The bytes that the kernel of the client still had are gone.
    const buffer = new Uint8Array(1 << 20);
    let got = 0;
    for (;;) {
      const result = await asyncRecv(ctx, ends.server, buffer);
      if (!result.ok) {
        assertCode(result, "ECONNRESET");
        break;
      }
      got += result.value;
      assert(result.value > 0, "a reset came as an end");
    }
    assert(got > 0 && got <= count);
    assertCode(await done, "ECONNRESET");
    emptyPool(ctx);
  },
);

for (
  const [why, code, options] of [
    ["the idle timeout", "ETIMEDOUT", () => ({ idleTimeoutMs: 30 })],
    ["an idle timeout of 0", "ETIMEDOUT", () => ({ idleTimeoutMs: 0 })],
    ["the timeout", "ETIMEDOUT", () => ({ timeoutMs: 30 })],
    ["a signal", "ECANCELED", () => ({ signal: AbortSignal.timeout(30) })],
    ["an aborted signal", "ECANCELED", () => ({ signal: AbortSignal.abort() })],
  ] as [string, string, () => RelayOptions][]
) {
  kioTest(`relay() resets both connections after ${why}`, async (ctx) => {
    const { ends, done } = await joined(ctx, options());
    using _ = ends;
    const fds = [ends.left.fd, ends.right.fd];
    assertCode(await done, code);
    assertEquals(await next(ctx, ends.client), "ECONNRESET");
    assertEquals(await next(ctx, ends.server), "ECONNRESET");
    assertClosed(ends, fds);
    emptyPool(ctx);
  });
}

kioTest(
  "relay() loses nothing that is still to be sent at its end",
  async (ctx) => {
    const { ends, done } = await joined(ctx);
    using _ = ends;
    value(await asyncShutdown(ctx, ends.client, SHUT_WR));
    // As much as the sockets take: the last of it is sent after the end.
    let sent = 0;
    const data = pattern(1 << 20);
    for (let quiet = 0; quiet < 20;) {
      const result = await asyncSend(ctx, ends.server, data, MSG_DONTWAIT);
      if (result.ok) sent += result.value;
      quiet = result.ok ? 0 : quiet + 1;
      await turn(1);
    }
    value(await asyncShutdown(ctx, ends.server, SHUT_WR));
    let got = 0;
    for (let count = -1; count !== 0; got += count) {
      count = value(await asyncRecv(ctx, ends.client, new Uint8Array(1 << 20)));
      await turn();
    }
    assertEquals(got, sent);
    assertEquals(value(await done).rightToLeft, sent);
    emptyPool(ctx);
  },
);

kioTest("relay() is not idle while bytes move one way", async (ctx) => {
  const { ends, done } = await joined(ctx, { idleTimeoutMs: 1000 });
  using _ = ends;
  for (let i = 0; i < 14; i++) {
    await turn(100);
    value(await asyncSend(ctx, ends.client, bytes("x")));
    assertEquals(await next(ctx, ends.server), "1");
  }
  for (const it of [ends.client, ends.server]) {
    value(await asyncShutdown(ctx, it, SHUT_WR));
  }
  assertEquals(value(await done).leftToRight, 14);
  emptyPool(ctx);
});

kioTest("relay() is idle while a peer does not read", async (ctx) => {
  const { ends, done } = await joined(ctx, { idleTimeoutMs: 100 });
  using _ = ends;
  const sending = asyncSendExact(ctx, ends.client, pattern(40 << 20));
  assertCode(await done, "ETIMEDOUT");
  assertCode(await sending, "ECONNRESET", "EPIPE");
  emptyPool(ctx);
});

kioTest("relay() ends when one of its sockets is closed", async (ctx) => {
  for (const which of ["left", "right"] as const) {
    const { ends, done } = await joined(ctx);
    using _ = ends;
    await exchange(ctx, ends);
    await ends[which].close();
    assertCode(await done, "ECANCELED");
    // That is no end of its peer.
    const other = which === "left" ? ends.server : ends.client;
    assertEquals(await next(ctx, other), "ECONNRESET");
  }
  emptyPool(ctx);
});

kioTest("relay() pending when its context is closed", async (outer) => {
  for (const close of ["now", "later"]) {
    const ctx = new IoContext();
    using ends = await openEnds(outer);
    const done = relay(ctx, ends.left, ends.right, { idleTimeoutMs: 60_000 });
    await exchange(outer, ends);
    if (close === "now") ctx[Symbol.dispose]();
    else await ctx[Symbol.asyncDispose]();
    assertCode(await done, "ECANCELED");
    assertEquals(await next(outer, ends.client), "ECONNRESET");
  }
});

kioTest(
  "relay() of 100 connections mixes nothing and leaves nothing",
  async (ctx) => {
    const fds = openFds().length;
    await Promise.all(Array.from({ length: 100 }, async (_, i) => {
      const { ends, done } = await joined(ctx);
      using _ends = ends;
      const data = pattern(20_000 + i, i);
      const [got] = await Promise.all([
        receivedAll(ctx, ends.server, data.length),
        asyncSendExact(ctx, ends.client, data).then(() =>
          asyncShutdown(ctx, ends.client, SHUT_WR)
        ),
      ]);
      assertEquals(got, data);
      if (i % 2 === 0) await ends.server.close();
      else await ends.server.reset();
      await done;
    }));
    emptyPool(ctx);
    assertEquals(openFds().length, fds);
  },
);

kioTest("relay() refuses what makes no sense", async (ctx) => {
  using ends = await openEnds(ctx);
  const { left, right } = ends;
  // deno-lint-ignore no-explicit-any
  const bad = (it: unknown) => it as any;
  const cases: [() => unknown, typeof TypeError | typeof RangeError][] = [
    [() => relay(bad({}), left, right), TypeError],
    [() => relay(ctx, left, left), TypeError],
    [() => relay(ctx, bad(left.fd), right), TypeError],
    [() => relay(ctx, left, bad(undefined)), TypeError],
    [() => relay(ctx, left, right, bad(7)), TypeError],
    [() => relay(ctx, left, right, { signal: bad(7) }), TypeError],
    [() => relay(ctx, left, right, { timeoutMs: -1 }), RangeError],
    [() => relay(ctx, left, right, { idleTimeoutMs: NaN }), RangeError],
    [() => link(ctx, () => void relay(ctx, left, right)), TypeError],
  ];
  for (const [call, type] of cases) assertThrows(call, type);
  assertEquals(ctx.pending, 0);
  // The sockets are still the caller's.
  await exchangeDirectly(ctx, ends);
});

kioTest(
  "relay() without room for its operations starts none",
  async (outer) => {
    using ends = await openEnds(outer);
    for (let room = 0; room < 4; room++) {
      await using ctx = new IoContext({ operationsMax: Math.max(room, 1) });
      const sleeper = room === 0
        ? asyncRecv(ctx, ends.left, new Uint8Array(1))
        : undefined;
      assertThrows(() => relay(ctx, ends.left, ends.right), RangeError);
      sleeper?.cancel();
      await sleeper;
      await turn(5);
      assertEquals(ctx.pending, 0);
    }
    await exchangeDirectly(outer, ends);
  },
);

/** The sockets work, and nothing reads from them. */
async function exchangeDirectly(ctx: IoContext, ends: Ends): Promise<void> {
  for (
    const [from, to] of [
      [ends.client, ends.left],
      [ends.right, ends.server],
    ] as const
  ) {
    value(await asyncSend(ctx, from, bytes("hello")));
    assertEquals(await next(ctx, to), "5");
  }
}
