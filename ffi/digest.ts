/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "1f65c20fbc5747544a307baaf643ca759bd470db5568c6d2cb779a3a7be8b58a";
/** The version of that release. */
export const VERSION = "0.2.0";
