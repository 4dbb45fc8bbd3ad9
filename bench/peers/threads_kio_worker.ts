/** A worker of `threads_kio.ts`. */

import {
  asyncAccept,
  joinPool,
  SocketAddress,
  TcpListener,
  unwrap,
} from "../../mod.ts";
import { echo } from "./echo.ts";

type Data = { listener: number } | { address: string };

void joinPool<Data>(async ({ ctx, cpu, data, pool }) => {
  const listener = "listener" in data ? data.listener : unwrap(
    TcpListener.bind(SocketAddress.parse(data.address), { incomingCpu: cpu }),
  );
  pool.ready();
  while (true) void echo(ctx, unwrap(await asyncAccept(ctx, listener)));
});
