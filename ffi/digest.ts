/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "80c8b89fbed45579086ceb270547d5090473bd2577c0e709fef0cd2912c570a6";
/** The version of that release. */
export const VERSION = "0.1.0";
