/** Fds that go to another process and come from one, over a unix socket. */
import { assert, assertEquals } from "@std/assert";
import {
  asyncAccept,
  asyncClose,
  asyncOpen,
  asyncRecvExact,
  asyncRecvmsg,
  asyncSendExact,
  asyncSendmsg,
  IoContext,
  O_RDONLY,
  parseScmRights,
  scmRights,
  scmRightsSpace,
  Socket,
  SocketAddress,
  TcpListener,
  unwrap,
} from "@kio/kio";
import { startScript, temporaryFolder } from "./support.ts";

/**
 * Gets two fds: a connection, which it answers, and a file, which it reads.
 * Then it sends one end of a connection of its own back.
 */
const RECEIVER = `
const ctx = new kio.IoContext();
const channel = kio.unwrap(kio.Socket.open("unix"));
await kio.asyncConnect(ctx, channel, kio.SocketAddress.unix(PATH)).orThrow();
const { control, flags } = await kio.asyncRecvmsg(ctx, channel, {
  buffers: [new Uint8Array(1)],
  control: kio.scmRightsSpace(2),
}).orThrow();
const fds = kio.parseScmRights(control);
const O_CLOEXEC = 0o2000000;
for (const fd of fds) {
  const info = Deno.readTextFileSync("/proc/self/fdinfo/" + fd);
  const bits = parseInt(/^flags:\\s*([0-7]+)$/m.exec(info)[1], 8);
  console.log("inherited", (bits & O_CLOEXEC) === 0);
}
console.log("flags", flags);
const connection = new kio.Socket(fds[0]);
const buffer = new Uint8Array(8);
await kio.asyncRecvExact(ctx, connection, buffer.subarray(0, 4)).orThrow();
const count = await kio.asyncRead(ctx, fds[1], buffer.subarray(4)).orThrow();
await kio.asyncSendExact(ctx, connection, buffer.subarray(0, 4 + count))
  .orThrow();
await connection.close();
await kio.asyncClose(ctx, fds[1]).orThrow();

const [mine, theirs] = kio.unwrap(kio.Socket.pair());
await kio.asyncSendmsg(ctx, channel, {
  buffers: [new Uint8Array(1)],
  control: kio.scmRights([theirs]),
}).orThrow();
await kio.asyncClose(ctx, theirs.release()).orThrow();
await kio.asyncSendExact(ctx, mine, new TextEncoder().encode("back")).orThrow();
await Promise.all([mine.close(), channel.close()]);
console.log("pending", ctx.pending);
`;

Deno.test("asyncSendmsg() and asyncRecvmsg() pass fds to another process, and back", async () => {
  using folder = temporaryFolder();
  using ctx = new IoContext();
  const path = `${folder.path}/channel`;
  await using listener = unwrap(
    TcpListener.bind(SocketAddress.unix(path)),
  );
  await using program = startScript(
    `const PATH = ${JSON.stringify(path)};\n${RECEIVER}`,
    { flags: ["-A"] },
  );
  const accepted = asyncAccept(ctx, listener).withTimeout(20_000);
  await using channel = new Socket(await accepted.orThrow());

  const filePath = `${folder.path}/file`;
  Deno.writeTextFileSync(filePath, "file");
  const [near, far] = unwrap(Socket.pair());
  await using _near = near;
  const fileFd = await asyncOpen(ctx, filePath, O_RDONLY).orThrow();
  const control = scmRights([far, fileFd]);
  const buffers = [new Uint8Array(1)];
  assertEquals(
    await asyncSendmsg(ctx, channel, { buffers, control }).orThrow(),
    1,
  );
  // What the other process has are fds of its own.
  await asyncClose(ctx, far.release()).orThrow();
  await asyncClose(ctx, fileFd).orThrow();
  const answer = new Uint8Array(8);
  await asyncSendExact(ctx, near, new TextEncoder().encode("conn")).orThrow();
  await asyncRecvExact(ctx, near, answer, { timeoutMs: 20_000 }).orThrow();
  assertEquals(new TextDecoder().decode(answer), "connfile");

  const back = await asyncRecvmsg(ctx, channel, {
    buffers,
    control: scmRightsSpace(1),
  }).withTimeout(20_000).orThrow();
  const [fd = -1, ...rest] = parseScmRights(back.control);
  assert(fd >= 0 && rest.length === 0);
  await using socket = new Socket(fd);
  const text = answer.subarray(0, 4);
  await asyncRecvExact(ctx, socket, text, { timeoutMs: 20_000 }).orThrow();
  assertEquals(new TextDecoder().decode(text), "back");
  assertEquals(await program.ended(), {
    code: 0,
    signal: null,
    out: "inherited false\ninherited false\nflags 0\npending 0\n",
    err: "",
  });
});
