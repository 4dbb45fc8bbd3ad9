import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncFtruncate,
  asyncPoll,
  asyncRecv,
  asyncSend,
  asyncSleep,
  IoContext,
  link,
  POLLIN,
  type RingOperation,
} from "@kio/kio";
import { OPCODES } from "../../lib/ops/rows.ts";
import type { Row } from "../../lib/ops/table.ts";
import {
  assertCode,
  bytes,
  isOpen,
  kioTest,
  unixPair,
  value,
} from "../support.ts";
import { giveBack } from "./ops/give_back.ts";
import { Place } from "./ops/place.ts";
import { type Case, CASES, startGood, startWaiting } from "./ops/samples.ts";

/** Operations that no list can take away. */
const ALWAYS = ["poll", "close"];
/** It needs what another operation makes. */
const DEPENDENT = ["fixedFdInstall"];

const names = [...OPCODES.keys()] as RingOperation[];

/** The operation, and the one in its place where a socket refuses it. */
const enoughFor = ({ fault, orElse }: Row) =>
  names.filter((name) => name === fault || OPCODES.get(name) === orElse);

/** Gives the context what the sample needs of it. */
function prepare({ sample }: Case, place: Place, ctx: IoContext): void {
  if (sample.hasPlaces) value(ctx.reserveFiles(8));
  else value(ctx.registerFiles([place.file]));
}

for (const it of CASES) {
  const { row: { fault }, title } = it;
  if (fault === undefined) continue;
  if ([...ALWAYS, ...DEPENDENT].includes(fault)) continue;
  kioTest(
    `allow without "${fault}": the kernel refuses ${title}`,
    async (outer) => {
      await using place = await Place.open(outer, it.key === "CONNECT");
      // Where that is switched off, the plain send is what may not be.
      const isOff = outer.capabilities.features.sendZc.support !== "native";
      const leftOut = isOff ? enoughFor(it.row) : [fault];
      const allow = names.filter((name) => !leftOut.includes(name));
      await using ctx = new IoContext({ allow });
      prepare(it, place, ctx);
      assertCode(await startWaiting(it.sample, place, ctx), "EACCES");
      assertEquals(ctx.capabilities.operations[it.row.name], "off");
    },
  );

  kioTest(`allow of "${fault}" is enough for ${title}`, async (outer) => {
    await using place = await Place.open(outer);
    await using ctx = new IoContext({ allow: enoughFor(it.row) });
    prepare(it, place, ctx);
    const result = await startGood(it.sample, place, ctx);
    value(result);
    giveBack(it.row, result);
  });
}

kioTest("allow: what waits, ends by its timeout or its signal", async () => {
  await using ctx = new IoContext({ allow: ["recv"] });
  using pair = unixPair();
  const recv = () => asyncRecv(ctx, pair.left, new Uint8Array(1));
  assertCode(await recv().withTimeout(1), "ETIMEDOUT");
  const signal = AbortSignal.timeout(1);
  assertCode(await recv().withSignal(signal), "ECANCELED");
  value(await asyncSleep(ctx, 1));
  const poll = asyncPoll(ctx, pair.left, POLLIN);
  const pending = recv();
  await ctx.cancelAllPending();
  assertCode(await poll, "ECANCELED");
  assertCode(await pending, "ECANCELED");
});

kioTest("allow: a chain with a link that is refused does not run", async () => {
  await using ctx = new IoContext({ allow: ["send"] });
  using pair = unixPair();
  const [first, refused, last] = await Promise.all(link(ctx, () => [
    asyncSend(ctx, pair.left, bytes("a")),
    asyncRecv(ctx, pair.left, new Uint8Array(1)),
    asyncSend(ctx, pair.left, bytes("b")),
  ]));
  assertCode(first, "ECANCELED");
  assertCode(refused, "EACCES");
  assertCode(last, "ECANCELED");
});

kioTest("allow: an fd that is given up is closed", async () => {
  await using ctx = new IoContext({ allow: ["recv"] });
  using pair = unixPair();
  const { fd } = pair.left;
  value(await asyncClose(ctx, pair.left));
  assert(!isOpen(fd));
});

kioTest("allow of nothing leaves timers", async () => {
  await using ctx = new IoContext({ allow: [] });
  value(await asyncSleep(ctx, 1));
  assertCode(await asyncFtruncate(ctx, 0, 0), "EACCES");
});

kioTest("allow refuses what is no operation", () => {
  const open = (allow: unknown) => () =>
    new IoContext({ allow: allow as RingOperation[] });
  assertThrows(open("recv"), TypeError, "expected an array of operations");
  for (const wrong of ["receive", "asyncRecv", 27, undefined, "constructor"]) {
    assertThrows(open(["recv", wrong]), RangeError, "allow has ");
  }
});
