/**
 * One row an operation: what the library knows of it before it starts. The
 * other row is in the shim's opcodes.c: what its fields point to. From the rows
 * come `capabilities`, the doctor's table, docs/kernel-support.md, the fault
 * plan's operations, and the tests that try every operation.
 */
import { type Operation, Yields } from "../ring/operation.ts";

/** The row of an operation. */
export interface Row extends Operation {
  /** The first Linux that has the opcode. */
  readonly since: string;
  /** Without the opcode the calling thread makes a system call instead. */
  readonly isEmulated: boolean;
  /** The fault plan's name for the opcode. */
  readonly fault: string | undefined;
}

type Facts = Pick<Row, "name" | "verb" | "yields"> & Partial<Row>;

function row(facts: Facts): Row {
  return Object.freeze({
    opcode: -1,
    makesFd: facts.yields === Yields.FD,
    closesFd: false,
    holdsBack: false,
    since: "",
    isEmulated: false,
    fault: undefined,
    ...facts,
  });
}

const { COUNT, NOTHING, FD, DECODED } = Yields;
export const READ = row({
  name: "asyncRead",
  verb: "read",
  yields: COUNT,
  opcode: 22,
  since: "5.6",
  fault: "read",
});
export const WRITE = row({
  name: "asyncWrite",
  verb: "write",
  yields: COUNT,
  opcode: 23,
  since: "5.6",
  fault: "write",
});
export const READV = row({
  name: "asyncReadv",
  verb: "read",
  yields: COUNT,
  opcode: 1,
  since: "5.1",
  fault: "readv",
});
export const WRITEV = row({
  name: "asyncWritev",
  verb: "write",
  yields: COUNT,
  opcode: 2,
  since: "5.1",
  fault: "writev",
});
export const READ_FIXED = row({
  name: "asyncReadFixed",
  verb: "read",
  yields: COUNT,
  opcode: 22,
  since: "5.6",
  fault: "read",
});
export const WRITE_FIXED = row({
  name: "asyncWriteFixed",
  verb: "write",
  yields: COUNT,
  opcode: 23,
  since: "5.6",
  fault: "write",
});
export const READ_EXACT = row({
  name: "asyncReadExact",
  verb: "read",
  yields: COUNT,
  opcode: 22,
  since: "5.6",
  fault: "read",
});
export const WRITE_EXACT = row({
  name: "asyncWriteExact",
  verb: "write",
  yields: COUNT,
  opcode: 23,
  since: "5.6",
  fault: "write",
});
export const OPEN = row({
  name: "asyncOpen",
  verb: "open",
  yields: FD,
  opcode: 18,
  since: "5.6",
  fault: "open",
});
/** `asyncOpen()` with restrictions. */
export const OPEN_HOW = row({
  name: "asyncOpen",
  verb: "open",
  yields: FD,
  opcode: 28,
  since: "5.6",
  fault: "openat2",
});
export const FSTAT = row({
  name: "asyncFstat",
  verb: "stat",
  yields: DECODED,
  opcode: 21,
  since: "5.6",
  fault: "fstat",
});
export const RENAME = row({
  name: "asyncRename",
  verb: "rename",
  yields: NOTHING,
  opcode: 35,
  since: "5.11",
  fault: "rename",
});
export const UNLINK = row({
  name: "asyncUnlink",
  verb: "unlink",
  yields: NOTHING,
  opcode: 36,
  since: "5.11",
  fault: "unlink",
});
export const CLOSE = row({
  name: "asyncClose",
  verb: "close",
  yields: NOTHING,
  opcode: 19,
  since: "5.6",
  fault: "close",
  closesFd: true,
});
export const FSYNC = row({
  name: "asyncFsync",
  verb: "fsync",
  yields: NOTHING,
  opcode: 3,
  since: "5.1",
  fault: "fsync",
});
export const FDATASYNC = row({
  name: "asyncFdatasync",
  verb: "fdatasync",
  yields: NOTHING,
  opcode: 3,
  since: "5.1",
  fault: "fsync",
});
export const FALLOCATE = row({
  name: "asyncFallocate",
  verb: "allocate file space",
  yields: NOTHING,
  opcode: 17,
  since: "5.6",
  fault: "fallocate",
});
export const FTRUNCATE = row({
  name: "asyncFtruncate",
  verb: "truncate",
  yields: NOTHING,
  opcode: 55,
  since: "6.9",
  fault: "ftruncate",
  isEmulated: true,
});
export const SPLICE = row({
  name: "asyncSplice",
  verb: "splice",
  yields: COUNT,
  opcode: 30,
  since: "5.7",
  fault: "splice",
});
export const SENDFILE = row({
  name: "asyncSendfile",
  verb: "send a file",
  yields: COUNT,
  opcode: 30,
  since: "5.7",
  fault: "splice",
});
export const ACCEPT = row({
  name: "asyncAccept",
  verb: "accept",
  yields: FD,
  opcode: 13,
  since: "5.5",
  fault: "accept",
  holdsBack: true,
});
export const ACCEPT_FROM = row({
  name: "asyncAcceptFrom",
  verb: "accept",
  yields: DECODED,
  opcode: 13,
  since: "5.5",
  fault: "accept",
  makesFd: true,
  holdsBack: true,
});
export const CONNECT = row({
  name: "asyncConnect",
  verb: "connect",
  yields: NOTHING,
  opcode: 16,
  since: "5.5",
  fault: "connect",
});
export const RECV = row({
  name: "asyncRecv",
  verb: "receive",
  yields: COUNT,
  opcode: 27,
  since: "5.6",
  fault: "recv",
});
export const SEND = row({
  name: "asyncSend",
  verb: "send",
  yields: COUNT,
  opcode: 26,
  since: "5.6",
  fault: "send",
});
export const RECV_EXACT = row({
  name: "asyncRecvExact",
  verb: "receive",
  yields: COUNT,
  opcode: 27,
  since: "5.6",
  fault: "recv",
});
export const SEND_EXACT = row({
  name: "asyncSendExact",
  verb: "send",
  yields: COUNT,
  opcode: 26,
  since: "5.6",
  fault: "send",
});
export const RECVMSG = row({
  name: "asyncRecvmsg",
  verb: "receive a message",
  yields: DECODED,
  opcode: 10,
  since: "5.3",
  fault: "recvmsg",
});
export const SENDMSG = row({
  name: "asyncSendmsg",
  verb: "send a message",
  yields: COUNT,
  opcode: 9,
  since: "5.3",
  fault: "sendmsg",
});
export const SHUTDOWN = row({
  name: "asyncShutdown",
  verb: "shut down",
  yields: NOTHING,
  opcode: 34,
  since: "5.11",
  fault: "shutdown",
});
export const POLL = row({
  name: "asyncPoll",
  verb: "poll",
  yields: COUNT,
  opcode: 6,
  since: "5.1",
  fault: "poll",
});
export const SLEEP = row({
  name: "asyncSleep",
  verb: "sleep",
  yields: NOTHING,
  opcode: 11,
  since: "5.4",
});
export const MSG_RING = row({
  name: "asyncMsgRing",
  verb: "message a ring",
  yields: NOTHING,
  opcode: 40,
  since: "5.18",
  fault: "msgRing",
});
export const WAKE = row({
  name: "wake",
  verb: "wake a ring",
  yields: NOTHING,
  opcode: 40,
  since: "5.18",
});

