/** Switches of features: what is made of them works without them. */
import {
  assert,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import {
  asyncAcceptMultishot,
  asyncConnect,
  asyncReadMultishot,
  asyncRecv,
  asyncRecvmsgMultishot,
  asyncRecvMultishot,
  asyncSend,
  asyncSendZc,
  asyncShutdown,
  asyncWrite,
  BufferPool,
  type Feature,
  IoContext,
  type IoContextOptions,
  SHUT_WR,
  Socket,
} from "@kio/kio";
import {
  FEATURE_NAMES,
  FEATURES,
  knownFaults,
} from "../../lib/ring/features.ts";
import {
  assertCode,
  bytes,
  kioTest,
  listen,
  tcpPair,
  tempFile,
  text,
  unixPair,
  value,
  within,
} from "../support.ts";

const without = (name: Feature) =>
  new IoContext({ features: { [name]: false } });

/** Submissions that some work takes. */
async function submissionsOf(
  ctx: IoContext,
  work: () => Promise<void>,
): Promise<number> {
  const before = ctx.stats().submissions;
  await work();
  return ctx.stats().submissions - before;
}

/** Accepts `count` connections of a stream, which stays open meanwhile. */
async function acceptMany(ctx: IoContext, count: number): Promise<void> {
  const { listener, at } = listen();
  using opened = new DisposableStack();
  opened.use(listener);
  await using stream = asyncAcceptMultishot(ctx, listener);
  for (let i = 0; i < count; i++) {
    const client = opened.use(value(Socket.open("ipv4")));
    value(await asyncConnect(ctx, client, at));
    const { value: accepted } = await stream[Symbol.asyncIterator]().next();
    opened.use(new Socket(value(accepted!)));
  }
}

kioTest("features: { acceptMultishot: false } accepts one by one", async () => {
  await using ctx = without("acceptMultishot");
  assertEquals(ctx.capabilities.features.acceptMultishot, {
    support: "emulated",
    reason: "the option features",
  });
  // For each connection a connect and an accept.
  const count = await submissionsOf(ctx, () => acceptMany(ctx, 20));
  assert(count >= 40, `${count}`);
});

kioTest(
  "features: { bufferRing: false } refuses what `allow` leaves out",
  async () => {
    using pair = unixPair();
    await using ctx = new IoContext({
      allow: ["send"],
      features: { bufferRing: false },
    });
    using pool = new BufferPool(ctx, { count: 2, size: 256 });
    // There is nothing to receive: the answer does not wait for data.
    for (
      const stream of [
        asyncRecvMultishot(ctx, pair.left, pool),
        asyncRecvmsgMultishot(ctx, pair.left, pool),
        asyncReadMultishot(ctx, pair.left, pool),
      ]
    ) {
      assertCode(await within(5000, stream.closed, "the stream"), "EACCES");
    }
  },
);

kioTest("features: { recvMultishot: false } receives one by one", async () => {
  await using ctx = without("recvMultishot");
  await using pool = new BufferPool(ctx, { count: 4, size: 64 });
  const { features } = ctx.capabilities;
  assertEquals(features.recvMultishot.support, "emulated");
  assertEquals(pool.stats().isNative, features.bufferRing.support === "native");
  using pair = unixPair();
  const stream = asyncRecvMultishot(ctx, pair.right, pool).orThrow();
  const iterator = stream[Symbol.asyncIterator]();
  const count = await submissionsOf(ctx, async () => {
    for (let i = 0; i < 10; i++) {
      value(await asyncSend(ctx, pair.left, bytes(`message ${i}`)));
      const { value: chunk } = await iterator.next();
      assertEquals(text(chunk!.bytes), `message ${i}`);
    }
  });
  assert(count >= 19, `${count}`);
  value(await asyncShutdown(ctx, pair.left, SHUT_WR));
  assertEquals(await iterator.next(), { done: true, value: undefined });
});

kioTest(
  "features: { recvmsgMultishot: false } receives one by one",
  async () => {
    await using ctx = without("recvmsgMultishot");
    await using pool = new BufferPool(ctx, { count: 4, size: 256 });
    using pair = unixPair("datagram");
    const stream = asyncRecvmsgMultishot(ctx, pair.right, pool).orThrow();
    const iterator = stream[Symbol.asyncIterator]();
    const count = await submissionsOf(ctx, async () => {
      for (let i = 0; i < 10; i++) {
        value(await asyncSend(ctx, pair.left, bytes(`message ${i}`)));
        const { value: message } = await iterator.next();
        assertEquals(text(message!.bytes), `message ${i}`);
      }
    });
    assert(count >= 19, `${count}`);
    await iterator.return!();
  },
);

kioTest("features: { bufferRing: false } has pools that pick", async () => {
  await using ctx = without("bufferRing");
  await using pool = new BufferPool(ctx, { count: 4, size: 64 });
  assertEquals(pool.stats().isNative, false);
  const { bufferRing, recvMultishot } = ctx.capabilities.features;
  assertEquals(bufferRing.reason, "the option features");
  assertEquals(recvMultishot.reason, "bufferRing: the option features");
  using pair = unixPair();
  value(await asyncSend(ctx, pair.left, bytes("hello")));
  value(await asyncShutdown(ctx, pair.left, SHUT_WR));
  let received = "";
  for await (const it of asyncRecvMultishot(ctx, pair.right, pool).orThrow()) {
    received += text(it.bytes);
  }
  assertEquals(received, "hello");
});

kioTest("features: { sendZc: false } copies", async (outer) => {
  // The kernel would refuse another send.
  await using ctx = new IoContext({
    allow: ["send"],
    features: { sendZc: false },
  });
  using pair = await tcpPair(outer);
  const sent = await asyncSendZc(ctx, pair.left, bytes("hello")).orThrow();
  assertEquals(sent, { bytes: 5, copied: true });
  const buffer = new Uint8Array(8);
  assertEquals(value(await asyncRecv(outer, pair.right, buffer)), 5);
  assertEquals(ctx.capabilities.features.sendZc.support, "emulated");
});

kioTest(
  "features: { registeredBuffers: false } allocates memory that is not registered",
  async () => {
    await using ctx = without("registeredBuffers");
    // More than the kernel registers at a time.
    for (let i = 0; i < 1100; i++) ctx.allocate(1, { registered: true });
    const memory = ctx.allocate(5, { registered: true });
    memory.set(bytes("hello"));
    await using file = await tempFile(ctx);
    assertEquals(value(await asyncWrite(ctx, file, memory)), 5);
    await ctx.unregisterMemory(memory);
  },
);

kioTest(
  "features: { directDescriptors: false } reserves no places",
  async () => {
    await using ctx = without("directDescriptors");
    assertCode(ctx.reserveFiles(4), "EOPNOTSUPP");
    assertEquals(ctx.capabilities.features.directDescriptors, {
      support: "off",
      reason: "the option features",
    });
  },
);

kioTest("features: { deferTaskrun: false } opens another ring", async () => {
  await using ctx = without("deferTaskrun");
  const { features, flags } = ctx.capabilities;
  assertEquals(flags.DEFER_TASKRUN, false);
  assertEquals(flags.COOP_TASKRUN, IoContext.probe().flags.SUBMIT_ALL);
  assertEquals(features.deferTaskrun.support, "emulated");
  await acceptMany(ctx, 3);
});

kioTest("features of one context leave the next one alone", async () => {
  const features = Object.fromEntries(FEATURE_NAMES.map((it) => [it, false]));
  await using bare = new IoContext({ features });
  for (const { support } of Object.values(bare.capabilities.features)) {
    assert(support !== "native");
  }
  await using ctx = new IoContext({ features: { sendZc: true } });
  assertEquals(ctx.capabilities, IoContext.probe());
});

kioTest("IoContext refuses what is no feature", () => {
  for (const options of [{ features: { sendzc: false } }, { require: ["a"] }]) {
    const error = assertThrows(
      () => new IoContext(options as IoContextOptions),
      RangeError,
      "Cannot open an IoContext: ",
    );
    assertStringIncludes(error.message, "it takes acceptMultishot, ");
  }
  const wrong = [
    { features: { sendZc: 0 } },
    { features: 1 },
    { require: "sendZc" },
  ];
  for (const options of wrong) {
    assertThrows(
      () => new IoContext(options as unknown as IoContextOptions),
      TypeError,
      "Cannot open an IoContext: ",
    );
  }
});

kioTest("IoContext has the features that it requires", () => {
  const { features } = IoContext.probe();
  const native = FEATURE_NAMES.filter((it) =>
    features[it].support === "native"
  );
  using _ = new IoContext({ require: native });
  const lacking = {
    acceptMultishot: "emulated here: the option features",
    directDescriptors: "off here: the option features",
  };
  for (const [name, text] of Object.entries(lacking)) {
    assertThrows(
      () =>
        new IoContext({
          require: [...native, name as Feature],
          features: { [name]: false },
        }),
      Deno.errors.NotSupported,
      `Cannot open an IoContext: it requires ${name}, which is ${text}; `,
    );
  }
  assertThrows(
    () => new IoContext({ require: ["bundles"] }),
    Deno.errors.NotSupported,
    "which is off here: not used",
  );
});

kioTest("IoContext tells what it does without when it is printed", async () => {
  await using ctx = without("sendZc");
  const printed = Deno.inspect(ctx);
  assertStringIncludes(printed, "IoContext { 0 pending, without ");
  assertStringIncludes(printed, "sendZc (the option features)");
  assert(!printed.includes("bundles"));
});

Deno.test("knownFaults() goes by the number of the upstream kernel", () => {
  const names = (release: string, version = "#1 SMP") => [
    ...knownFaults(release, version).keys(),
  ];
  assertEquals(names("6.1.7"), ["recvMultishot", "recvmsgMultishot"]);
  assertEquals(names("6.1.7-arch1-1").length, 2);
  assertEquals(names("6.1.0-2-amd64", "#1 SMP Debian 6.1.7-1").length, 2);
  assertEquals(names("6.1.7-1-amd64", "#1 SMP Debian 6.1.8-1"), []);
  assertEquals(names("6.1.70"), []);
  assertEquals(names("16.1.7"), []);
  assertEquals(names("7.0-rc1"), []);
  const fault = knownFaults("6.1.7", "").get("recvMultishot")!;
  assert(fault.startsWith("Linux 6.1.7: "));
});

Deno.test("each feature has what is said of it", () => {
  for (const name of FEATURE_NAMES) {
    const { since, trial, fault, unused, without } = FEATURES[name];
    assert(/^[56]\.\d+$/.test(since), name);
    assertEquals(trial !== undefined, fault !== undefined, name);
    assert(unused === undefined || without === undefined, name);
  }
});
