/** `sendfile.c` on kio. Usage: sendfile_kio.ts PATH */

import {
  asyncAccept,
  asyncFstat,
  asyncOpen,
  asyncSendfile,
  IoContext,
  O_RDONLY,
  Socket,
  SocketAddress,
  TcpListener,
  unwrap,
} from "../../mod.ts";

using ctx = new IoContext();
const file = unwrap(await asyncOpen(ctx, Deno.args[0]!, O_RDONLY));
const { size } = unwrap(await asyncFstat(ctx, file));
const address = SocketAddress.v4(0, "127.0.0.1");
using listener = unwrap(TcpListener.bind(address));
console.log(`listening ${listener.localAddress!.port}`);
for (;;) {
  const client = new Socket(unwrap(await asyncAccept(ctx, listener)));
  unwrap(await asyncSendfile(ctx, client, file, 0, size));
  await client.close();
}
