/** Requests a second and their CPU, by the number of connections. */

import type { SuiteRecord } from "../record.ts";
import { bars, type Metric, panelOf, type Row } from "./bars.ts";
import { casesWith, entriesOf, runTexts } from "./data.ts";
import type { Chart } from "./render.ts";

const BYTES = 64;

const ROWS: readonly (readonly [title: string, Metric])[] = [
  [
    "Thousand requests a second (more is better)",
    { name: "reqPerS", per: 1000, unit: "k", digits: 0 },
  ],
  [
    "Server CPU a request, µs (less is better)",
    { name: "cpuUs", unit: "µs", digits: 1 },
  ],
];

/** Echo of 64 bytes: requests a second, and CPU a request. */
export function connections(record: SuiteRecord): Chart {
  const cases = casesWith(record, { bytes: BYTES, connections: undefined });
  const rows = ROWS.map(([title, metric]): Row => {
    const panels = cases.map((table) => {
      const { connections } = table.parameters!;
      const peers = entriesOf(table).map((entry) => entry.peer);
      const name = `${connections} connection${connections === 1 ? "" : "s"}`;
      return panelOf({ ...table, peers }, name, metric);
    });
    // One scale: more connections are more work.
    const max = Math.max(...panels.map((panel) => panel.max));
    return { title, panels: panels.map((panel) => ({ ...panel, max })) };
  });
  return {
    description: `Bar charts of an echo server's requests a second and CPU a \
request, by number of connections.`,
    spec: {
      title: {
        text: `Echo of ${BYTES} bytes over TCP, on one core`,
        subtitle: runTexts(cases),
      },
      spacing: 22,
      vconcat: bars(rows),
    },
  };
}
