/**
 * Makes docs/screenshots/: `deno task screenshots [demo | doctor ...]`. Runs the
 * programs at a terminal of script(1), plays what they write, and draws the
 * screen that is left. Any font of one width will do for the pictures.
 */
import { readArguments } from "../examples/command_line.ts";
import { tidily } from "./tidy.ts";

const FOLDER = new URL("../docs/screenshots/", import.meta.url);
const COLUMNS = 80;

/** The programs, by the tasks that a user types. */
const PROGRAMS: Readonly<Record<string, string>> = {
  demo: "examples/demo.ts",
  doctor: "doctor.ts",
};

/** A character of the screen; its style is that of SGR, 0 if plain. */
interface Cell {
  text: string;
  style: number;
}

/** The checkout, and its place in the pictures. */
const ROOT = decodeURIComponent(new URL("../", import.meta.url).pathname);
const SHOWN_ROOT = "/home/you/kio/";

/** Gives what a program writes to a terminal. */
async function recorded(program: string): Promise<string> {
  const path = ROOT + program;
  const command = `stty columns ${COLUMNS} rows 24; ` +
    `'${Deno.execPath()}' run -A --no-check '${path}'`;
  const { success, stdout } = await new Deno.Command("script", {
    args: ["--quiet", "--return", "--command", command, "/dev/null"],
    env: { NO_COLOR: "" },
    stdin: "null",
  }).output();
  const text = new TextDecoder().decode(stdout);
  if (!success) throw new Error(`Cannot run ${program}: it says\n${text}`);
  return text.replaceAll(ROOT, SHOWN_ROOT);
}

/** Plays a recording. Knows the codes that the programs write. */
export function played(recording: string): Cell[][] {
  const rows: Cell[][] = [[]];
  let [row, column, style] = [0, 0, 0];
  // deno-lint-ignore no-control-regex -- Codes of a terminal begin with ESC.
  const token = /\x1b\[(\??\d*)([A-Za-z])|[^]/gu;
  for (const [text, argument = "", code] of recording.matchAll(token)) {
    if (code === "m") style = Number(argument);
    else if (code === "A") row -= Number(argument);
    else if (code === "G") column = Math.max(0, Number(argument) - 1);
    else if (code === "J") {
      rows.length = row + 1;
      rows[row]!.length = Math.min(rows[row]!.length, column);
    } else if (code === "K") {
      rows[row]!.length = Math.min(rows[row]!.length, column);
    } else if (/^\?25[hl]$/.test(argument + code)) continue;
    else if (code !== undefined || text === "\x1b") {
      throw new Error(`there is no code ${JSON.stringify(text)} here`);
    } else if (text === "\r") column = 0;
    else if (text === "\n") rows[++row] ??= [];
    else rows[row]![column++] = { text, style };
  }
  while (rows.at(-1)?.length === 0) rows.pop();
  return rows;
}

const SIZE = 14;
const [CELL_WIDTH, CELL_HEIGHT, MARGIN] = [8.4, 20, 16];
const COLOURS: Readonly<Record<number, string>> = {
  0: "#e6edf3",
  2: "#9198a1",
  31: "#ff7b72",
  32: "#56d364",
  33: "#e3b341",
  34: "#79c0ff",
};

/** The words and bars of a row, and where they are. */
function runsOf(cells: readonly Cell[]): { at: number; run: Cell }[] {
  const line = cells.map(({ text }) => text).join("");
  return Array.from(line.matchAll(/█+|[^ █]+/g), ({ index, 0: text }) => ({
    at: index,
    run: { text, style: cells[index]!.style },
  }));
}

/** Draws a screen. The places of characters do not depend on the font. */
export function drawn(rows: readonly Cell[][], title: string): string {
  const width = Math.round(2 * MARGIN + COLUMNS * CELL_WIDTH);
  const height = 2 * MARGIN + rows.length * CELL_HEIGHT;
  const parts = rows.flatMap((cells, row) =>
    runsOf(cells).map(({ at, run: { text, style } }) => {
      const fill = COLOURS[style];
      const x = (MARGIN + at * CELL_WIDTH).toFixed(1);
      const length = (text.length * CELL_WIDTH).toFixed(1);
      const top = MARGIN + row * CELL_HEIGHT;
      if (text.startsWith("█")) {
        return `<rect x="${x}" y="${
          top + 3
        }" width="${length}" height="14" fill="${fill}"/>`;
      }
      const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
      return `<text x="${x}" y="${
        top + 15
      }" textLength="${length}" fill="${fill}">${escaped}</text>`;
    })
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="${SIZE}">
<title>${title}</title>
<rect width="100%" height="100%" rx="8" fill="#0d1117"/>
${parts.join("\n")}
</svg>
`;
}

async function main(): Promise<number> {
  const names = readArguments({
    command: "deno task screenshots",
    about: "Draws what the demo and the doctor leave on a terminal.",
    operands: `[${Object.keys(PROGRAMS).join(" | ")} ...]`,
    options: {},
  }, (_, operands) => {
    const wrong = operands.find((it) => !Object.hasOwn(PROGRAMS, it));
    if (wrong !== undefined) throw new TypeError(`"${wrong}" is no picture`);
    return operands.length > 0 ? operands : Object.keys(PROGRAMS);
  });
  Deno.mkdirSync(FOLDER, { recursive: true });
  for (const name of names) {
    const command = `$ deno task ${name}`;
    const prompt = Array.from(command, (text) => ({ text, style: 2 }));
    const rows = [prompt, ...played(await recorded(PROGRAMS[name]!))];
    const url = new URL(`${name}.svg`, FOLDER);
    Deno.writeTextFileSync(url, drawn(rows, command));
    console.log(url.pathname);
  }
  return 0;
}

if (import.meta.main) await tidily(import.meta.url, main);
