/** Draws the CPU of a request over the load. */

import type { SuiteRecord } from "../record.ts";
import { axisFor, curves } from "./curves.ts";
import { casesWith, entriesOf, runTexts } from "./data.ts";
import type { Chart } from "./render.ts";

/** Fewer requests a second tell of the machine's sleep, not of the programs. */
const PER_S_MIN = 90;

/** Echo of 8 bytes to one connection. */
export function loads(record: SuiteRecord): Chart | null {
  const cases = casesWith(record, { pauseUs: undefined });
  const points = cases.flatMap((table) =>
    entriesOf(table).map(({ name, figures }) => ({
      name,
      x: figures.perS!.median,
      y: figures.cpuUs!.median,
    }))
  ).filter(({ x }) => x > PER_S_MIN)
    .sort((left, right) => left.x - right.x);
  if (points.length === 0) return null;
  const all = points.map(({ x }) => x);
  return {
    description:
      "Line chart of an echo server's CPU time a request by requests a second.",
    spec: {
      title: {
        text: "CPU time of an echo server: one connection, 8 bytes",
        subtitle: runTexts(cases),
      },
      vconcat: [curves(
        points,
        {
          title: "requests a second, logarithmic",
          size: 620,
          domain: [Math.min(...all), Math.max(...all)],
          ticks: [100, 300, 1000, 3000, 10_000, 30_000],
          label: "format(datum.value, ',')",
        },
        axisFor(points.map(({ y }) => y), {
          title: "CPU a request, µs, logarithmic (less is better)",
          size: 340,
          label: "format(datum.value, ',')",
        }),
        { hasPoints: true },
      )],
    },
  };
}
