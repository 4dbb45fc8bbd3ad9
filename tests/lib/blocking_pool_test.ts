import {
  assert,
  assertEquals,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  BlockingPool,
  IoContext,
  type IoContext as Context,
  offload,
} from "@kio/kio";
import { workerThreads } from "../../lib/worker_threads.ts";
import {
  assertCode,
  immediate,
  kioThreadTest,
  turn,
  warmUpThreads,
} from "../support.ts";

await warmUpThreads();

/** Places where a blocked job and its test tell each other things. */
const STARTED = 0;
const GATE = 1;

/** A job that blocks its thread, as native code does, until it is let go. */
function block(cells: Int32Array): string {
  Atomics.add(cells, 0, 1);
  Atomics.wait(cells, 1, 0);
  return "through";
}

/** Blocks threads for a test; at its end they are let go. */
class Gate implements Disposable {
  readonly cells = new Int32Array(new SharedArrayBuffer(8));

  /** Jobs that have started to block. */
  get started(): number {
    return Atomics.load(this.cells, STARTED);
  }

  async waitFor(count: number): Promise<void> {
    while (this.started < count) await turn(1);
  }

  open(): void {
    Atomics.store(this.cells, GATE, 1);
    Atomics.notify(this.cells, GATE);
  }

  [Symbol.dispose](): void {
    this.open();
  }
}

/** A promise's rejection, for errors of which more is looked at. */
async function rejectionOf(promise: Promise<unknown>): Promise<
  Error & { code?: string; operation?: string }
> {
  return await promise.then(
    (value) => {
      throw new Error(`expected a rejection, got ${value}`);
    },
    (error) => error,
  );
}

async function assertRejectsCode(
  promise: Promise<unknown>,
  code: string,
): Promise<void> {
  const { code: got, operation } = await rejectionOf(promise);
  assertEquals([got, operation], [code, "offload"]);
}

/** The error that a job throws. */
async function thrownBy(ctx: Context, run: () => unknown): Promise<Error> {
  await using pool = new BlockingPool(1);
  return await offload(ctx, pool, run).orThrow().then(
    (value) => {
      throw new Error(`expected a rejection, got ${value}`);
    },
    (error) => error,
  );
}

// ---- results ----------------------------------------------------------------

kioThreadTest("offload() gives a Result", async (ctx) => {
  await using pool = new BlockingPool(1);
  const sum = await offload(ctx, pool, (a: number, b: number) => a + b, 1, 2);
  assertEquals(sum, { ok: true, value: 3 });
  const op = offload(ctx, pool, () => new Promise(() => {}));
  op.cancel();
  assertCode(await op, "ECANCELED");
  const late = offload(ctx, pool, () => new Promise(() => {}));
  assertCode(await late.withTimeout(10), "ETIMEDOUT");
  assertCode(await offload(ctx, pool, () => Deno.exit(3)), "EOWNERDEAD");
  assertEquals(ctx.stats().errors, {
    ECANCELED: 1,
    ETIMEDOUT: 1,
    EOWNERDEAD: 1,
  });
});

kioThreadTest(
  "offload() rejects with the exception of its job, with orThrow() and without",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const job = () => {
      throw new RangeError("far");
    };
    await assertRejects(() => offload(ctx, pool, job), RangeError, "far");
    const thrown = offload(ctx, pool, job).orThrow();
    await assertRejects(() => thrown, RangeError, "far");
    assertEquals([ctx.pending, ctx.stats().errors], [0, {}]);
  },
);

// ---- values -----------------------------------------------------------------

kioThreadTest("offload() gives what the function returns", async (ctx) => {
  await using pool = new BlockingPool(1);
  assertEquals(
    await offload(ctx, pool, (a: number, b) => a + b, 1, 2).orThrow(),
    3,
  );
  assertEquals(
    await offload(ctx, pool, async () => await "later").orThrow(),
    "later",
  );
  // deno-lint-ignore prefer-const
  let list = function (...all: unknown[]) {
    return all;
  };
  const values = [undefined, null, 1n, new Map([[1, new Date(5)]]), [NaN]];
  assertEquals(await offload(ctx, pool, list, ...values).orThrow(), values);
  assertEquals(await offload(ctx, pool, () => {}).orThrow(), undefined);
});

