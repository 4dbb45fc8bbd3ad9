/** A worker of `multi_thread_echo.ts`. */
import {
  acceptLoop,
  Connections,
  joinPool,
  SocketAddress,
  TcpListener,
  unwrap,
} from "@kio/kio";
import { echo } from "./pool_echo.ts";

/** The fd of the listener that is shared, or the address for one's own. */
type Data = { listener: number } | { address: string };

void joinPool<Data>(async ({ ctx, cpu, data, pool }) => {
  const listener = "listener" in data ? data.listener : unwrap(
    // The CPU is known if the pool is pinned.
    TcpListener.bind(SocketAddress.parse(data.address), { incomingCpu: cpu }),
  );
  const connections = new Connections(
    ctx,
    (socket) => echo(ctx, socket, pool),
  );
  pool.ready();
  await acceptLoop(ctx, listener, (fd) => connections.add(fd), pool.stopping);
  // Its last connections are accepted: the port is free from now on.
  if (typeof listener !== "number") await listener.close();
  await connections.closed;
});
