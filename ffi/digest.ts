/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "74fd845d68e644bfb2a95ddbb9604c32e0165c7774d5e57a2714b8e0b94653e3";
/** The version of that release. */
export const VERSION = "0.2.0";
