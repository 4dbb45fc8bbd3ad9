/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "6af1cf8b9accb93d3320d3c0d7572f8581b031ca27384fe2ae80b3e7bb8150ef";
/** The version of that release. */
export const VERSION = "0.1.0";
