/** Serves a folder with Deno's own server: `static_deno.ts ROOT PORT`. */

const [root, port] = Deno.args;
Deno.serve(
  { hostname: "127.0.0.1", port: Number(port), onListen: () => {} },
  async ({ url }) => {
    const file = await Deno.open(root + new URL(url).pathname);
    const { size } = await file.stat();
    const headers = { "content-length": `${size}` };
    return new Response(file.readable, { headers });
  },
);
