/** HTTPS server on `Deno.listenTls()`. Usage: tls_deno.ts CERT KEY */
import { answerTo } from "./tls_answers.mjs";

const [cert, key] = Deno.args.map((path) => Deno.readTextFileSync(path));
const listener = Deno.listenTls({
  hostname: "127.0.0.1",
  port: 0,
  cert: cert!,
  key: key!,
});
console.log(`listening ${listener.addr.port}`);
for await (const client of listener) void serve(client).catch(() => {});

async function serve(client: Deno.TlsConn): Promise<void> {
  using _ = client;
  const buffer = new Uint8Array(16384);
  for (let isOver = false; !isOver;) {
    if (await client.read(buffer) === null) return;
    const { answer, isLast } = answerTo(buffer);
    let rest = answer;
    while (rest.length > 0) rest = rest.subarray(await client.write(rest));
    isOver = isLast;
  }
}
