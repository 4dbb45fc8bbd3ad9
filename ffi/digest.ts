/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "597989293468dd4af1a2857ba614e77193824f0a18f41c029c6cdf16d437f4a2";
/** The version of that release. */
export const VERSION = "0.1.0";
