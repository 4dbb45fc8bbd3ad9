/**
 * Echo server on Deno's own sockets in several workers, each with a listener
 * of its own on one port (SO_REUSEPORT).
 * Usage: threads_deno.ts WORKERS
 */

const module = import.meta.resolve("./threads_deno_worker.ts");
let port = 0;
for (let left = Number(Deno.args[0]); left > 0; left--) {
  const worker = new Worker(module, { type: "module" });
  const listening = new Promise<number>((resolve) => {
    worker.onmessage = ({ data }) =>
      data === "hello" ? worker.postMessage(port) : resolve(data);
  });
  port = await listening;
}
console.log(`listening ${port}`);
