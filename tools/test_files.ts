/**
 * Runs test files side by side, one for each processor. Each has a Deno of its
 * own, so that the fds and threads that a test counts are its own.
 *
 *     deno run -A tools/test_files.ts [option of deno test …] FILE …
 *
 * Prints the output of a file when it has ended, and at the end the numbers of all
 * passed and failed tests.
 */
import { endWithOutput, LiveLine, minutesOf } from "../examples/terminal.ts";
import { summariesIn } from "./summary.ts";
import { tidily } from "./tidy.ts";

const USAGE =
  "usage: deno run -A tools/test_files.ts [OPTION of deno test ...] FILE ...";
const HELP = `Runs test files side by side, one for each processor.

${USAGE}

  --help  print this`;

const options = Deno.args.filter((it) => it.startsWith("-"));
const files = Deno.args.filter((it) => !it.startsWith("-"));
const count = files.length;
const startMs = performance.now();
let [done, passed, failed] = [0, 0, 0];

async function runFile(file: string, live: LiveLine): Promise<void> {
  const { success, stdout } = await new Deno.Command("sh", {
    // Both outputs in one, so that their order stays.
    args: ["-c", 'exec "$@" 2>&1', "sh", Deno.execPath(), "test"].concat(
      options,
      file,
    ),
    env: { NO_COLOR: "1" },
    stdin: "null",
    stderr: "null",
  }).output();
  const text = new TextDecoder().decode(stdout);
  live.print(text.trim());
  done++;
  const summary = summariesIn(text).at(-1);
  passed += summary?.passed ?? 0;
  // A file has failed if it ends without a summary, or contradicts its own.
  failed += summary?.failed || (success && summary !== undefined ? 0 : 1);
}

async function lane(live: LiveLine): Promise<void> {
  for (let file; (file = files.shift()) !== undefined;) {
    await runFile(file, live);
  }
}

async function main(): Promise<number> {
  endWithOutput();
  if (options.includes("--help")) {
    console.log(HELP);
    return 0;
  }
  if (count === 0) {
    console.error(`There is no file\n${USAGE}`);
    return 2;
  }
  using live = new LiveLine();
  const seconds = () => (performance.now() - startMs) / 1000;
  live.keep(() =>
    `${done} of ${count} files, ${passed} passed, ${failed} failed, ` +
    minutesOf(seconds())
  );
  await Promise.all(
    Array.from({ length: navigator.hardwareConcurrency }, () => lane(live)),
  );
  const tookS = seconds().toFixed();
  live.print(`\nall files, ${tookS} s:\n${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

await tidily(import.meta.url, main);
