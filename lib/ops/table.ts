// deno-fmt-ignore-file: one row a line

/**
 * One row an operation: what the library knows of it before it starts. The
 * other row is in the shim's opcodes.c: what its fields point to. From the rows
 * come `capabilities`, the doctor's table, docs/kernel-support.md, the fault
 * plan's operations, and the tests that try every operation.
 */
import { POLLIN, POLLOUT } from "../constants.ts";
import { type Operation, Patience, Yields } from "../ring/operation.ts";

/** The row of an operation. */
export interface Row<Fault extends string | undefined = string | undefined>
  extends Operation {
  /** The first Linux that has the opcode; empty if there is none. */
  readonly since: string;
  /** The system call that the calling thread makes in place of the opcode where
   * the kernel has none. */
  readonly fallback: string | undefined;
  /** The opcode that does the same where the kernel has only this. */
  readonly orElse: number | undefined;
  /** The fault plan's name for the opcode, which opcodes.c has too. */
  readonly fault: Fault;
}

type Facts<Fault extends string | undefined> =
  & Pick<Row, "name" | "verb" | "yields">
  & Partial<Row<Fault>>;

function row<Fault extends string | undefined = undefined>(
  facts: Facts<Fault>,
): Row<Fault> {
  return Object.freeze({
    opcode: -1,
    makesFd: facts.yields === Yields.FD,
    closesFd: false,
    waits: 0,
    holdsBack: false,
    patience: Patience.NEVER,
    since: "",
    fallback: undefined,
    orElse: undefined,
    fault: undefined as Fault,
    ...facts,
  });
}

const { COUNT, NOTHING, FD, DECODED } = Yields;
const { OF_STREAMS, ALWAYS, ENDLESS } = Patience;

