/**
 * The library with a kernel on a bad day: for each step of several programs,
 * one after the other, the kernel fails in each way it can. The program gets
 * the right error or does not notice; fds, threads, operations and bytes are
 * where they belong (that is what kioTest() looks at).
 */
import "./fault_library.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import {
  asyncAccept,
  asyncClose,
  asyncConnect,
  asyncFdatasync,
  asyncOpen,
  asyncPipe,
  asyncRead,
  asyncReadExact,
  asyncReadFixed,
  asyncReadv,
  asyncRecv,
  asyncRecvExact,
  asyncRecvmsg,
  asyncSend,
  asyncSendExact,
  asyncSendfile,
  asyncSendmsg,
  asyncSleep,
  asyncWrite,
  asyncWriteExact,
  asyncWriteFixed,
  asyncWritev,
  IoContext,
  link,
  MSG_DONTWAIT,
  O_RDWR,
  O_TMPFILE,
  type Result,
  Socket,
  unwrap,
  type UringOp,
} from "@kio/kio";
import { FaultPlan, type FaultRule } from "@kio/kio/testing";
import { SHIM_FOLDER, sourcesIn } from "../../ffi/compile.ts";
import { SOURCES } from "../../ffi/sources.ts";
import {
  assertCode,
  bytes,
  isOpen,
  kioTest,
  listen,
  pattern,
  tempFile,
  turn,
  unixPair,
  value,
} from "../support.ts";
import { assertPrinted, ROOT, run, runScript } from "./support.ts";

// ---- fail the N-th -----------------------------------------------------------

/** Faults of one operation. The programs below have less than a hundred. */
const FAULTS: Record<string, (nth: number) => FaultRule> = {
  "1 byte": (nth) => ({ operation: "any", nth, fault: "short", bytes: 1 }),
  "part": (nth) => ({ operation: "any", nth, fault: "short" }),
  "delay": (nth) => ({ operation: "any", nth, fault: "delay", ms: 5 }),
  "reorder": (nth) => ({ operation: "any", nth, fault: "reorder", ms: 5 }),
  "batch": (nth) => ({ operation: "any", nth, fault: "batch", ms: 5 }),
};
for (
  const code of [
    "EINTR",
    "EAGAIN",
    "ENOMEM",
    "ENOBUFS",
    "EMFILE",
    "EIO",
    "ECONNRESET",
    "ERESTARTSYS",
    "ECANCELED",
  ]
) {
  FAULTS[code] = (nth) => ({ operation: "any", nth, fault: "error", code });
}
for (const code of ["EINTR", "EAGAIN", "EBUSY", "ENOMEM"]) {
  FAULTS[`enter ${code}`] = (nth) => ({
    operation: "enter",
    nth,
    fault: "error",
    code,
  });
}

/** Errors that may reach a program though only one operation failed: the rest
 * of its chain, its peer. */
const FOLLOWING = ["ECANCELED", "ENODATA", "EPIPE", "ECONNRESET"];
/** Operations that a program may have more because one of them failed. */
const MORE = 4;

/** A program gives all its results; without a fault all of them are values. */
type Scenario = (ctx: IoContext) => Promise<Result<unknown>[]>;

/** True if programs need not notice the fault at all. */
function isTransparent(fault: string): boolean {
  return !/^E/.test(fault);
}

/** Counts the operations of a program; a fault may add some. */
async function operationsOf(
  ctx: IoContext,
  scenario: Scenario,
): Promise<number> {
  using plan = FaultPlan.install({
    rules: [{ operation: "any", fault: "delay", ms: 1 }],
  });
  assert(areAll(await scenario(ctx)));
  return plan.injectedCount + MORE;
}

