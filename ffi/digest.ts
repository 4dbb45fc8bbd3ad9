/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "f1d7331debb4fc66d01f11f973f8f4e4086c5af44379a30557fcb030f0996359";
/** The version of that release. */
export const VERSION = "0.1.0";
