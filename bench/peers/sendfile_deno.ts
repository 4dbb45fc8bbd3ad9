/** `sendfile.c` on Deno's streams. Usage: sendfile_deno.ts PATH */

const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
console.log(`listening ${(listener.addr as Deno.NetAddr).port}`);
for await (const client of listener) {
  const file = await Deno.open(Deno.args[0]!);
  await file.readable.pipeTo(client.writable);
}