/** Runs a program once for each of its operations. */
async function failEach(
  ctx: IoContext,
  fault: string,
  scenario: Scenario,
): Promise<void> {
  const count = await operationsOf(ctx, scenario);
  let injectedCount = 0;
  for (let nth = 1; nth <= count; nth++) {
    using plan = FaultPlan.install({ seed: nth, rules: [FAULTS[fault]!(nth)] });
    const results = await scenario(ctx);
    assertEquals(ctx.pending, 0);
    const [injected] = plan.injected;
    injectedCount += plan.injectedCount;
    for (const result of results) {
      if (result.ok) continue;
      const { code, errno } = result.error;
      const legal = injected !== undefined && !isTransparent(fault) &&
        ((errno === injected.value && errno !== 512) || code === "EINTR" ||
          // The kernel's own cancel is a lack of threads.
          (fault === "ECANCELED" && code === "EAGAIN") ||
          FOLLOWING.includes(code));
      assert(legal, `operation ${nth} of ${count}: ${code}`);
    }
  }
  if (scenario !== SCENARIOS.timeouts) assert(injectedCount > 0);
}

const LONG = pattern(200_000);

function areAll(results: readonly Result<unknown>[]): boolean {
  return results.every((result) => result.ok);
}

/** Sends and compares all of it. Bytes that a failure has cut off are not
 * compared. */
async function exactly(
  ctx: IoContext,
  left: Socket,
  right: Socket,
): Promise<Result<unknown>[]> {
  const copy = new Uint8Array(LONG.length);
  const received = asyncRecvExact(ctx, right, copy);
  const sent = await asyncSendExact(ctx, left, LONG);
  if (!sent.ok) await left.close();
  const result = await received;
  if (!result.ok) {
    await Promise.all([left.close(), right.close()]);
  }
  const count = result.ok ? result.value : result.error.bytesTransferred ?? 0;
  assertEquals(copy.subarray(0, count), LONG.subarray(0, count));
  return [sent, result];
}

const SCENARIOS: Record<string, Scenario> = {
  async echo(ctx) {
    using pair = unixPair();
    const { left, right } = pair;
    const results: Result<unknown>[] = [];
    const buffer = new Uint8Array(64);
    for (let round = 0; round < 4; round++) {
      const data = pattern(64, round);
      const received = asyncRecv(ctx, right, buffer);
      const sent = await asyncSend(ctx, left, data);
      if (!sent.ok) await left.close();
      const got = await received;
      results.push(sent, got);
      if (!sent.ok || !got.ok) break;
      assertEquals(
        buffer.subarray(0, got.value),
        data.subarray(0, got.value),
      );
      if (got.value < 64) break;
    }
    return results;
  },

  async exact(ctx) {
    using pair = unixPair();
    return await exactly(ctx, pair.left, pair.right);
  },

  async connections(ctx) {
    const { listener, at } = listen();
    const client = unwrap(Socket.open("ipv4"));
    try {
      const accepted = asyncAccept(ctx, listener).withTimeout(20_000);
      const connected = await asyncConnect(ctx, client, at);
      if (!connected.ok) accepted.cancel();
      const peer = await accepted;
      if (!peer.ok) return [connected, peer];
      await using server = new Socket(peer.value);
      return [connected, peer, ...await exactly(ctx, client, server)];
    } finally {
      await Promise.all([client.close(), listener.close()]);
    }
  },

  async sendfile(ctx) {
    await using pair = unixPairAsync();
    const { left, right } = pair;
    const file = await openFile(ctx);
    if (!file.ok) return [file];
    const written = await asyncWriteExact(ctx, file.value, LONG);
    const copy = new Uint8Array(LONG.length);
    const received = asyncRecvExact(ctx, right, copy);
    const sent = await asyncSendfile(ctx, left, file.value, 0, LONG.length);
    if (!sent.ok) await left.close();
    const got = await received;
    if (!got.ok) await right.close();
    const closed = await asyncClose(ctx, file.value);
    const count = got.ok ? got.value : got.error.bytesTransferred ?? 0;
    if (written.ok) {
      assertEquals(copy.subarray(0, count), LONG.subarray(0, count));
    }
    return [written, sent, got, closed];
  },

  async files(ctx) {
    const [from, to] = [await openFile(ctx), await openFile(ctx)];
    const results: Result<unknown>[] = [from, to];
    if (from.ok && to.ok) {
      const copy = new Uint8Array(LONG.length);
      results.push(
        await asyncWriteExact(ctx, from.value, LONG),
        await asyncReadExact(ctx, from.value, copy),
      );
      if (areAll(results)) {
        assertEquals(copy, LONG);
        results.push(await asyncWriteExact(ctx, to.value, copy));
        const read = await asyncReadv(ctx, to.value, [
          new Uint8Array(10),
          new Uint8Array(10),
        ]);
        results.push(read);
        // Written and made durable in one go; short, or both, or none.
        const [written, synced] = link(ctx, () => [
          asyncWrite(ctx, to.value, LONG),
          asyncFdatasync(ctx, to.value),
        ]);
        const wrote = await written as Result<number>;
        const isWhole = wrote.ok && wrote.value === LONG.length;
        const sync = await synced;
        results.push(wrote);
        if (isWhole) results.push(sync);
        else assertCode(sync, "ECANCELED");
      }
    }
    for (const file of [from, to]) {
      if (file.ok) results.push(await asyncClose(ctx, file.value));
    }
    return results;
  },

  async timeouts(ctx) {
    using pair = unixPair();
    const buffer = new Uint8Array(8);
    const late = await asyncRecv(ctx, pair.left, buffer).withTimeout(1);
    const slept = await asyncSleep(ctx, 1);
    const cancelled = asyncRecv(ctx, pair.left, buffer);
    await asyncSleep(ctx, 1);
    cancelled.cancel();
    assert(!(await cancelled).ok);
    assert(!late.ok);
    return !late.ok && late.error.code === "ETIMEDOUT"
      ? [slept]
      : [slept, late];
  },
};

