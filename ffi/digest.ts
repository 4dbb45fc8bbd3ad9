/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "8fb6294c603db3b90c76b3ab915965ae73ec98141e87df90d1010d7303ae95bb";
/** The version of that release. */
export const VERSION = "0.1.0";
