import { assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncRecv,
  IoContext,
  passFd,
  Socket,
  unwrap,
} from "@kio/kio";
import {
  assertCode,
  isOpen,
  kioTest,
  turn,
  unixPair,
  value,
  within,
} from "../support.ts";

kioTest("passFd() gives fd and tag to onFd of the target", async () => {
  using target = new IoContext(4);
  const { promise: all, resolve } = Promise.withResolvers<void>();
  const got: [fd: number, tag: number][] = [];
  target.onFd = (fd, tag) => {
    got.push([fd, tag]);
    if (got.length === 3) resolve();
  };
  await turn(20);
  const fds: number[] = [];
  for (const tag of [0, 7, Number.MAX_SAFE_INTEGER]) {
    using pair = unixPair();
    fds.push(pair.right.release());
    unwrap(passFd(target.ringFd, fds.at(-1)!, tag));
  }
  assertEquals(got, [], "not within the call");
  await within(10_000, all, "the fds");
  assertEquals(got, [
    [fds[0], 0],
    [fds[1], 7],
    [fds[2], Number.MAX_SAFE_INTEGER],
  ]);
  for (const fd of fds) await new Socket(fd).close();
});

kioTest("passFd() waits until there is a handler", async () => {
  using target = new IoContext(4);
  using pair = unixPair();
  unwrap(passFd(target.ringFd, pair.right.release()));
  await turn(10);
  const { promise: arrived, resolve } = Promise.withResolvers<number>();
  let isWithin = true;
  target.onFd = (fd) => resolve(isWithin ? -1 : fd);
  isWithin = false;
  const fd = await within(10_000, arrived, "the fd");
  await new Socket(fd).close();
});

kioTest("passFd() of 1000 fds keeps their order", async () => {
  using target = new IoContext(1);
  const got: number[] = [];
  const { promise: all, resolve } = Promise.withResolvers<void>();
  target.onFd = (fd, tag) => {
    got.push(tag);
    new Socket(fd)[Symbol.dispose]();
    if (got.length === 1000) resolve();
  };
  for (let tag = 0; tag < 1000; tag++) {
    using pair = unixPair();
    unwrap(passFd(target.ringFd, pair.right.release(), tag));
    if (tag % 100 === 0) await turn();
  }
  await within(10_000, all, "the fds");
  assertEquals(got, Array.from({ length: 1000 }, (_, tag) => tag));
});

kioTest(
  "passFd() closes with the context what nobody has taken",
  async (ctx) => {
    const target = new IoContext(4);
    const peers: Socket[] = [];
    for (let i = 0; i < 3; i++) {
      const { left, right } = unixPair();
      peers.push(left);
      unwrap(passFd(target.ringFd, right.release()));
    }
    target[Symbol.dispose]();
    for (const peer of peers) {
      assertEquals(value(await asyncRecv(ctx, peer, new Uint8Array(1))), 0);
      await peer.close();
    }
  },
);

kioTest("passFd() reports what onFd throws, and goes on", async () => {
  using target = new IoContext(4);
  const reported: string[] = [];
  const { promise: all, resolve } = Promise.withResolvers<void>();
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    reported.push(event.error.message);
    if (reported.length === 2) resolve();
  };
  globalThis.addEventListener("error", onError);
  target.onFd = (fd, tag) => {
    new Socket(fd)[Symbol.dispose]();
    throw new SyntaxError(`of ${tag}`);
  };
  for (const tag of [1, 2]) {
    using pair = unixPair();
    unwrap(passFd(target.ringFd, pair.right.release(), tag));
  }
  await within(10_000, all, "the errors");
  globalThis.removeEventListener("error", onError);
  assertEquals(reported, ["of 1", "of 2"]);
});

kioTest("passFd() that fails leaves the fd with the caller", (ctx) => {
  using pair = unixPair();
  const { fd } = pair.right;
  const target = new IoContext(4);
  const { ringFd } = target;
  target[Symbol.dispose]();
  assertCode(passFd(ringFd, fd), "EBADFD");
  assertCode(passFd(4000, fd), "EBADFD");
  assertCode(passFd(pair.left.fd, fd), "EBADFD");
  assertCode(passFd(ctx.ringFd, 4000), "EBADF");
  assertEquals(isOpen(fd), true);
});

kioTest("passFd() refuses what is no fd and no tag", (ctx) => {
  const { ringFd } = ctx;
  for (const wrong of [-1, 1.5, NaN, 2 ** 31, 2 ** 32 + 5]) {
    assertThrows(
      () => passFd(wrong, 0),
      RangeError,
      "Cannot pass an fd",
    );
    assertThrows(() => passFd(ringFd, wrong), RangeError, "fd must be");
  }
  for (const tag of [-1, 0.5, NaN, 2 ** 53]) {
    assertThrows(() => passFd(ringFd, 0, tag), RangeError, "tag must be");
  }
});

kioTest("onFd is what was set, null at first", async (ctx) => {
  assertEquals(ctx.onFd, null);
  const handler = (fd: number) => void asyncClose(ctx, fd);
  ctx.onFd = handler;
  assertEquals(ctx.onFd, handler);
  ctx.onFd = null;
  assertThrows(
    () => ctx.onFd = 1 as unknown as typeof handler,
    TypeError,
    "Cannot set onFd: it must be a function",
  );
  await ctx[Symbol.asyncDispose]();
  assertThrows(() => ctx.onFd = handler, TypeError, "the IoContext is closed");
});
