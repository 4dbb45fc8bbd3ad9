/** Accepts connections on Bun's own sockets and closes each at once. */

declare const Bun: {
  listen(options: {
    hostname: string;
    port: number;
    backlog: number;
    socket: {
      open(socket: { end(): void }): void;
      data(): void;
    };
  }): { port: number };
};

const server = Bun.listen({
  hostname: "127.0.0.1",
  port: 0,
  backlog: 4096,
  socket: {
    open: (socket) => socket.end(),
    data() {},
  },
});
console.log(`listening ${server.port}`);