export const READ: Row<"read"> = row({ name: "asyncRead", verb: "read", yields: COUNT, waits: POLLIN, opcode: 22, since: "5.6", fault: "read", patience: OF_STREAMS });
export const WRITE: Row<"write"> = row({ name: "asyncWrite", verb: "write", yields: COUNT, waits: POLLOUT, opcode: 23, since: "5.6", fault: "write" });
export const READV: Row<"readv"> = row({ name: "asyncReadv", verb: "read", yields: COUNT, waits: POLLIN, opcode: 1, since: "5.1", fault: "readv", patience: OF_STREAMS });
export const WRITEV: Row<"writev"> = row({ name: "asyncWritev", verb: "write", yields: COUNT, waits: POLLOUT, opcode: 2, since: "5.1", fault: "writev" });
export const READ_FIXED: Row<"read"> = row({ name: "asyncReadFixed", verb: "read", yields: COUNT, waits: POLLIN, opcode: 22, since: "5.6", fault: "read", patience: OF_STREAMS });
export const WRITE_FIXED: Row<"write"> = row({ name: "asyncWriteFixed", verb: "write", yields: COUNT, waits: POLLOUT, opcode: 23, since: "5.6", fault: "write" });
export const READ_EXACT: Row<"read"> = row({ name: "asyncReadExact", verb: "read", yields: COUNT, opcode: 22, since: "5.6", fault: "read", patience: OF_STREAMS });
export const WRITE_EXACT: Row<"write"> = row({ name: "asyncWriteExact", verb: "write", yields: COUNT, opcode: 23, since: "5.6", fault: "write" });
export const OPEN: Row<"open"> = row({ name: "asyncOpen", verb: "open", yields: FD, opcode: 18, since: "5.6", fault: "open" });
/** `asyncOpen()` of a direct descriptor, with restrictions or without. */
export const OPEN_DIRECT: Row<"open"> = row({ ...OPEN, yields: DECODED, makesFd: false });
/** `asyncOpen()` with restrictions. */
export const OPEN_HOW: Row<"openat2"> = row({ name: "asyncOpen", verb: "open", yields: FD, opcode: 28, since: "5.6", fault: "openat2" });
export const FSTAT: Row<"statx"> = row({ name: "asyncFstat", verb: "stat", yields: DECODED, opcode: 21, since: "5.6", fault: "statx" });
export const RENAME: Row<"rename"> = row({ name: "asyncRename", verb: "rename", yields: NOTHING, opcode: 35, since: "5.11", fault: "rename" });
export const UNLINK: Row<"unlink"> = row({ name: "asyncUnlink", verb: "unlink", yields: NOTHING, opcode: 36, since: "5.11", fault: "unlink" });
export const CLOSE: Row<"close"> = row({ name: "asyncClose", verb: "close", yields: NOTHING, opcode: 19, since: "5.6", fault: "close", closesFd: true });
export const FSYNC: Row<"fsync"> = row({ name: "asyncFsync", verb: "fsync", yields: NOTHING, opcode: 3, since: "5.1", fault: "fsync" });
export const FDATASYNC: Row<"fsync"> = row({ name: "asyncFdatasync", verb: "fdatasync", yields: NOTHING, opcode: 3, since: "5.1", fault: "fsync" });
export const FALLOCATE: Row<"fallocate"> = row({ name: "asyncFallocate", verb: "allocate file space", yields: NOTHING, opcode: 17, since: "5.6", fault: "fallocate" });
export const FTRUNCATE: Row<"ftruncate"> = row({ name: "asyncFtruncate", verb: "truncate", yields: NOTHING, opcode: 55, since: "6.9", fallback: "ftruncate(2)", fault: "ftruncate" });
export const SPLICE: Row<"splice"> = row({ name: "asyncSplice", verb: "splice", yields: COUNT, opcode: 30, since: "5.7", fault: "splice", patience: ALWAYS });
export const SENDFILE: Row<"splice"> = row({ name: "asyncSendfile", verb: "send a file", yields: COUNT, opcode: 30, since: "5.7", fault: "splice" });
export const ACCEPT: Row<"accept"> = row({ name: "asyncAccept", verb: "accept", yields: FD, opcode: 13, since: "5.5", fault: "accept", holdsBack: true, patience: ALWAYS });
export const ACCEPT_FROM: Row<"accept"> = row({ name: "asyncAcceptFrom", verb: "accept", yields: DECODED, opcode: 13, since: "5.5", fault: "accept", makesFd: true, holdsBack: true, patience: ALWAYS });
export const ACCEPT_MULTISHOT: Row<"accept"> = row({ name: "asyncAcceptMultishot", verb: "accept", yields: FD, opcode: 13, since: "5.19", fault: "accept", patience: ENDLESS });
/** `asyncAccept()` of a direct descriptor. */
export const ACCEPT_DIRECT: Row<"accept"> = row({ ...ACCEPT, yields: DECODED, makesFd: false });
/** `asyncAcceptMultishot()` of direct descriptors. */
export const ACCEPT_MULTISHOT_DIRECT: Row<"accept"> = row({ ...ACCEPT_MULTISHOT, yields: DECODED, makesFd: false });
export const INSTALL_FD: Row<"fixedFdInstall"> = row({ name: "asyncInstallFd", verb: "install an fd", yields: FD, opcode: 54, since: "6.8", fault: "fixedFdInstall" });
export const RECV_MULTISHOT: Row<"recv"> = row({ name: "asyncRecvMultishot", verb: "receive", yields: NOTHING, opcode: 27, since: "6.0", fault: "recv", patience: ENDLESS });
export const RECVMSG_MULTISHOT: Row<"recvmsg"> = row({ name: "asyncRecvmsgMultishot", verb: "receive messages", yields: NOTHING, opcode: 10, since: "6.0", fault: "recvmsg", patience: ENDLESS });
export const READ_MULTISHOT: Row<"read"> = row({ name: "asyncReadMultishot", verb: "read", yields: NOTHING, opcode: 22, since: "6.12", fault: "read", patience: ENDLESS });
export const CONNECT: Row<"connect"> = row({ name: "asyncConnect", verb: "connect", yields: NOTHING, opcode: 16, since: "5.5", fault: "connect" });
export const RECV: Row<"recv"> = row({ name: "asyncRecv", verb: "receive", yields: COUNT, opcode: 27, since: "5.6", fault: "recv", patience: ALWAYS });
export const SEND: Row<"send"> = row({ name: "asyncSend", verb: "send", yields: COUNT, opcode: 26, since: "5.6", fault: "send" });
export const RECV_EXACT: Row<"recv"> = row({ name: "asyncRecvExact", verb: "receive", yields: COUNT, opcode: 27, since: "5.6", fault: "recv", patience: ALWAYS });
export const SEND_EXACT: Row<"send"> = row({ name: "asyncSendExact", verb: "send", yields: COUNT, opcode: 26, since: "5.6", fault: "send" });
/** `asyncSendExact()` of several buffers. */
export const SEND_ALL: Row<"sendmsg"> = row({ ...SEND_EXACT, opcode: 9, since: "5.3", fault: "sendmsg" });
export const RECVMSG: Row<"recvmsg"> = row({ name: "asyncRecvmsg", verb: "receive a message", yields: DECODED, opcode: 10, since: "5.3", fault: "recvmsg", patience: ALWAYS });
export const SENDMSG: Row<"sendmsg"> = row({ name: "asyncSendmsg", verb: "send a message", yields: COUNT, opcode: 9, since: "5.3", fault: "sendmsg" });
export const SEND_ZC: Row<"sendZc"> = row({ name: "asyncSendZc", verb: "send", yields: DECODED, opcode: 47, since: "6.0", fault: "sendZc", orElse: SEND.opcode });
export const SENDMSG_ZC: Row<"sendmsgZc"> = row({ name: "asyncSendmsgZc", verb: "send a message", yields: DECODED, opcode: 48, since: "6.1", fault: "sendmsgZc", orElse: SENDMSG.opcode });
export const SHUTDOWN: Row<"shutdown"> = row({ name: "asyncShutdown", verb: "shut down", yields: NOTHING, opcode: 34, since: "5.11", fault: "shutdown" });
export const POLL: Row<"poll"> = row({ name: "asyncPoll", verb: "poll", yields: COUNT, opcode: 6, since: "5.1", fault: "poll", patience: ALWAYS });
export const POLL_MULTISHOT: Row<"poll"> = row({ name: "asyncPollMultishot", verb: "poll", yields: COUNT, opcode: 6, since: "5.13", fault: "poll", patience: ENDLESS });
export const SLEEP: Row<undefined> = row({ name: "asyncSleep", verb: "sleep", yields: NOTHING, opcode: 11, since: "5.4", patience: ALWAYS });
export const MSG_RING: Row<"msgRing"> = row({ name: "asyncMsgRing", verb: "message a ring", yields: NOTHING, opcode: 40, since: "5.18", fault: "msgRing" });
export const WAKE: Row<undefined> = row({ name: "wake", verb: "wake a ring", yields: NOTHING, opcode: 40, since: "5.18" });
export const PIPE: Row<undefined> = row({ name: "asyncPipe", verb: "make a pipe", yields: DECODED, fallback: "pipe2(2)" });
export const STAT: Row<"statx"> = row({ ...FSTAT, name: "asyncStat" });
export const LSTAT: Row<"statx"> = row({ ...FSTAT, name: "asyncLstat" });
export const MKDIR: Row<"mkdir"> = row({ name: "asyncMkdir", verb: "make the directory", yields: NOTHING, opcode: 37, since: "5.15", fault: "mkdir" });
export const HARD_LINK: Row<"link"> = row({ ...MKDIR, name: "asyncLink", verb: "link", opcode: 39, fault: "link" });
export const SYMLINK: Row<"symlink"> = row({ ...MKDIR, name: "asyncSymlink", verb: "make the symbolic link", opcode: 38, fault: "symlink" });
export const READLINK: Row<undefined> = row({ name: "asyncReadlink", verb: "read the symbolic link", yields: DECODED, fallback: "readlinkat(2)" });
export const GETXATTR: Row<"getxattr"> = row({ name: "asyncGetxattr", verb: "get the attribute", yields: DECODED, opcode: 44, since: "5.19", fault: "getxattr" });
/** `asyncGetxattr()` of an fd. */
export const FGETXATTR: Row<"fgetxattr"> = row({ ...GETXATTR, opcode: 43, fault: "fgetxattr" });
export const SETXATTR: Row<"setxattr"> = row({ ...GETXATTR, name: "asyncSetxattr", verb: "set the attribute", yields: NOTHING, opcode: 42, fault: "setxattr" });
/** `asyncSetxattr()` of an fd. */
export const FSETXATTR: Row<"fsetxattr"> = row({ ...SETXATTR, opcode: 41, fault: "fsetxattr" });
export const FADVISE: Row<"fadvise"> = row({ name: "asyncFadvise", verb: "advise the kernel", yields: NOTHING, opcode: 24, since: "5.6", fault: "fadvise" });
export const SYNC_FILE_RANGE: Row<"syncFileRange"> = row({ name: "asyncSyncFileRange", verb: "sync a file range", yields: NOTHING, opcode: 8, since: "5.2", fault: "syncFileRange" });
export const SOCKET: Row<"socket"> = row({ name: "asyncSocket", verb: "open a socket", yields: FD, opcode: 45, since: "5.19", fault: "socket" });
export const SOCKET_DIRECT: Row<"socket"> = row({ ...SOCKET, yields: DECODED, makesFd: false });
export const BIND: Row<"bind"> = row({ name: "asyncBind", verb: "bind", yields: NOTHING, opcode: 56, since: "6.11", fallback: "bind(2)", fault: "bind" });
export const LISTEN: Row<"listen"> = row({ name: "asyncListen", verb: "listen", yields: NOTHING, opcode: 57, since: "6.11", fallback: "listen(2)", fault: "listen" });
export const SETSOCKOPT: Row<"uringCmd"> = row({ name: "asyncSetsockopt", verb: "set an option", yields: NOTHING, opcode: 46, since: "6.7", fallback: "setsockopt(2)", fault: "uringCmd" });
export const GETSOCKOPT: Row<"uringCmd"> = row({ ...SETSOCKOPT, name: "asyncGetsockopt", verb: "get an option", yields: DECODED, fallback: "getsockopt(2)" });
export const SPLICE_ALL: Row<"splice"> = row({ ...SPLICE, name: "asyncSpliceAll", patience: ENDLESS });
export const TEE: Row<"tee"> = row({ ...SPLICE, name: "asyncTee", verb: "tee", opcode: 33, since: "5.8", fault: "tee" });

