/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "21adea5095304a4486a192788e3b9212f2c04b13b71eb6b143d4ee7fd50d8869";
/** The version of that release. */
export const VERSION = "0.1.0";
