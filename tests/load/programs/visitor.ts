/**
 * A client of the kind that a server is there for: while others do their worst,
 * it connects again and again, and wants its answers. SIGINT ends it.
 *
 *     visitor.ts ECHO PARTS
 */
import { IoContext, SocketAddress } from "@kio/kio";
import { connect, exchange, fetchPart, FILE_SIZE } from "../client.ts";
import { messageOf } from "../noise.ts";
import { sleep } from "../../process/support.ts";

const INTERVAL_MS = 20;
/** The number of its connection in its messages: no other has it. */
const CONNECTION = 1e6;

const [echoAt, partsAt] = [0, 1].map((i) =>
  SocketAddress.parse(Deno.args[i]!)
) as [SocketAddress, SocketAddress];
using ctx = new IoContext();
const timesMs: number[] = [];
const errors: string[] = [];
let isOver = false;
Deno.addSignalListener("SIGINT", () => isOver = true);
for (let number = 0; !isOver; number++) {
  const startMs = performance.now();
  try {
    await visit(number);
    timesMs.push(performance.now() - startMs);
  } catch (error) {
    errors.push((error as Error).message);
  }
  if (number === 0) console.log("visited");
  await sleep(INTERVAL_MS);
}
console.log(`visits ${JSON.stringify({ timesMs, errors })}`);

async function visit(number: number): Promise<void> {
  await using echo = await connect(ctx, echoAt);
  await exchange(ctx, echo, messageOf(CONNECTION, number, 64));
  await using parts = await connect(ctx, partsAt);
  await fetchPart(ctx, parts, number * 999 % (FILE_SIZE - 1000), 1000);
}
