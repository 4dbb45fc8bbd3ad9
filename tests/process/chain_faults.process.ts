/**
 * A chain whose front was taken back from the kernel, while completions of its
 * other links are held back: whatever happens then, each link settles once and
 * as it should, and none runs that was given up.
 */
import "./fault_library.ts";
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  asyncClose,
  asyncConnect,
  asyncPoll,
  asyncRecv,
  asyncSend,
  IoContext,
  link,
  MSG_DONTWAIT,
  POLLIN,
  type Result,
  Socket,
  unwrap,
  type UringOp,
} from "@kio/kio";
import { FaultPlan } from "@kio/kio/testing";
import {
  assertCode,
  bytes,
  fullListener,
  isOpen,
  kioTest,
  type Pair,
  text,
  turn,
  unixPair,
  within,
} from "../support.ts";
import { runScript } from "./support.ts";

/** How long a completion is held back: longer than what is done meanwhile. */
const HELD_MS = 40;

function codes(results: readonly Result<unknown>[]): string {
  return results.map((result) => result.ok ? "ok" : result.error.code).join();
}

/** A chain that waits, and whose other links send "1", "2" … */
function chainOf(ctx: IoContext, waiting: Pair, target: Pair, count: number) {
  return link(ctx, () => [
    asyncPoll(ctx, waiting.left, POLLIN),
    ...Array.from(
      { length: count - 1 },
      (_, i) => asyncSend(ctx, target.left, bytes(String(i + 1))),
    ),
  ]);
}

async function received(ctx: IoContext, { right }: Pair): Promise<string> {
  const memory = new Uint8Array(64);
  const result = await asyncRecv(ctx, right, memory, MSG_DONTWAIT);
  return result.ok ? text(memory.subarray(0, result.value)) : "";
}

type Ops = readonly UringOp<unknown>[];

/** Acts upon a chain of five whose last link was cancelled: how it ends, and
 * what was sent. */
const actions: Record<
  string,
  [act: (ops: Ops) => unknown, expected: string, sent: string]
> = {
  "nothing": [() => {}, "ok,ok,ok,ok,ECANCELED", "123"],
  "cancel() of the front": [
    (ops) => ops[0]!.cancel(),
    "ECANCELED,ECANCELED,ECANCELED,ECANCELED,ECANCELED",
    "",
  ],
  "cancel() of the one that is held back": [
    (ops) => ops[1]!.cancel(),
    "ok,ECANCELED,ECANCELED,ECANCELED,ECANCELED",
    "",
  ],
  "cancel() of one that has come": [
    (ops) => ops[2]!.cancel(),
    "ok,ok,ECANCELED,ECANCELED,ECANCELED",
    "1",
  ],
  "cancel() of two": [
    (ops) => {
      ops[3]!.cancel();
      ops[2]!.cancel();
    },
    "ok,ok,ECANCELED,ECANCELED,ECANCELED",
    "1",
  ],
  "withTimeout() of the front": [
    (ops) => ops[0]!.withTimeout(1),
    "ETIMEDOUT,ECANCELED,ECANCELED,ECANCELED,ECANCELED",
    "",
  ],
  "withTimeout() of another": [
    (ops) => ops[2]!.withTimeout(1),
    "ok,ok,ETIMEDOUT,ECANCELED,ECANCELED",
    "1",
  ],
  "withTimeout(0) of the one that is held back": [
    (ops) => ops[1]!.withTimeout(0),
    "ok,ETIMEDOUT,ECANCELED,ECANCELED,ECANCELED",
    "",
  ],
  "withSignal() of another": [
    (ops) => ops[3]!.withSignal(AbortSignal.abort()),
    "ok,ok,ok,ECANCELED,ECANCELED",
    "12",
  ],
};

