/** A worker of `threads_deno.ts`: told its port, 0 for any. */

const BUFFER_BYTES = 16384;

interface Scope {
  onmessage: (event: MessageEvent<number>) => void;
  postMessage(message: unknown): void;
}
const scope = globalThis as unknown as Scope;

async function serve(connection: Deno.TcpConn): Promise<void> {
  using conn = connection;
  conn.setNoDelay(true);
  const buffer = new Uint8Array(BUFFER_BYTES);
  while (true) {
    const length = await conn.read(buffer);
    if (length === null) return;
    let sent = 0;
    while (sent < length) {
      sent += await conn.write(buffer.subarray(sent, length));
    }
  }
}

scope.onmessage = async ({ data: port }) => {
  const listener = Deno.listen({
    hostname: "127.0.0.1",
    port,
    reusePort: true,
    tcpBacklog: 4096,
  });
  scope.postMessage(listener.addr.port);
  for await (const connection of listener) {
    // A client that resets its connection ends that connection only.
    serve(connection).catch(() => {});
  }
};
scope.postMessage("hello");
