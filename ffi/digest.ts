/** The sha256 of kio.c, guard.c and compile.ts: `deno task build` writes it. */
export const DIGEST =
  "b39b405eb7e432f8cf07b5808cf04a983135ff273e02138f854b6b9545bd1f21";
