/**
 * Figures of workers, one line of JSON.
 * Usage: threads_meter.ts wake|wake-exclusive|message COUNT CPU: the time in µs from a message
 * in a thread on that CPU to its handler in one on CPU 0, by `wake()`, to
 * a context with `exclusive`, or by `postMessage()`;
 * threads_meter.ts idle SECONDS: CPU time of a pool that sleeps;
 * threads_meter.ts start-kio|start-deno WORKERS: time and memory of a worker.
 */

import { loadShim } from "../../ffi/load.ts";
import { wake, WorkerPool } from "../../mod.ts";

const [what, ...numbers] = Deno.args;
const [count = 0, cpu = 0] = numbers.map(Number);
const POOL = import.meta.resolve("./threads_meter_worker.ts");
const PLAIN = import.meta.resolve("./threads_meter_plain.ts");

/** Messages that are not counted: they find code that is not compiled yet. */
const WARM_UP = 100;

/** Never notified. */
const NEVER = new Int32Array(new SharedArrayBuffer(4));

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function percentile(sorted: Float64Array, part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]!;
}

/** Puts the thread to sleep at once, as `message.c` does: its further work in
 * JavaScript would be in the way of a receiver on its core. */
function pause(ms: number): void {
  Atomics.wait(NEVER, 0, 0, ms);
}

/** Sends messages to a sleeping worker, and waits for the times that it notes.
 */
function latency(send: () => void, cells: Float64Array): void {
  // Not before, as workers are put on one of the main thread's.
  loadShim().kio_thread_pin(cpu);
  const us = new Float64Array(count);
  for (let i = -WARM_UP; i < count; i++) {
    cells[1] = 0;
    cells[0] = loadShim().kio_now_ms();
    send();
    while (cells[1] === 0) pause(1);
    if (i >= 0) us[i] = 1000 * (cells[1] - cells[0]);
    pause(1 + (i + WARM_UP) % 3);
  }
  us.sort();
  const [p50Us, p99Us] = [0.5, 0.99].map((part) => percentile(us, part));
  console.log(JSON.stringify({ p50Us, p99Us }));
}

function cells(): Float64Array {
  return new Float64Array(new SharedArrayBuffer(16));
}

async function openPlain(data: Float64Array): Promise<Worker> {
  const worker = new Worker(PLAIN, { type: "module" });
  await new Promise<void>((resolve) => {
    worker.onmessage = ({ data: answer }) =>
      answer === "hello" ? worker.postMessage(data) : resolve();
  });
  return worker;
}

function residentMB(): number {
  return Deno.memoryUsage().rss / 2 ** 20;
}

switch (what) {
  case "wake":
  case "wake-exclusive": {
    const data = cells();
    await using pool = await WorkerPool.start(POOL, {
      workers: 1,
      cpuAffinity: true,
      exclusive: what === "wake-exclusive",
      data,
    });
    const ringFd = pool.ringFds[0]!;
    latency(() => void wake(ringFd, 0, 0), data);
    break;
  }
  case "message": {
    const data = cells();
    const worker = await openPlain(data);
    latency(() => worker.postMessage(0), data);
    worker.terminate();
    break;
  }
  case "idle": {
    const data = cells();
    await using pool = await WorkerPool.start(POOL, { workers: 2, data });
    await sleep(500);
    const before = pool.stats().cpuMs;
    await sleep(1000 * count);
    const cpuMsPerS = (pool.stats().cpuMs - before) / count;
    console.log(JSON.stringify({ cpuMsPerS }));
    break;
  }
  case "start-kio":
  case "start-deno": {
    const isKio = what === "start-kio";
    // Start one before, for objects that are made once.
    const one = { workers: 1, data: cells() };
    await using _ = await WorkerPool.start(POOL, one);
    const beforeMB = residentMB();
    const startMs = performance.now();
    const pool = isKio
      ? await WorkerPool.start(POOL, { ...one, workers: count })
      : undefined;
    const plain = isKio ? [] : await Promise.all(
      Array.from({ length: count }, () => openPlain(cells())),
    );
    const ms = (performance.now() - startMs) / count;
    const megabytes = (residentMB() - beforeMB) / count;
    console.log(JSON.stringify({ ms, megabytes }));
    await pool?.shutdown();
    for (const worker of plain) worker.terminate();
  }
}