for (const [name, [act, expected, sent]] of Object.entries(actions)) {
  kioTest(`link() taken back in part: ${name}`, async (ctx) => {
    using plan = FaultPlan.install({
      rules: [{ operation: "send", fault: "delay", ms: HELD_MS, nth: 1 }],
    });
    using waiting = unixPair();
    using target = unixPair();
    const ops = chainOf(ctx, waiting, target, 5);
    await turn(1);
    ops[4]!.cancel();
    await turn(5);
    assertEquals(plan.injectedCount, 1);
    assert(ctx.pending >= 4, "it waits for what is held back");
    act(ops);
    await turn(2 * HELD_MS);
    await asyncSend(ctx, waiting.right, bytes("x")).orThrow();
    assertEquals(codes(await Promise.all(ops)), expected);
    assertEquals(await received(ctx, target), sent);
  });
}

kioTest("link() taken back in part: the end of its context", async () => {
  for (const close of [Symbol.dispose, Symbol.asyncDispose] as const) {
    using _ = FaultPlan.install({
      rules: [{ operation: "send", fault: "delay", ms: HELD_MS, nth: 1 }],
    });
    using waiting = unixPair();
    using target = unixPair();
    using other = new IoContext(16);
    const ops = chainOf(other, waiting, target, 4);
    await turn(1);
    ops[3]!.cancel();
    await turn(5);
    await other[close]();
    assertEquals(
      codes(await Promise.all(ops)),
      "ECANCELED,ECANCELED,ECANCELED,ECANCELED",
    );
    using ctx = new IoContext(4);
    assertEquals(await received(ctx, target), "");
  }
});

kioTest(
  "link() whose front is over, unheard of, when it is asked for",
  async (ctx) => {
    using _ = FaultPlan.install({
      rules: [{ operation: "poll", fault: "delay", ms: HELD_MS, nth: 1 }],
    });
    using first = unixPair();
    using second = unixPair();
    using target = unixPair();
    const ops = link(ctx, () => [
      asyncPoll(ctx, first.left, POLLIN),
      asyncPoll(ctx, second.left, POLLIN),
      asyncSend(ctx, target.left, bytes("1")),
      asyncSend(ctx, target.left, bytes("2")),
    ]);
    await turn(1);
    await asyncSend(ctx, first.right, bytes("x")).orThrow();
    ops[3]!.cancel();
    await turn(2 * HELD_MS);
    assertEquals(codes([await ops[0]!]), "ok");
    await turn(5);
    await asyncSend(ctx, second.right, bytes("x")).orThrow();
    assertEquals(codes(await Promise.all(ops)), "ok,ok,ok,ECANCELED");
    assertEquals(await received(ctx, target), "1");
  },
);

kioTest(
  "link() that cannot be queued again says so, and none too many runs",
  async (ctx) => {
    const legal = ["ok", "ECANCELED", "ENOMEM"];
    let refused = 0;
    for (let nth = 1; nth <= 30; nth++) {
      using _ = FaultPlan.install({
        rules: [
          { operation: "send", fault: "batch", ms: 10, nth: 1 },
          { operation: "send", fault: "batch", ms: 10, nth: 4 },
          { operation: "enter", fault: "error", code: "ENOMEM", nth },
        ],
      });
      using waiting = unixPair();
      const targets = [unixPair(), unixPair()] as const;
      const chains = targets.map((target) => chainOf(ctx, waiting, target, 4));
      await turn(1);
      for (const ops of chains) ops[3]!.cancel();
      // Both are queued again at once, which is more than the queue holds.
      await turn(20);
      await asyncSend(ctx, waiting.right, bytes("x")).orThrow();
      for (const [i, ops] of chains.entries()) {
        const got = codes(await Promise.all(ops)).split(",");
        assert(got.every((code) => legal.includes(code)), `${nth}: ${got}`);
        assertEquals(got[3], "ECANCELED");
        const done = got.findIndex((code) => code !== "ok");
        const sent = "12".slice(0, Math.max(0, done - 1));
        assertEquals(await received(ctx, targets[i]!), sent, `${nth}: ${got}`);
        if (got.includes("ENOMEM")) refused++;
      }
      for (const target of targets) target[Symbol.dispose]();
    }
    assert(refused > 0, "it is always queued again");
  },
  { entries: 4 },
);

