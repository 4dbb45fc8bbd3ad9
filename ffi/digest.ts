/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "2477eb9271e0e7d71e82611a45622da7e1648c14075a8d2f3038ee07a68c9cc0";
/** The version of that release. */
export const VERSION = "0.1.0";
