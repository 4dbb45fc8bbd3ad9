/** The common part of the two pools of echo servers. */
import {
  asyncRecv,
  asyncSend,
  type IoContext,
  type PoolMembership,
  type Socket,
  type SocketAddress,
  type Task,
  type WorkerPool,
} from "@kio/kio";
import { type Option, readArguments, wholeNumber } from "./command_line.ts";
import { addressOf, listenOptions } from "./listen_options.ts";

/** The counters that `echo()` keeps. */
export const COUNTERS = ["connections", "bytes"];

const WORKERS_MAX = 1024;
/** Milliseconds that clients get to finish after a signal. */
const GRACE_MS = 5000;

/** Serves a connection until its client or the pool ends it. */
export async function echo(
  ctx: IoContext,
  socket: Socket,
  pool: PoolMembership,
): Task<void> {
  pool.count("connections");
  const buffer = new Uint8Array(16 * 1024);
  for (;;) {
    const received = await asyncRecv(ctx, socket, buffer)
      .withSignal(pool.stopping);
    if (!received.ok || received.value === 0) return;
    // The kernel may take only a part of the data.
    let data = buffer.subarray(0, received.value);
    while (data.length > 0) {
      const sent = await asyncSend(ctx, socket, data);
      if (!sent.ok) return;
      pool.count("bytes", sent.value);
      data = data.subarray(sent.value);
    }
  }
}

/** Prints where the pool listens, and after a signal its counts. */
export async function serveUntilSignal(
  pool: WorkerPool,
  address: SocketAddress | undefined,
  stopAccepting: () => void | Task<void>,
): Task<void> {
  const stop = async () => {
    await stopAccepting();
    await pool.shutdown({ graceMs: GRACE_MS });
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, stop);
  }
  console.log(`listening on ${address}`);
  await pool.closed;
  const { connections, bytes } = pool.stats().counters;
  console.log(`served ${connections} connections, ${bytes} bytes`);
}

/** Parses the arguments; ends the program if they make no sense. */
export function parse(
  task: string,
  about: string,
  switches: Record<string, Option> = {},
): { address: SocketAddress; workers: number; given: Set<string> } {
  return readArguments({
    command: `deno task ${task}`,
    about,
    options: {
      ...listenOptions("0.0.0.0"),
      workers: {
        value: "N",
        default: `${navigator.hardwareConcurrency}`,
        help: "threads that serve",
      },
      ...switches,
    },
  }, (values) => ({
    address: addressOf(values),
    workers: wholeNumber("--workers", values.workers, 1, WORKERS_MAX),
    given: new Set(
      Object.entries<string | boolean>(values).flatMap(([name, value]) =>
        value === true ? name : []
      ),
    ),
  }));
}

/** Gives the value of a result, or ends the program with the error. */
export function orExit<T>(
  result: { ok: true; value: T } | { ok: false; error: { message: string } },
  action: string,
): T {
  if (result.ok) return result.value;
  console.error(`Cannot ${action}: ${result.error.message}`);
  Deno.exit(1);
}
