/** relay() and asyncSpliceAll() on a bad day: short splices, errors, a worker
 * that dies. */
import "./fault_library.ts";
import { assert, assertEquals } from "@std/assert";
import {
  asyncRecv,
  asyncSendExact,
  asyncShutdown,
  asyncSpliceAll,
  type IoContext,
  relay,
  SHUT_WR,
} from "@kio/kio";
import { FaultPlan, type FaultRule } from "@kio/kio/testing";
import { assertCode, kioTest, pattern, turn, value } from "../support.ts";
import {
  emptyPool,
  KINDS,
  openEnds,
  receivedAll,
} from "../helpers/relay_support.ts";

const SIZE = 300_000;
const DATA = pattern(SIZE, 9);

const ODD: [string, FaultRule][] = [
  ["short", { operation: "splice", fault: "short", probability: 0.8 }],
  ["interrupted", {
    operation: "splice",
    fault: "error",
    code: "EINTR",
    probability: 0.4,
  }],
  ["in vain", {
    operation: "splice",
    fault: "error",
    code: "EAGAIN",
    probability: 0.3,
  }],
];

for (const [kind, open] of KINDS) {
  for (const [how, rule] of ODD) {
    kioTest(
      `asyncSpliceAll() loses no byte when splices are ${how}, ${kind}`,
      async (ctx) => {
        let injected = 0;
        for (let seed = 1; seed <= 10; seed++) {
          using ends = await openEnds(ctx, open);
          using plan = FaultPlan.install({ seed, rules: [rule] });
          const moving = asyncSpliceAll(ctx, ends.left, ends.right);
          const receiving = receivedAll(ctx, ends.server, SIZE);
          value(await asyncSendExact(ctx, ends.client, DATA));
          value(await asyncShutdown(ctx, ends.client, SHUT_WR));
          assertEquals(value(await moving), SIZE);
          value(await asyncShutdown(ctx, ends.right, SHUT_WR));
          assertEquals(await receiving, DATA);
          injected += plan.injectedCount;
        }
        assert(injected > 0);
        emptyPool(ctx);
      },
    );
  }
}

kioTest(
  "asyncSpliceAll() that is always in vain does not spin",
  async (ctx) => {
    for (const code of ["EAGAIN", "EINTR"]) {
      using ends = await openEnds(ctx);
      using plan = FaultPlan.install({
        rules: [{ operation: "splice", fault: "error", code }],
      });
      value(await asyncSendExact(ctx, ends.client, DATA.subarray(0, 100)));
      const moving = asyncSpliceAll(ctx, ends.left, ends.right);
      await turn(300);
      assert(plan.injectedCount < 40, `${plan.injectedCount} splices`);
      moving.cancel();
      assertCode(await moving, "ECANCELED");
    }
    emptyPool(ctx);
  },
);

for (const operation of ["splice", "poll"] as const) {
  kioTest(
    `relay() resets both connections when a ${operation} fails`,
    async (ctx) => {
      for (let nth = 1; nth <= 4; nth++) {
        using ends = await openEnds(ctx);
        using plan = FaultPlan.install({
          rules: [{ operation, fault: "error", code: "ENOMEM", nth }],
        });
        const done = relay(ctx, ends.left, ends.right);
        const sending = asyncSendExact(ctx, ends.client, DATA);
        const receiving = receiveToError(ctx, ends.server);
        assertCode(await done, "ENOMEM");
        assertEquals(plan.injectedCount, 1);
        assertEquals([ends.left.fd, ends.right.fd], [-1, -1]);
        assertEquals(await receiving, "ECONNRESET");
        await sending;
      }
      emptyPool(ctx);
    },
  );
}

kioTest("relay() passes no end on after a failure", async (ctx) => {
  using ends = await openEnds(ctx);
  // Both directions have something to do in their first step.
  value(await asyncSendExact(ctx, ends.client, DATA.subarray(0, 10)));
  value(await asyncShutdown(ctx, ends.server, SHUT_WR));
  using _ = FaultPlan.install({
    rules: [{
      operation: "splice",
      fault: "error",
      code: "ECONNRESET",
      nth: 1,
    }],
  });
  assertCode(await relay(ctx, ends.left, ends.right), "ECONNRESET");
  assertEquals(await receiveToError(ctx, ends.client), "ECONNRESET");
  emptyPool(ctx);
});

async function receiveToError(
  ctx: IoContext,
  socket: { fd: number },
): Promise<string> {
  for (;;) {
    const result = await asyncRecv(ctx, socket, new Uint8Array(65536));
    if (!result.ok) return result.error.code;
    assert(result.value > 0, "a cut came as an end");
  }
}

Deno.test("relay() of a worker that is terminated resets both connections", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const kio = import.meta.resolve("@kio/kio");
  const code = `
    import { IoContext, relay, TcpStream, unwrap } from ${JSON.stringify(kio)};
    const ctx = new IoContext();
    const connect = async () =>
      unwrap(await TcpStream.connect(ctx, "127.0.0.1", ${port}));
    void relay(ctx, await connect(), await connect(), { idleTimeoutMs: 60_000 });
    postMessage("joined");
  `;
  const url = URL.createObjectURL(
    new Blob([code], { type: "application/typescript" }),
  );
  const worker = new Worker(url, { type: "module" });
  const joined = Promise.withResolvers<void>();
  worker.onmessage = () => joined.resolve();
  const left = await listener.accept();
  const right = await listener.accept();
  await joined.promise;
  await left.write(DATA.subarray(0, 1000));
  const buffer = new Uint8Array(2000);
  assertEquals(await right.read(buffer), 1000);
  worker.terminate();
  for (const it of [left, right]) {
    const end = await it.read(buffer).then(String, (error) => error.name);
    assertEquals(end, "ConnectionReset");
    it.close();
  }
  listener.close();
  URL.revokeObjectURL(url);
});
