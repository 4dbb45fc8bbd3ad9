/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "fc7acb9e4897bbbde2fe134c5caa7fa77889226f8958841b20525888b54f03ca";
/** The version of that release. */
export const VERSION = "0.1.0";
