/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "62545718dbfedc2da2a09f753b65d8722d1bf616465c2e9761df70595cc8c2f6";
/** The version of that release. */
export const VERSION = "0.2.0";
