/** A worker of `dedicated_acceptor.ts`. */
import { Connections, joinPool } from "@kio/kio";
import { echo } from "./pool_echo.ts";

void joinPool(async ({ ctx, pool }) => {
  const connections = new Connections(
    ctx,
    (socket) => echo(ctx, socket, pool),
  );
  ctx.onFd = (fd) => connections.add(fd);
  const stopped = new Promise((resolve) => {
    pool.stopping.addEventListener("abort", resolve, { once: true });
  });
  pool.ready();
  await stopped;
  await connections.closed;
});