kioTest(
  "asyncClose() that cannot be queued again closes all the same",
  async (ctx) => {
    let refused = 0;
    for (let nth = 1; nth <= 30; nth++) {
      using _ = FaultPlan.install({
        rules: [
          { operation: "enter", fault: "error", code: "ENOMEM", nth },
        ],
      });
      using waiting = unixPair();
      const chains = [1, 2].map(() => {
        const { left, right } = unixPair();
        const fd = right.release();
        const ops = link(ctx, () => [
          asyncRecv(ctx, waiting.left, new Uint8Array(1)),
          asyncClose(ctx, fd),
          asyncSend(ctx, left, bytes("1")),
          asyncSend(ctx, left, bytes("2")),
        ]);
        return { left, fd, ops };
      });
      await turn(1);
      for (const { ops } of chains) ops[3]!.cancel();
      await turn(20);
      await asyncSend(ctx, waiting.right, bytes("x")).orThrow();
      await asyncSend(ctx, waiting.right, bytes("x")).orThrow();
      for (const { left, fd, ops } of chains) {
        const got = codes(await Promise.all(ops)).split(",");
        assert(!isOpen(fd), `${nth}: ${got}`);
        if (got[1] === "ENOMEM") refused++;
        await left.close();
      }
    }
    assert(refused > 0, "it is always queued again");
  },
  { entries: 4 },
);

// ---- a connect that has begun ----------------------------------------------------

/** Acts upon a chain behind a connect that was taken back, and waits. */
const whileConnecting: Record<string, [act: (ops: Ops) => unknown, string]> = {
  "cancel() of the one behind it": [async (ops) => {
    ops[1]!.cancel();
    // At once, and not when the connect is over.
    assertCode(await within(10_000, ops[1]!, "the link"), "ECANCELED");
    ops[0]!.withTimeout(1);
  }, "ETIMEDOUT,ECANCELED,ECANCELED"],
  "cancel()": [(ops) => ops[0]!.cancel(), "ECANCELED,ECANCELED,ECANCELED"],
  "withTimeout()": [
    (ops) => ops[0]!.withTimeout(1),
    "ETIMEDOUT,ECANCELED,ECANCELED",
  ],
  "withSignal()": [
    (ops) => ops[0]!.withSignal(AbortSignal.abort()),
    "ECANCELED,ECANCELED,ECANCELED",
  ],
};

for (const [name, [act, expected]] of Object.entries(whileConnecting)) {
  kioTest(`asyncConnect() taken back, that goes on: ${name}`, async (ctx) => {
    using listener = await fullListener(ctx);
    using client = unwrap(Socket.open("ipv4"));
    using target = unixPair();
    const ops = link(ctx, () => [
      asyncConnect(ctx, client, listener.at),
      asyncSend(ctx, target.left, bytes("1")),
      asyncSend(ctx, target.left, bytes("2")),
    ]);
    await turn(5);
    ops[2]!.cancel();
    assertCode(await ops[2]!, "ECANCELED");
    await turn(10);
    assertEquals(ctx.pending, 2);
    await act(ops);
    assertEquals(codes(await Promise.all(ops)), expected);
    assertEquals(await received(ctx, target), "");
  });
}

kioTest(
  "asyncConnect() taken back, that goes on: the end of its context",
  async (ctx) => {
    using listener = await fullListener(ctx);
    for (const close of [Symbol.dispose, Symbol.asyncDispose] as const) {
      using client = unwrap(Socket.open("ipv4"));
      using target = unixPair();
      using other = new IoContext(8);
      const ops = link(other, () => [
        asyncConnect(other, client, listener.at),
        asyncSend(other, target.left, bytes("1")),
        asyncSend(other, target.left, bytes("2")),
      ]);
      await turn(5);
      ops[2]!.cancel();
      await turn(10);
      await other[close]();
      assertEquals(
        codes(await Promise.all(ops)),
        "ECANCELED,ECANCELED,ECANCELED",
      );
      assertEquals(await received(ctx, target), "");
    }
  },
);

