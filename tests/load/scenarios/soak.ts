import {
  asyncRecv,
  asyncSendExact,
  type IoContext,
  type Socket,
} from "@kio/kio";
import {
  connect,
  exchange,
  fetchPart,
  FILE_SIZE,
  requestFor,
  reset,
} from "../client.ts";
import { messageOf } from "../noise.ts";
import { type Load, quantile, type Scenario, slopeOf } from "../scenario.ts";
import { sleep } from "../../process/support.ts";
import { type FdCounts, PIPE_ENDS_KEPT, Server } from "../subject.ts";

/** Each client does something so often: together a fraction of a core. */
const INTERVAL_MS = 150;
/** Exchanges of a client before another takes its place. */
const EXCHANGES_MAX = 200;
/** A sample each, or less in a short run. */
const SAMPLE_S = 60;
const SAMPLES_MIN = 4;
/** Part of the time until all is compiled and every table is at its full size.
 */
const WARM_UP = 0.25;
const SLOPE_MB_PER_H_MAX = 1;
/** In less time, the noise of malloc and of the collector is steeper. */
const JUDGED_S = 1800;
/** The last third may be slower than the first by this factor. */
const P99_RATIO_MAX = 2;

/** Errors of a client that the server has aborted, as it does at random. */
const ABORTED = ["ECONNRESET", "EPIPE", "ENODATA"];

interface Sample {
  second: number;
  residentMB: number;
  usedMB: number;
  fds: FdCounts;
  p99Ms: number;
}

export const soak: Scenario = {
  about: "clients of all kinds at a moderate rate, with random aborts",
  long: { seconds: 3600, connections: 100 },
  short: { seconds: 4, connections: 30 },
  async run(load) {
    const { connections, seconds } = load;
    await using server = await Server.start(load, [
      "--sleepers=50",
      "--abort-interval=50",
    ]);
    const pipesKept = server.fds().pipes + PIPE_ENDS_KEPT;
    const soak = new Clients(load, server);
    const clients = Array.from({ length: connections }, () => soak.live());
    const intervalS = Math.min(SAMPLE_S, seconds / SAMPLES_MIN);
    const samples: Sample[] = [];
    const startMs = performance.now();
    const cpuBeforeMs = server.cpuMs();
    for (let second = intervalS; second <= seconds; second += intervalS) {
      await sleep(startMs + 1000 * second - performance.now());
      const timesMs = soak.timesMs.splice(0);
      const { usedMB } = await server.report();
      const sample = {
        second,
        residentMB: server.residentMB(),
        usedMB,
        fds: server.fds(),
        p99Ms: quantile(timesMs, 0.99),
      };
      samples.push(sample);
      load.note(lineOf(sample, timesMs.length));
    }
    const cpu = (server.cpuMs() - cpuBeforeMs) / (performance.now() - startMs);
    soak.isOver = true;
    await Promise.all(clients);
    load.note(`${(100 * cpu).toFixed(1)} % of a core; ${soak.counts}`);
    load.check("every byte was right", soak.wrong === "", soak.wrong || "yes");
    const judged = samples.filter(({ second }) => second > WARM_UP * seconds);
    judge(load, judged, pipesKept);
    server.judgeBounds("in the end", connections);
    await server.judgeEnd();
  },
};

function lineOf(
  { second, residentMB, usedMB, fds, p99Ms }: Sample,
  answers: number,
): string {
  const { sockets, pipes, others } = fds;
  return [
    `${second.toFixed().padStart(5)} s`,
    `${residentMB.toFixed(2)} MB resident`,
    `${usedMB.toFixed(2)} MB in use`,
    `${sockets} sockets, ${pipes} pipes, ${others} other fds`,
    `p99 ${p99Ms.toFixed(1)} ms of ${answers}`,
  ].join(", ");
}

