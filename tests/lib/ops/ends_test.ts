/** The ends that each operation may have, by its sample: before it starts, when
 * it waits, and when what it needs goes away. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncFsync,
  asyncRecv,
  type IoContext,
  link,
  type Result,
  Socket,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  isOpen,
  kioTest,
  overwriteGarbage,
  turn,
} from "../../support.ts";
import { giveBack } from "./give_back.ts";
import { Place } from "./place.ts";
import {
  type Case,
  CASES,
  isThere,
  type Sample,
  startGood,
  startWaiting,
} from "./samples.ts";

/** Turns of Deno until memory is seen to be collected. */
const TURNS_MAX = 200;

/** Checks the end of an operation that was ended. One that waits ends by it;
 * others may have been faster. */
function checkEnd(
  { row, sample }: Case,
  result: Result<unknown>,
  ...codes: string[]
): void {
  if (sample.waits !== undefined || !result.ok) assertCode(result, ...codes);
  giveBack(row, result);
}

/** The socket that a call is about; undefined for one that has none. */
function socketIn(args: readonly { good: unknown }[]): Socket | undefined {
  return args.map(({ good }) => good).find((it) => it instanceof Socket);
}

/** Registers a test of each operation. */
function forEachOperation(
  title: (name: string) => string,
  body: (it: Case, place: Place, ctx: IoContext) => Promise<void>,
  isMeant: (it: Case) => boolean = () => true,
): void {
  for (const it of CASES.filter(isMeant)) {
    kioTest(title(it.title), async (outer) => {
      await using place = await Place.open(outer, it.key === "CONNECT");
      await using ctx = await place.context(it.sample);
      if (!isThere(ctx, it.row)) return;
      await body(it, place, ctx);
      assertEquals(ctx.pending, 0);
    });
  }
}

const waits = ({ sample }: Case) => sample.waits !== undefined;

// ---- before it starts -----------------------------------------------------------

const ways: Record<string, (op: UringOp<unknown>) => void> = {
  "cancel() in the same turn": (op) => op.cancel(),
  "withSignal() of an aborted signal": (op) =>
    void op.withSignal(AbortSignal.abort()),
};

for (const [way, end] of Object.entries(ways)) {
  forEachOperation(
    (name) => `${way}: the kernel never sees ${name}`,
    async ({ row, sample }, place, ctx) => {
      const counts: number[] = [];
      // The driver submits something of its own now and then.
      for (let i = 0; i < 3; i++) {
        const before = ctx.stats().submissions;
        const args = sample.works(place, ctx);
        const fd = socketIn(args)?.fd;
        const op = sample.start(ctx, ...args.map(({ good }) => good));
        end(op);
        const result = await op;
        // Nobody could close it again.
        if (row.closesFd) return assert(!isOpen(fd!));
        assertCode(result, "ECANCELED");
        counts.push(ctx.stats().submissions - before);
      }
      // An SQE that stands in for it, or for a chain of two splices, and no
      // cancel of one that has started.
      const standIns = row.name === "asyncSendfile" ? 2 : 1;
      assert(Math.min(...counts) <= standIns, `${counts} submissions`);
    },
  );
}

// ---- while it waits -------------------------------------------------------------

forEachOperation(
  (name) => `withTimeout() ends ${name}`,
  async (it, place, ctx) => {
    for (const timeoutMs of [0, 3]) {
      const op = startWaiting(it.sample, place, ctx);
      checkEnd(it, await op.withTimeout(timeoutMs), "ETIMEDOUT");
    }
  },
);

forEachOperation(
  (name) => `withSignal() ends ${name} when the signal is aborted`,
  async (it, place, ctx) => {
    for (const turns of [0, 1, 2]) {
      const controller = new AbortController();
      const op = startWaiting(it.sample, place, ctx)
        .withSignal(controller.signal);
      for (let i = 0; i < turns; i++) await turn();
      controller.abort();
      checkEnd(it, await op, "ECANCELED");
    }
  },
);

forEachOperation(
  (name) => `cancel() ends ${name}, and may be repeated`,
  async (it, place, ctx) => {
    for (const turns of [0, 1, 2]) {
      const op = startWaiting(it.sample, place, ctx);
      for (let i = 0; i < turns; i++) await turn();
      op.cancel();
      op.cancel();
      checkEnd(it, await op, "ECANCELED");
      op.cancel();
    }
  },
);

// ---- what it needs goes away -----------------------------------------------------

