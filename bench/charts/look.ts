/** The look of all charts: a colour for each program, on light and on dark
 * pages. */

/** A colour on a light page, and the one that takes its place on a dark one. */
type Colour = readonly [light: string, dark: string];

/**
 * Hues of Okabe and Ito, which colour-blind people tell apart, darker or
 * lighter where the page asks for contrast.
 */
const COLOURS = {
  page: ["#ffffff", "#0d1117"],
  text: ["#1f2328", "#f0f6fc"],
  faint: ["#59636e", "#9198a1"],
  grid: ["#dfe3e8", "#2a313a"],
  kio: ["#d55e00", "#ff8c3a"],
  c: ["#3d444d", "#c9d1d9"],
  bun: ["#0072b2", "#56b4e9"],
  node: ["#00805e", "#2dc79b"],
  deno: ["#a6428a", "#e08fc6"],
} as const satisfies Record<string, Colour>;

/** The colours of a light page. */
export const LIGHT = Object.fromEntries(
  Object.entries(COLOURS).map(([name, [light]]) => [name, light]),
) as Record<keyof typeof COLOURS, string>;

/** The programs in the charts, in this order, with their names there. */
export const PROGRAMS = [
  { name: "kio", peers: ["kio"], colour: LIGHT.kio, dash: [1, 0] },
  { name: "C", peers: ["C, liburing", "nginx"], colour: LIGHT.c, dash: [6, 3] },
  {
    name: "Bun",
    peers: ["Bun", "Bun, node:fs"],
    colour: LIGHT.bun,
    dash: [1, 0],
  },
  { name: "Node", peers: ["Node"], colour: LIGHT.node, dash: [1, 0] },
  { name: "Deno", peers: ["Deno"], colour: LIGHT.deno, dash: [1, 0] },
] as const;

/** The programs in charts of curves: kio twice. */
export const CURVES = [
  ...PROGRAMS,
  {
    name: "kio, exclusive",
    peers: ["kio, exclusive"],
    colour: LIGHT.kio,
    dash: [2, 2],
  },
] as const;

/** The scale that gives each program its colour. */
export const COLOUR_SCALE = {
  domain: CURVES.map(({ name }) => name),
  range: CURVES.map(({ colour }) => colour),
};

/** The scale that gives each its kind of line: not all readers see colours. */
export const DASH_SCALE = {
  domain: CURVES.map(({ name }) => name),
  range: CURVES.map(({ dash }) => [...dash]),
};

/** The scale that gives each family of programs its colour. */
export const FAMILY_SCALE = {
  domain: PROGRAMS.map(({ name }) => name),
  range: PROGRAMS.map(({ colour }) => colour),
};

/** The runtime that a program is of: "kio" of "kio, multishot", "C" of all that
 * is of none. */
export function familyOf(name: string): string {
  return /^(kio|Bun|Node|Deno)\b/.exec(name)?.[1] ?? "C";
}

/** True for kio, in the language of the charts. */
export const IS_KIO = "datum.name === 'kio'";

/** The weight of a text beside the mark of a program. */
export const KIO_BOLD = { expr: `${IS_KIO} ? "bold" : "normal"` };

/** The configuration of every chart. */
export const CONFIG = {
  aria: false,
  background: LIGHT.page,
  padding: { left: 12, top: 12, right: 12, bottom: 12 },
  font: "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif",
  title: {
    anchor: "start",
    color: LIGHT.text,
    fontSize: 17,
    subtitleColor: LIGHT.faint,
    subtitleFontSize: 12,
    subtitlePadding: 6,
    subtitleLineHeight: 17,
    offset: 18,
  },
  axis: {
    labelColor: LIGHT.faint,
    labelFontSize: 12,
    titleColor: LIGHT.faint,
    titleFontSize: 12,
    titleFontWeight: "normal",
    titlePadding: 8,
    domain: false,
    ticks: false,
    gridColor: LIGHT.grid,
    labelPadding: 6,
  },
  view: { stroke: null },
} as const;

/** The dark colours in place of the light ones, for those who prefer that. */
export function darkStyle(): string {
  const rules = Object.values(COLOURS).flatMap(([light, dark]) =>
    ["fill", "stroke"].map((what) => `[${what}="${light}"]{${what}:${dark}}`)
  );
  return `<style>@media (prefers-color-scheme:dark){${rules.join("")}}</style>`;
}
