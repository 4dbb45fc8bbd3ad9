/** Sends each datagram back, on kio, from buffers of a pool. */

import {
  BufferPool,
  IoContext,
  SocketAddress,
  UdpSocket,
  unwrap,
} from "../../mod.ts";

using ctx = new IoContext({ entries: 1024 });
using pool = new BufferPool(ctx, { count: 256, size: 2048 });

using socket = unwrap(UdpSocket.bind(SocketAddress.v4(0, "127.0.0.1")));
console.log(`listening ${socket.localAddress!.port}`);
for await (const datagram of socket.datagrams(ctx, { pool }).orThrow()) {
  void socket.send(ctx, datagram, datagram.address);
}
