/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "fb9ff92bcf9c77cd3166d69daec3daf73024795db392af453884797fc5af1962";
