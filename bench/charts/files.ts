/** All files that are made of the results. */

import { load, RESULTS_FOLDER, type SuiteRecord } from "../record.ts";
import { benchmark, PLANS } from "./benchmarks.ts";
import { connections } from "./connections.ts";
import { depths } from "./depths.ts";
import { latencies } from "./latencies.ts";
import { loads } from "./loads.ts";
import { type Chart, render } from "./render.ts";
import { type Records, withFigures } from "./tables.ts";

const ROOT = new URL("../../", import.meta.url);

interface ChartFile {
  readonly path: string;
  readonly benchmark: string;
  /** Documents show it by hand, where it says most. */
  readonly isPlaced?: boolean;
  /** Gives null for a record that lacks what the chart shows. */
  readonly draw: (record: SuiteRecord) => Chart | null;
}

const CHARTS: readonly ChartFile[] = [
  {
    path: "docs/charts/connections.svg",
    benchmark: "echo",
    isPlaced: true,
    draw: connections,
  },
  { path: "docs/charts/depths.svg", benchmark: "file", draw: depths },
  { path: "docs/charts/latencies.svg", benchmark: "echo", draw: latencies },
  { path: "docs/charts/loads.svg", benchmark: "wake", draw: loads },
  ...Object.keys(PLANS).map((name): ChartFile => ({
    path: `docs/charts/${name}.svg`,
    benchmark: name,
    draw: benchmark,
  })),
];

/** The pictures of a benchmark, for a document in docs/. */
function picturesOf(record: SuiteRecord): string[] {
  return CHARTS.flatMap(({ path, benchmark, isPlaced, draw }) => {
    if (benchmark !== record.benchmark || isPlaced) return [];
    const chart = draw(record);
    return chart === null
      ? []
      : [`![${chart.description}](${path.replace("docs/", "")})`];
  });
}

const DOCUMENTS = ["README.md", "docs/performance.md"];

/** A file, and the text that it must hold. */
export interface MadeFile {
  readonly url: URL;
  readonly text: string;
}

/** All records in a folder. */
export async function loadAll(folder = RESULTS_FOLDER): Promise<Records> {
  const records = new Map<string, SuiteRecord>();
  for await (const { name } of Deno.readDir(folder)) {
    const benchmark = /^([\w-]+)\.json$/.exec(name)?.[1];
    const record = benchmark === undefined
      ? null
      : await load(benchmark, folder);
    if (record !== null) records.set(record.benchmark, record);
  }
  return records;
}

/** Draws the charts of the records. */
export async function drawCharts(records: Records): Promise<MadeFile[]> {
  const files: MadeFile[] = [];
  for (const { path, benchmark, draw } of CHARTS) {
    const record = records.get(benchmark);
    if (record === undefined) continue;
    const chart = draw(record);
    if (chart === null) continue;
    files.push({ url: new URL(path, ROOT), text: await render(chart) });
  }
  return files;
}

/** The documents, with the figures of now. */
export async function fillDocuments(records: Records): Promise<MadeFile[]> {
  const files: MadeFile[] = [];
  for (const path of DOCUMENTS) {
    const url = new URL(path, ROOT);
    files.push({
      url,
      text: withFigures(await Deno.readTextFile(url), records, picturesOf),
    });
  }
  return files;
}
