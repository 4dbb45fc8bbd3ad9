/**
 * Sockets and their addresses, listening, connecting by name, accepting, and
 * closing connections without losing what was sent.
 *
 * @module
 */
export { type AddressFamily, SocketAddress } from "../lib/SocketAddress.ts";
export { acceptLoop, type AcceptLoopOptions } from "./accept_loop.ts";
export { Connections, type ConnectionsOptions } from "./connections.ts";
export { type PeerCredentials, Socket, type SocketType } from "./Socket.ts";
export type { Datagram, DatagramError } from "./datagram.ts";
export { type ListenFd, listenFds } from "./listen_fds.ts";
export type { SocketBase } from "./SocketBase.ts";
export type { SocketOptions } from "./socket_options.ts";
export type { StreamListener } from "./StreamListener.ts";
export type { StreamSocket } from "./StreamSocket.ts";
export { type ListenOptions, TcpListener } from "./TcpListener.ts";
export {
  type ConnectAttempt,
  type ConnectError,
  type ConnectFailure,
  type ConnectOptions,
  type ConnectResult,
  TcpStream,
} from "./TcpStream.ts";
export type {
  DatagramsOptions,
  LentDatagramsOptions,
  UdpConnectOptions,
  UdpOptions,
  UdpSendOptions,
} from "./udp_options.ts";
export { UdpSocket } from "./UdpSocket.ts";
export { UnixListener } from "./UnixListener.ts";
export { UnixStream } from "./UnixStream.ts";
