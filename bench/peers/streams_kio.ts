/** Echo server through the byte streams of kio. */

import {
  IoContext,
  SocketAddress,
  TcpListener,
  type TcpStream,
  unwrap,
} from "../../mod.ts";

using ctx = new IoContext({ entries: 1024 });
const address = SocketAddress.v4(0, "127.0.0.1");
using listener = unwrap(TcpListener.bind(address, { ctx }));
console.log(`listening ${listener.addr.port}`);
for await (const stream of listener) void echo(stream);

async function echo(stream: TcpStream): Promise<void> {
  try {
    await stream.readable.pipeTo(stream.writable);
  } catch {
    // A client that resets its connection ends that connection only.
    await stream.close();
  }
}
