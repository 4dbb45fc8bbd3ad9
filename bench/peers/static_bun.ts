/** Serves a folder with Bun's own server: `static_bun.ts ROOT PORT`. */

declare const Bun: {
  argv: string[];
  file(path: string): Blob;
  serve(options: {
    hostname: string;
    port: number;
    fetch(request: Request): Response;
  }): void;
};

const [root, port] = Bun.argv.slice(2);
Bun.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  fetch: ({ url }) => new Response(Bun.file(root + new URL(url).pathname)),
});
