/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "7413c5d1e4558f59b57b3829e8915ae20685bd593207332c184404c89ef886f3";
/** The version of that release. */
export const VERSION = "0.1.0";
