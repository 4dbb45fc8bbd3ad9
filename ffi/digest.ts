/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "625ee6acf38e22c001394516e41a76f18b61cc53bad1bdd7cd6d052a01edff89";
