/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "88c32c8723679e6515ed677bfe99869de14af06df1ce7b7be50fa330c2f59459";
/** The version of that release. */
export const VERSION = "0.2.0";