kioThreadTest("offload() runs in another thread", async (ctx) => {
  await using pool = new BlockingPool(1);
  using gate = new Gate();
  const done = offload(ctx, pool, block, gate.cells).orThrow();
  await gate.waitFor(1); // while it blocks, this thread runs
  gate.open();
  assertEquals(await done, "through");
});

kioThreadTest(
  "offload() runs as many jobs at a time as there are threads",
  async (ctx) => {
    await using pool = new BlockingPool(2);
    using gate = new Gate();
    const jobs = [1, 2, 3].map(() =>
      offload(ctx, pool, block, gate.cells).orThrow()
    );
    await gate.waitFor(2);
    await turn(20);
    assertEquals([gate.started, pool.pending, ctx.pending], [2, 3, 3]);
    gate.open();
    assertEquals(await Promise.all(jobs), ["through", "through", "through"]);
    assertEquals([pool.pending, ctx.pending], [0, 0]);
  },
);

kioThreadTest(
  "offload() runs waiting jobs in their order, in kept threads",
  async (ctx) => {
    await using pool = new BlockingPool({ threads: 1 });
    const count = () => {
      const global = globalThis as unknown as { count?: number };
      return global.count = (global.count ?? 0) + 1;
    };
    const jobs = [1, 2, 3, 4].map(() => offload(ctx, pool, count).orThrow());
    assertEquals(await Promise.all(jobs), [1, 2, 3, 4]);
  },
);

kioThreadTest(
  "offload() copies the arguments when it is called",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const list = [1];
    const bytes = new Uint8Array([1]);
    const jobs = [1, 2].map(() =>
      offload(ctx, pool, (...all: unknown[]) => all, list, bytes).orThrow()
    );
    list.push(2);
    bytes[0] = 2;
    for (const job of jobs) {
      assertEquals(await job, [[1], new Uint8Array([1])]);
    }
  },
);

kioThreadTest(
  "offload() moves what is in transfer, when it is called",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    using gate = new Gate();
    const first = offload(ctx, pool, block, gate.cells).orThrow();
    const bytes = new Uint8Array([1, 2, 3]);
    const run = (bytes: Uint8Array) => bytes.reduce((a, b) => a + b);
    const sum = offload(ctx, pool, { run, transfer: [bytes.buffer] }, bytes)
      .orThrow();
    assertEquals(bytes.byteLength, 0);
    gate.open();
    assertEquals([await first, await sum], ["through", 6]);
  },
);

kioThreadTest("offload() moves the result with transferResult", async (ctx) => {
  await using pool = new BlockingPool(1);
  // The object that the job has kept shows if it was moved.
  const make = (shape: string) => {
    const global = globalThis as unknown as { kept: Uint8Array };
    const kept = global.kept = new Uint8Array([1, 2, 3]);
    if (shape === "memory") return kept.buffer;
    if (shape === "array") return [kept, kept.subarray(1), "text", null];
    return shape === "object" ? { kept } : kept;
  };
  const left = () =>
    (globalThis as unknown as { kept: Uint8Array }).kept.byteLength;
  const bytes = new Uint8Array([1, 2, 3]);
  for (
    const [shape, expected] of [
      ["view", bytes],
      ["memory", bytes.buffer],
      ["array", [bytes, bytes.subarray(1), "text", null]],
      ["object", { kept: bytes }],
    ] as const
  ) {
    const moved = await offload(
      ctx,
      pool,
      { run: make, transferResult: true },
      shape,
    ).orThrow();
    assertEquals(moved, expected);
    assertEquals(await offload(ctx, pool, left).orThrow(), 0, shape);
    assertEquals(await offload(ctx, pool, make, shape).orThrow(), expected);
    assertEquals(await offload(ctx, pool, left).orThrow(), 3, shape);
  }
});

kioThreadTest("offload() shares shared memory", async (ctx) => {
  await using pool = new BlockingPool(1);
  const shared = new Uint8Array(new SharedArrayBuffer(1));
  await offload(ctx, pool, (shared) => void (shared[0] = 7), shared).orThrow();
  assertEquals(shared[0], 7);
});

// ---- what cannot be sent ------------------------------------------------------

