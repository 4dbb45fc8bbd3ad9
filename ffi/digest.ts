/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "e316eb675685ec03a8ccb8f16bb35d459207f01a7da386de4e578760d57bffc6";
/** The version of that release. */
export const VERSION = "0.1.0";
