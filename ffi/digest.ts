/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "a6112217487cd5b511f214eb509040a6895bc012db5263676194ba87862afe43";
/** The version of that release. */
export const VERSION = "0.1.0";
