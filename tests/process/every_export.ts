/**
 * Calls everything that `@kio/kio` and its parts export and that needs no
 * permission but `--allow-ffi`; with "pool" a WorkerPool as well. Prints "done".
 */
import {
  acceptLoop,
  AF_INET,
  asyncAccept,
  asyncAcceptFrom,
  asyncAcceptMultishot,
  asyncBind,
  asyncClose,
  asyncConnect,
  asyncFadvise,
  asyncFallocate,
  asyncFdatasync,
  asyncFstat,
  asyncFsync,
  asyncFtruncate,
  asyncGetsockopt,
  asyncGetxattr,
  asyncInstallFd,
  asyncLink,
  asyncListen,
  asyncLstat,
  asyncMkdir,
  asyncMsgRing,
  asyncOpen,
  asyncPipe,
  asyncPoll,
  asyncPollMultishot,
  asyncRead,
  asyncReadExact,
  asyncReadFixed,
  asyncReadlink,
  asyncReadMultishot,
  asyncReadv,
  asyncRecv,
  asyncRecvExact,
  asyncRecvmsg,
  asyncRecvmsgMultishot,
  asyncRecvMultishot,
  asyncRename,
  asyncSend,
  asyncSendExact,
  asyncSendfile,
  asyncSendmsg,
  asyncSendmsgZc,
  asyncSendZc,
  asyncSetsockopt,
  asyncSetxattr,
  asyncShutdown,
  asyncSleep,
  asyncSocket,
  asyncSplice,
  asyncSpliceAll,
  asyncStat,
  asyncSymlink,
  asyncSyncFileRange,
  asyncTee,
  asyncUnlink,
  asyncWrite,
  asyncWriteExact,
  asyncWriteFixed,
  asyncWritev,
  AT_REMOVEDIR,
  BlockingPool,
  BufferedReader,
  BufferPool,
  Connections,
  DirectFd,
  dup,
  File,
  IoContext,
  link,
  listenFds,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_RDWR,
  offload,
  parseScmRights,
  passFd,
  pin,
  pipe,
  POLLOUT,
  readDir,
  readFile,
  readTextFile,
  relay,
  scmRights,
  scmRightsSpace,
  SO_PRIORITY,
  SOCK_STREAM,
  Socket,
  SocketAddress,
  SocketTransport,
  SOL_SOCKET,
  TcpListener,
  TcpStream,
  UdpSocket,
  UnixListener,
  UnixStream,
  unwrap,
  wake,
  walk,
  WorkerPool,
  writeFile,
} from "@kio/kio";
import { observeStats } from "@kio/kio/otel";
import { connect } from "@kio/kio/sockets";
import { FaultPlan } from "@kio/kio/testing";

// Before anything else of kio.
FaultPlan.load();
{
  using _ = FaultPlan.install({ rules: [] });
}

IoContext.probe();
await using ctx = new IoContext({ trace: true });
observeStats(ctx);
ctx.onFd = (fd) => void asyncClose(ctx, fd);
ctx.inspect();
ctx.stats();
await asyncSleep(ctx, 1).withTimeout(60_000).orThrow();
wake(ctx.ringFd);

const [left, right] = unwrap(Socket.pair());
const { state } = Deno.permissions.querySync({ name: "ffi" });
const one = state === "granted" ? ctx.allocate(1) : pin(new Uint8Array(1));
try {
  ctx.allocate(1);
} catch (error) {
  // Only without a list of paths.
  if (!(error instanceof Deno.errors.NotCapable)) throw error;
}
const given = await asyncPoll(ctx, left, POLLOUT).orThrow();
for await (const _ of asyncPollMultishot(ctx, left, POLLOUT)) break;
await asyncSend(ctx, left, new Uint8Array(4)).orThrow();
await asyncRecv(ctx, right, one).orThrow();
await asyncRecvExact(ctx, right, new Uint8Array(3)).orThrow();
await asyncSendExact(ctx, left, [one]).orThrow();
{
  const [near, far] = unwrap(Socket.pair());
  await using peer = new SocketTransport(ctx, near);
  await using other = new SocketTransport(ctx, far);
  unwrap(await other.send(new Uint8Array([10])));
  unwrap(await new BufferedReader(peer).line());
}
const control = scmRights([left]);
await asyncSendmsg(ctx, left, { buffers: [one], control }).orThrow();
await asyncRecv(ctx, right, one).orThrow();
await asyncSendZc(ctx, left, one).orThrow();
await asyncSendmsgZc(ctx, left, { buffers: [one] }).orThrow();
await ctx.unregisterMemory(one);
await asyncRecv(ctx, right, new Uint8Array(2)).orThrow();
const message = await asyncRecvmsg(ctx, right, {
  buffers: [one],
  control: scmRightsSpace(1),
}).orThrow();
for (const fd of parseScmRights(message.control)) {
  await asyncClose(ctx, fd).orThrow();
}
try {
  await using pool = new BufferPool(ctx, { count: 1, size: 8 });
  await asyncSend(ctx, left, one).orThrow();
  for await (const it of asyncRecvMultishot(ctx, right, pool).orThrow()) {
    it.sendTo(right);
    break;
  }
  await asyncRecv(ctx, left, one).orThrow();
  await asyncSend(ctx, left, one).orThrow();
  for await (const _ of asyncReadMultishot(ctx, right, pool).orThrow()) break;
  await using messages = new BufferPool(ctx, { count: 1, size: 256 });
  await asyncSend(ctx, left, one).orThrow();
  for await (const it of asyncRecvmsgMultishot(ctx, right, messages)) {
    unwrap(it).sendTo(right);
    break;
  }
  await asyncRecv(ctx, left, one).orThrow();
} catch (error) {
  if (!(error instanceof Deno.errors.NotCapable)) throw error;
}
await asyncMsgRing(ctx, ctx.ringFd, 1, given).orThrow();

