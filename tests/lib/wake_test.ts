import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncFsync,
  asyncOpen,
  asyncPoll,
  asyncRead,
  asyncReadExact,
  asyncReadFixed,
  asyncReadv,
  asyncSleep,
  IoContext,
  O_RDONLY,
  POLLIN,
  type UringOp,
  wake,
  WAKE_TAG,
} from "@kio/kio";
import { assertCode, kioTest, turn, value, within } from "../support.ts";

type Message = [result: number, userData: number];

/** Puts the messages of a context into a list, and says when it is long enough. */
function received(
  target: IoContext,
  count: number,
): { messages: Message[]; all: Promise<void> } {
  const messages: Message[] = [];
  const { promise: all, resolve } = Promise.withResolvers<void>();
  target.onMessage = (...message) => {
    messages.push(message);
    if (messages.length === count) resolve();
  };
  return { messages, all };
}

kioTest("wake() calls onMessage of a context that sleeps", async () => {
  using target = new IoContext(4);
  const { messages, all } = received(target, 1);
  // Nothing keeps the ring awake from here on.
  await turn(20);
  assertEquals(wake(target.ringFd, 7, 42), { ok: true, value: undefined });
  assertEquals(messages, [], "not within the call");
  await within(10_000, all, "the message");
  assertEquals(messages, [[7, 42]]);
});

kioTest(
  "wake() is heard by a context that had nothing to hear before",
  async () => {
    using target = new IoContext(4);
    assertCode(await asyncFsync(target, 4000), "EBADF");
    // It needs no waker until there is a handler.
    await turn(20);
    const { messages, all } = received(target, 1);
    await turn(20);
    value(wake(target.ringFd, 7, 42));
    await within(10_000, all, "the message");
    assertEquals(messages, [[7, 42]]);
  },
);

kioTest("wake() passes every int32 and every integer to 2^53 - 2", async () => {
  using target = new IoContext(4);
  const sent: Message[] = [0, 1, -1, 2 ** 31 - 1, -(2 ** 31)].flatMap(
    (result) =>
      [0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 52 + 1, 2 ** 53 - 2]
        .map((userData): Message => [result, userData]),
  );
  const { messages, all } = received(target, sent.length);
  for (const message of sent) value(wake(target.ringFd, ...message));
  await within(10_000, all, "the messages");
  assertEquals(messages, sent);
});

kioTest("wake() with WAKE_TAG wakes without a message", async () => {
  using target = new IoContext(4);
  const { messages, all } = received(target, 1);
  let ticks = 0;
  const ticked = Promise.withResolvers<void>();
  const running = target.run(() => {
    ticks++;
    ticked.resolve();
  });
  await turn(5);
  assertEquals(ticks, 0);
  value(wake(target.ringFd));
  await within(10_000, ticked.promise, "a tick");
  value(wake(target.ringFd, 1, WAKE_TAG));
  value(wake(target.ringFd, 2, 2));
  await within(10_000, all, "the message");
  assertEquals(messages, [[2, 2]]);
  target.stop();
  await running;
});

kioTest("wake() reaches the context that calls it", async (ctx) => {
  const { messages, all } = received(ctx, 1);
  value(wake(ctx.ringFd, 3, 4));
  await within(10_000, all, "the message");
  assertEquals(messages, [[3, 4]]);
});

kioTest(
  "wake() of 10000 messages to a context of 8 entries loses none",
  async () => {
    using target = new IoContext(8);
    const { messages, all } = received(target, 10_000);
    // The thread of the context is busy all the while.
    for (let i = 0; i < 10_000; i++) value(wake(target.ringFd, i, 2 * i));
    await within(20_000, all, "the messages");
    await turn(5);
    assertEquals(messages.length, 10_000);
    assert(messages.every(([i, tag], at) => i === at && tag === 2 * at));
  },
);

kioTest("wake() disturbs no operation that is pending", async () => {
  using target = new IoContext(4);
  const { all } = received(target, 100);
  const sleeping = asyncSleep(target, 10);
  for (let i = 0; i < 100; i++) value(wake(target.ringFd, -1, i));
  await within(10_000, all, "the messages");
  value(await sleeping);
});

kioTest("wake() gives EBADF for no fd, EBADFD for no ring", async (ctx) => {
  assertCode(wake(4000), "EBADF");
  const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
  assertCode(wake(fd), "EBADFD");
  value(await asyncClose(ctx, fd));
});

kioTest("wake() of a context that was closed is an error", () => {
  const target = new IoContext(4);
  const { ringFd } = target;
  value(wake(ringFd));
  target[Symbol.dispose]();
  assertCode(wake(ringFd), "EBADF");
});

