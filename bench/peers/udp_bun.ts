/** Sends each datagram back, on Bun's own sockets. */

interface BunUdpSocket {
  readonly port: number;
  send(bytes: Uint8Array, port: number, address: string): boolean;
}

declare const Bun: {
  udpSocket(options: {
    hostname: string;
    port: number;
    socket: {
      data(
        socket: BunUdpSocket,
        bytes: Uint8Array,
        port: number,
        address: string,
      ): void;
    };
  }): Promise<BunUdpSocket>;
};

const socket = await Bun.udpSocket({
  hostname: "127.0.0.1",
  port: 0,
  socket: {
    data(socket, bytes, port, address) {
      socket.send(bytes, port, address);
    },
  },
});
console.log(`listening ${socket.port}`);
