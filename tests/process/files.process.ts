/** Operations on files that need what kio cannot make: folders and FIFOs. */
import { assertEquals } from "@std/assert";
import {
  asyncClose,
  asyncOpen,
  asyncUnlink,
  asyncWrite,
  AT_REMOVEDIR,
  IoContext,
  O_CREAT,
  O_DIRECTORY,
  O_RDONLY,
  O_WRONLY,
  RESOLVE_BENEATH,
  RESOLVE_NO_SYMLINKS,
  type Result,
  type UringOp,
} from "@kio/kio";
import { closeSync, openSync } from "node:fs";
import { assertPrinted, run, runScript, temporaryFolder } from "./support.ts";

function codeOf(result: Result<unknown>): string {
  return result.ok ? "ok" : result.error.code;
}

function fdCount(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length;
}

Deno.test("asyncUnlink() removes an empty directory", async () => {
  using folder = temporaryFolder();
  using ctx = new IoContext();
  const path = `${folder.path}/folder`;
  Deno.mkdirSync(`${path}/full`, { recursive: true });
  assertEquals(codeOf(await asyncUnlink(ctx, path, AT_REMOVEDIR)), "ENOTEMPTY");
  assertEquals(codeOf(await asyncUnlink(ctx, `${path}/full`)), "EISDIR");
  for (const name of ["/full", ""]) {
    const result = await asyncUnlink(ctx, path + name, AT_REMOVEDIR);
    assertEquals(codeOf(result), "ok");
  }
});

Deno.test("asyncOpen() in a directory opens nothing outside by a link", async () => {
  using folder = temporaryFolder();
  using ctx = new IoContext();
  const root = `${folder.path}/root`;
  Deno.mkdirSync(`${root}/inner`, { recursive: true });
  Deno.writeTextFileSync(`${folder.path}/secret`, "secret");
  Deno.writeTextFileSync(`${root}/public`, "public");
  Deno.symlinkSync("../secret", `${root}/relative`);
  Deno.symlinkSync(`${folder.path}/secret`, `${root}/absolute`);
  Deno.symlinkSync("..", `${root}/inner/up`);
  const directory = await asyncOpen(ctx, root, O_RDONLY | O_DIRECTORY)
    .orThrow();
  const open = async (path: string, resolve: number) => {
    const op = asyncOpen(ctx, path, O_RDONLY, { dir: directory, resolve });
    const result = await op;
    if (result.ok) await asyncClose(ctx, result.value);
    return codeOf(result);
  };
  assertEquals(await open("relative", 0), "ok");
  for (const path of ["relative", "absolute", "inner/up/../secret"]) {
    assertEquals(await open(path, RESOLVE_BENEATH), "EXDEV");
  }
  assertEquals(await open("inner/up/public", RESOLVE_BENEATH), "ok");
  assertEquals(await open("inner/up/public", RESOLVE_NO_SYMLINKS), "ELOOP");
  await asyncClose(ctx, directory);
});

const ENDS: Record<string, (op: UringOp<number>) => unknown> = {
  ETIMEDOUT: (op) => op.withTimeout(20),
  ECANCELED: (op) => op.withSignal(AbortSignal.timeout(20)),
};

for (const [code, end] of Object.entries(ENDS)) {
  Deno.test(`asyncOpen() in a directory that waits for a FIFO ends with ${code}`, async () => {
    using folder = temporaryFolder();
    await run("mkfifo", [`${folder.path}/fifo`]);
    const path = `${folder.path}/fifo`;
    using ctx = new IoContext();
    const before = fdCount();
    // A kernel worker does an open that may create. It waits.
    const op = asyncOpen(ctx, path, O_WRONLY | O_CREAT, { dir: 0 });
    end(op);
    assertEquals(codeOf(await op), code);
    assertEquals(fdCount(), before);
    // It waits for nothing any more: both sides can still come together.
    const ends = await Promise.all([
      asyncOpen(ctx, path, O_RDONLY, { dir: 0 }),
      asyncOpen(ctx, path, O_WRONLY | O_CREAT, { dir: 0 }),
    ]);
    for (const result of ends) {
      assertEquals(codeOf(result), "ok");
      if (result.ok) await asyncClose(ctx, result.value);
    }
  });
}

Deno.test("operations take the fds of node:fs", async () => {
  using folder = temporaryFolder();
  using ctx = new IoContext();
  const path = `${folder.path}/file`;
  const fd = openSync(path, "w+");
  assertEquals(codeOf(await asyncWrite(ctx, fd, new Uint8Array(5))), "ok");
  closeSync(fd);
  assertEquals(Deno.statSync(path).size, 5);
});

Deno.test("an fd of 0 serves for files and sockets", async () => {
  assertPrinted(
    await runScript(`
      using ctx = new kio.IoContext();
      await kio.asyncClose(ctx, 0).orThrow();
      const [left, right] = kio.unwrap(kio.Socket.pair());
      const buffer = new Uint8Array(9);
      await kio.asyncSend(ctx, left, new Uint8Array(3)).orThrow();
      console.log(left.fd, await kio.asyncRecv(ctx, right, buffer).orThrow());
      await Promise.all([left.close(), right.close()]);
      const accepted = kio.unwrap(kio.TcpListener.bind(0));
      console.log(accepted.fd, accepted.localAddress.port > 0);
      await accepted.close();
      const fd = await kio.asyncOpen(ctx, "/proc/version", kio.O_RDONLY).orThrow();
      console.log(fd, await kio.asyncReadExact(ctx, fd, buffer).orThrow());
      await kio.asyncClose(ctx, { fd }).orThrow();
    `),
    "0 3\n0 true\n0 9\n",
  );
});
