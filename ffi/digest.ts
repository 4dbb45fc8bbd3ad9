/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "59a7300b00dd3955884647ed19c03d1f7b63918d6eadcf491fd47fd99bd887db";
/** The version of that release. */
export const VERSION = "0.1.0";
