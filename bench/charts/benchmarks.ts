/** Bar charts of the benchmarks whose figures need no chart of their own kind. */

import type { CaseRecord, SuiteRecord } from "../record.ts";
import { bars, type Metric, type Panel, panelOf, type Row } from "./bars.ts";
import { runTexts } from "./data.ts";
import type { Chart } from "./render.ts";

const REQUESTS: Metric = {
  name: "reqPerS",
  per: 1000,
  unit: "k/s",
  digits: 1,
};
const CPU: Metric = { name: "cpuUs", unit: "µs", digits: 1 };

/** A row of the chart: for each case in whose title there is a text, a panel. */
interface Wanted {
  readonly title: string;
  readonly panels: readonly {
    readonly of: string;
    readonly title?: string;
    readonly metric: Metric;
  }[];
}

/** The contents of a chart. */
interface Plan {
  readonly title: string;
  readonly description: string;
  readonly rows: readonly Wanted[];
}

/** The same metric of several cases. */
function each(title: string, metric: Metric, ...cases: string[]): Wanted {
  return { title, panels: cases.map((of) => ({ of, metric })) };
}

const ACCEPT = ["1 connecting at a time", "64 connecting at a time"];
const STREAMS = ["64 bytes, 64 connections", "65536 bytes, 4 connections"];
const UDP = [
  "64 bytes, 1 client",
  "64 bytes, 64 clients",
  "1200 bytes, 64 clients",
];
const TREE = ["warm", "cold"] as const;

/** The charts, by the name of the benchmark. */
export const PLANS: Readonly<Record<string, Plan>> = {
  accept: {
    title: "Accepting connections, on one core",
    description:
      "Bar charts of connections accepted a second, and CPU a connection.",
    rows: [
      each("Connections a second (more is better)", REQUESTS, ...ACCEPT),
      each("Server CPU a connection (less is better)", CPU, ...ACCEPT),
    ],
  },
  idle: {
    title: "Memory of a connection that waits",
    description: "Bar chart of the memory of an idle connection by program.",
    rows: [
      each(
        "Resident memory of the process, KB a connection (less is better)",
        { name: "rssBytes", per: 1000, unit: "KB", digits: 1 },
        "10,000 idle connections",
      ),
    ],
  },
  streams: {
    title: "Echo through streams, on one core",
    description:
      "Bar charts of requests a second and CPU of echo servers of streams.",
    rows: [
      each("Requests a second (more is better)", REQUESTS, ...STREAMS),
      each("Server CPU a request (less is better)", CPU, ...STREAMS),
    ],
  },
  tls: {
    title: "HTTPS, on one core",
    description:
      "Bar charts of requests, bytes and connections a second, and their CPU, of HTTPS servers.",
    rows: [
      {
        title: "How much in a second (more is better)",
        panels: [
          {
            of: "requests, 64 connections",
            title: "requests, 64 connections",
            metric: REQUESTS,
          },
          {
            of: "answers of 1 MiB",
            title: "answers of 1 MiB",
            metric: { name: "gbPerS", unit: "GB/s", digits: 2 },
          },
          {
            of: "a connection for each request",
            title: "a new connection each",
            metric: { name: "reqPerS", unit: "/s", digits: 0 },
          },
        ],
      },
      {
        title: "Server CPU (less is better)",
        panels: [
          {
            of: "requests, 64 connections",
            title: "a request",
            metric: { ...CPU, digits: 0 },
          },
          {
            of: "answers of 1 MiB",
            title: "a GB",
            metric: { name: "cpuMsPerGb", unit: "ms", digits: 0 },
          },
          {
            of: "a connection for each request",
            title: "a connection",
            metric: { ...CPU, digits: 0 },
          },
        ],
      },
    ],
  },
  tree: {
    title: "A tree of 50,000 small files",
    description:
      "Bar charts of the time to list, and to hash, a tree of small files.",
    rows: ["list and stat", "stat and hash"].map((work): Wanted => ({
      title: `${work}: ms (less is better)`,
      panels: TREE.map((state) => ({
        of: `${work}, ${state}`,
        title: state === "warm" ? "in the caches" : "from the disk",
        metric: { name: "ms", unit: "ms", digits: 0 },
      })),
    })),
  },
  udp: {
    title: "Echo of datagrams over UDP, on one core",
    description:
      "Bar charts of an echo server's datagrams a second and their CPU.",
    rows: [
      each("Datagrams a second (more is better)", REQUESTS, ...UDP),
      each("Server CPU a datagram (less is better)", CPU, ...UDP),
    ],
  },
};

/** Draws what was measured of a plan; null if that is nothing. */
export function benchmark(record: SuiteRecord): Chart | null {
  const { title, description, rows } = PLANS[record.benchmark]!;
  const shown = new Set<CaseRecord>();
  const drawn = rows.map(({ title, panels }): Row => ({
    title,
    panels: panels.flatMap(({ of, title, metric }): Panel[] => {
      const table = record.cases.find((one) => one.title.includes(of));
      if (table === undefined) return [];
      shown.add(table);
      return [panelOf(table, title ?? of, metric)];
    }),
  })).filter(({ panels }) => panels.some(({ bars }) => bars.length > 0));
  if (drawn.length === 0) return null;
  return {
    description,
    spec: {
      title: { text: title, subtitle: runTexts([...shown]) },
      spacing: 22,
      vconcat: bars(drawn),
    },
  };
}
