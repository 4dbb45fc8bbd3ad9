/** `proxy_kio.ts` on Deno's streams. Usage: proxy_deno.ts PORT */

const hostname = "127.0.0.1";
const to = Number(Deno.args[0]);

const listener = Deno.listen({ hostname, port: 0 });
console.log(`listening ${listener.addr.port}`);
for await (const client of listener) void forward(client);

async function forward(client: Deno.TcpConn): Promise<void> {
  const server = await Deno.connect({ hostname, port: to });
  client.setNoDelay();
  server.setNoDelay();
  await Promise.allSettled([
    client.readable.pipeTo(server.writable),
    server.readable.pipeTo(client.writable),
  ]);
}
