/** The sha256 of the C sources and of how they are compiled, at the last
 * release: `deno task digest` writes it. */
export const DIGEST =
  "3877d38675d57ed5e3dce78908b9cef7c24378fd8b0604d67af99a9145a0e5ea";
/** The version of that release. */
export const VERSION = "0.1.0";