kioThreadTest(
  "offload() refuses arguments that cannot be cloned",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const job = (value: unknown) => value;
    const error = assertThrows(
      () => offload(ctx, pool, job, () => {}).orThrow(),
      TypeError,
      "Cannot offload a job: an argument cannot be cloned or moved: ",
    );
    assert(error.cause instanceof DOMException);
    const moved = new Uint8Array(1);
    moved.buffer.transfer();
    for (const transfer of [[moved.buffer], [{}], [ctx.allocate(1).buffer]]) {
      assertThrows(
        () =>
          offload(
            ctx,
            pool,
            { run: job, transfer: transfer as ArrayBuffer[] },
            1,
          ).orThrow(),
        TypeError,
        "cannot be cloned or moved",
      );
    }
    assertEquals([ctx.pending, pool.pending], [0, 0]);
    assertEquals(await offload(ctx, pool, job, 1).orThrow(), 1);
  },
);

kioThreadTest("offload() leaves memory where it is if it throws", (ctx) => {
  using pool = new BlockingPool(1);
  const bytes = new Uint8Array(8);
  const closed = new IoContext(8);
  closed[Symbol.dispose]();
  const job = { run: (bytes: Uint8Array) => bytes, transfer: [bytes.buffer] };
  assertThrows(
    () => offload(closed, pool, job, bytes).orThrow(),
    TypeError,
    "closed",
  );
  pool[Symbol.dispose]();
  assertThrows(
    () => offload(ctx, pool, job, bytes).orThrow(),
    TypeError,
    "closed",
  );
  assertEquals(bytes.byteLength, 8);
});

kioThreadTest("offload() refuses functions without a text", (ctx) => {
  using pool = new BlockingPool(1);
  class Job {
    method() {}
    static get accessor() {
      return 1;
    }
  }
  const { get } = Object.getOwnPropertyDescriptor(Job, "accessor")!;
  const functions = [
    Math.max,
    (() => 1).bind(null),
    new Job().method,
    get!,
    Job,
  ];
  for (const run of functions as (() => void)[]) {
    for (const job of [run, { run }]) {
      assertThrows(
        () => offload(ctx, pool, job).orThrow(),
        TypeError,
        "cannot be sent as text",
      );
    }
  }
});

kioThreadTest(
  "offload() tells functions apart by their text, however many",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 300; i++) {
        const run = new Function(`return ${i}`) as () => number;
        assertEquals(await offload(ctx, pool, run).orThrow(), i);
      }
    }
  },
);

kioThreadTest(
  "offload() names what a function that is not self-contained lacks",
  async (ctx) => {
    const outside = Math.random();
    const error = await thrownBy(ctx, () => outside);
    assert(error instanceof ReferenceError);
    assertEquals(error.message, "outside is not defined");
  },
);

kioThreadTest(
  "offload() refuses what is no job, no pool, no context",
  (ctx) => {
    using pool = new BlockingPool(1);
    const any = offload as (...args: unknown[]) => void;
    const job = () => 1;
    for (
      const [args, Class, message] of [
        [[{}, pool, job], TypeError, "must be an IoContext"],
        [[ctx, {}, job], TypeError, "expected a BlockingPool"],
        [[ctx, undefined, job], TypeError, "expected a BlockingPool"],
        [[ctx, pool], TypeError, "options must be an object"],
        [[ctx, pool, "job"], TypeError, "options must be an object"],
        [[ctx, pool, { run: 1 }], TypeError, "the job must be a function"],
        [[ctx, pool, { module: "./x.ts", name: "x" }], TypeError, "absolute"],
        [[ctx, pool, { name: "x" }], TypeError, "not an absolute URL"],
        [[ctx, pool, { run: job, timeoutMs: -1 }], RangeError, "timeoutMs"],
        [[ctx, pool, { run: job, signal: {} }], TypeError, "AbortSignal"],
        [
          [ctx, pool, { run: job, transfer: {} }],
          TypeError,
          "array of transfer",
        ],
      ] as const
    ) {
      assertThrows(() => any(...args), Class, message);
    }
    assertEquals([ctx.pending, pool.pending], [0, 0]);
  },
);

Deno.test("new BlockingPool() refuses numbers out of range", () => {
  for (const threads of [0, 257, 1.5, NaN, "1" as unknown as number]) {
    assertThrows(() => new BlockingPool({ threads }), RangeError, "threads");
  }
  for (const queueMax of [-1, 2 ** 20 + 1, 1.5]) {
    assertThrows(() => new BlockingPool({ queueMax }), RangeError, "queueMax");
  }
  assertThrows(() => new BlockingPool(null as unknown as number), TypeError);
});

