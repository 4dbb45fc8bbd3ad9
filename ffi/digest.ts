/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "2cd23cfa334eb31166d14941788afc2714c7388e5b1d91b169c4ccdf6b1515b9";
/** The version of that release. */
export const VERSION = "0.1.0";
