/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "93ad5f65347dda55540b841f54cfb6d4d5a53ccbb31a16bd9310b2ba0f614574";
/** The version of that release. */
export const VERSION = "0.1.0";
