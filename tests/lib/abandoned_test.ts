/**
 * Operations that an exception took out of everybody's hands: they happen or
 * not, and leave nothing open. `kioTest()` looks for fds that are left.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncPoll,
  asyncRecvmsg,
  asyncSend,
  asyncSendmsg,
  asyncSleep,
  type IoContext,
  link,
  MSG_DONTWAIT,
  POLLOUT,
  scmRights,
  scmRightsSpace,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  immediate,
  isOpen,
  kioTest,
  unixPair,
  value,
} from "../support.ts";
import { Place } from "./ops/place.ts";
import { CASES, isThere, startGood } from "./ops/samples.ts";

const ENTRIES = 4;

/** Fills the queue, which submits what is in it: it is too late to take back
 * what was queued before. */
async function submitAll(ctx: IoContext): Promise<void> {
  using pair = unixPair();
  const ops = Array.from(
    { length: 2 * ENTRIES },
    () => asyncPoll(ctx, pair.left, POLLOUT),
  );
  for (const result of await Promise.all(ops)) value(result);
}

/** Everything that makes an fd, where one is there at once. */
async function forEachMaker(
  ctx: IoContext,
  use: (start: () => UringOp<unknown>) => Promise<void>,
): Promise<void> {
  for (
    const { sample } of CASES.filter(({ row, sample }) =>
      row.makesFd && !sample.isStream && isThere(ctx, row)
    )
  ) {
    await using place = await Place.open(ctx);
    if (sample.hasPlaces) await place.givePlaces(ctx);
    await use(() => startGood(sample, place, ctx));
    if (!sample.hasPlaces) continue;
    value(await place.directOf(ctx).close());
    value(ctx.unregisterFiles());
  }
}

kioTest(
  "link() whose queue throws leaves no fd of what was submitted",
  async (ctx) => {
    await forEachMaker(ctx, async (start) => {
      const error = new Error("on purpose");
      const thrown = assertThrows(() =>
        link(ctx, () => {
          start();
          throw error;
        })
      );
      assertEquals(thrown, error);
      await submitAll(ctx);
      while (ctx.pending > 0) await immediate();
    });
  },
  { entries: ENTRIES },
);

kioTest(
  "withTimeout() and withSignal() that throw leave no fd",
  async (ctx) => {
    await forEachMaker(ctx, async (start) => {
      assertThrows(() => start().withTimeout(-1), RangeError);
      await submitAll(ctx);
      while (ctx.pending > 0) await immediate();
    });
    await forEachMaker(ctx, async (start) => {
      const op = start();
      assertThrows(() => op.withSignal(null as never), TypeError);
      await submitAll(ctx);
      // Whoever has it all the same is told.
      assertCode(await op, "ECANCELED");
    });
  },
  { entries: ENTRIES },
);

kioTest(
  "a message that an exception took out of hand leaves no fd",
  async (ctx) => {
    using pair = unixPair();
    const control = scmRights([pair.left, pair.right]);
    const message = { buffers: [bytes("x")], control };
    value(await asyncSendmsg(ctx, pair.left, message));
    const op = asyncRecvmsg(ctx, pair.right, {
      buffers: [new Uint8Array(1)],
      control: scmRightsSpace(2),
    });
    // The kernel has done it when the exception comes.
    const submitted = submitAll(ctx);
    assertThrows(() => op.withTimeout(-1), RangeError);
    await submitted;
    assertCode(await op, "ECANCELED");
  },
  { entries: ENTRIES },
);

kioTest(
  "link() whose queue throws closes the fd of an asyncClose()",
  async (ctx) => {
    for (const isSubmitted of [false, true]) {
      using pair = unixPair();
      const doomed = unixPair();
      const { fd } = doomed.left;
      assertThrows(() =>
        link(ctx, () => {
          asyncSend(ctx, pair.left, bytes("x"), MSG_DONTWAIT);
          asyncClose(ctx, doomed.left);
          asyncSleep(ctx, 5);
          throw new Error("on purpose");
        })
      );
      if (isSubmitted) await submitAll(ctx);
      while (ctx.pending > 0) await immediate();
      assert(!isOpen(fd));
      await doomed.right.close();
    }
  },
  { entries: ENTRIES },
);
