/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "570d5c0d6fbad40287429a97f02fe9099609fa3bbe19c2a98e7c6dd46787a1c0";
/** The version of that release. */
export const VERSION = "0.1.0";
