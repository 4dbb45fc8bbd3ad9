/** The times of operations: reports of slow ones, and histograms. */
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  asyncAccept,
  asyncAcceptMultishot,
  asyncClose,
  asyncFsync,
  asyncOpen,
  asyncPoll,
  asyncRead,
  asyncRecv,
  asyncRecvMultishot,
  asyncSend,
  asyncShutdown,
  asyncSleep,
  BufferPool,
  IoContext,
  type IoContextOptions,
  O_RDONLY,
  POLLOUT,
  readDir,
  SHUT_WR,
  type SlowOperation,
} from "@kio/kio";
import { Histogram } from "../../lib/ring/latency.ts";
import {
  assertCode,
  bytes,
  immediate,
  kioTest,
  listen,
  randomOf,
  tempFile,
  turn,
  unixPair,
  value,
} from "../support.ts";

/** More than SLOW_MS: operations that are in flight meanwhile are slow. */
function compute(): void {
  const endMs = performance.now() + 2 * SLOW_MS;
  while (performance.now() < endMs);
}

const SLOW_MS = 10;

/** A context, and what it reports as slow. */
function watched(
  options: IoContextOptions = {},
): { ctx: IoContext; slow: SlowOperation[] } {
  const slow: SlowOperation[] = [];
  const onSlow = (it: SlowOperation) => void slow.push(it);
  const ctx = new IoContext({ onSlow, slowMs: SLOW_MS, ...options });
  return { ctx, slow };
}

kioTest(
  "onSlow is called once for each operation that was slow",
  async (outer) => {
    const { ctx, slow } = watched();
    await using _ = ctx;
    await using file = await tempFile(outer, bytes("hello"));
    const buffer = new Uint8Array(16);
    const ops = [
      asyncOpen(ctx, "/nowhere/at/all", O_RDONLY),
      asyncRead(ctx, file, buffer, 0),
    ];
    compute();
    assertCode((await ops[0])!, "ENOENT");
    assertEquals(value((await ops[1])!), 5);
    await immediate();
    assertEquals(slow.map(({ operation }) => operation).sort(), [
      "asyncOpen",
      "asyncRead",
    ]);
    const open = slow.find(({ operation }) => operation === "asyncOpen")!;
    const read = slow.find(({ operation }) => operation === "asyncRead")!;
    assert(open.elapsedMs >= SLOW_MS && read.elapsedMs >= SLOW_MS);
    assertEquals({ ...open, elapsedMs: 0 }, {
      operation: "asyncOpen",
      action: "open /nowhere/at/all",
      fd: -1,
      target: "",
      bytes: 16,
      elapsedMs: 0,
      code: "ENOENT",
      stack: "",
    });
    assertEquals([read.fd, read.bytes, read.code], [file.fd, 16, ""]);
    assertMatch(read.target, /^\/tmp\//);
    assertEquals(read.action, "read");
  },
);

kioTest("onSlow is not called for what took less", async () => {
  const { ctx, slow } = watched({ slowMs: 1e6 });
  await using _ = ctx;
  await using file = await tempFile(ctx, bytes("hello"));
  value(await asyncFsync(ctx, file));
  await immediate();
  assertEquals(slow, []);
});

kioTest("onSlow is not called for what is meant to wait", async (outer) => {
  const { ctx, slow } = watched();
  await using _ = ctx;
  await using pool = new BufferPool(ctx, { count: 4, size: 64 });
  const { listener } = listen();
  using _listener = listener;
  using pair = unixPair();
  using other = unixPair();
  const buffer = new Uint8Array(4);
  const stream = asyncRecvMultishot(ctx, other.right, pool);
  const accepted = asyncAcceptMultishot(ctx, listener);
  const ops = [
    asyncAccept(ctx, listener).withTimeout(1),
    asyncRecv(ctx, pair.left, buffer),
    asyncPoll(ctx, pair.left, POLLOUT),
    asyncSleep(ctx, 1),
  ];
  const read = asyncRead(ctx, pair.right, new Uint8Array(4));
  const entries = readDir(ctx, "/proc/self");
  await turn();
  compute();
  value(await asyncSend(outer, pair.right, bytes("a")));
  value(await asyncSend(outer, pair.left, bytes("b")));
  value(await asyncShutdown(outer, other.left, SHUT_WR));
  await Promise.all(ops);
  value(await read);
  value(await stream.closed);
  for await (const entry of entries) value(entry);
  await accepted[Symbol.asyncDispose]();
  await immediate();
  assertEquals(slow, []);
});

kioTest(
  "onSlow has the stack of the start, with the option trace",
  async () => {
    const { ctx, slow } = watched({ trace: true });
    await using _ = ctx;
    const op = asyncOpen(ctx, "/nowhere", O_RDONLY);
    compute();
    await op;
    await immediate();
    assertStringIncludes(slow[0]!.stack, "times_test.ts");
  },
);

kioTest("onSlow measures an operation that is refused at once", async () => {
  const { ctx, slow } = watched({ slowMs: 0 });
  await using _ = ctx;
  value(ctx.reserveFiles(1));
  const direct = { direct: true } as const;
  const first = value(await asyncOpen(ctx, "/proc/version", O_RDONLY, direct));
  // Its entry has the time of an operation before.
  compute();
  const startMs = performance.now();
  const second = await asyncOpen(ctx, "/proc/version", O_RDONLY, direct);
  const takenMs = performance.now() - startMs;
  assertCode(second, "ENFILE");
  await immediate();
  const { code, elapsedMs } = slow.at(-1)!;
  assertEquals(code, "ENFILE");
  assert(elapsedMs <= takenMs + 1, `${elapsedMs} of ${takenMs} ms`);
  value(await first.close());
});

kioTest("onSlow that throws is reported, and breaks nothing", async () => {
  const onSlow = () => {
    throw new Error("from onSlow");
  };
  await using ctx = new IoContext({ onSlow, slowMs: 0 });
  const reported: string[] = [];
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    reported.push(event.error.message);
  };
  globalThis.addEventListener("error", onError);
  try {
    const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
    value(await asyncClose(ctx, fd));
    await immediate();
  } finally {
    globalThis.removeEventListener("error", onError);
  }
  assertEquals(reported, ["from onSlow", "from onSlow"]);
});

