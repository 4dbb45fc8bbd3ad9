/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "31446b5d1a0ced3330890578c3d0729bce10807091a6256b29cbcad39f208583";
/** The version of that release. */
export const VERSION = "0.2.0";
