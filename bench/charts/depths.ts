/** Reads a second, by how many are in flight. */

import type { SuiteRecord } from "../record.ts";
import { axisFor, curves } from "./curves.ts";
import { casesWith, entriesOf, runTexts } from "./data.ts";
import type { Chart } from "./render.ts";

/** Reads of 4 KiB from the page cache. */
export function depths(record: SuiteRecord): Chart {
  const cases = casesWith(record, { depth: undefined })
    .map((table) => ({ table, depth: table.parameters!.depth! }))
    .sort((left, right) => left.depth - right.depth);
  const points = cases.flatMap(({ table, depth }) =>
    entriesOf(table).map(({ name, figures }) => ({
      name,
      x: depth,
      y: figures.opsPerS!.median,
    }))
  );
  const all = cases.map(({ depth }) => depth);
  return {
    description:
      "Line chart of reads a second by the number of reads in flight.",
    spec: {
      title: {
        text: "Reads of 4 KiB from the page cache",
        subtitle: runTexts(cases.map(({ table }) => table)),
      },
      vconcat: [curves(
        points,
        {
          title: "reads in flight (queue depth)",
          size: 660,
          domain: [all[0]!, all.at(-1)!],
          ticks: all,
          label: "datum.value",
        },
        axisFor(points.map(({ y }) => y), {
          title: "reads a second, logarithmic (more is better)",
          size: 340,
          label: "format(datum.value, '~s')",
        }),
        { hasPoints: true },
      )],
    },
  };
}
