/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "ca5be3ab43220037db8670af58d97a81246fcda0eff3bea41ea265aeeabcf920";
/** The version of that release. */
export const VERSION = "0.1.0";