// No operations of the kernel: what threads do, and what only has a verb.

export const OFFLOAD = row({
  name: "offload",
  verb: "offload a job",
  yields: DECODED,
});
export const PIPE = row({
  name: "asyncPipe",
  verb: "make a pipe",
  yields: DECODED,
  isEmulated: true,
});
export const RESOLVE = row({
  name: "SocketAddress.resolveAsync",
  verb: "resolve a name",
  yields: DECODED,
});
export const RESOLVE_ALL = row({
  name: "SocketAddress.resolveAllAsync",
  verb: "resolve a name",
  yields: DECODED,
});
export const PASS_FD = row({
  name: "passFd",
  verb: "pass an fd",
  yields: NOTHING,
});
export const JOIN_POOL = row({
  name: "joinPool",
  verb: "join a pool",
  yields: NOTHING,
});
export const OBSERVE = row({
  name: "observeStats",
  verb: "observe",
  yields: NOTHING,
});
export const LINK = row({ name: "link", verb: "link", yields: NOTHING });
export const STAT = row({ ...FSTAT, name: "asyncStat" });
export const LSTAT = row({ ...FSTAT, name: "asyncLstat" });
export const MKDIR = row({
  name: "asyncMkdir",
  verb: "make the directory",
  yields: NOTHING,
  opcode: 37,
  since: "5.15",
  fault: "mkdir",
});
export const HARD_LINK = row({
  ...MKDIR,
  name: "asyncLink",
  verb: "link",
  opcode: 39,
  fault: "link",
});
export const SYMLINK = row({
  ...MKDIR,
  name: "asyncSymlink",
  verb: "make the symbolic link",
  opcode: 38,
  fault: "symlink",
});
export const READLINK = row({
  name: "asyncReadlink",
  verb: "read the symbolic link",
  yields: DECODED,
  isEmulated: true,
});
export const GETXATTR = row({
  name: "asyncGetxattr",
  verb: "get the attribute",
  yields: DECODED,
  opcode: 44,
  since: "5.19",
  fault: "getxattr",
});
/** `asyncGetxattr()` of an fd. */
export const FGETXATTR = row({ ...GETXATTR, opcode: 43, fault: "fgetxattr" });
export const SETXATTR = row({
  ...GETXATTR,
  name: "asyncSetxattr",
  verb: "set the attribute",
  yields: NOTHING,
  opcode: 42,
  fault: "setxattr",
});
/** `asyncSetxattr()` of an fd. */
export const FSETXATTR = row({ ...SETXATTR, opcode: 41, fault: "fsetxattr" });
export const FADVISE = row({
  name: "asyncFadvise",
  verb: "advise the kernel",
  yields: NOTHING,
  opcode: 24,
  since: "5.6",
  fault: "fadvise",
});
export const SYNC_FILE_RANGE = row({
  name: "asyncSyncFileRange",
  verb: "sync a file range",
  yields: NOTHING,
  opcode: 8,
  since: "5.2",
  fault: "syncFileRange",
});
export const TEE = row({
  ...SPLICE,
  name: "asyncTee",
  verb: "tee",
  opcode: 33,
  since: "5.8",
  fault: "tee",
});
