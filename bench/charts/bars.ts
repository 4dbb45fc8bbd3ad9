/** Panels of bars, one for each program, in rows. */

import { type CaseRecord, isMeasured } from "../record.ts";
import { number } from "../report.ts";
import { FAMILY_SCALE, familyOf, LIGHT } from "./look.ts";
import type { Part } from "./render.ts";

/** All of a chart, with its margins. */
const WIDTH = 800;
const MARGIN = 12;
const SPACING = 14;
const BAR_STEP = 23;
const LETTER_WIDTH = 7.2;
/** Names are larger, and may be bold. */
const LABEL_LETTER_WIDTH = 8;
const IS_KIO = "datum.family === 'kio'";

/** The program and its figure. */
export interface Bar {
  readonly name: string;
  readonly value: number;
  readonly text: string;
}

/** Bars with a scale of their own. */
export interface Panel {
  readonly title: string;
  readonly bars: readonly Bar[];
  /** The value that has the whole width. */
  readonly max: number;
}

/** Panels beside each other, of the same programs. */
export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** A metric, and how its values are written. */
export interface Metric {
  readonly name: string;
  /** Values are divided by this. */
  readonly per?: number;
  readonly unit: string;
  readonly digits: number;
}

/** A panel of the programs of a case that were measured. */
export function panelOf(
  { peers }: CaseRecord,
  title: string,
  { name, per = 1, unit, digits }: Metric,
): Panel {
  const bars = peers.filter(isMeasured).map((peer): Bar => {
    const value = peer.figures[name]!.median / per;
    const text = `${number(value, digits)} ${unit}`;
    return { name: peer.name, value, text };
  });
  return { title, bars, max: Math.max(...bars.map(({ value }) => value)) };
}

function part(
  { title, bars, max }: Panel,
  names: readonly string[],
  { width, labels }: { width: number; labels: number },
): Part {
  const letters = Math.max(...bars.map(({ text }) => text.length));
  return {
    title: {
      text: title,
      fontSize: 12,
      fontWeight: "normal",
      color: LIGHT.faint,
      offset: 4,
      frame: "group",
    },
    width,
    height: { step: BAR_STEP },
    data: {
      values: bars.map((bar) => ({ ...bar, family: familyOf(bar.name) })),
    },
    encoding: {
      y: {
        field: "name",
        type: "nominal",
        scale: { domain: [...names], padding: 0.18 },
        axis: {
          title: null,
          labels: labels > 0,
          // From the left edge, the same for all rows.
          labelAlign: "left",
          labelPadding: labels,
          labelColor: LIGHT.text,
          labelFontSize: 13,
          labelLimit: WIDTH,
          labelFontWeight: {
            condition: {
              test: "slice(datum.value, 0, 3) === 'kio'",
              value: "bold",
            },
            value: "normal",
          },
        },
      },
      x: {
        field: "value",
        type: "quantitative",
        // Room for a text beside the longest bar.
        scale: {
          domain: [0, max * width / (width - letters * LETTER_WIDTH - 8)],
          nice: false,
        },
        axis: null,
      },
    },
    layer: [
      {
        mark: "bar",
        encoding: {
          color: {
            field: "family",
            type: "nominal",
            scale: FAMILY_SCALE,
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
          fontWeight: { expr: `${IS_KIO} ? "bold" : "normal"` },
          color: LIGHT.text,
        },
        encoding: { text: { field: "text" } },
      },
    ],
  };
}

const namesOf = ({ panels }: Row) => [
  ...new Set(panels.flatMap(({ bars }) => bars.map(({ name }) => name))),
];

/** Draws rows of panels. */
export function bars(rows: readonly Row[]): Part[] {
  const longest = Math.max(...rows.flatMap(namesOf).map((name) => name.length));
  const labels = longest * LABEL_LETTER_WIDTH;
  return rows.map((row): Part => {
    const { title, panels } = row;
    const names = namesOf(row);
    const room = WIDTH - 2 * MARGIN - labels - SPACING * (panels.length - 1);
    const width = Math.floor(room / panels.length);
    return {
      title: { text: title, fontSize: 13, offset: 8 },
      // Panels stay below each other, however far a text reaches.
      bounds: "flush",
      spacing: SPACING,
      hconcat: panels.map((panel, i) =>
        part(panel, names, { width, labels: i === 0 ? labels : 0 })
      ),
    };
  });
}