function openFile(ctx: IoContext): Promise<Result<number>> {
  return asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600);
}

/** A pair that is closed in the safe order. */
function unixPairAsync(): AsyncDisposable & { left: Socket; right: Socket } {
  const { left, right } = unixPair();
  const close = () => Promise.all([left.close(), right.close()]);
  return {
    left,
    right,
    [Symbol.asyncDispose]: async () => void await close(),
  };
}

for (const [name, scenario] of Object.entries(SCENARIOS)) {
  for (const fault of Object.keys(FAULTS)) {
    kioTest(`${name}: each operation meets "${fault}"`, async (ctx) => {
      await failEach(ctx, fault, scenario);
      // Nothing is left of an earlier plan.
      assert(areAll(await scenario(ctx)));
      // Pooled pipes belong to the context: gone with it.
      ctx[Symbol.dispose]();
    });
  }
}

for (let seed = 1; seed <= 20; seed++) {
  kioTest(`everything at once on a bad day (seed ${seed})`, async (ctx) => {
    {
      using plan = FaultPlan.install({
        seed,
        rules: [
          { operation: "any", fault: "short", probability: 0.3 },
          {
            operation: "enter",
            fault: "error",
            code: "EAGAIN",
            probability: 0.1,
          },
          {
            operation: "enter",
            fault: "error",
            code: "EINTR",
            probability: 0.1,
          },
          { operation: "any", fault: "reorder", ms: 3, probability: 0.3 },
          { operation: "any", fault: "batch", ms: 3, probability: 0.2 },
        ],
      });
      const { echo: _, ...others } = SCENARIOS;
      const all = Object.values(others).map((scenario) => scenario(ctx));
      for (const results of await Promise.all(all)) {
        for (const result of results) value(result);
      }
      assert(plan.injectedCount > 10);
    }
    ctx[Symbol.dispose]();
  });
}

// ---- a cancel that comes too early -----------------------------------------------

kioTest(
  "cancel() that found nothing is repeated until the completion",
  async (ctx) => {
    using pair = unixPair();
    value(await asyncSend(ctx, pair.right, bytes("x")));
    using _ = FaultPlan.install({
      rules: [{ operation: "recv", fault: "delay", ms: 60 }],
    });
    const op = asyncRecv(ctx, pair.left, new Uint8Array(1));
    await turn();
    op.cancel();
    await turn();
    const before = ctx.stats().submissions;
    // The kernel has completed it: a result counts more than a cancel.
    assertEquals(value(await op), 1);
    const count = ctx.stats().submissions - before;
    assert(count >= 3, `${count} submissions`);
  },
);

// ---- a close without room --------------------------------------------------------

