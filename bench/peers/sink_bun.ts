/** `sink_liburing.c` on Bun's own sockets. */

interface BunSocket {
  data: number;
  end(bytes: BigUint64Array): void;
}

declare const Bun: {
  listen(options: {
    hostname: string;
    port: number;
    allowHalfOpen: boolean;
    socket: {
      open(socket: BunSocket): void;
      data(socket: BunSocket, bytes: Uint8Array): void;
      end(socket: BunSocket): void;
    };
  }): { port: number };
};

const server = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  allowHalfOpen: true,
  socket: {
    open(socket) {
      socket.data = 0;
    },
    data(socket, { length }) {
      socket.data += length;
    },
    end(socket) {
      socket.end(new BigUint64Array([BigInt(socket.data)]));
    },
  },
});
console.log(`listening ${server.port}`);
