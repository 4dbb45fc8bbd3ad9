/** The operations on files, sockets, time and rings. C++: `io.hpp` */
export * from "./ops/file.ts";
export * from "./ops/link.ts";
export * from "./ops/message.ts";
export * from "./ops/multishot.ts";
export * from "./ops/read_write.ts";
export * from "./ops/receive_multishot.ts";
export * from "./ops/read_multishot.ts";
export * from "./ops/ring_message.ts";
export * from "./ops/socket.ts";
export * from "./ops/splice.ts";
export * from "./ops/wait.ts";