// ---- what ends the process or the isolate --------------------------------------------

const FAULTS = `
import { FaultPlan } from "@kio/kio/testing";
FaultPlan.load();
`;

Deno.test("link() taken back in part: a buffer that is transferred ends the process", async () => {
  const { signal, out, err } = await runScript(
    `${FAULTS}
const ctx = new kio.IoContext(16);
FaultPlan.install({
  rules: [{ operation: "send", fault: "delay", ms: ${HELD_MS}, nth: 1 }],
});
const [left] = kio.unwrap(kio.Socket.pair());
const [target] = kio.unwrap(kio.Socket.pair());
const buffer = new Uint8Array(16);
const ops = kio.link(ctx, () => [
  kio.asyncRecv(ctx, left, buffer),
  kio.asyncSend(ctx, target, new Uint8Array(1)),
  kio.asyncSend(ctx, target, new Uint8Array(1)),
]);
await new Promise((resolve) => setTimeout(resolve, 1));
ops[2].cancel();
await new Promise((resolve) => setTimeout(resolve, 5));
// Its completion has come and was kept; the kernel gets it again.
buffer.buffer.transfer();
await kio.asyncSleep(ctx, 2000);
console.log("it goes on");
Deno.exit();
`,
    { flags: ["-A"] },
  );
  assertEquals([signal, out], ["SIGABRT", ""]);
  assertMatch(
    err,
    /^kio: asyncRecv: a buffer was transferred or detached while the kernel was using it; its memory may be corrupt\. pin\(\) prevents this; in place of resizable buffers and WebAssembly memory use IoContext\.allocate\(\)\nkio of .*\nwithout features: none\n\d+ operations pending:\n {2}slot \d+, generation \d+: async/,
  );
});

const WORKER = `${FAULTS}
import * as kio from "@kio/kio";
onmessage = async ({ data: { silent, doomed, target } }) => {
  const ctx = new kio.IoContext(16);
  FaultPlan.install({
    rules: [{ operation: "send", fault: "delay", ms: 60_000, nth: 1 }],
  });
  const byte = new Uint8Array(1);
  const ops = kio.link(ctx, () => [
    kio.asyncPoll(ctx, silent, kio.POLLIN),
    kio.asyncSend(ctx, target, byte),
    kio.asyncClose(ctx, doomed),
    kio.asyncSend(ctx, target, byte),
  ]);
  await new Promise((resolve) => setTimeout(resolve, 1));
  ops[3].cancel();
  await new Promise((resolve) => setTimeout(resolve, 10));
  postMessage(ctx.pending);
};
`;

Deno.test("link() taken back in part: the end of its isolate closes the fd of an asyncClose()", async () => {
  const { code, signal, out } = await runScript(
    `${FAULTS}
using ctx = new kio.IoContext();
const url = "data:text/javascript,${encodeURIComponent(WORKER)}";
const byte = new Uint8Array(1);
const pairs = [1, 2, 3].map(() => kio.unwrap(kio.Socket.pair()));
const [silent, doomed, target] = pairs;
const worker = new Worker(url, { type: "module" });
const ready = new Promise((resolve) =>
  worker.onmessage = ({ data }) => resolve(data)
);
worker.postMessage({
  silent: silent[0].fd,
  doomed: doomed[0].release(),
  target: target[0].fd,
});
console.log(await ready);
worker.terminate();
const end = await kio.asyncRecv(ctx, doomed[1], byte).withTimeout(5000);
console.log(end.ok ? end.value : end.error.code);
const came = await kio.asyncRecv(ctx, target[1], byte, kio.MSG_DONTWAIT);
console.log(came.ok ? came.value : came.error.code);
Deno.exit();
`,
    { flags: ["-A"] },
  );
  assertEquals([code, signal, out], [0, null, "3\n0\nEAGAIN\n"]);
});