const path = `/tmp/kio-${crypto.randomUUID()}`;
const file = await asyncOpen(ctx, path, O_CREAT | O_RDWR, 0o600).orThrow();
await asyncRename(ctx, path, `${path}.renamed`).orThrow();
await asyncLink(ctx, `${path}.renamed`, path).orThrow();
await asyncStat(ctx, path).orThrow();
await asyncSetxattr(ctx, path, "user.kio", one);
await asyncGetxattr(ctx, path, "user.kio");
await asyncUnlink(ctx, path).orThrow();
await asyncSymlink(ctx, `${path}.renamed`, path).orThrow();
await asyncLstat(ctx, path).orThrow();
await asyncReadlink(ctx, path).orThrow();
await asyncUnlink(ctx, path).orThrow();
await asyncUnlink(ctx, `${path}.renamed`).orThrow();
await asyncMkdir(ctx, `${path}/inner`, { recursive: true }).orThrow();
for await (const _ of readDir(ctx, path, { stat: true }).orThrow());
for await (const _ of walk(ctx, path).orThrow());
await asyncUnlink(ctx, `${path}/inner`, AT_REMOVEDIR).orThrow();
await asyncUnlink(ctx, path, AT_REMOVEDIR).orThrow();
const folder = await asyncOpen(ctx, "/tmp", O_RDONLY | O_DIRECTORY).orThrow();
const how = { resolve: 0 };
const reopened = await asyncOpen(ctx, ".", O_RDONLY, { dir: folder, ...how })
  .orThrow();
await Promise.all([asyncClose(ctx, reopened), asyncClose(ctx, folder)]);
await asyncFallocate(ctx, file, 0, 0, 8).orThrow();
await asyncFtruncate(ctx, file, 4096).orThrow();
await asyncFadvise(ctx, file, 0, 0, 0).orThrow();
await asyncSyncFileRange(ctx, file, 0, 0).orThrow();
await asyncWrite(ctx, file, one).orThrow();
await asyncWritev(ctx, file, [one]).orThrow();
await asyncWriteExact(ctx, file, one).orThrow();
await asyncRead(ctx, file, one).orThrow();
await asyncReadv(ctx, file, [one]).orThrow();
await asyncReadExact(ctx, file, one).orThrow();
await Promise.all(link(ctx, () => [
  asyncFsync(ctx, file),
  asyncFdatasync(ctx, file),
  asyncFstat(ctx, file),
]));
unwrap(ctx.registerFiles([file]));
await asyncReadFixed(ctx, 0, one).orThrow();
await asyncWriteFixed(ctx, 0, one).orThrow();
unwrap(ctx.unregisterFiles());
unwrap(ctx.reserveFiles(2));
const direct = await asyncOpen(ctx, "/proc/version", O_RDONLY, {
  direct: true,
}).orThrow();
const installed = await asyncInstallFd(ctx, direct);
if (installed.ok) await asyncClose(ctx, installed.value);
console.assert(direct instanceof DirectFd, DirectFd.name);
await asyncClose(ctx, direct).orThrow();
unwrap(ctx.unregisterFiles());
await asyncSendfile(ctx, left, file, 0, 100).orThrow();
const [from, into] = [unwrap(Socket.pair()), unwrap(Socket.pair())];
await asyncShutdown(ctx, from[0], 1).orThrow();
await asyncSpliceAll(ctx, from[1], into[0]).orThrow();
await asyncShutdown(ctx, into[1], 1).orThrow();
unwrap(await relay(ctx, from[1], into[0]));
const [tail, sink] = [unwrap(Socket.pair()), unwrap(Socket.pair())];
await tail[0].close();
unwrap(await pipe(ctx, tail[1], sink[0]));
for (const it of [tail[1], ...sink]) await it.close();
const { readFd, writeFd } = await asyncPipe(ctx).orThrow();
await asyncSplice(ctx, file, writeFd, 1).orThrow();
const other = await asyncPipe(ctx).orThrow();
await asyncTee(ctx, readFd, other.writeFd, 1).orThrow();
for (const fd of [readFd, writeFd, other.readFd, other.writeFd]) {
  await asyncClose(ctx, fd).orThrow();
}
await asyncClose(ctx, file).orThrow();
unwrap(await writeFile(ctx, path, "text", { atomic: true, durable: true }));
unwrap(await readFile(ctx, path));
unwrap(await readTextFile(ctx, path));
{
  await using owned = unwrap(await File.open(ctx, path, O_RDWR));
  await owned.lock();
  for await (const _ of owned.blocks()) break;
  await new Response(owned.readable).text();
}
await asyncUnlink(ctx, path).orThrow();
unwrap(passFd(ctx.ringFd, left.release()));
await asyncShutdown(ctx, right, 2).orThrow();
await right.close();

