/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "28af03168f0acaa8b1bcc9c708bb4482133430413b9a808154cef97db8dee1f1";
/** The version of that release. */
export const VERSION = "0.2.0";
