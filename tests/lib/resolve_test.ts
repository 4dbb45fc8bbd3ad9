import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  BlockingPool,
  IoContext,
  offload,
  type Result,
  SocketAddress,
} from "@kio/kio";
import {
  assertCode,
  kioThreadTest,
  turn,
  value,
  warmUpThreads,
} from "../support.ts";
import { workerThreads } from "../../lib/worker_threads.ts";

await warmUpThreads();

/** RFC 6761: resolvers must say that there is no such name. */
const NO_NAME = "kio-test.invalid";
/** A name of the DNS cannot have a label of 64 bytes: no server is asked. */
const IMPOSSIBLE = `${"a".repeat(64)}.invalid`;

/** Both ways to resolve, and of each the first and all. */
async function resolveBoth(
  ctx: IoContext,
  host: string,
  port: number,
): Promise<Result<SocketAddress[]>[]> {
  await using pool = new BlockingPool(1);
  const all = [
    SocketAddress.resolveAll(host, port),
    await SocketAddress.resolveAllAsync(ctx, pool, host, port),
  ];
  const firsts = [
    SocketAddress.resolve(host, port),
    await SocketAddress.resolveAsync(ctx, pool, host, port),
  ];
  firsts.forEach((first, i) => {
    const its = all[i]!;
    if (first.ok && its.ok) assertEquals(`${first.value}`, `${its.value[0]}`);
    else assertEquals(first, its);
  });
  return all;
}

kioThreadTest(
  "SocketAddress.resolve() finds a name of /etc/hosts",
  async (ctx) => {
    for (const result of await resolveBoth(ctx, "localhost", 8080)) {
      const hosts = value(result).map(({ host }) => host);
      assert(hosts.includes("127.0.0.1"), `${hosts}`);
      assertEquals(new Set(hosts).size, hosts.length);
      for (const address of value(result)) assertEquals(address.port, 8080);
    }
  },
);

kioThreadTest(
  "SocketAddress.resolve() takes numeric addresses as they are",
  async (ctx) => {
    for (
      const [host, printed] of [
        ["192.0.2.1", "192.0.2.1:53"],
        ["::", "[::]:53"],
        ["2001:DB8:0::1", "[2001:db8::1]:53"],
        ["::ffff:192.0.2.1", "[::ffff:192.0.2.1]:53"],
        ["fe80::1%1", "[fe80::1%1]:53"],
        ["fe80::1%lo", "[fe80::1%1]:53"],
      ] as const
    ) {
      for (const result of await resolveBoth(ctx, host, 53)) {
        assertEquals(value(result).map(String), [printed]);
      }
    }
  },
);

kioThreadTest(
  "SocketAddress.resolveAsync() starts no thread for a numeric address",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const op = SocketAddress.resolveAsync(ctx, pool, "::1", 1);
    assertEquals([ctx.pending, pool.pending], [0, 0]);
    assertEquals(`${value(await op)}`, "[::1]:1");
  },
);

kioThreadTest(
  "SocketAddress.resolve() gives EAI_NONAME for what is no name",
  async (ctx) => {
    for (
      const host of [IMPOSSIBLE, "[::1]", "127.0.0.1:80", "a b", "1.2.3.256"]
    ) {
      for (const result of await resolveBoth(ctx, host, 1)) {
        assertCode(result, "EAI_NONAME");
        if (result.ok) continue;
        assertEquals(result.error.errno, 1002);
        assertEquals(result.error.message, "Name or service not known");
      }
    }
  },
);

kioThreadTest(
  "SocketAddress.resolve() gives an error for a name that does not exist",
  async (ctx) => {
    for (const result of await resolveBoth(ctx, NO_NAME, 1)) {
      // Without a network, or with a resolver that does not answer, it is AGAIN.
      assertCode(result, "EAI_NONAME", "EAI_AGAIN", "EAI_NODATA");
    }
  },
);

kioThreadTest(
  "SocketAddress.resolveAsync().orThrow() throws what fits the code",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const error = await SocketAddress.resolveAsync(ctx, pool, IMPOSSIBLE, 1)
      .orThrow().catch((error) => error);
    assert(error instanceof Deno.errors.NotFound);
    const { code, operation } = error as unknown as Record<string, string>;
    assertEquals(
      [code, operation],
      ["EAI_NONAME", "SocketAddress.resolveAsync"],
    );
  },
);

