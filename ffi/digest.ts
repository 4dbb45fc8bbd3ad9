/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "b0d3e601510798a4f90bdfd736ba9fe668ff92911829e57df6f88bf0836ea650";
