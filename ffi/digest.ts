/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "c58387579851244ed09f9a2c1adefb54da9164ec69ac76e461a120bea081b030";
/** The version of that release. */
export const VERSION = "0.1.0";
