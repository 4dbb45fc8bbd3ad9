/**
 * Measured figures: how they are taken, the files that keep them, and the
 * charts, tables and reports made of them. The tests are here because they need files and a plotting library.
 */
import {
  assert,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { PLANS } from "../../bench/charts/benchmarks.ts";
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
import { report } from "../../bench/report.ts";
import { measure } from "../../bench/rounds.ts";
import { isSteady, type Look } from "../../bench/steadiness.ts";
import type { Case, Suite } from "../../bench/suite.ts";
import { SUITES } from "../../bench/suites.ts";
import { ROOT, temporaryFolder } from "./support.ts";

const METRICS = [
  ...["reqPerS", "cpuUs", "opsPerS", "perS"],
  ...["p50Us", "p99Us", "p99.9Us"],
];

function peer(
  name: string,
  value: number,
  metrics: readonly string[] = METRICS,
): PeerRecord {
  const figure = {
    median: value,
    min: Math.round(value * 0.9),
    max: Math.round(value * 1.1),
    ratio: value / 200,
  };
  return {
    name,
    status: "measured",
    rounds: 1,
    steadyRounds: 1,
    figures: Object.fromEntries(metrics.map((metric) => [metric, figure])),
  };
}

function runOn(date: string) {
  return {
    date,
    options: { rounds: 1, seconds: 1 },
    machine: {
      cpu: "Abacus",
      cores: 2,
      kernel: "6.1",
      versions: { Deno: "2.9.6" },
    },
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
    run: runOn(date),
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
  recordOf("wake", [
    caseOf("now and then", { pauseUs: 3000 }),
    caseOf("as in older records"),
  ]),
].map((record) => [record.benchmark, record]));

/** All benchmarks, as if everything were installed and took as long. */
const ALL = new Map(
  Object.entries(SUITES).map(([benchmark, suite]) => {
    const { notes, cases } = suite({ rounds: 1, seconds: 1 });
    const records = cases.map((one): CaseRecord => {
      const metrics = [...METRICS, ...one.columns.map(({ metric }) => metric)];
      return {
        ...one,
        run: runOn("2026-01-02T03:04:05Z"),
        peers: one.peers.map(({ name }, i) =>
          peer(name, 9876.5 + 10 * i, metrics)
        ),
      };
    });
    return [benchmark, { benchmark, notes, cases: records, bars: [] }];
  }),
);

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
  const files = await drawCharts(ALL);
  assertEquals(files.map(({ url }) => url.pathname.split("/").at(-1)), [
    ...["connections.svg", "depths.svg", "latencies.svg", "loads.svg"],
    ...["accept.svg", "idle.svg", "streams.svg"],
    ...["tls.svg", "tree.svg", "udp.svg"],
  ]);
  for (const { url, text } of files) {
    assertWellFormed(text);
    assertStringIncludes(text, ">kio</text>");
    assertMatch(text, />Deno\b.*<\/text>/, url.pathname);
    assertEquals(text.includes("NaN"), false);
    const width = Number(/ width="(\d+)"/.exec(text)?.[1]);
    assert(width <= 870, `${url.pathname} is ${width} wide`);
  }
  assertStringIncludes(files[0]!.text, ">10 k</text>");
});

Deno.test("drawCharts() shows every program of a benchmark's chart", async () => {
  const files = await drawCharts(ALL);
  for (const [benchmark, { rows }] of Object.entries(PLANS)) {
    const { text } = files.find(({ url }) =>
      url.pathname.endsWith(`/${benchmark}.svg`)
    )!;
    const wanted = rows.flatMap(({ panels }) => panels.map(({ of }) => of));
    for (const { title, peers } of ALL.get(benchmark)!.cases) {
      if (!wanted.some((of) => title.includes(of))) continue;
      for (const { name } of peers) {
        assertStringIncludes(text, `>${name}</text>`);
      }
    }
    for (const of of wanted) {
      const { cases } = ALL.get(benchmark)!;
      assert(cases.some(({ title }) => title.includes(of)), of);
    }
  }
});

Deno.test("drawCharts() leaves out a chart without figures", async () => {
  assertEquals(await drawCharts(new Map()), []);
  const others = recordOf("idle", [caseOf("another case")]);
  assertEquals(await drawCharts(new Map([["idle", others]])), []);
});

Deno.test("drawCharts() has a dark colour for each one it uses", async () => {
  for (const { text } of await drawCharts(ALL)) {
    const colours = text.matchAll(/ ((?:fill|stroke)="#\w+")/g);
    for (const colour of new Set([...colours].map(([, colour]) => colour))) {
      assertStringIncludes(text, `[${colour}]{`);
    }
  }
});

Deno.test("report() fits 100 columns and ends with the ratios", () => {
  for (const [benchmark, record] of ALL) {
    const text = report(record, {
      findings: [],
      hasAims: false,
      isColoured: false,
    });
    for (const line of text.split("\n")) {
      assert([...line].length <= 100, `${benchmark}: ${line}`);
    }
    if (record.cases.some(({ columns }) => columns.some((it) => it.ratio))) {
      assertMatch(text.split("\n").at(-1)!, /×$/, benchmark);
    }
    assertEquals(text.includes("\x1b"), false);
  }
});

Deno.test("report() has the project's own aims only on request", () => {
  const bar = { text: "of C", figure: 2, limit: 1, kind: "at most" } as const;
  const record = {
    ...recordOf("x", [caseOf("one")]),
    bars: [{ ...bar, met: false }],
  };
  const text = (hasAims: boolean) =>
    report(record, { findings: [], hasAims, isColoured: false });
  assertEquals(text(false).includes("of C"), false);
  assertStringIncludes(text(true), "missed, 2.00 (at most 1.00): of C");
});