kioThreadTest(
  "offload() rejects over a result that cannot be cloned",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    await assertRejects(
      () => offload(ctx, pool, () => () => 1).orThrow(),
      TypeError,
      "Cannot offload a job: what it has returned cannot be sent: ",
    );
    assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
  },
);

// ---- exceptions -----------------------------------------------------------------

kioThreadTest(
  "offload() passes errors on with name, message, stack and cause",
  async (ctx) => {
    const error = await thrownBy(ctx, function namedJob() {
      throw new RangeError("far", {
        cause: new URIError("near", { cause: 5 }),
      });
    });
    assert(error instanceof RangeError);
    assertEquals([error.name, error.message], ["RangeError", "far"]);
    assert(
      error.stack!.startsWith("RangeError: far\n    at namedJob (kio:job"),
    );
    const cause = error.cause as Error;
    assert(cause instanceof URIError);
    assertEquals([cause.message, cause.cause], ["near", 5]);
    assertEquals(Object.keys(error), []);
  },
);

kioThreadTest(
  "offload() passes errors on with their class or its name",
  async (ctx) => {
    const missing = await thrownBy(ctx, () => {
      throw Object.assign(new Deno.errors.NotFound("x"), { code: "ENOENT" });
    });
    assert(missing instanceof Deno.errors.NotFound);
    assertEquals((missing as { code?: string }).code, "ENOENT");
    const own = await thrownBy(ctx, () => {
      class OwnError extends Error {
        override name = "OwnError";
        deep = { code: 1 };
      }
      throw new OwnError("x");
    });
    assert(own instanceof Error);
    assertEquals([own.name, own.message, "deep" in own], [
      "OwnError",
      "x",
      false,
    ]);
    const dom = await thrownBy(ctx, () => {
      throw new DOMException("x", "AbortError");
    }) as DOMException;
    assert(dom instanceof DOMException);
    assertEquals([dom.name, dom.message, dom.code], ["AbortError", "x", 20]);
    const many = await thrownBy(
      ctx,
      () =>
        Promise.any([1, 2].map((n) => Promise.reject(new TypeError(`${n}`)))),
    ) as AggregateError;
    assert(many instanceof AggregateError);
    const [one, two] = many.errors;
    assert(one instanceof TypeError);
    assertEquals([one.message, two.message], ["1", "2"]);
  },
);

kioThreadTest("offload() passes on what is no error as it is", async (ctx) => {
  for (const value of [5, "text", null, undefined, { deep: [1] }]) {
    await using pool = new BlockingPool(1);
    const job = (value: unknown) => {
      throw value;
    };
    const thrown = await offload(ctx, pool, job, value).orThrow().catch((
      it,
    ) => [it]);
    assertEquals(thrown, [value]);
  }
});

kioThreadTest("offload() survives errors that are hostile", async (ctx) => {
  const circular = await thrownBy(ctx, () => {
    const error = new Error("a");
    error.cause = new Error("b", { cause: error });
    throw error;
  });
  assert(circular instanceof Error);
  const unreadable = await thrownBy(ctx, () => {
    throw Object.defineProperty(new Error("a"), "message", {
      get() {
        throw new Error("no");
      },
    });
  });
  assert(unreadable instanceof TypeError);
  assert(unreadable.message.includes("what it has thrown cannot be read"));
  const unsendable = await thrownBy(ctx, () => {
    throw () => {};
  });
  assert(unsendable instanceof TypeError);
  assert(unsendable.message.includes("what it has thrown cannot be sent"));
});

// ---- modules ----------------------------------------------------------------------

const MODULE = `data:text/javascript,
  let calls = 0;
  export const count = (step) => calls += step;
  export default async () => "default";
  export const number = 5;`;

kioThreadTest(
  "offload() runs an export of a module, loaded once a thread",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const job = { module: MODULE, name: "count" };
    assertEquals(await offload<number>(ctx, pool, job, 2).orThrow(), 2);
    assertEquals(await offload<number>(ctx, pool, job, 3).orThrow(), 5);
    const other = { module: new URL(MODULE), name: "default" };
    assertEquals(await offload(ctx, pool, other).orThrow(), "default");
  },
);