kioThreadTest(
  "SocketAddress.resolve() refuses what cannot be a host or a port",
  (ctx) => {
    using pool = new BlockingPool(1);
    const long = `${"a.".repeat(127)}a`;
    for (
      const [host, port, Class, message] of [
        ["", 1, TypeError, "without NUL that is not empty"],
        ["localhost\0.evil", 1, TypeError, "without NUL that is not empty"],
        [5, 1, TypeError, "host must be a string"],
        [long, 1, RangeError, "it may have 254 bytes, got 255"],
        ["ä".repeat(128), 1, RangeError, "it may have 254 bytes, got 256"],
        ["localhost", -1, RangeError, "port"],
        ["127.0.0.1", 65536, RangeError, "port"],
        ["localhost", 1.5, RangeError, "port"],
      ] as const
    ) {
      const name = host as string;
      for (
        const call of [
          () => SocketAddress.resolve(name, port),
          () => SocketAddress.resolveAll(name, port),
          () => SocketAddress.resolveAsync(ctx, pool, name, port),
          () => SocketAddress.resolveAllAsync(ctx, pool, name, port),
        ]
      ) assertThrows(call, Class, message);
    }
    assertCode(SocketAddress.resolve(long.slice(1), 1), "EAI_NONAME");
    assertEquals([ctx.pending, pool.pending], [0, 0]);
  },
);

kioThreadTest(
  "SocketAddress.resolveAsync() refuses what is no pool, or a closed one",
  async (ctx) => {
    const pool = new BlockingPool(1);
    await pool.close();
    for (const host of ["127.0.0.1", "localhost"]) {
      assertThrows(
        () => SocketAddress.resolveAsync(ctx, pool, host, 1),
        TypeError,
        "Cannot resolve a name: the BlockingPool is closed",
      );
      assertThrows(
        () => SocketAddress.resolveAsync(ctx, {} as BlockingPool, host, 1),
        TypeError,
        "Cannot resolve a name: expected a BlockingPool",
      );
    }
  },
);

/** Keeps the only thread of a pool busy until it is let go. */
async function occupy(ctx: IoContext, pool: BlockingPool) {
  const cells = new Int32Array(new SharedArrayBuffer(8));
  const job = offload(ctx, pool, (cells) => {
    Atomics.store(cells, 0, 1);
    Atomics.wait(cells, 1, 0);
  }, cells).orThrow();
  while (Atomics.load(cells, 0) === 0) await turn(1);
  return async () => {
    Atomics.store(cells, 1, 1);
    Atomics.notify(cells, 1);
    await job;
  };
}

kioThreadTest(
  "SocketAddress.resolveAsync() can be timed out and cancelled",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const release = await occupy(ctx, pool);
    const resolve = () => SocketAddress.resolveAsync(ctx, pool, "localhost", 1);
    const controller = new AbortController();
    const timed = resolve().withTimeout(5);
    const aborted = resolve().withSignal(controller.signal);
    const cancelled = resolve();
    controller.abort();
    cancelled.cancel();
    assertCode(await timed, "ETIMEDOUT");
    assertCode(await aborted, "ECANCELED");
    assertCode(await cancelled, "ECANCELED");
    assertEquals(pool.pending, 1);
    await release();
    assertEquals(value(await resolve()).port, 1);
  },
);

kioThreadTest(
  "SocketAddress.resolveAsync() gives EAGAIN when the queue is full",
  async (ctx) => {
    await using pool = new BlockingPool({ threads: 1, queueMax: 0 });
    const release = await occupy(ctx, pool);
    const resolve = () => SocketAddress.resolveAsync(ctx, pool, "localhost", 1);
    assertCode(await resolve(), "EAGAIN");
    await release();
    value(await resolve());
  },
);

kioThreadTest(
  "SocketAddress.resolveAsync() gives EAI_FAIL when there is no thread",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const module = workerThreads() as { Worker: unknown };
    const { Worker } = module;
    module.Worker = function () {
      throw new Deno.errors.WouldBlock("no thread");
    };
    try {
      const result = await SocketAddress.resolveAsync(
        ctx,
        pool,
        "localhost",
        1,
      );
      assertCode(result, "EAI_FAIL");
      assert(!result.ok && result.error.message.includes("there is no thread"));
    } finally {
      module.Worker = Worker;
    }
  },
);

kioThreadTest(
  "SocketAddress.resolveAsync() is cancelled when its context closes",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const other = new IoContext(8);
    const op = SocketAddress.resolveAsync(other, pool, "localhost", 1);
    other[Symbol.dispose]();
    assertCode(await op, "ECANCELED");
    value(await SocketAddress.resolveAsync(ctx, pool, "localhost", 1));
  },
);
