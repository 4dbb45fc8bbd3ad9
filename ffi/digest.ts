/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "08f45a7d521d4678d3302799483a5300c99e9a432d8bfc6c46175bd35a5d1bd4";
/** The version of that release. */
export const VERSION = "0.1.0";
