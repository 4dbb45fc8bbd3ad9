/** Makes SVG of a chart, without a browser. */

import { parse, View } from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { CONFIG, darkStyle } from "./look.ts";

/** A chart that is part of another. */
export type Part = Extract<
  TopLevelSpec,
  { hconcat: unknown }
>["hconcat"][number];

/** A chart, with a description in plain text for readers who cannot see it. */
export interface Chart {
  readonly spec: TopLevelSpec;
  readonly description: string;
}

/** The text of an SVG file. */
export async function render({ spec, description }: Chart): Promise<string> {
  const view = new View(parse(compile({ ...spec, config: CONFIG }).spec), {
    renderer: "none",
  });
  const svg = await view.toSVG();
  view.finalize();
  // The font once instead of at each text, and no more digits than can be seen.
  const short = svg
    .replaceAll(` font-family="${CONFIG.font}"`, "")
    .replaceAll(/\d+\.\d{3,}/g, (digits) => String(+(+digits).toFixed(2)));
  return short.replace(
    /^<svg ([^>]*)>/,
    (_, attributes) =>
      `<svg ${attributes} font-family="${CONFIG.font}" role="img">` +
      `<title>${description}</title>${darkStyle()}`,
  ) + "\n";
}