/** Checks that nothing grows, except the pipes until the pool is full. */
function judge(
  load: Load,
  samples: readonly Sample[],
  pipesKept: number,
): void {
  const slopeMB = (value: (sample: Sample) => number) =>
    3600 * slopeOf(samples.map((it) => [it.second, value(it)]));
  const resident = slopeMB(({ residentMB }) => residentMB);
  const text = `${resident.toFixed(2)} MB/h resident, ${
    slopeMB(({ usedMB }) => usedMB).toFixed(2)
  } MB/h in use, of ${samples.length} samples`;
  if (load.seconds < JUDGED_S) {
    return load.note(`${text} (too short to judge)`);
  }
  load.check(
    `memory grows by less than ${SLOPE_MB_PER_H_MAX} MB/h`,
    resident < SLOPE_MB_PER_H_MAX,
    text,
  );
  // The lower quartile of a third: noise of the machine is above it.
  const third = Math.ceil(samples.length / 3);
  const quartiles = (value: (sample: Sample) => number) => {
    const of = (some: readonly Sample[]) => quantile(some.map(value), 0.25);
    return [of(samples.slice(0, third)), of(samples.slice(-third))] as const;
  };
  const [fdsFirst, fdsLast] = quartiles(({ fds }) =>
    Math.max(fds.pipes, pipesKept) + fds.others
  );
  load.check(
    "no more fds in the last third than in the first, but for connections",
    fdsLast <= fdsFirst + 2,
    `${fdsFirst} and ${fdsLast}`,
  );
  const [p99First, p99Last] = quartiles(({ p99Ms }) => p99Ms);
  load.check(
    `p99 is at most ${P99_RATIO_MAX} times that`,
    p99Last <= P99_RATIO_MAX * p99First,
    `${p99First.toFixed(1)} and ${p99Last.toFixed(1)} ms`,
  );
}

/** Clients of all kinds, one after the other. */
class Clients {
  readonly #ctx: IoContext;
  readonly #server: Server;
  readonly timesMs: number[] = [];
  isOver = false;
  /** The wrong answer, if any came back. */
  wrong = "";
  #lives = 0;
  #answers = 0;
  #resets = 0;
  #ended = 0;

  constructor(load: Load, server: Server) {
    this.#ctx = load.ctx;
    this.#server = server;
  }

  get counts(): string {
    return `${this.#lives} connections, ${this.#answers} answers, ${this.#resets} resets, ${this.#ended} ended by the server`;
  }

  /** Connects again and again. */
  async live(): Promise<void> {
    while (!this.isOver) {
      const number = this.#lives++;
      const isEcho = number % 2 === 0;
      const address = isEcho ? this.#server.echoAt() : this.#server.partsAt();
      try {
        await using socket = await connect(this.#ctx, address);
        await this.#talk(socket, number, isEcho);
      } catch (error) {
        const { code, message } = error as Error & { code?: string };
        if (ABORTED.includes(code ?? "")) this.#ended++;
        else this.wrong = message;
      }
    }
  }

  async #talk(socket: Socket, number: number, isEcho: boolean): Promise<void> {
    const exchanges = Math.floor(EXCHANGES_MAX * Math.random());
    for (let n = 0; n < exchanges && !this.isOver; n++) {
      await sleep(2 * INTERVAL_MS * Math.random());
      const startMs = performance.now();
      if (isEcho) {
        const size = 1 + Math.floor(4000 * Math.random());
        await exchange(this.#ctx, socket, messageOf(number, n, size));
      } else {
        const count = Math.floor(65536 * Math.random());
        const offset = Math.floor((FILE_SIZE - count) * Math.random());
        await fetchPart(this.#ctx, socket, offset, count);
      }
      this.timesMs.push(performance.now() - startMs);
      this.#answers++;
    }
    if (Math.random() < 0.5) return;
    // In the middle of something.
    this.#resets++;
    const message = isEcho
      ? messageOf(number, 1e6, 4000)
      : requestFor(0, FILE_SIZE);
    await asyncSendExact(this.#ctx, socket, message);
    await asyncRecv(this.#ctx, socket, new Uint8Array(100))
      .withTimeout(20 * Math.random());
    await reset(this.#ctx, socket);
  }
}