kioTest("asyncClose() without room waits for what is queued", async () => {
  using ctx = new IoContext(1);
  const { readFd, writeFd } = value(await asyncPipe(ctx));
  using _ = FaultPlan.install({
    rules: [{ operation: "enter", fault: "error", code: "ENOMEM", nth: 1 }],
  });
  const written = asyncWrite(ctx, writeFd, bytes("x"));
  assertCode(await asyncClose(ctx, writeFd), "ENOMEM");
  // It would have met no file, or the next of that number.
  assertEquals(value(await written), 1);
  assert(!isOpen(writeFd), "the fd is gone whatever the result");
  value(await asyncClose(ctx, readFd));
});

// ---- the plan itself -----------------------------------------------------------

kioTest("FaultPlan does the same for the same seed", async (ctx) => {
  const story = async (seed: number) => {
    using plan = FaultPlan.install({
      seed,
      rules: [
        { operation: "recv", fault: "short", probability: 0.5 },
        {
          operation: "send",
          fault: "error",
          code: "ENOBUFS",
          probability: 0.3,
        },
      ],
    });
    using pair = unixPair();
    const buffer = new Uint8Array(50);
    for (let i = 0; i < 40; i++) {
      await asyncSend(ctx, pair.left, new Uint8Array(100));
      await asyncRecv(ctx, pair.right, buffer).withTimeout(50);
    }
    return plan.injected.map(({ fd: _, ...fault }) => fault);
  };
  const first = await story(1);
  assert(first.length > 10);
  assertEquals(await story(1), first);
  assert(JSON.stringify(await story(2)) !== JSON.stringify(first));
});

kioTest("FaultPlan reports what it did, and applies to one fd", async (ctx) => {
  using pair = unixPair();
  using other = unixPair();
  using plan = FaultPlan.install({
    rules: [{
      operation: "recv",
      fault: "short",
      bytes: 3,
      fd: pair.right,
      times: 2,
    }],
  });
  const buffer = new Uint8Array(10);
  const counts: number[] = [];
  for (const { left, right } of [other, pair, pair, pair, pair]) {
    value(await asyncSend(ctx, left, buffer));
    counts.push(value(await asyncRecv(ctx, right, buffer)));
  }
  assertEquals(counts, [10, 3, 3, 10, 10]);
  const fault = {
    operation: "recv",
    fd: pair.right.fd,
    fault: "short",
    value: 3,
  };
  assertEquals(plan.injected as unknown[], [fault, fault]);
  assertEquals(plan.injectedCount, 2);
});

kioTest("an errno that only the kernel knows becomes EINTR", async (ctx) => {
  using _ = FaultPlan.install({
    rules: [{ operation: "recv", fault: "error", code: "ERESTARTSYS" }],
  });
  using pair = unixPair();
  assertCode(await asyncRecv(ctx, pair.left, new Uint8Array(1)), "EINTR");
});

kioTest("transfers and messages wait after an EAGAIN", async (ctx) => {
  using _ = FaultPlan.install({
    rules: [
      { operation: "recv", fault: "error", code: "EAGAIN", times: 3 },
      { operation: "send", fault: "error", code: "EAGAIN", times: 3 },
      { operation: "recvmsg", fault: "error", code: "EAGAIN", times: 3 },
      { operation: "sendmsg", fault: "error", code: "EAGAIN", times: 3 },
      { operation: "poll", fault: "error", code: "EINTR", nth: 2 },
      { operation: "poll", fault: "delay", ms: 3, nth: 4 },
    ],
  });
  using pair = unixPair();
  assert(areAll(await exactly(ctx, pair.left, pair.right)));
  const buffer = new Uint8Array(2);
  const [got, sent] = await Promise.all([
    asyncRecvmsg(ctx, pair.right, { buffers: [buffer] }),
    asyncSendmsg(ctx, pair.left, { buffers: [LONG.subarray(0, 2)] }),
  ]);
  assertEquals([value(got).bytes, value(sent)], [2, 2]);
  assertEquals(buffer, LONG.subarray(0, 2));
});

