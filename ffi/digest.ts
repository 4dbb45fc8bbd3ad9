/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "3109a79df2fc4c036d57b5dcdcd7d08c34938585e0121f9282959b857760fbd9";
