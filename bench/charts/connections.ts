/** Requests a second and their CPU, by the number of connections. */

import type { CaseRecord, SuiteRecord } from "../record.ts";
import { casesWith, entriesOf, type Entry, runTexts } from "./data.ts";
import { COLOUR_SCALE, IS_KIO, KIO_BOLD, LIGHT, PROGRAMS } from "./look.ts";
import type { Chart, Part } from "./render.ts";

const BYTES = 64;
const PANEL_WIDTH = 226;
const BAR_STEP = 23;
/** Room that a value needs beside the longest bar. */
const ROOM_FOR_TEXT = 1.28;

/** Two rows of panels: their columns, and how values are written. */
const ROWS = [
  {
    title: "Thousand requests a second (more is better)",
    valueOf: ({ figures }: Entry) => figures.reqPerS!.median / 1000,
    digits: 0,
    unit: "k",
  },
  {
    title: "Server CPU a request, µs (less is better)",
    valueOf: ({ figures }: Entry) => figures.cpuUs!.median,
    digits: 1,
    unit: "µs",
  },
] as const;

function panel(
  table: CaseRecord,
  row: typeof ROWS[number],
  max: number,
  isFirst: boolean,
): Part {
  const { connections } = table.parameters!;
  const values = entriesOf(table).map((entry) => {
    const value = row.valueOf(entry);
    return {
      name: entry.name,
      value,
      text: `${value.toFixed(row.digits)} ${row.unit}`,
    };
  });
  return {
    title: {
      text: `${connections} connection${connections === 1 ? "" : "s"}`,
      fontSize: 12,
      fontWeight: "normal",
      color: LIGHT.faint,
      offset: 4,
      frame: "group",
    },
    width: PANEL_WIDTH,
    height: { step: BAR_STEP },
    data: { values },
    encoding: {
      y: {
        field: "name",
        type: "nominal",
        scale: { domain: PROGRAMS.map(({ name }) => name), padding: 0.18 },
        axis: {
          title: null,
          labels: isFirst,
          labelColor: LIGHT.text,
          labelFontSize: 13,
          labelFontWeight: {
            condition: { test: "datum.value === 'kio'", value: "bold" },
            value: "normal",
          },
        },
      },
      x: {
        field: "value",
        type: "quantitative",
        scale: { domain: [0, max * ROOM_FOR_TEXT], nice: false },
        axis: null,
      },
    },
    layer: [
      {
        mark: "bar",
        encoding: {
          color: {
            field: "name",
            type: "nominal",
            scale: COLOUR_SCALE,
            legend: null,
          },
          opacity: { condition: { test: IS_KIO, value: 1 }, value: 0.62 },
        },
      },
      {
        mark: {
          type: "text",
          align: "left",
          dx: 5,
          fontSize: 12,
          fontWeight: KIO_BOLD,
          color: LIGHT.text,
        },
        encoding: { text: { field: "text" } },
      },
    ],
  };
}

/** Echo of 64 bytes: requests a second, and CPU a request. */
export function connections(record: SuiteRecord): Chart {
  const cases = casesWith(record, { bytes: BYTES, connections: undefined });
  const rows = ROWS.map((row): Part => {
    const max = Math.max(...cases.flatMap(entriesOf).map(row.valueOf));
    return {
      title: { text: row.title, fontSize: 13, offset: 8 },
      // Panels stay below each other, however far a text reaches.
      bounds: "flush",
      spacing: 14,
      hconcat: cases.map((table, i) => panel(table, row, max, i === 0)),
    };
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
      vconcat: rows,
    },
  };
}
