/**
 * Turns the figures of contexts, those of `ctx.stats()`, into metrics of
 * OpenTelemetry. Deno exports them by itself when it runs with
 * `OTEL_DENO=true`; without it they cost nothing. No other module of kio has a
 * dependency, and this one only the API of OpenTelemetry.
 *
 * ```sh
 * OTEL_DENO=true OTEL_SERVICE_NAME=echo deno run --allow-ffi server.ts
 * ```
 *
 * See {@linkcode observeStats}.
 *
 * @module
 */
import { type BatchObservableResult, metrics } from "@opentelemetry/api";
import config from "./deno.json" with { type: "json" };
import { checkOptions } from "./lib/check.ts";
import { ringOf } from "./lib/internal.ts";
import type { IoContext } from "./lib/IoContext.ts";
import { OBSERVE } from "./lib/ops/table.ts";
import { FEATURE_NAMES, FEATURES, supportOf } from "./lib/ring/features.ts";
import type { Latencies } from "./lib/ring/latency.ts";

/** The metrics with one figure of `ContextStats` each. */
const METRICS = [
  ["Counter", "kio.operations.started", "{operation}", "started"],
  ["Counter", "kio.operations.completed", "{operation}", "completed"],
  ["UpDownCounter", "kio.operations.pending", "{operation}", "pending"],
  ["Gauge", "kio.operations.pending_max", "{operation}", "pendingMax"],
  ["Counter", "kio.operations.timed_out", "{operation}", "timeouts"],
  ["Counter", "kio.operations.cancelled", "{operation}", "cancels"],
  ["Counter", "kio.kernel.entries", "{entry}", "kernelEntries"],
  ["Counter", "kio.kernel.submissions", "{submission}", "submissions"],
  ["Counter", "kio.kernel.completions", "{completion}", "completions"],
  ["Counter", "kio.kernel.overflows", "{overflow}", "overflows"],
  ["Counter", "kio.wake_ups", "{wake_up}", "wakeUps"],
] as const;

/** Bounds of exported latencies: from 4 µs, each four times the one before. */
const BOUNDS_MS = Array.from({ length: 12 }, (_, i) => 4 ** (i + 1) / 1000);

/** The instruments, made once for all contexts of the isolate. */
let instruments: ReturnType<typeof makeInstruments> | undefined;

/** The attributes of the observed contexts, as text. */
const seen = new Set<string>();

function makeInstruments() {
  const meter = metrics.getMeter("@kio/kio", config.version);
  const figures = METRICS.map(([kind, name, unit, key]) =>
    [meter[`createObservable${kind}`](name, { unit }), key] as const
  );
  const failed = meter.createObservableCounter("kio.operations.failed", {
    unit: "{operation}",
  });
  const feature = meter.createObservableGauge("kio.feature", {
    unit: "{feature}",
  });
  const bucket = meter.createObservableCounter(
    "kio.operations.duration.bucket",
    { unit: "{operation}" },
  );
  const sum = meter.createObservableCounter("kio.operations.duration.sum", {
    unit: "s",
  });
  const plain = figures.map(([instrument]) => instrument);
  const all = [failed, feature, bucket, sum, ...plain];
  return { meter, figures, failed, feature, bucket, sum, all };
}

/** Counts the operations that took less than each bound. */
function countsBelow({ buckets }: Latencies): number[] {
  return BOUNDS_MS.map((boundMs) =>
    buckets.reduce(
      (sum, { belowMs, count }) => belowMs <= boundMs ? sum + count : sum,
      0,
    )
  );
}

