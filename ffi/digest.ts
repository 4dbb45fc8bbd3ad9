/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "44c8971ae1f0ed1ace3f1f00f2e3c6155962d19e9d5fa9de3f3bda9dcc7e5a15";
/** The version of that release. */
export const VERSION = "0.1.0";
