/** Broken invariants that cannot come from outside: made here by hand. */
import { assertEquals, assertMatch } from "@std/assert";
import { ROOT, runScript } from "./support.ts";

/** A poll of no fd, queued past the operation table. */
const FOREIGN = `
import { ringOf } from "file://${ROOT}lib/internal.ts";
const ctx = new kio.IoContext(64);
const { shim, handle } = ringOf(ctx, {});
const foreign = (id) => shim.kio_sqe(handle, id, 6, -1, null, 0, 0, 0, 0);
`;

async function dumpOf(script: string): Promise<string> {
  const { signal, out, err } = await runScript(FOREIGN + script, {
    flags: ["--allow-ffi"],
  });
  assertEquals([signal, out], ["SIGABRT", ""], err);
  return err;
}

Deno.test("a completion of nobody ends the process, with what is pending", async () => {
  const err = await dumpOf(`
    const [left] = kio.unwrap(kio.Socket.pair());
    void kio.asyncRecv(ctx, left, new Uint8Array(1)).withTimeout(60_000);
    foreign(7 * 2 ** 32 + 1000);
    console.log(await kio.asyncSleep(ctx, 60_000));
  `);
  assertMatch(
    err,
    /^kio: a completion matches no operation: slot 1000, generation 7, result -\d+\nkio of file:\/\/\/.*\/, Deno \d+\.\d+\.\d+\nwithout features: none\n2 operations pending:\n {2}slot 0, generation 0: asyncRecv, fd \d+\n {2}slot 1, generation 0: asyncSleep, asleep\nring fd \d+: 1 in flight, .*\nLinux \S+ on \w+, setup 0x\w+, features 0x\w+, \d+ operations\n$/,
  );
});

Deno.test("a completion of an operation that was complete ends the process", async () => {
  const err = await dumpOf(`
    await kio.asyncSleep(ctx, 1);
    const sleep = kio.asyncSleep(ctx, 60_000);
    // The slot of both, and the generation of the first.
    foreign(0);
    console.log(await sleep);
  `);
  assertMatch(
    err,
    /^kio: a completion .*: slot 0, generation 0, result -\d+\n/,
  );
  assertMatch(err, /\n {2}slot 0, generation 1: asyncSleep, asleep\n/);
});

Deno.test("a second completion of an operation ends the process", async () => {
  const err = await dumpOf(`
    const { Sqe } = await import("file://${ROOT}lib/ring/sqe.ts");
    const { start } = await import("file://${ROOT}lib/ring/start.ts");
    const { POLL } = await import("file://${ROOT}lib/ops/table.ts");
    const [left, right] = kio.unwrap(kio.Socket.pair());
    const sqe = new Sqe(POLL.opcode);
    sqe.fd = left.fd;
    sqe.len = 1; // IORING_POLL_ADD_MULTI
    sqe.opFlags = kio.POLLIN;
    const poll = start(ringOf(ctx, POLL), POLL, sqe);
    await kio.asyncSend(ctx, right, new Uint8Array(1));
    console.log(await poll);
  `);
  assertMatch(err, /^kio: asyncPoll: more than one completion\n/);
});

Deno.test("a dump lists a hundred operations at most", async () => {
  const err = await dumpOf(`
    for (let i = 0; i < 150; i++) void kio.asyncSleep(ctx, 60_000);
    foreign(1000);
  `);
  assertEquals(err.match(/\n {2}slot /g)!.length, 100);
  assertMatch(err, /\n150 operations pending:\n[^]*\n {2}and 50 more\n/);
});