kioTest("onSlow may close the context", async () => {
  const ctx: IoContext = new IoContext({
    onSlow: () => ctx[Symbol.dispose](),
    slowMs: 0,
  });
  using pair = unixPair();
  const recv = asyncRecv(ctx, pair.left, new Uint8Array(1));
  assertCode(await asyncOpen(ctx, "/nowhere", O_RDONLY), "ENOENT");
  assertCode(await recv, "ECANCELED");
});

kioTest("slowMs and onSlow are checked", () => {
  const wrong: [IoContextOptions, new () => Error, string][] = [
    [{ slowMs: 5 }, TypeError, "slowMs without onSlow"],
    [{ onSlow: 1 as never }, TypeError, "onSlow"],
    [{ onSlow: () => {}, slowMs: -1 }, RangeError, "slowMs"],
    [{ onSlow: () => {}, slowMs: NaN }, RangeError, "slowMs"],
    [{ histograms: 1 as never }, TypeError, "histograms"],
  ];
  for (const [options, type, text] of wrong) {
    const error = assertThrows(() => new IoContext(options), type);
    assertStringIncludes(error.message, "Cannot open an IoContext: ");
    assertStringIncludes(error.message, text);
  }
});

kioTest(
  "stats() has latencies by operation, with the option histograms",
  async () => {
    await using ctx = new IoContext({ histograms: true });
    await using file = await tempFile(ctx, bytes("hello"));
    for (let i = 0; i < 50; i++) {
      value(await asyncRead(ctx, file, new Uint8Array(16), 0));
    }
    await asyncSleep(ctx, 20);
    assertCode(await asyncOpen(ctx, "/nowhere", O_RDONLY), "ENOENT");
    const { latencies, completed } = ctx.stats();
    const counts = Object.values(latencies).map(({ count }) => count);
    assertEquals(counts.reduce((sum, it) => sum + it), completed);
    const { asyncRead: read, asyncSleep: sleep, asyncOpen: open } = latencies;
    // The file of the test was opened, too.
    assertEquals([read!.count, sleep!.count, open!.count], [50, 1, 2]);
    assert(sleep!.maxMs >= 20 && sleep!.totalMs === sleep!.maxMs);
    assert(read!.p50Ms <= read!.p90Ms && read!.p99Ms <= read!.maxMs);
    const counted = read!.buckets.reduce((sum, { count }) => sum + count, 0);
    assertEquals(counted, 50);
  },
);

kioTest(
  "stats() has no latencies without the option, and none of streams",
  async (plain) => {
    await asyncSleep(plain, 1);
    assertEquals(plain.stats().latencies, {});
    await using ctx = new IoContext({ histograms: true });
    for await (const entry of readDir(ctx, "/proc/self")) value(entry);
    assertEquals(ctx.stats().latencies, {});
  },
);

kioTest("stats() of a closed context has its latencies", async () => {
  const ctx = new IoContext({ histograms: true });
  await asyncSleep(ctx, 1);
  await ctx[Symbol.asyncDispose]();
  assertEquals(ctx.stats().latencies.asyncSleep!.count, 1);
});

Deno.test("Histogram knows each value to an eighth", () => {
  const random = randomOf(7);
  const values: number[] = [];
  const histogram = new Histogram();
  for (let i = 0; i < 5000; i++) {
    const ms = random(2 ** 30) / 2 ** random(31) / 1000;
    values.push(ms);
    histogram.add(ms);
  }
  values.sort((a, b) => a - b);
  const { count, maxMs, totalMs, buckets, ...quantiles } = histogram
    .latencies();
  assertEquals([count, maxMs], [5000, values.at(-1)]);
  assertAlmostEquals(totalMs, values.reduce((sum, it) => sum + it), 1);
  const parts = { p50Ms: 0.5, p90Ms: 0.9, p99Ms: 0.99, p999Ms: 0.999 };
  for (const [name, part] of Object.entries(parts)) {
    const exact = values[Math.ceil(part * 5000) - 1]!;
    const told = quantiles[name as keyof typeof quantiles];
    assert(told >= exact && told <= exact * 1.125 + 0.001, name);
  }
  let below = 0, seen = 0;
  for (const { belowMs, count } of buckets) {
    assert(belowMs > below);
    below = belowMs;
    seen += count;
    assertEquals(values.filter((it) => it < belowMs).length, seen);
  }
  assertEquals(seen, 5000);
});

Deno.test("Histogram takes what no clock should give", () => {
  const histogram = new Histogram();
  for (const ms of [0, 1e12, 2 ** 31 / 1000, Infinity]) histogram.add(ms);
  const { count, buckets, p50Ms } = histogram.latencies();
  assertEquals([count, buckets.length], [4, 2]);
  assertEquals(buckets[0], { belowMs: 0.001, count: 1 });
  assert(p50Ms > 2e6);
  const empty = new Histogram().latencies();
  assertEquals([empty.count, empty.p50Ms, empty.maxMs], [0, 0, 0]);
});
