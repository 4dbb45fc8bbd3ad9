/** The metrics of contexts, as they arrive where Deno exports them to. */
import { assert, assertEquals, equal } from "@std/assert";
import type { Latencies } from "@kio/kio";
import { type Program, runScript, startScript } from "./support.ts";

/** Figures by metric and attributes: `kio.operations.failed EBADF first`. */
type Figures = Map<string, number>;

interface Point {
  asDouble: number;
  attributes: { key: string; value: { stringValue: string } }[];
}

interface Metric {
  name: string;
  unit: string;
  sum?: { dataPoints: Point[]; isMonotonic: boolean };
  gauge?: { dataPoints: Point[] };
}

/** Receives metrics: OTLP over HTTP, as JSON. */
class Receiver implements AsyncDisposable {
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  /** kio's figures in the last export; kind and unit by name. */
  #figures: Figures = new Map();
  readonly kinds = new Map<string, string>();
  #onExport = () => {};

  constructor() {
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      async (request) => {
        const { pathname } = new URL(request.url);
        const body = await request.json();
        if (pathname === "/v1/metrics") this.#take(body);
        return Response.json({});
      },
    );
  }

  /** The environment that a program needs. */
  get env(): Record<string, string> {
    return {
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${this.#server.addr.port}`,
      OTEL_METRIC_EXPORT_INTERVAL: "100",
    };
  }

  #take(
    { resourceMetrics }: {
      resourceMetrics: {
        scopeMetrics: { scope: { name: string }; metrics: Metric[] }[];
      }[];
    },
  ): void {
    const scopes = resourceMetrics.flatMap((it) => it.scopeMetrics);
    const own = scopes.filter(({ scope }) => scope.name === "@kio/kio");
    this.#figures = new Map();
    for (const metric of own.flatMap(({ metrics }) => metrics)) {
      const { name, unit, sum, gauge } = metric;
      const kind = !sum ? "gauge" : sum.isMonotonic ? "counter" : "up-down";
      this.kinds.set(name, `${kind} ${unit}`);
      for (const point of (sum ?? gauge)!.dataPoints) {
        // By their names: error.type, kio.context.name.
        const values = point.attributes.sort((a, b) => a.key < b.key ? -1 : 1)
          .map(({ value }) => value.stringValue);
        this.#figures.set([name, ...values].join(" "), point.asDouble);
      }
    }
    this.#onExport();
  }

  /** Waits for an export of a program that is as it should be. */
  async exported(
    program: Program,
    isRight: (figures: Figures) => boolean,
  ): Promise<void> {
    for (let isOver = false; !isRight(this.#figures);) {
      assert(!isOver, Deno.inspect(this.#figures));
      const next = new Promise<void>((resolve) => this.#onExport = resolve);
      isOver = await Promise.race([
        next.then(() => false),
        program.ended().then(() => true),
      ]);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}

/** Does something of everything that is counted, says what, and goes on. */
const PROGRAM = `
import { observeStats } from "@kio/kio/otel";

const first = new kio.IoContext({
  histograms: true,
  features: { sendZc: false },
});
const second = new kio.IoContext();
observeStats(first, { "kio.context.name": "first" });
observeStats(second, { "kio.context.name": "second" });

const [left, right] = kio.unwrap(kio.Socket.pair());
const receive = () => kio.asyncRecv(first, left, new Uint8Array(8));
for (let i = 0; i < 3; i++) await kio.asyncFsync(first, 4000);
await receive().withTimeout(1);
const cancelled = receive();
cancelled.cancel();
await cancelled;
const pending = receive();
await kio.asyncSleep(second, 1);
Deno.addSignalListener("SIGUSR2", async () => {
  await first[Symbol.asyncDispose]();
  console.log("closed");
});
// Until all of them sleep.
await new Promise((resolve) => setTimeout(resolve, 100));
console.log(JSON.stringify([first, second].map((ctx) => ctx.stats())));

await new Promise(() => setInterval(() => {}, 1000));
`;

Deno.test("observeStats() exports what stats() says, until the context is closed", async () => {
  await using receiver = new Receiver();
  await using program = startScript(PROGRAM, { env: receiver.env });
  const [line] = await program.printed(/^\[.*\n/m);
  const [first, second] = JSON.parse(line);
  assertEquals(first.errors, { EBADF: 3, ETIMEDOUT: 1, ECANCELED: 1 });
  assertEquals([first.pending, first.timeouts, first.cancels], [1, 1, 1]);

  const expected: Figures = new Map();
  for (const [name, stats] of Object.entries({ first, second })) {
    const figures = {
      "kio.operations.started": stats.started,
      "kio.operations.completed": stats.completed,
      "kio.operations.pending": stats.pending,
      "kio.operations.pending_max": stats.pendingMax,
      "kio.operations.timed_out": stats.timeouts,
      "kio.operations.cancelled": stats.cancels,
      "kio.kernel.entries": stats.kernelEntries,
      "kio.kernel.submissions": stats.submissions,
      "kio.kernel.completions": stats.completions,
      "kio.kernel.overflows": stats.overflows,
      "kio.wake_ups": stats.wakeUps,
    };
    for (const [metric, value] of Object.entries(figures)) {
      expected.set(`${metric} ${name}`, value);
    }
    const isFirst = name === "first";
    const features = {
      [`sendZc ${isFirst ? "the option features emulated" : " native"}`]:
        isFirst ? 0 : 1,
      "registeredBuffers  native": 1,
      "directDescriptors  native": 1,
      "deferTaskrun  native": 1,
    };
    for (const [feature, value] of Object.entries(features)) {
      expected.set(`kio.feature ${name} ${feature}`, value);
    }
    for (const [code, count] of Object.entries<number>(stats.errors)) {
      expected.set(`kio.operations.failed ${code} ${name}`, count);
    }
  }
  const duration = "kio.operations.duration";
  for (const [name, it] of Object.entries<Latencies>(first.latencies)) {
    expected.set(`${duration}.sum first ${name}`, it.totalMs / 1000);
    expected.set(`${duration}.bucket first ${name} +Inf`, it.count);
    for (let us = 4; us < 4 ** 13; us *= 4) {
      const below = it.buckets.filter(({ belowMs }) => belowMs <= us / 1000);
      const count = below.reduce((sum, { count }) => sum + count, 0);
      expected.set(`${duration}.bucket first ${name} ${us / 1e6}`, count);
    }
  }
  assertEquals(Object.keys(first.latencies), ["asyncFsync", "asyncRecv"]);
  assertEquals(second.latencies, {});
  // The contexts do nothing more, so the figures stay.
  await receiver.exported(program, (figures) => equal(figures, expected));
  const { kinds } = receiver;
  assertEquals(kinds.get("kio.operations.started"), "counter {operation}");
  assertEquals(kinds.get("kio.operations.pending"), "up-down {operation}");
  assertEquals(kinds.get("kio.operations.pending_max"), "gauge {operation}");

  program.kill("SIGUSR2");
  await program.printed(/^closed$/m);
  await receiver.exported(
    program,
    (figures) =>
      figures.has("kio.operations.started second") &&
      !figures.has("kio.operations.started first"),
  );
});

Deno.test("observeStats() lets go of a context that is closed, and of the process", async () => {
  await using receiver = new Receiver();
  const script = `
    import { observeStats } from "@kio/kio/otel";
    import { ringOf } from "./lib/internal.ts";

    function closed() {
      using ctx = new kio.IoContext();
      observeStats(ctx);
      return new WeakRef(ringOf(ctx, { verb: "observe" }));
    }

    const references = Array.from({ length: 10 }, closed);
    // An object that a WeakRef gave out stays until the next turn.
    await new Promise((resolve) => setTimeout(resolve));
    (globalThis as unknown as { gc(): void }).gc();
    console.log(references.filter((it) => it.deref() !== undefined).length);

    observeStats(new kio.IoContext());
  `;
  for (const env of [receiver.env, undefined]) {
    const flags = ["--allow-ffi", "--v8-flags=--expose-gc"];
    const ended = await runScript(script, { flags, env });
    assertEquals([ended.code, ended.out], [0, "0\n"], ended.err);
  }
});
