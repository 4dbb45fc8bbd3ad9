/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "70bd538ace1a0b707e68b5f202b994744866d2fba9f5cc75c34156145fcc9fd7";