kioTest(
  "transfers that made progress poll again before they wait by the clock",
  async (ctx) => {
    using pair = unixPair();
    value(await asyncSend(ctx, pair.left, LONG.subarray(0, 8)));
    // Twice in vain, a byte, twice in vain again: four polls and no pause.
    const vain = [1, 2, 4, 5].map((nth): FaultRule => ({
      operation: "recv",
      fault: "error",
      code: "EAGAIN",
      nth,
    }));
    using plan = FaultPlan.install({
      rules: [
        ...vain,
        { operation: "recv", fault: "short", bytes: 1, nth: 3 },
        { operation: "poll", fault: "delay", ms: 1 },
      ],
    });
    const buffer = new Uint8Array(8);
    assertEquals(value(await asyncRecvExact(ctx, pair.right, buffer)), 8);
    assertEquals(buffer, LONG.subarray(0, 8));
    const polls = plan.injected.filter(({ fault }) => fault === "delay");
    assertEquals(polls.length, 4);
  },
);

/** Reads and writes that lose every race for a while. */
const racing: Record<
  string,
  (ctx: IoContext, from: Socket, to: Socket) => [
    FaultRule["operation"],
    () => UringOp<number>,
  ]
> = {
  asyncRead: (ctx, from) => ["read", () => asyncRead(ctx, from, two())],
  asyncReadv: (ctx, from) => ["readv", () => asyncReadv(ctx, from, [two()])],
  asyncReadFixed: (ctx) => ["read", () => asyncReadFixed(ctx, 0, two())],
  asyncWrite: (ctx, _, to) => ["write", () => asyncWrite(ctx, to, two())],
  asyncWritev: (ctx, _, to) => ["writev", () => asyncWritev(ctx, to, [two()])],
  asyncWriteFixed: (ctx) => ["write", () => asyncWriteFixed(ctx, 1, two())],
};

function two(): Uint8Array<ArrayBuffer> {
  return new Uint8Array(2);
}

for (const [name, open] of Object.entries(racing)) {
  kioTest(`${name}() waits on though others are faster`, async (ctx) => {
    using pair = unixPair();
    using other = unixPair();
    value(ctx.registerFiles([pair.right, other.left]));
    value(await asyncSend(ctx, pair.left, two()));
    const [operation, start] = open(ctx, pair.right, other.left);
    for (const times of [1, 2, 5]) {
      using plan = FaultPlan.install({
        rules: [{ operation, fault: "error", code: "EAGAIN", times }],
      });
      assertEquals(value(await start()), 2);
      assertEquals(plan.injectedCount, times);
      value(await asyncSend(ctx, pair.left, two()));
    }
    using _ = FaultPlan.install({
      rules: [{ operation, fault: "error", code: "EAGAIN" }],
    });
    const cancelled = start();
    await asyncSleep(ctx, 20);
    assertEquals(ctx.pending, 1);
    cancelled.cancel();
    assertCode(await cancelled, "ECANCELED");
    assertCode(await start().withTimeout(20), "ETIMEDOUT");
    const [first, second] = link(ctx, () => [start(), start()]);
    assertCode(await first, "EAGAIN");
    assertCode(await second, "ECANCELED");
    if (!name.endsWith("Fixed")) {
      const closed = start();
      await asyncSleep(ctx, 20);
      await Promise.all([pair.right.close(), other.left.close()]);
      assertCode(await closed, "ECANCELED");
    }
    value(ctx.unregisterFiles());
  });
}

kioTest("asyncRead() of a file gives its EAGAIN", async (ctx) => {
  await using file = await tempFile(ctx, two());
  using _ = FaultPlan.install({
    rules: [{ operation: "read", fault: "error", code: "EAGAIN" }],
  });
  assertCode(await asyncRead(ctx, file, two()), "EAGAIN");
});

kioTest("FaultPlan cuts no datagram", async (ctx) => {
  using pair = unixPair("datagram");
  using plan = FaultPlan.install({
    rules: [{ operation: "any", fault: "short", bytes: 1 }],
  });
  const buffer = new Uint8Array(10);
  const message = { buffers: [new Uint8Array(4), new Uint8Array(6)] };
  assertEquals(value(await asyncSendmsg(ctx, pair.left, message)), 10);
  assertEquals(value(await asyncRecv(ctx, pair.right, buffer)), 10);
  assertEquals(plan.injectedCount, 0);
});

