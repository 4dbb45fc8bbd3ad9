/**
 * Writes ffi/digest.ts, from which an installed package names its library:
 * `deno task digest`, before a release. A checkout does not use it.
 */
import { readArguments } from "../examples/command_line.ts";
import config from "../deno.json" with { type: "json" };
import { SOURCES } from "../ffi/sources.ts";

readArguments({
  command: "deno task digest",
  about: "Writes ffi/digest.ts, before a release.",
  options: {},
}, () => {});
const ffi = new URL("../ffi/", import.meta.url);
const compile = Deno.readTextFileSync(new URL("compile.ts", ffi));
const sources = [...Object.entries(SOURCES).flat(), compile];
const bytes = new TextEncoder().encode(sources.join("\0"));
const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
Deno.writeTextFileSync(
  new URL("digest.ts", ffi),
  `/** The sha256 of the C sources and of how they are compiled, at the last
 * release: \`deno task digest\` writes it. */
export const DIGEST =
  "${digest.toHex()}";
/** The version of that release. */
export const VERSION = "${config.version}";
`,
);
