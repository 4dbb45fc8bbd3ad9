/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "e9491da0356d9c63dd25974a549117e88b14e571d44515c062edf76d5006b103";
/** The version of that release. */
export const VERSION = "0.1.0";
