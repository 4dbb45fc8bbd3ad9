/**
 * Prints the requests a second of examples/redis_server.ts by those of
 * redis-server: each on the same core, in turn, and redis-benchmark on another.
 * A part of `deno task test:redis`.
 */
import {
  benchmark,
  startKio,
  startRedis,
  type Sync,
} from "./redis_programs.ts";

const SERVER_CORE = 0;
const CLIENT_CORE = 1;
const ROUNDS = 5;
// With fewer the connections are a part of what is measured.
const CASES: { sync: Sync; pipelined: number; requests: number }[] = [
  { sync: undefined, pipelined: 1, requests: 40_000 },
  { sync: undefined, pipelined: 16, requests: 400_000 },
  { sync: "always", pipelined: 1, requests: 20_000 },
  { sync: "always", pipelined: 16, requests: 400_000 },
];

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

for (const { sync, pipelined, requests } of CASES) {
  await using kio = await startKio(sync, SERVER_CORE);
  await using redis = await startRedis(sync, SERVER_CORE);
  const args = [
    ...["-c", "50", "-t", "set,get", "-r", "10000"],
    ...["-P", `${pipelined}`, "-n"],
  ];
  const ratios: Record<string, number[]> = { SET: [], GET: [] };
  for (let round = -1; round < ROUNDS; round++) {
    // The first one warms both up.
    const count = round < 0 ? requests / 5 : requests;
    const rates = await benchmark(kio, [...args, `${count}`], CLIENT_CORE);
    const others = await benchmark(redis, [...args, `${count}`], CLIENT_CORE);
    for (const [name, all] of Object.entries(ratios)) {
      const ratio = rates.get(name)! / others.get(name)!;
      if (round >= 0) all.push(ratio);
    }
  }
  const shown = Object.entries(ratios).map(([name, all]) =>
    `${name} ${median(all).toFixed(2)} (${Math.min(...all).toFixed(2)}–${
      Math.max(...all).toFixed(2)
    })`
  );
  console.log(
    `appendfsync ${sync ?? "none"}, -P ${pipelined}: ${shown.join(", ")}`,
  );
}