/**
 * Turns the figures of a context into metrics of OpenTelemetry, until the
 * context is closed. The exporter reads them when it exports: each minute,
 * unless `OTEL_METRIC_EXPORT_INTERVAL` says otherwise. They lack the operations
 * of a context after its last export.
 *
 * | metric                       | kind            | in `ctx.stats()`          |
 * | ---------------------------- | --------------- | ------------------------- |
 * | `kio.operations.started`     | counter         | `started`                 |
 * | `kio.operations.completed`   | counter         | `completed`               |
 * | `kio.operations.pending`     | up-down counter | `pending`                 |
 * | `kio.operations.pending_max` | gauge           | `pendingMax`              |
 * | `kio.operations.failed`      | counter         | `errors`, by `error.type` |
 * | `kio.operations.timed_out`   | counter         | `timeouts`                |
 * | `kio.operations.cancelled`   | counter         | `cancels`                 |
 * | `kio.kernel.entries`         | counter         | `kernelEntries`           |
 * | `kio.kernel.submissions`     | counter         | `submissions`             |
 * | `kio.kernel.completions`     | counter         | `completions`             |
 * | `kio.kernel.overflows`       | counter         | `overflows`               |
 * | `kio.wake_ups`               | counter         | `wakeUps`                 |
 *
 * `kio.feature`, a gauge, is 1 for each feature that the kernel does itself and
 * 0 for another, with `kio.feature.name`, `kio.feature.support` and
 * `kio.feature.reason`. A feature that is tried comes after its first use.
 *
 * With the option `histograms` there are two counters for each
 * `kio.operation.name`: `kio.operations.duration.sum` in seconds, and
 * `kio.operations.duration.bucket`, the operations below `le` seconds: 4 µs,
 * 16 µs … 17 s, `+Inf`. These are the buckets of a histogram of Prometheus.
 *
 * @param ctx The context.
 * @param attributes Attributes of each figure, which tell contexts apart: of
 * two with the same ones only one would be exported. In the workers of a pool
 * they must include the index of the worker.
 * @throws {TypeError} If the context is closed, or another context of this
 * thread has the same attributes.
 *
 * @example The contexts of a proxy
 * ```ts
 * import { IoContext } from "@kio/kio";
 * import { observeStats } from "@kio/kio/otel";
 *
 * using clients = new IoContext();
 * observeStats(clients, { "kio.context.name": "clients" });
 * using backends = new IoContext();
 * observeStats(backends, { "kio.context.name": "backends" });
 * ```
 */
export function observeStats(
  ctx: IoContext,
  attributes: Readonly<Record<string, string | number | boolean>> = {},
): void {
  const ring = ringOf(ctx, OBSERVE);
  ring.checkOpen(OBSERVE.verb);
  checkOptions(attributes, OBSERVE.verb);
  const own = { ...attributes };
  const text = JSON.stringify(Object.entries(own).sort());
  if (seen.has(text)) {
    throw new TypeError(
      `Cannot ${OBSERVE.verb}: an IoContext with these attributes is observed already; give each one its own`,
    );
  }
  const { meter, figures, failed, feature, bucket, sum, all } = instruments ??=
    makeInstruments();
  const observe = (result: BatchObservableResult) => {
    const stats = ring.stats();
    for (const [instrument, key] of figures) {
      result.observe(instrument, stats[key], own);
    }
    for (const [code, count] of Object.entries(stats.errors)) {
      result.observe(failed, count, { ...own, "error.type": code });
    }
    for (const name of FEATURE_NAMES) {
      const known = ring.features.known(name);
      if (known === undefined || FEATURES[name].unused) continue;
      const { support, reason } = supportOf(name, known);
      result.observe(feature, support === "native" ? 1 : 0, {
        ...own,
        "kio.feature.name": name,
        "kio.feature.support": support,
        "kio.feature.reason": reason,
      });
    }
    for (const [name, latencies] of Object.entries(stats.latencies)) {
      const named = { ...own, "kio.operation.name": name };
      result.observe(sum, latencies.totalMs / 1000, named);
      for (const [at, count] of countsBelow(latencies).entries()) {
        result.observe(bucket, count, {
          ...named,
          le: `${BOUNDS_MS[at]! / 1000}`,
        });
      }
      result.observe(bucket, latencies.count, { ...named, le: "+Inf" });
    }
  };
  meter.addBatchObservableCallback(observe, all);
  seen.add(text);
  ring.onClose.push(() => {
    meter.removeBatchObservableCallback(observe, all);
    seen.delete(text);
  });
}