kioThreadTest(
  "offload() rejects over a module or an export that is not there",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    for (const name of ["missing", "number", "toString"]) {
      await assertRejects(
        () => offload(ctx, pool, { module: MODULE, name }).orThrow(),
        TypeError,
        `exports no function "${name}"`,
      );
    }
    const missing = new URL("./missing.ts", import.meta.url);
    await assertRejects(
      () => offload(ctx, pool, { module: missing, name: "x" }).orThrow(),
      TypeError,
      "missing.ts",
    );
    const broken = "data:text/javascript,throw new RangeError('broken')";
    await assertRejects(
      () => offload(ctx, pool, { module: broken, name: "x" }).orThrow(),
      RangeError,
      "broken",
    );
    assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
  },
);

// ---- bounds -----------------------------------------------------------------------

kioThreadTest(
  "offload() rejects with ETIMEDOUT after its timeout",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const run = () => new Promise<never>(() => {});
    const error = await rejectionOf(
      offload(ctx, pool, { run, timeoutMs: 10 }).orThrow(),
    );
    assert(error instanceof Deno.errors.TimedOut);
    assertEquals([error.code, error.operation], ["ETIMEDOUT", "offload"]);
    assertEquals([ctx.pending, pool.pending], [0, 0]);
    assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
  },
);

kioThreadTest(
  "offload() rejects though its job still blocks, whose thread is replaced afterwards",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    using gate = new Gate();
    const controller = new AbortController();
    const job = { run: block, signal: controller.signal };
    const rejected = assertRejectsCode(
      offload(ctx, pool, job, gate.cells).orThrow(),
      "ECANCELED",
    );
    await gate.waitFor(1);
    controller.abort();
    await rejected;
    const next = offload(ctx, pool, () => "next").orThrow();
    await turn(100);
    assertEquals(pool.pending, 1); // not a second thread
    gate.open();
    assertEquals(await next, "next");
  },
);

kioThreadTest(
  "offload() never has more threads than allowed, whatever is given up",
  async (ctx) => {
    await using pool = new BlockingPool({ threads: 2, queueMax: 100 });
    using gate = new Gate();
    for (let round = 0; round < 5; round++) {
      const controller = new AbortController();
      const job = { run: block, signal: controller.signal };
      const rejected = [1, 2, 3, 4].map(() =>
        assertRejectsCode(
          offload(ctx, pool, job, gate.cells).orThrow(),
          "ECANCELED",
        )
      );
      await gate.waitFor(2);
      await turn(20);
      controller.abort();
      await Promise.all(rejected);
    }
    assertEquals(gate.started, 2);
    gate.open();
    assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
  },
);

kioThreadTest(
  "offload() gives the result of a job that made it before its timeout",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    assertEquals(
      await offload(ctx, pool, { run: () => 1, timeoutMs: 20_000 }).orThrow(),
      1,
    );
  },
);

kioThreadTest(
  "offload() never starts a job whose signal is aborted",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    using gate = new Gate();
    gate.open();
    const job = { run: block, signal: AbortSignal.abort() };
    await assertRejectsCode(
      offload(ctx, pool, job, gate.cells).orThrow(),
      "ECANCELED",
    );
    const controller = new AbortController();
    const soon = { run: block, signal: controller.signal };
    const aborted = offload(ctx, pool, soon, gate.cells).orThrow();
    controller.abort();
    await assertRejectsCode(aborted, "ECANCELED");
    assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
    assertEquals(gate.started, 0);
  },
);

kioThreadTest(
  "offload() gives up a job that waits or runs when its signal is aborted",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    using gate = new Gate();
    const controller = new AbortController();
    const { signal } = controller;
    const job = { run: block, signal };
    const rejected = [1, 2].map(() =>
      assertRejectsCode(
        offload(ctx, pool, job, gate.cells).orThrow(),
        "ECANCELED",
      )
    );
    const other = offload(ctx, pool, () => "other").orThrow();
    await gate.waitFor(1);
    controller.abort();
    await Promise.all(rejected);
    assertEquals(pool.pending, 1);
    gate.open();
    assertEquals(await other, "other");
    assertEquals(gate.started, 1);
  },
);

