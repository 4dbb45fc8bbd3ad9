/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "852437af91b5e123dd3d14e8b9bbf303923ea7a82ceebc170499fb50ea5f813e";