kioTest("wake() refuses what is no message", (ctx) => {
  const { ringFd } = ctx;
  for (const fd of [-1, 1.5, NaN, 2 ** 31, 2 ** 32 + 5]) {
    assertThrows(() => wake(fd), RangeError, "Cannot wake a ring: fd");
  }
  for (const result of [1.5, NaN, 2 ** 31, -(2 ** 31) - 1]) {
    assertThrows(() => wake(ringFd, result), RangeError, "result must be");
  }
  for (const userData of [-1, 1.5, NaN, 2 ** 53]) {
    assertThrows(() => wake(ringFd, 0, userData), RangeError, "userData must");
  }
});

// ---- files that are written to from within a signal --------------------------------

/** Makes eventfds and writes to them. The contexts are the tests' own: they
 * have a second ring from then on. */
function eventfds() {
  const libc = Deno.dlopen("libc.so.6", {
    eventfd: { parameters: ["u32", "i32"], result: "i32" },
    epoll_create1: { parameters: ["i32"], result: "i32" },
    epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
    write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
    close: { parameters: ["i32"], result: "i32" },
  });
  const one = new Uint8Array(new BigUint64Array([1n]).buffer);
  return {
    ...libc.symbols,
    open: (): number => libc.symbols.eventfd(0, 0),
    add: (fd: number): void => void libc.symbols.write(fd, one, 8n),
    [Symbol.dispose]: () => libc.close(),
  };
}

/** Waits for an eventfd by each of these ways. */
const waitsFor: Record<
  string,
  (ctx: IoContext, fd: number) => UringOp<number>
> = {
  asyncPoll: (ctx, fd) => asyncPoll(ctx, fd, POLLIN),
  asyncRead: (ctx, fd) => asyncRead(ctx, fd, new Uint8Array(8)),
  asyncReadv: (ctx, fd) => asyncReadv(ctx, fd, [new Uint8Array(8)]),
  asyncReadExact: (ctx, fd) => asyncReadExact(ctx, fd, new Uint8Array(8)),
};

for (const [name, start] of Object.entries(waitsFor)) {
  kioTest(
    `${name}() of an eventfd wakes the context each time`,
    async () => {
      using ctx = new IoContext(8);
      using events = eventfds();
      for (let round = 0; round < 5; round++) {
        const fd = events.open();
        const op = start(ctx, fd);
        // The thread is asleep when it is written to.
        setTimeout(() => events.add(fd), 10);
        value(await within(10_000, op, `round ${round}`));
        events.close(fd);
      }
    },
  );
}

kioTest(
  "asyncPoll() of an epoll instance that watches an eventfd wakes the context each time",
  async () => {
    using ctx = new IoContext(8);
    using events = eventfds();
    const [EPOLL_CTL_ADD, EPOLLIN] = [1, 1];
    for (let round = 0; round < 5; round++) {
      const fd = events.open();
      const epoll = events.epoll_create1(0);
      const event = new Uint32Array([EPOLLIN, 0, 0]);
      const bytes = new Uint8Array(event.buffer);
      assertEquals(events.epoll_ctl(epoll, EPOLL_CTL_ADD, fd, bytes), 0);
      const op = asyncPoll(ctx, epoll, POLLIN);
      setTimeout(() => events.add(fd), 10);
      value(await within(10_000, op, `round ${round}`));
      events.close(epoll);
      events.close(fd);
    }
  },
);

kioTest(
  "asyncReadFixed() of a registered eventfd wakes the context each time",
  async () => {
    using ctx = new IoContext(8);
    using events = eventfds();
    const [fd, other] = [events.open(), events.open()];
    value(ctx.registerFiles([other, fd]));
    value(ctx.updateFiles(0, [fd]));
    for (let round = 0; round < 6; round++) {
      const op = asyncReadFixed(ctx, round % 2, new Uint8Array(8));
      setTimeout(() => events.add(fd), 10);
      value(await within(10_000, op, `round ${round}`));
    }
    value(ctx.unregisterFiles());
    events.close(fd);
    events.close(other);
  },
);

kioTest(
  "asyncRead() of hundreds of eventfds loses none of their writes",
  async () => {
    using ctx = new IoContext(8);
    using events = eventfds();
    const fds = Array.from({ length: 300 }, () => events.open());
    const ops = fds.map((fd) => asyncRead(ctx, fd, new Uint8Array(8)));
    for (const fd of fds) {
      await turn(fd % 3);
      events.add(fd);
    }
    for (const op of ops) value(await within(10_000, op, "a read"));
    for (const fd of fds) events.close(fd);
  },
);