Deno.test("report() says once where the machine was not steady", () => {
  const [first, ...others] = caseOf("one").peers;
  const shaky = {
    ...caseOf("one"),
    peers: [{ ...first!, steadyRounds: 0 }, ...others],
  };
  const options = { findings: [], hasAims: false, isColoured: false };
  const text = report(recordOf("x", [shaky, caseOf("two")]), options);
  assertEquals(text.match(/not steady.*/g), [
    "not steady: compare with care (one).",
  ]);
  const steady = report(recordOf("x", [caseOf("two")]), options);
  assertEquals(steady.includes("not steady"), false);
});

Deno.test("withFigures() fills a document, and fills it anew", () => {
  const empty =
    "Before\n\n<!-- figures: echo -->\n<!-- /figures -->\n\nAfter\n";
  const full = withFigures(empty, RECORDS);
  assertEquals(
    full,
    `Before

<!-- figures: echo -->

| req         | one           | many          |
| ----------- | ------------- | ------------- |
| kio         | 1,100 (5.50×) | 1,100 (5.50×) |
| C, liburing | 2,200         | 2,200         |
| Deno        | 700 (3.50×)   | 700 (3.50×)   |
| Bun         | not installed | not installed |

Measured with care. Medians of 1 round.

- \`deno task bench echo --rounds 1 --seconds 1\`, 2026-01-02

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

Deno.test("withFigures() keeps the lines of a table whole", () => {
  const place = "<!-- figures: tree -->\n<!-- /figures -->";
  const text = withFigures(place, ALL);
  assertStringIncludes(text, "| find \\| xargs sha256sum |");
});

Deno.test("docs/performance.md has a place for each benchmark", async () => {
  const text = await Deno.readTextFile(`${ROOT}docs/performance.md`);
  const places = text.matchAll(/^### (\S+)\n\n<!-- figures: (\S+) -->$/gm);
  const names = [...places].map(([, title, name]) => {
    assertEquals(title, name);
    return name!;
  });
  assertEquals(names.sort(), Object.keys(SUITES).sort());
});

Deno.test("the summary takes 14 lines at most", () => {
  const place = "<!-- figures: summary -->\n<!-- /figures -->";
  const lines = withFigures(place, ALL).split("\n");
  assert(lines.length <= 14, lines.join("\n"));
  assertStringIncludes(
    lines.join("\n"),
    "Medians of 1 round, 2026-01-02",
  );
});

const QUIET: Look = { slowestMs: 14, distanceNs: 100 };
const FAR: Look = { slowestMs: 14, distanceNs: 400 };
const BUSY: Look = { slowestMs: 30, distanceNs: 400 };

Deno.test("isSteady() takes looks that are alike, however slow", () => {
  assertEquals(isSteady([QUIET, QUIET]), true);
  assertEquals(isSteady([BUSY, BUSY, BUSY]), true);
  assertEquals(isSteady([QUIET, FAR]), false);
  assertEquals(isSteady([FAR, BUSY]), false);
});

/** Measures kio beside C and Deno; tells which ran, by their first letters. */
async function measured(
  rounds: number,
  lookAfter: (ran: string) => Look,
  { endMs = Infinity, fails = "" } = {},
) {
  let ran = "";
  const one: Case = {
    title: "",
    base: "C",
    columns: [],
    peers: ["kio", "C", "Deno"].map((name) => ({
      name,
      installed: true,
      sample() {
        ran += name[0];
        if (name === fails) return Promise.reject(new Error("no"));
        return Promise.resolve({ us: ran.length });
      },
    })),
  };
  const silent = { round() {}, peer() {} };
  const look = () => Promise.resolve(lookAfter(ran));
  const results = await measure([one], rounds, endMs, silent, look);
  return { ran, results };
}

Deno.test("measure() repeats a disturbed run beside the base", async () => {
  // A look between two runs is one of both, and the base is of all.
  const first = await measured(2, (ran) => ran === "k" ? FAR : QUIET);
  assertEquals(first.ran, "kCDkCDkCD");
  assertEquals(first.results.steadyRounds("", "kio"), 2);
  assertEquals(first.results.median("", "kio", "us"), (4 + 7) / 2);
  let looks = 0;
  const { ran } = await measured(1, () => ++looks === 5 ? FAR : QUIET);
  assertEquals(ran, "kCDCD");
});

Deno.test("measure() counts a round in which all was as slow", async () => {
  const { ran } = await measured(2, (ran) => ran.length < 3 ? BUSY : QUIET);
  // Deno ran while it changed.
  assertEquals(ran, "kCDkCDCD");
});

Deno.test("measure() ends when the time is over", async () => {
  let looks = 0;
  const changing = () => looks++ % 3 > 0 ? QUIET : FAR;
  const { ran, results } = await measured(3, changing, { endMs: 0 });
  assertEquals(ran, "kCD");
  // Too few rounds are steady: the figures are of all.
  assertEquals(results.median("", "Deno", "us"), 3);
});

Deno.test("measure() leaves out a peer that has failed", async () => {
  const { ran, results } = await measured(2, () => QUIET, { fails: "Deno" });
  assertEquals(ran, "kCDkC");
  assertEquals(results.failure("", "Deno"), "no");
  assertEquals(results.median("", "kio", "us"), (1 + 4) / 2);
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
