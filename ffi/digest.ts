/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "1a4fb12ed52fd436a6140a00cf69b88d4158d09eb3fb427e42ff98d4813304da";
/** The version of that release. */
export const VERSION = "0.1.0";