for (const isAsync of [false, true]) {
  const using = isAsync ? "await using" : "using";
  forEachOperation(
    (name) => `the end of a context by ${using} ends ${name}`,
    async (it, place) => {
      for (const turns of [0, 1]) {
        const ctx = await place.context(it.sample);
        const op = startWaiting(it.sample, place, ctx);
        for (let i = 0; i < turns; i++) await turn();
        if (isAsync) await ctx[Symbol.asyncDispose]();
        else ctx[Symbol.dispose]();
        checkEnd(it, await op, "ECANCELED");
        assertEquals(ctx.pending, 0);
      }
    },
  );
}

/** The memory that a call lends to the kernel, weakly held. */
function lentBy(
  { start, waits }: Sample,
  place: Place,
  ctx: IoContext,
): WeakRef<object>[] {
  const goods = waits!(place, ctx).map(({ good }) => good);
  void start(ctx, ...goods);
  const isBuffer = (it: unknown) => it instanceof Uint8Array;
  return goods
    .flatMap((it) => [it, ...Object.values(it ?? {})])
    .flat()
    .filter(isBuffer)
    .map((it) => new WeakRef(it));
}

forEachOperation(
  (name) => `${name} that is dropped keeps its memory until its end`,
  async ({ sample }, place, ctx) => {
    const lent = lentBy(sample, place, ctx);
    for (let i = 0; i < 3; i++) {
      await turn();
      overwriteGarbage();
    }
    assertEquals(ctx.pending, 1);
    assertEquals(lent.filter((it) => it.deref() === undefined), []);
    await ctx.cancelAllPending();
    const isLent = () => lent.some((it) => it.deref() !== undefined);
    for (let i = 0; i < TURNS_MAX && isLent(); i++) {
      await turn();
      overwriteGarbage();
    }
    assert(!isLent(), "the memory is kept for good");
  },
  waits,
);

forEachOperation(
  (name) => `close() of its socket ends ${name}`,
  async ({ row, sample }, place, ctx) => {
    const args = sample.waits!(place, ctx);
    const socket = socketIn(args);
    if (socket === undefined) return;
    const op = sample.start(ctx, ...args.map(({ good }) => good));
    await turn();
    await socket.close();
    assertEquals(ctx.pending, 0, "it outlives its fd");
    giveBack(row, await op);
  },
  waits,
);

forEachOperation(
  (name) => `asyncClose() of its fd leaves ${name} alone`,
  async ({ row, sample }, place, ctx) => {
    const args = sample.waits!(place, ctx);
    const socket = socketIn(args);
    if (socket === undefined) return;
    const op = sample.start(ctx, ...args.map(({ good }) => good));
    await turn();
    await asyncClose(ctx, socket).orThrow();
    await turn();
    // A transfer looks the fd up again for each of its steps.
    const isTransfer = /(Exact|Sendfile|All)$/.test(row.name);
    if (!isTransfer) assertEquals(ctx.pending, 1);
    op.cancel();
    assertCode(await op, "ECANCELED", "EBADF");
  },
  waits,
);

// ---- chains ---------------------------------------------------------------------

/** The error of a system call in place of an opcode: it is no part of a chain. */
function refusalOf({ row }: Case, ctx: IoContext): string | undefined {
  const support = ctx.capabilities.operations[row.name];
  return support === "syscall" ? "EOPNOTSUPP" : undefined;
}

forEachOperation(
  (name) => `${name} as a link of a chain`,
  async (it, place, ctx) => {
    const { row, sample } = it;
    if (sample.isLink === false) {
      assertThrows(
        () => link(ctx, () => startGood(sample, place, ctx)),
        TypeError,
        `Cannot ${row.verb}`,
      );
      return;
    }
    const [op, next] = link(ctx, () => [
      startGood(sample, place, ctx),
      asyncFsync(ctx, place.file),
    ]);
    const [result, after] = await Promise.all([op, next]);
    giveBack(row, result);
    const refusal = refusalOf(it, ctx);
    if (refusal !== undefined) return assertCode(result, refusal);
    assertEquals([result.ok, after.ok], [true, true]);
  },
);

forEachOperation(
  (name) => `${name} behind a link that is cancelled never happens`,
  async (it, place, ctx) => {
    const { row, sample } = it;
    for (const turns of [0, 1]) {
      const args = sample.works(place, ctx);
      const fd = socketIn(args)?.fd;
      const [head, op] = link(ctx, () => [
        asyncRecv(ctx, place.quiet, new Uint8Array(1)),
        sample.start(ctx, ...args.map(({ good }) => good)),
      ]);
      for (let i = 0; i < turns; i++) await turn();
      head.cancel();
      assertCode(await head, "ECANCELED");
      const result = await op;
      if (row.closesFd) assert(!isOpen(fd!));
      else assertCode(result, refusalOf(it, ctx) ?? "ECANCELED");
    }
  },
  // A sleep is not the kernel's, and no part of a chain.
  ({ row, sample }) => sample.isLink !== false && row.name !== "asyncSleep",
);