const loopback = SocketAddress.v4(0, "127.0.0.1");
await using listener = unwrap(TcpListener.bind(loopback));
const at = listener.localAddress!;
using client = unwrap(Socket.open("ipv4"));
await Promise.all([
  asyncConnect(ctx, client, at),
  asyncAcceptFrom(ctx, listener).orThrow()
    .then(({ fd }) => asyncClose(ctx, fd)),
]);
const again = unwrap(Socket.open("ipv4"));
await asyncConnect(ctx, again, at).orThrow();
for await (const fd of asyncAcceptMultishot(ctx, listener).orThrow()) {
  await asyncClose(ctx, fd);
  break;
}
await again.close();
const connected = TcpStream.connect(ctx, "localhost", at.port);
await asyncClose(ctx, await asyncAccept(ctx, listener).orThrow());
const stream = unwrap(await connected);
await unwrap(Socket.adopt(unwrap(dup(stream)))).close();
await stream.close();
unwrap(listenFds(new Map()));

const opened = await asyncSocket(ctx, AF_INET, SOCK_STREAM).orThrow();
const second = new Socket(opened);
await asyncSetsockopt(ctx, second, SOL_SOCKET, SO_PRIORITY, 1).orThrow();
await asyncGetsockopt(ctx, second, SOL_SOCKET, SO_PRIORITY).orThrow();
await asyncBind(ctx, second, loopback).orThrow();
await asyncListen(ctx, second).orThrow();
await second.reset();

using datagrams = unwrap(UdpSocket.bind(loopback));
using sender = unwrap(UdpSocket.connect(datagrams.localAddress!));
await sender.send(ctx, one).orThrow();
await datagrams.receive(ctx, one).orThrow();
await sender.send(ctx, one).orThrow();
for await (const _ of datagrams.datagrams(ctx).orThrow()) break;
await datagrams.receiveError(ctx);

const connections = new Connections(ctx, (socket) => socket.close());
const stop = new AbortController();
const accepting = acceptLoop(
  ctx,
  listener,
  (fd) => connections.add(fd),
  stop.signal,
);
await unwrap(await TcpStream.connect(ctx, "127.0.0.1", at.port)).close();
const byAdapter = connect(ctx, `${at}`);
await byAdapter.opened;
await byAdapter.close();
stop.abort();
await accepting;
await connections.closed;

const name = SocketAddress.unix(`\0kio-${crypto.randomUUID()}`);
await using unixListener = unwrap(UnixListener.bind(name, { ctx }));
await using unixStream = unwrap(await UnixStream.connect(ctx, name));
await using unixPeer = await unixListener.accept();
await unixStream.writable.close();
await new Response(unixPeer.readable).text();

await using pool = new BlockingPool(1);
await offload(ctx, pool, (n: number) => n + 1, 1).orThrow();
SocketAddress.resolve("localhost", at.port);
await SocketAddress.resolveAsync(ctx, pool, "localhost", at.port).orThrow();

if (Deno.args.includes("pool")) {
  const main = `
    import { joinPool } from "@kio/kio";
    void joinPool(async ({ pool }) => {
      pool.ready();
      await new Promise((end) => pool.stopping.addEventListener("abort", end));
    });`;
  const module = `data:text/javascript,${encodeURIComponent(main)}`;
  const workers = await WorkerPool.start(module, { workers: 1 });
  await workers.shutdown();
}
// Deno does not ask again for a permission that was granted before.
Deno.permissions.revokeSync({ name: "ffi" });
await using later = new BlockingPool(1);
await SocketAddress.resolveAsync(ctx, later, "localhost", at.port);
console.log("done");