kioThreadTest(
  "offload() can be given up at every stage, and goes on",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    for (let stage = 0; stage < 12; stage++) {
      const controller = new AbortController();
      const run = (n: number) => n;
      const job = { run, signal: controller.signal };
      const result = offload(ctx, pool, job, stage).orThrow().catch((
        { code },
      ) => code);
      for (let i = 0; i < stage % 6; i++) await null;
      if (stage >= 6) await turn((stage - 6) / 4);
      controller.abort();
      assert([stage, "ECANCELED"].includes(await result));
      assertEquals(await offload(ctx, pool, () => "next").orThrow(), "next");
    }
  },
);

kioThreadTest(
  "offload() rejects with EAGAIN when the queue is full",
  async (ctx) => {
    await using pool = new BlockingPool({ threads: 1, queueMax: 1 });
    using gate = new Gate();
    const jobs = [1, 2].map(() =>
      offload(ctx, pool, block, gate.cells).orThrow()
    );
    for (const when of ["before it runs", "while it runs"]) {
      const error = await rejectionOf(offload(ctx, pool, () => 1).orThrow());
      assertEquals([error.code, error.operation], ["EAGAIN", "offload"], when);
      assert(error.message.includes("the queue is full"), error.message);
      await gate.waitFor(1);
    }
    gate.open();
    assertEquals(await Promise.all(jobs), ["through", "through"]);
    assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
  },
);

kioThreadTest(
  "offload() takes a job for each thread with queueMax 0",
  async (ctx) => {
    await using pool = new BlockingPool({ threads: 2, queueMax: 0 });
    using gate = new Gate();
    const jobs = [1, 2].map(() =>
      offload(ctx, pool, block, gate.cells).orThrow()
    );
    await assertRejectsCode(
      offload(ctx, pool, block, gate.cells).orThrow(),
      "EAGAIN",
    );
    gate.open();
    assertEquals(await Promise.all(jobs), ["through", "through"]);
    assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
  },
);

// ---- threads that end -----------------------------------------------------------------

const endings: [string, () => unknown, string][] = [
  ["Deno.exit()", () => Deno.exit(3), "exit code 3"],
  [
    "process.exit()",
    () =>
      (globalThis as unknown as { process: { exit(code: number): void } })
        .process.exit(4),
    "exit code 4",
  ],
];

for (const [how, job, why] of endings) {
  kioThreadTest(
    `offload() rejects with EOWNERDEAD over ${how}, and goes on`,
    async (ctx) => {
      await using pool = new BlockingPool(1);
      const dead = offload(ctx, pool, job).orThrow();
      const next = offload(ctx, pool, () => "next").orThrow();
      const error = await rejectionOf(dead);
      assertEquals([error.code, error.operation], ["EOWNERDEAD", "offload"]);
      assert(error.message.includes(`its thread has ended (${why})`));
      assertEquals(await next, "next");
    },
  );
}

kioThreadTest(
  "offload() loses no result of a job whose thread ends afterwards",
  async (ctx) => {
    for (let round = 0; round < 8; round++) {
      await using pool = new BlockingPool(1);
      const job = (delayMs: number) => {
        setTimeout(() => Deno.exit(), delayMs);
        return delayMs;
      };
      assertEquals(
        await offload(ctx, pool, job, round % 2).orThrow(),
        round % 2,
      );
      // It may be taken by the thread that is about to end.
      const next = await offload(ctx, pool, () => "next").orThrow().catch((
        it,
      ) => it.code);
      assert(["next", "EOWNERDEAD"].includes(next), next);
    }
  },
);

kioThreadTest(
  "offload() fails with EAGAIN if there is no thread to be had",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    const module = workerThreads() as { Worker: unknown };
    const { Worker } = module;
    const refusal = new Deno.errors.WouldBlock("no thread");
    module.Worker = function () {
      throw refusal;
    };
    try {
      const jobs = [1, 2].map(() =>
        rejectionOf(offload(ctx, pool, () => 1).orThrow())
      );
      for (const error of await Promise.all(jobs)) {
        assertEquals([error.code, error.operation], ["EAGAIN", "offload"]);
        assertStrictEquals(error.cause, refusal);
      }
    } finally {
      module.Worker = Worker;
    }
    assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
  },
);

// ---- contexts -------------------------------------------------------------------------

