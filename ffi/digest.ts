/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "b7856ba30037c1b30c87506da67b4b08e5cf2a5362aa7344db47df4d6581cf44";
/** The version of that release. */
export const VERSION = "0.2.0";