kioTest("FaultPlan gives up the fd of a close that fails", async (ctx) => {
  for (const code of ["EIO", "EINTR", "ECANCELED"]) {
    using _ = FaultPlan.install({
      rules: [{ operation: "close", fault: "error", code }],
    });
    const fd = value(await openFile(ctx));
    assertCode(await asyncClose(ctx, fd), code);
  }
});

kioTest("FaultPlan ends a chain at a short write", async (ctx) => {
  await using file = await tempFile(ctx);
  using _ = FaultPlan.install({
    rules: [{ operation: "write", fault: "short", nth: 1, bytes: 2 }],
  });
  const ops = link(ctx, () => [
    asyncWrite(ctx, file, new Uint8Array(10)),
    asyncWrite(ctx, file, new Uint8Array(10), 10),
    asyncFdatasync(ctx, file),
  ]);
  assertEquals(value(await ops[0] as Result<number>), 2);
  assertCode(await ops[1], "ECANCELED");
  assertCode(await ops[2], "ECANCELED");
  assertEquals(value(await asyncRead(ctx, file, new Uint8Array(30))), 2);
});

kioTest(
  "a completion that is held back still counts as pending",
  async (ctx) => {
    using _ = FaultPlan.install({
      rules: [{ operation: "recv", fault: "delay", ms: 50 }],
    });
    using pair = unixPair();
    value(await asyncSend(ctx, pair.left, new Uint8Array(4)));
    const start = performance.now();
    const received = asyncRecv(ctx, pair.right, new Uint8Array(4));
    await asyncSleep(ctx, 5);
    assertEquals(ctx.pending, 1);
    assertEquals(value(await received.withTimeout(1)), 4);
    assert(performance.now() - start >= 49);
  },
);

kioTest(
  "asyncSendfile() says why it ended, not what its last try gave",
  async (ctx) => {
    using _ = FaultPlan.install({
      rules: [{ operation: "splice", fault: "delay", ms: 30 }],
    });
    using pair = unixPair();
    while ((await asyncSend(ctx, pair.left, LONG, MSG_DONTWAIT)).ok);
    // tmpfs: the ring makes the splices.
    await using file = await tempFile(ctx, LONG, 0, "/dev/shm");
    const send = () => asyncSendfile(ctx, pair.left, file, 0, LONG.length);
    assertCode(await send().withTimeout(5), "ETIMEDOUT");
    const cancelled = send();
    await asyncSleep(ctx, 5);
    cancelled.cancel();
    assertCode(await cancelled, "ECANCELED");
  },
);

kioTest(
  "closing a context closes an fd whose completion is held back",
  async (ctx) => {
    using _ = FaultPlan.install({
      rules: [{ operation: "open", fault: "delay", ms: 100 }],
    });
    const opened = openFile(ctx);
    await asyncSleep(ctx, 5);
    ctx[Symbol.dispose]();
    assertCode(await opened, "ECANCELED");
  },
);

kioTest("asyncAccept() without fds is answered late", async (ctx) => {
  using _ = FaultPlan.install({
    rules: [{ operation: "accept", fault: "error", code: "EMFILE" }],
  });
  const { listener } = listen();
  // Both are due by the same clock, the earlier one first: 10 ms and 5.
  for (let i = 0; i < 5; i++) {
    const order: string[] = [];
    const accepted = asyncAccept(ctx, listener);
    await Promise.all([
      accepted.then(() => order.push("accept")),
      asyncSleep(ctx, 5).then(() => order.push("sleep")),
    ]);
    assertCode(await accepted, "EMFILE");
    assertEquals(order, ["sleep", "accept"]);
  }
  await listener.close();
});

