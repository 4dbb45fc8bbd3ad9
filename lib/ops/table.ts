import type { Failure } from "../result.ts";

/** What the result of a completion means. */
export const Yields = { COUNT: 0, NOTHING: 1, FD: 2, DECODED: 3 } as const;

/** What is known of an operation before it starts. */
export interface Operation {
  /** The function that starts it: for exceptions and dumps. */
  readonly name: string;
  /** Completes "Cannot …: " in messages. */
  readonly verb: string;
  readonly yields: typeof Yields[keyof typeof Yields];
  /** Whether a result of 0 or more is (or carries) a new fd. */
  readonly makesFd: boolean;
  /** Its failures so far by errno, which all that fail alike share. */
  readonly failures: Map<number, Failure>;
}

function operation(
  name: string,
  verb: string,
  yields: Operation["yields"],
  makesFd = yields === Yields.FD,
): Operation {
  return Object.freeze({ name, verb, yields, makesFd, failures: new Map() });
}

export const READ = operation("asyncRead", "read", Yields.COUNT);
export const WRITE = operation("asyncWrite", "write", Yields.COUNT);
export const READV = operation("asyncReadv", "read", Yields.COUNT);
export const WRITEV = operation("asyncWritev", "write", Yields.COUNT);
export const READ_FIXED = operation("asyncReadFixed", "read", Yields.COUNT);
export const WRITE_FIXED = operation("asyncWriteFixed", "write", Yields.COUNT);
export const OPEN = operation("asyncOpen", "open", Yields.FD);
export const READ_EXACT = operation("asyncReadExact", "read", Yields.COUNT);
export const WRITE_EXACT = operation("asyncWriteExact", "write", Yields.COUNT);
export const OPENAT2 = operation("asyncOpenat2", "open", Yields.FD);
export const FSTAT = operation("asyncFstat", "stat", Yields.DECODED);
export const RENAME = operation("asyncRename", "rename", Yields.NOTHING);
export const UNLINK = operation("asyncUnlink", "unlink", Yields.NOTHING);
export const SENDFILE = operation("asyncSendfile", "send a file", Yields.COUNT);
export const SPLICE = operation("asyncSplice", "splice", Yields.COUNT);
export const CLOSE = operation("asyncClose", "close", Yields.NOTHING);
export const FSYNC = operation("asyncFsync", "fsync", Yields.NOTHING);
export const FDATASYNC = operation(
  "asyncFdatasync",
  "fdatasync",
  Yields.NOTHING,
);
export const FALLOCATE = operation(
  "asyncFallocate",
  "allocate file space",
  Yields.NOTHING,
);
export const FTRUNCATE = operation(
  "asyncFtruncate",
  "truncate",
  Yields.NOTHING,
);
export const ACCEPT = operation("asyncAccept", "accept", Yields.FD);
export const ACCEPT_FROM = operation(
  "asyncAcceptFrom",
  "accept",
  Yields.DECODED,
  true,
);
export const CONNECT = operation("asyncConnect", "connect", Yields.NOTHING);
export const RECV = operation("asyncRecv", "receive", Yields.COUNT);
export const SEND = operation("asyncSend", "send", Yields.COUNT);
export const RECV_EXACT = operation("asyncRecvExact", "receive", Yields.COUNT);
export const SEND_EXACT = operation("asyncSendExact", "send", Yields.COUNT);
export const RECVMSG = operation(
  "asyncRecvmsg",
  "receive a message",
  Yields.DECODED,
);
export const SENDMSG = operation(
  "asyncSendmsg",
  "send a message",
  Yields.COUNT,
);
export const POLL = operation("asyncPoll", "poll", Yields.COUNT);
export const SHUTDOWN = operation(
  "asyncShutdown",
  "shut down",
  Yields.NOTHING,
);
export const SLEEP = operation("asyncSleep", "sleep", Yields.NOTHING);
export const MSG_RING = operation(
  "asyncMsgRing",
  "message a ring",
  Yields.NOTHING,
);
export const PASS_FD = operation(
  "passFd",
  "pass an fd",
  Yields.NOTHING,
);
export const WAKE = operation("wake", "wake a ring", Yields.NOTHING);
export const JOIN_POOL = operation("joinPool", "join a pool", Yields.NOTHING);
export const OBSERVE = operation("observeStats", "observe", Yields.NOTHING);
export const LINK = operation("link", "link", Yields.NOTHING);
export const OFFLOAD = operation("offload", "offload a job", Yields.DECODED);
export const RESOLVE = operation(
  "SocketAddress.resolveAsync",
  "resolve a name",
  Yields.DECODED,
);
export const RESOLVE_ALL = operation(
  "SocketAddress.resolveAllAsync",
  "resolve a name",
  Yields.DECODED,
);