// No operations of the kernel: what threads do, and what only has a verb.

export const OFFLOAD: Row<undefined> = row({ name: "offload", verb: "offload a job", yields: DECODED });
export const RESOLVE: Row<undefined> = row({ name: "SocketAddress.resolveAsync", verb: "resolve a name", yields: DECODED });
export const RESOLVE_ALL: Row<undefined> = row({ name: "SocketAddress.resolveAllAsync", verb: "resolve a name", yields: DECODED });
export const READ_DIR: Row<undefined> = row({ name: "readDir", verb: "read the directory", yields: DECODED, patience: ENDLESS });
export const WALK: Row<undefined> = row({ name: "walk", verb: "walk", yields: DECODED, patience: ENDLESS });
export const PASS_FD: Row<undefined> = row({ name: "passFd", verb: "pass an fd", yields: NOTHING });
export const JOIN_POOL: Row<undefined> = row({ name: "joinPool", verb: "join a pool", yields: NOTHING });
export const OBSERVE: Row<undefined> = row({ name: "observeStats", verb: "observe", yields: NOTHING });
export const FILE: Row<undefined> = row({ name: "File", verb: "own a file", yields: NOTHING });
export const RELAY: Row<undefined> = row({ name: "relay", verb: "relay", yields: NOTHING, patience: ENDLESS });
export const READ_BUFFERED: Row<undefined> = row({ name: "BufferedReader", verb: "read a message", yields: NOTHING });
export const LINK: Row<undefined> = row({ name: "link", verb: "link", yields: NOTHING });