kioTest("FaultPlan refuses what makes no sense", () => {
  const refused = (rule: unknown, message: RegExp) => {
    const error = assertThrows(() =>
      FaultPlan.install({ rules: [rule as FaultRule] })
    ) as Error;
    assertMatch(error.message, message);
  };
  refused(1, /options must be an object/);
  refused(
    { operation: "x", fault: "short" },
    /no operation "x"; there are accept, /,
  );
  refused({ operation: "read", fault: "x" }, /no fault "x"; there are short/);
  refused(
    { operation: "accept", fault: "short" },
    /moves no bytes; look at accept$/,
  );
  refused({ operation: "read", fault: "short", bytes: 0 }, /bytes must be/);
  refused({ operation: "read", fault: "error", code: "E" }, /no errno "E"/);
  refused({ operation: "read", fault: "delay", ms: 0 }, /ms must be/);
  refused({ operation: "read", fault: "short", nth: 0 }, /nth must be/);
  refused({ operation: "read", fault: "short", probability: 0 }, /probability/);
  refused({ operation: "enter", fault: "delay", ms: 1 }, /can only fail/);
  refused({ operation: "enter", fault: "error", code: "EIO" }, /one of EINTR/);
  refused(
    { operation: "enter", fault: "error", code: "EINTR" },
    /nothing would ever complete/,
  );
  const rule: FaultRule = { operation: "read", fault: "short" };
  using _ = FaultPlan.install({ rules: [rule] });
  refused(rule, /another one is installed/);
});

// ---- for users ----

Deno.test("find_bug finds the bug, and its seed finds it again", async () => {
  const find = async (...args: string[]) => {
    const script = ["run", "--allow-ffi", "examples/find_bug.ts", ...args];
    const { code, out, err } = await run(Deno.execPath(), script);
    assertEquals([code, err], [0, ""]);
    return out;
  };
  const all = await find();
  const pattern =
    /^receiveHasty: wrong with --seed (\d+)\n( {2}receives cut to [\d,]+ bytes\n {2}sent .*\n {2}got .*\n)receiveWhole: right with 100 seeds\n$/;
  assertMatch(all, pattern);
  const [, seed = "", story = ""] = pattern.exec(all)!;
  const again = await find("--seed", seed);
  assert(again.includes(story), again);
  assert(again.endsWith(`\nreceiveWhole: right with --seed ${seed}\n`), again);
});

// ---- which library ---------------------------------------------------------------

Deno.test("FaultPlan is refused when the normal library is in use", async () => {
  assertPrinted(
    await runScript(`
      import { FaultPlan } from "@kio/kio/testing";
      using ctx = new kio.IoContext();
      try {
        FaultPlan.load();
      } catch (error) {
        console.log(error.name, /^Cannot inject faults: .*libkio.so, which has no faults, is in use; call/.test(error.message));
      }
      console.log((await kio.asyncSleep(ctx, 1)).ok);
    `),
    "TypeError true\ntrue\n",
  );
});

/** True if a library has any trace of the faults, debug information included.
 */
function hasFaults(library: string): boolean {
  const content = new TextDecoder("latin1").decode(Deno.readFileSync(library));
  return /fault_(rule|plan|enter|install|operation|holds)|KIO_MASK|mask_hides/
    .test(content);
}

Deno.test("the normal library has nothing of the faults and masks", async () => {
  assert(!hasFaults(`${ROOT}ffi/build/libkio.so`));
  assert(hasFaults(`${ROOT}ffi/build/libkio_faults.so`));
  // What the compiler sees of it, without comments: only seams, which are empty.
  const seen = async (...flags: string[]) =>
    (await run("cc", [
      "-E",
      "-P",
      '-DKIO_GUARD_IMAGE=""',
      ...flags,
      ...sourcesIn(SHIM_FOLDER),
    ])).out;
  const plain = await seen();
  assertEquals(
    plain.match(/\bfaults?\b|\b(kio_)?fault_\w+|\bmask(ed|_\w+)\b/g),
    null,
  );
  assertEquals(
    plain.match(/\bstatic inline \w+ \*?seam_(operation|holds|enter)\(/g)
      ?.length,
    3 * sourcesIn(SHIM_FOLDER).length,
  );
  for (const flag of ["-DKIO_FAULTS", "-DKIO_ASAN", "-DKIO_MASKS"]) {
    assertNotEquals(await seen(flag), plain);
  }
});

Deno.test("seams.h has the only conditionals of the shim", () => {
  const conditional = Object.entries(SOURCES).filter(([, text]) =>
    /^\s*#\s*(if|ifdef|ifndef)\b/m.test(text)
  );
  assertEquals(conditional.map(([name]) => name), ["seams.h"]);
  for (const [name, text] of Object.entries(SOURCES)) {
    assertEquals(text.match(/^#include ".*\.c"/m), null, name);
  }
});