kioThreadTest(
  "offload() counts as pending, and closing the context gives it up",
  async (ctx) => {
    await using pool = new BlockingPool(1);
    for (
      const close of ["dispose", "asyncDispose", "cancelAllPending"] as const
    ) {
      const other = new IoContext(8);
      const job = offload(other, pool, () => new Promise<never>(() => {}))
        .orThrow();
      assertEquals([other.pending, ctx.pending], [1, 0]);
      if (close === "cancelAllPending") void other.cancelAllPending();
      else if (close === "dispose") other[Symbol.dispose]();
      else void other[Symbol.asyncDispose]();
      await assertRejectsCode(job, "ECANCELED");
      other[Symbol.dispose]();
      assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
    }
  },
);

kioThreadTest("offload() takes jobs of several contexts", async (ctx) => {
  await using pool = new BlockingPool(1);
  using other = new IoContext(8);
  const jobs = [ctx, other].map((ctx, i) =>
    offload(ctx, pool, (i) => i, i).orThrow()
  );
  assertEquals([ctx.pending, other.pending], [1, 1]);
  assertEquals(await Promise.all(jobs), [0, 1]);
});

// ---- the end --------------------------------------------------------------------------

kioThreadTest(
  "BlockingPool.close() waits for the jobs, then takes no more",
  async (ctx) => {
    const pool = new BlockingPool(1);
    using gate = new Gate();
    const jobs = [1, 2].map(() =>
      offload(ctx, pool, block, gate.cells).orThrow()
    );
    await gate.waitFor(1);
    let isClosed = false;
    const closed = pool.close().then(() => isClosed = true);
    assertThrows(
      () => offload(ctx, pool, () => 1).orThrow(),
      TypeError,
      "Cannot offload a job: the BlockingPool is closed; make a new one",
    );
    await turn(20);
    assert(!isClosed);
    gate.open();
    assertEquals(await Promise.all(jobs), ["through", "through"]);
    await closed;
    await pool.close();
  },
);

kioThreadTest(
  "BlockingPool.close() waits for jobs that throw, and does not",
  async (ctx) => {
    const pool = new BlockingPool(1);
    const rejected = [1, 2].map(() => {
      const op = offload(ctx, pool, () => {
        throw new RangeError("far");
      });
      return assertRejects(() => op, RangeError, "far");
    });
    await pool.close();
    assertEquals(pool.pending, 0);
    await Promise.all(rejected);
  },
);

kioThreadTest(
  "BlockingPool.close() with cancel gives the jobs up",
  async (ctx) => {
    const pool = new BlockingPool(1);
    using gate = new Gate();
    const jobs = [1, 2].map(() =>
      offload(ctx, pool, block, gate.cells).orThrow()
    );
    const rejections = Promise.all(
      jobs.map((job) => assertRejectsCode(job, "ECANCELED")),
    );
    await gate.waitFor(1);
    const patient = pool.close();
    await pool.close({ cancel: true }); // though the thread still blocks
    await patient;
    await rejections;
    assertEquals([pool.pending, ctx.pending, gate.started], [0, 0, 1]);
  },
);

kioThreadTest(
  "BlockingPool[Symbol.dispose]() gives the jobs up at once",
  async (ctx) => {
    const pool = new BlockingPool(2);
    const job = offload(ctx, pool, () => new Promise<never>(() => {}))
      .orThrow();
    const rejected = assertRejectsCode(job, "ECANCELED");
    await immediate();
    pool[Symbol.dispose]();
    assertEquals([pool.pending, ctx.pending], [0, 0]);
    await rejected;
    assertThrows(
      () => offload(ctx, pool, () => 1).orThrow(),
      TypeError,
      "closed",
    );
  },
);

kioThreadTest(
  "BlockingPool.close() closes a pool that was never used",
  async () => {
    const pool = new BlockingPool();
    await pool.close();
    await assertRejects(() => pool.close(null as never), TypeError, "options");
  },
);

{
  // Not a kioTest(): the threads and fds are still there after the first.
  let ctx: IoContext;
  let pool: BlockingPool;

  Deno.test("an idle BlockingPool is no leak to the sanitizers of tests", async () => {
    ctx = new IoContext(8);
    pool = new BlockingPool(1);
    assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
  });

  Deno.test("a BlockingPool serves one test after the other", async () => {
    assertEquals(await offload(ctx, pool, () => 1).orThrow(), 1);
    await pool.close();
    ctx[Symbol.dispose]();
  });
}
