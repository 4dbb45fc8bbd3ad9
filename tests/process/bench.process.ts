/**
 * Measured figures: the files that keep them, and the charts and tables made of
 * them. The tests are here because they need files and a plotting library.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import {
  drawCharts,
  fillDocuments,
  loadAll,
} from "../../bench/charts/files.ts";
import { withFigures } from "../../bench/charts/tables.ts";
import {
  type CaseRecord,
  load,
  type PeerRecord,
  save,
  type SuiteRecord,
} from "../../bench/record.ts";
import type { Suite } from "../../bench/suite.ts";
import { temporaryFolder } from "./support.ts";

const METRICS = [
  ...["reqPerS", "cpuUs", "opsPerS", "perS"],
  ...["p50Us", "p99Us", "p99.9Us"],
];

function peer(name: string, value: number): PeerRecord {
  const figure = { median: value, min: value, max: value, ratio: value / 200 };
  return {
    name,
    status: "measured",
    rounds: 1,
    steadyRounds: 1,
    figures: Object.fromEntries(METRICS.map((metric) => [metric, figure])),
  };
}

function caseOf(
  title: string,
  parameters: Record<string, number> = {},
  date = "2026-01-02T03:04:05Z",
): CaseRecord {
  const missing = { status: "not installed", rounds: 0, steadyRounds: 0 };
  return {
    title,
    parameters,
    run: {
      date,
      options: { rounds: 1, seconds: 1 },
      machine: {
        cpu: "Abacus",
        cores: 2,
        kernel: "6.1",
        versions: { Deno: "2.9.6" },
      },
    },
    base: "C, liburing",
    columns: [
      { head: "req", metric: "reqPerS", digits: 0, spread: true, ratio: true },
      { head: "p99 µs", metric: "p99Us", digits: 0 },
    ],
    peers: [
      peer("kio", 1100),
      peer("C, liburing", 2200),
      peer("Deno", 700),
      { name: "Bun", ...missing, figures: {} },
    ],
  };
}

function recordOf(benchmark: string, cases: CaseRecord[]): SuiteRecord {
  return { benchmark, notes: ["Measured with", "care."], cases, bars: [] };
}

const RECORDS = new Map([
  recordOf("echo", [
    caseOf("one", { connections: 1, bytes: 64 }),
    caseOf("many", { connections: 64, bytes: 64 }),
  ]),
  recordOf("file", [1, 8, 32].map((depth) => caseOf(`${depth}`, { depth }))),
  recordOf("wake", [
    caseOf("now and then", { pauseUs: 3000 }),
    caseOf("as in older records"),
  ]),
].map((record) => [record.benchmark, record]));

/** Checks that each element is closed, in order, with nothing else in between.
 */
function assertWellFormed(xml: string): void {
  const token =
    /<(\/?)([\w:]+)((?: [\w:-]+="[^"<&]*")*) ?(\/?)>|(?:[^<>&]|&\w+;)+/y;
  const open: string[] = [];
  let end = 0;
  for (let match; (match = token.exec(xml)) !== null; end = token.lastIndex) {
    const [, close, name, , isEmpty] = match;
    if (name === undefined || isEmpty) continue;
    if (close) assertEquals(open.pop(), name);
    else open.push(name);
  }
  assertEquals([xml.slice(end, end + 80), open], ["", []]);
}

Deno.test("drawCharts() makes valid SVG that names who was measured", async () => {
  const files = await drawCharts(RECORDS);
  assertEquals(files.map(({ url }) => url.pathname.split("/").at(-1)), [
    "connections.svg",
    "depths.svg",
    "latencies.svg",
    "loads.svg",
  ]);
  for (const { text } of files) {
    assertWellFormed(text);
    for (const name of ["kio", "C", "Deno"]) {
      assertStringIncludes(text, `>${name}</text>`);
    }
    assertEquals(text.includes("NaN"), false);
  }
  assertStringIncludes(files[0]!.text, ">2 k</text>");
});

Deno.test("drawCharts() leaves out a chart without figures", async () => {
  assertEquals(await drawCharts(new Map()), []);
});

Deno.test("drawCharts() has a dark colour for each one it uses", async () => {
  for (const { text } of await drawCharts(RECORDS)) {
    const colours = text.matchAll(/ ((?:fill|stroke)="#\w+")/g);
    for (const colour of new Set([...colours].map(([, colour]) => colour))) {
      assertStringIncludes(text, `[${colour}]{`);
    }
  }
});

Deno.test("withFigures() fills a document, and fills it anew", () => {
  const empty =
    "Before\n\n<!-- figures: echo -->\n<!-- /figures -->\n\nAfter\n";
  const full = withFigures(empty, RECORDS);
  assertEquals(
    full,
    `Before

<!-- figures: echo -->

|           | kio           | C, liburing | Deno        | Bun           |
| --------- | ------------- | ----------- | ----------- | ------------- |
| one: req  | 1,100 (5.50×) | 2,200       | 700 (3.50×) | not installed |
| many: req | 1,100 (5.50×) | 2,200       | 700 (3.50×) | not installed |

Measured with care.

- \`deno task bench echo --rounds 1 --seconds 1\`, 2026-01-02

6 of 6 runs undisturbed.

<!-- /figures -->

After
`,
  );
  assertEquals(withFigures(full, RECORDS), full);
});

Deno.test("save() keeps the cases that were not measured again", async () => {
  using folder = temporaryFolder();
  const url = new URL(`file://${folder.path}/`);
  const cases = ["one", "two"].map((title) => ({
    title,
    base: "",
    columns: [],
    peers: [],
  }));
  const suite: Suite = { notes: [], turnSeconds: 1, cases, bars: () => [] };
  const bar = { text: "", limit: 1, kind: "at least" } as const;
  const [kept, lost] = [2, null].map((figure) => ({
    ...bar,
    figure,
    met: figure === null ? null : true,
  }));
  const first = {
    ...recordOf("x", [caseOf("one"), caseOf("two")]),
    bars: [kept!],
  };
  const again = caseOf("one", {}, "2026-02-02T00:00:00Z");
  await save(suite, first, url);
  await save(suite, { ...recordOf("x", [again]), bars: [lost!] }, url);
  const record = await load("x", url);
  assertEquals(record, {
    ...first,
    cases: [again, caseOf("two")],
  });
});

Deno.test("charts and tables are those of bench/results/", async () => {
  const records = await loadAll();
  assert(records.size > 0, "there are no results");
  const files = [...await drawCharts(records), ...await fillDocuments(records)];
  for (const { url, text } of files) {
    assert(
      await Deno.readTextFile(url) === text,
      `${url.pathname} is not what deno task charts makes of bench/results/`,
    );
  }
});
