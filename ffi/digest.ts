/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "0d6edbf09b62bbb3c7647477698273931c91bc67c27519d43c5380e74c2c9697";
/** The version of that release. */
export const VERSION = "0.2.0";
