/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "66178ed5cace877375c7ff2719605803c00e7001f9097eba54b25daa52081248";
/** The version of that release. */
export const VERSION = "0.1.0";
