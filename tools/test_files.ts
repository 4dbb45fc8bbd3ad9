/**
 * Runs test files side by side, one for each processor. Each has a Deno of its
 * own, so that the fds and threads that a test counts are its own.
 *
 *     deno run -A tools/test_files.ts [option of deno test …] FILE …
 *
 * Prints the output of a file when it has ended, and at the end the numbers of all
 * passed and failed tests.
 */
import { summariesIn } from "./summary.ts";

const options = Deno.args.filter((it) => it.startsWith("-"));
const files = Deno.args.filter((it) => !it.startsWith("-"));
const startMs = performance.now();
let [passed, failed] = [0, 0];

async function runFile(file: string): Promise<void> {
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
  console.log(text.trim());
  const summary = summariesIn(text).at(-1);
  passed += summary?.passed ?? 0;
  // A file has failed if it ends without a summary, or contradicts its own.
  failed += summary?.failed || (success && summary !== undefined ? 0 : 1);
}

async function lane(): Promise<void> {
  for (let file; (file = files.shift()) !== undefined;) await runFile(file);
}

await Promise.all(
  Array.from({ length: navigator.hardwareConcurrency }, lane),
);
const tookS = ((performance.now() - startMs) / 1000).toFixed();
console.log(`\nall files, ${tookS} s:\n${passed} passed, ${failed} failed`);
Deno.exit(failed === 0 && passed > 0 ? 0 : 1);
