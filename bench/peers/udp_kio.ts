/** Sends each datagram back, on kio. */

import { IoContext, SocketAddress, UdpSocket, unwrap } from "../../mod.ts";

using ctx = new IoContext({ entries: 1024 });

using socket = unwrap(UdpSocket.bind(SocketAddress.v4(0, "127.0.0.1")));
console.log(`listening ${socket.localAddress!.port}`);
for await (const { bytes, address } of socket.datagrams(ctx).orThrow()) {
  void socket.send(ctx, bytes, address);
}
