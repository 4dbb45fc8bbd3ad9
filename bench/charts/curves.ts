/** A panel of curves, one for each program, which end in its name. */

import {
  COLOUR_SCALE,
  CURVES,
  DASH_SCALE,
  IS_KIO,
  KIO_BOLD,
  LIGHT,
} from "./look.ts";
import type { Part } from "./render.ts";

/** Height that names need below each other. */
const NAME_HEIGHT = 16;
/** Room below and above the curves. */
const MARGIN = 1.15;

/** A point of a curve. */
export interface Point {
  readonly name: string;
  readonly x: number;
  readonly y: number;
}

/** A direction of a panel, logarithmic. */
export interface Axis {
  readonly title?: string;
  readonly size: number;
  readonly domain: [from: number, to: number];
  readonly ticks: number[];
  /** An expression of Vega for `datum.value`. */
  readonly label: string;
}

/** Optional parts of a panel. */
export interface Options {
  readonly title?: string;
  /** Marks each point. */
  readonly hasPoints?: boolean;
}

/** An axis that these values fit on, with ticks at 1, 2 and 5 of a decade. */
export function axisFor(
  values: readonly number[],
  axis: Omit<Axis, "domain" | "ticks">,
): Axis {
  const from = Math.min(...values) / MARGIN;
  const to = Math.max(...values) * MARGIN;
  const ticks: number[] = [];
  for (let decade = 1; decade <= to; decade *= 10) {
    ticks.push(decade, 2 * decade, 5 * decade);
  }
  return {
    ...axis,
    domain: [from, to],
    ticks: ticks.filter((tick) => tick >= from && tick <= to),
  };
}

/** Each name as near to the end of its curve as the others leave it room. */
function namesOf(points: readonly Point[], { size, domain: [from, to] }: Axis) {
  const names = CURVES.flatMap(({ name }) => {
    const last = points.findLast((point) => point.name === name);
    if (last === undefined) return [];
    return [{ name, top: size * Math.log(to / last.y) / Math.log(to / from) }];
  }).sort((left, right) => left.top - right.top);
  for (let i = 1; i < names.length; i++) {
    const top = Math.max(names[i]!.top, names[i - 1]!.top + NAME_HEIGHT);
    names[i] = { ...names[i]!, top };
  }
  return names;
}

function scaleOf({ domain }: Axis) {
  return { type: "log", domain, nice: false } as const;
}

function axisOf({ title, ticks, label }: Axis) {
  return { title: title ?? null, values: ticks, labelExpr: label };
}

/**
 * Draws curves on logarithmic axes.
 *
 * @param points The points of all curves, each curve from left to right.
 * @param x The horizontal axis.
 * @param y The vertical axis.
 * @param options What else there is to see.
 */
export function curves(
  points: readonly Point[],
  x: Axis,
  y: Axis,
  { title, hasPoints = false }: Options = {},
): Part {
  const color = {
    field: "name",
    type: "nominal",
    scale: COLOUR_SCALE,
    legend: null,
  } as const;
  return {
    ...title === undefined
      ? {}
      : { title: { text: title, fontSize: 13, offset: 10, frame: "group" } },
    width: x.size,
    height: y.size,
    layer: [
      {
        // kio last, so that it is above the others.
        data: { values: points.toReversed() },
        mark: {
          type: "line",
          strokeJoin: "round",
          ...hasPoints ? { point: { size: 40 } } : {},
        },
        encoding: {
          x: {
            field: "x",
            type: "quantitative",
            scale: scaleOf(x),
            axis: {
              ...axisOf(x),
              grid: false,
              ticks: true,
              tickColor: LIGHT.grid,
              labelFlush: false,
            },
          },
          y: {
            field: "y",
            type: "quantitative",
            scale: scaleOf(y),
            // Above the axis, to be read without turning the head.
            axis: {
              ...axisOf(y),
              titleAngle: 0,
              titleAlign: "left",
              titleX: 0,
              titleY: -14,
            },
          },
          color,
          strokeWidth: {
            condition: { test: IS_KIO, value: 3.5 },
            value: 2,
          },
          strokeDash: {
            field: "name",
            type: "nominal",
            scale: DASH_SCALE,
            legend: null,
          },
        },
      },
      {
        data: { values: namesOf(points, y) },
        mark: {
          type: "text",
          align: "left",
          dx: 9,
          fontSize: 13,
          fontWeight: KIO_BOLD,
        },
        encoding: {
          x: { value: x.size },
          y: { field: "top", type: "quantitative", scale: null, axis: null },
          text: { field: "name" },
          color,
        },
      },
    ],
    resolve: { scale: { y: "independent" } },
  };
}
