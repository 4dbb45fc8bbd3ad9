/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "61c8619547c10077a804a5c88b160862002de53742f13b61820f8be6fb2ff0ae";
/** The version of that release. */
export const VERSION = "0.1.0";
