/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "65a310715b7a2cef7f830feba44a77bc9ed12f5e9b917fc980757bd7ac1ff9ea";
/** The version of that release. */
export const VERSION = "0.1.0";
