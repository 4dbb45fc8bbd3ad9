/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "817f2bac83b176ab9a0b3ab2340f95c741bf24e7cb45183dd4241e2db2d8ea77";
