/** Operations of several steps whose context closes in between. */
import { assert } from "@std/assert";
import {
  acceptLoop,
  asyncRecvExact,
  asyncSendExact,
  asyncSendfile,
  asyncWriteExact,
  BlockingPool,
  Connections,
  IoContext,
  type IoError,
  offload,
  type Result,
  SocketAddress,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  kioThreadTest,
  listen,
  tempFile,
  turn,
  unixPair,
  warmUpThreads,
} from "../support.ts";

await warmUpThreads();

/** Runs of a continuation before the context closes; the last of them give the
 * kernel its turn. */
const HOPS = 12;

type Start = (ctx: IoContext) => Promise<Result<unknown>>;

/** Each ends with a value or with `ECANCELED`, and never throws. */
async function closeInBetween(start: Start): Promise<void> {
  let cancelled = 0;
  for (const how of ["dispose", "asyncDispose"] as const) {
    for (let hops = 0; hops < HOPS; hops++) {
      const ctx = new IoContext(8);
      const result = start(ctx);
      for (let i = 0; i < hops; i++) await null;
      if (hops > HOPS - 3) await turn();
      if (how === "dispose") ctx[Symbol.dispose]();
      else await ctx[Symbol.asyncDispose]();
      const made = await result;
      if (made.ok) continue;
      assertCode(made, "ECANCELED");
      cancelled++;
    }
  }
  assert(cancelled > 0, "never closed in time");
}

kioThreadTest(
  "exact transfers whose context closes right after the call end with ECANCELED",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx);
    const { left, right } = pair;
    const large = new Uint8Array(1 << 20);
    await closeInBetween((it) =>
      asyncRecvExact(it, right, new Uint8Array(9), { timeoutMs: 60_000 })
    );
    await closeInBetween((it) => asyncSendExact(it, left, large));
    // It may be complete within any of the turns.
    for (let hops = 0; hops < HOPS; hops++) {
      const other = new IoContext(8);
      const result = asyncWriteExact(other, file, large);
      for (let i = 0; i < hops; i++) await null;
      other[Symbol.dispose]();
      const written = await result;
      if (!written.ok) assertCode(written, "ECANCELED");
    }
  },
);

kioThreadTest(
  "asyncSendfile() whose context closes right after the call ends with ECANCELED",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx, new Uint8Array(1 << 20));
    await closeInBetween((it) =>
      asyncSendfile(it, pair.left, file, 0, 1 << 20, { timeoutMs: 60_000 })
    );
  },
);

kioThreadTest(
  "resolveAsync() and offload() whose context closes right after the call end with ECANCELED",
  async () => {
    await using pool = new BlockingPool(1);
    await closeInBetween((it) =>
      SocketAddress.resolveAsync(it, pool, "localhost", 1)
    );
    await closeInBetween(async (it) => {
      try {
        return await offload(it, pool, () => 1);
      } catch (error) {
        const { code, errno, message } = error as Error & IoError;
        return { ok: false, error: { code, errno, message } };
      }
    });
  },
);

kioThreadTest(
  "acceptLoop() and Connections whose context closes right after the call end",
  async () => {
    for (let hops = 0; hops < HOPS; hops++) {
      using listener = listen().listener;
      using pair = unixPair();
      const other = new IoContext(8);
      const { signal } = new AbortController();
      const accepting = acceptLoop(other, listener, () => {}, signal);
      const connections = new Connections(other, async (socket) => {
        await asyncSendExact(other, socket, bytes("bye")).orThrow();
      });
      connections.add(pair.left.release());
      for (let i = 0; i < hops; i++) await null;
      other[Symbol.dispose]();
      assert((await accepting).ok);
      await connections.closed;
    }
  },
);
