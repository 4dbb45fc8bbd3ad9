/** Echo server on Bun's own sockets, the fastest it has. */

interface BunSocket {
  data: Uint8Array[];
  write(bytes: Uint8Array): number;
}

declare const Bun: {
  listen(options: {
    hostname: string;
    port: number;
    backlog: number;
    socket: {
      open(socket: BunSocket): void;
      data(socket: BunSocket, bytes: Uint8Array): void;
      drain(socket: BunSocket): void;
    };
  }): { port: number };
};

const server = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  backlog: 4096,
  socket: {
    open(socket) {
      socket.data = [];
    },
    data(socket, bytes) {
      // Bytes that had to wait go first.
      const sent = socket.data.length > 0 ? 0 : socket.write(bytes);
      if (sent < bytes.length) socket.data.push(bytes.slice(sent));
    },
    drain(socket) {
      let next = socket.data[0];
      while (next !== undefined) {
        const sent = socket.write(next);
        if (sent < next.length) {
          socket.data[0] = next.subarray(sent);
          return;
        }
        socket.data.shift();
        next = socket.data[0];
      }
    },
  },
});
console.log(`listening ${server.port}`);
