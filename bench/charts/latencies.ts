/** Draws how long requests take: half of them, and the slowest. */

import type { CaseRecord, SuiteRecord } from "../record.ts";
import { type Axis, axisFor, curves, type Point } from "./curves.ts";
import { casesWith, entriesOf, runTexts } from "./data.ts";
import type { Chart, Part } from "./render.ts";

const BYTES = 64;
const CONNECTIONS = [1, 64];

/** Places a percentile: the rarer a slow request is, the further to the right.
 */
const placeOf = (percent: number) => 100 / (100 - percent);

const PERCENTILES: Axis = {
  title: "percentile of the requests",
  size: 270,
  domain: [placeOf(50), placeOf(99.9)],
  ticks: [50, 90, 99, 99.9].map(placeOf),
  label: "format(100 - 100 / datum.value, '~r') + ' %'",
};

function pointsOf(table: CaseRecord): Point[] {
  return entriesOf(table).flatMap(({ name, figures }) =>
    Object.entries(figures).flatMap(([metric, { median }]) => {
      const percent = /^p([\d.]+)Us$/.exec(metric)?.[1];
      if (percent === undefined) return [];
      return [{ name, x: placeOf(Number(percent)), y: median }];
    }).sort((left, right) => left.x - right.x)
  );
}

function panel(table: CaseRecord): Part {
  const { connections } = table.parameters!;
  const points = pointsOf(table);
  const y = axisFor(points.map((point) => point.y), {
    size: 270,
    label: "format(datum.value, ',')",
  });
  return curves(points, PERCENTILES, y, {
    title: `${connections} connection${connections === 1 ? "" : "s"}, µs`,
  });
}

/** Echo of 64 bytes: the time from request to reply. */
export function latencies(record: SuiteRecord): Chart {
  const cases = casesWith(record, { bytes: BYTES, connections: undefined })
    .filter(({ parameters }) => CONNECTIONS.includes(parameters!.connections!));
  return {
    description: "Line charts of an echo server's latency by percentile.",
    spec: {
      title: {
        text: `Echo of ${BYTES} bytes: from request to reply (less is better)`,
        subtitle: runTexts(cases),
      },
      bounds: "flush",
      spacing: 112,
      hconcat: cases.map(panel),
    },
  };
}
