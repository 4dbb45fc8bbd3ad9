/**
 * Finds a bug that tests on a quiet machine miss: a parser that takes what one
 * receive gives for a whole message. With short receives it shows at once, and
 * its seed shows it again.
 *
 *     deno task build:faults && deno run --allow-ffi examples/find_bug.ts [--seed 7]
 */
import {
  asyncRecv,
  asyncRecvExact,
  asyncSendExact,
  IoContext,
  Socket,
  type Task,
  unwrap,
} from "@kio/kio";
import { FaultPlan } from "@kio/kio/testing";
import { readArguments, wholeNumber } from "./command_line.ts";

const MESSAGES = ["alpha", "beta", "gamma delta"];
const SEEDS_MAX = 100;

/** A message is its length, one byte, and as many bytes of text. */
type Receive = (ctx: IoContext, socket: Socket) => Task<string>;

/** The bug: nothing says that a receive gives all that was sent. */
async function receiveHasty(ctx: IoContext, socket: Socket): Task<string> {
  const head = new Uint8Array(1);
  await asyncRecv(ctx, socket, head).orThrow();
  const body = new Uint8Array(head[0]!);
  const count = await asyncRecv(ctx, socket, body).orThrow();
  return new TextDecoder().decode(body.subarray(0, count));
}

/** The same without it. */
async function receiveWhole(ctx: IoContext, socket: Socket): Task<string> {
  const head = new Uint8Array(1);
  await asyncRecvExact(ctx, socket, head).orThrow();
  const body = new Uint8Array(head[0]!);
  await asyncRecvExact(ctx, socket, body).orThrow();
  return new TextDecoder().decode(body);
}

/** Sends the messages; gives what arrived, and the short receives before. */
async function converse(
  receive: Receive,
  seed: number,
): Task<{ arrived: string[]; shorts: number[] }> {
  using plan = FaultPlan.install({
    seed,
    rules: [{ operation: "recv", fault: "short", probability: 0.1 }],
  });
  await using ctx = new IoContext();
  const [left, right] = unwrap(Socket.pair());
  for (const message of MESSAGES) {
    const body = new TextEncoder().encode(message);
    await asyncSendExact(ctx, left, new Uint8Array([body.length, ...body]));
  }
  const arrived: string[] = [];
  for (const _ of MESSAGES) arrived.push(await receive(ctx, right));
  const shorts = plan.injected.map(({ value }) => value);
  await Promise.all([left.close(), right.close()]);
  return { arrived, shorts };
}

/** Tries seeds until something else arrives than was sent. */
async function search(receive: Receive, seeds: readonly number[]): Task<void> {
  for (const seed of seeds) {
    const { arrived, shorts } = await converse(receive, seed);
    if (String(arrived) === String(MESSAGES)) continue;
    console.log(`${receive.name}: wrong with --seed ${seed}`);
    console.log(`  receives cut to ${shorts} bytes`);
    console.log(`  sent ${JSON.stringify(MESSAGES)}`);
    console.log(`  got  ${JSON.stringify(arrived)}`);
    return;
  }
  const tried = seeds.length === 1
    ? `--seed ${seeds[0]}`
    : `${seeds.length} seeds`;
  console.log(`${receive.name}: right with ${tried}`);
}

const seeds = readArguments(
  {
    command: "deno run --allow-ffi examples/find_bug.ts",
    about: "Looks for a bug in a parser by cutting its receives short.",
    options: {
      seed: { value: "N", help: `one seed; without it 1 to ${SEEDS_MAX}` },
    },
  },
  ({ seed }) =>
    seed === undefined
      ? Array.from({ length: SEEDS_MAX }, (_, i) => i + 1)
      : [wholeNumber("--seed", seed, 0, Number.MAX_SAFE_INTEGER)],
);
// Before anything else of kio: it chooses the library.
FaultPlan.load();
await search(receiveHasty, seeds);
await search(receiveWhole, seeds);
