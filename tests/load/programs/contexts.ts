/**
 * Opens contexts at a steady rate, uses them and closes them. SIGINT stops it.
 *
 *     contexts.ts --rate 100
 */
import {
  asyncClose,
  asyncOpen,
  asyncRead,
  asyncRecv,
  asyncSend,
  asyncSleep,
  IoContext,
  O_RDONLY,
  Socket,
  unwrap,
} from "@kio/kio";
import { parseArgs } from "node:util";
import { reportOnSignal } from "./report.ts";

const { values: options } = parseArgs({
  options: { rate: { type: "string", default: "100" } },
});
const intervalMs = 1000 / Number(options.rate);

using ctx = new IoContext();
let opened = 0;
let closed = 0;
let isOver = false;
Deno.addSignalListener("SIGINT", () => isOver = true);
reportOnSignal(ctx, () => ({ opened, closed }));
console.log("running");

const startMs = performance.now();
const uses: Promise<void>[] = [];
while (!isOver) {
  const dueMs = startMs + intervalMs * opened;
  await asyncSleep(ctx, Math.max(0, dueMs - performance.now()));
  uses.push(opened++ % 2 === 0 ? useAtOnce() : useForAWhile());
  if (uses.length > 1000) await Promise.all(uses.splice(0));
}
await Promise.all(uses);

/** Does some of everything, and is closed with an operation pending. */
async function useAtOnce(): Promise<void> {
  {
    using ctx = new IoContext(64);
    const [left, right] = unwrap(Socket.pair());
    using _left = left, _right = right;
    const file = await asyncOpen(ctx, "/proc/version", O_RDONLY).orThrow();
    await asyncRead(ctx, file, new Uint8Array(100)).orThrow();
    await asyncClose(ctx, file).orThrow();
    await asyncSend(ctx, left, new Uint8Array(100)).orThrow();
    await asyncRecv(ctx, right, new Uint8Array(100)).orThrow();
    void asyncRecv(ctx, right, new Uint8Array(100));
  }
  closed++;
}

/** Several of these are open at a time. */
async function useForAWhile(): Promise<void> {
  {
    await using ctx = new IoContext(64);
    void asyncSleep(ctx, 60_000);
    await asyncSleep(ctx, 100).orThrow();
  }
  closed++;
}
