import {
  assert,
  assertEquals,
  assertNotEquals,
  assertThrows,
} from "@std/assert";
import {
  asyncClose,
  asyncFallocate,
  asyncFdatasync,
  asyncFsync,
  asyncFtruncate,
  asyncOpen,
  asyncPoll,
  asyncRead,
  asyncReadv,
  asyncRecv,
  asyncSend,
  asyncShutdown,
  asyncSleep,
  asyncWrite,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  IoContext,
  link,
  MSG_DONTWAIT,
  MSG_WAITALL,
  O_RDONLY,
  O_RDWR,
  O_TMPFILE,
  POLLIN,
  type Result,
  SHUT_WR,
  type UringOp,
} from "@kio/kio";
import {
  assertCode,
  bytes,
  contentOf,
  isOpen,
  kioTest,
  tempFile,
  text,
  turn,
  unixPair,
  value,
} from "../support.ts";

const buffer = () => new Uint8Array(8);

function codes(results: readonly Result<unknown>[]): string {
  return results.map((result) => result.ok ? "ok" : result.error.code).join();
}

kioTest("link() runs its operations in their order", async (ctx) => {
  await using file = await tempFile(ctx, bytes("0"));
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const zero = (at: number) => asyncFallocate(ctx, file, mode, at, 9 - at);
  for (let i = 1; i <= 200; i++) {
    const memory = new Uint8Array(9);
    const ops = link(ctx, () => [
      asyncWrite(ctx, file, bytes(`first ${i}  `.slice(0, 9))),
      zero(0),
      asyncWrite(ctx, file, bytes(`second${i}  `.slice(0, 9))),
      asyncFdatasync(ctx, file),
      asyncRead(ctx, file, memory),
      zero(1),
    ]);
    assertEquals(codes(await Promise.all(ops)), "ok,ok,ok,ok,ok,ok");
    assertEquals(text(memory), `second${i}  `.slice(0, 9));
    assertEquals(text(await contentOf(ctx, file)), "s".padEnd(9, "\0"));
  }
});

kioTest(
  "link() takes asyncFtruncate() where the kernel has it",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const [written, cut] = link(ctx, () => [
      asyncWrite(ctx, file, bytes("abc")),
      asyncFtruncate(ctx, file, 1),
    ]);
    value(await written);
    const isThere = ctx.capabilities.operations.asyncFtruncate === "ring";
    if (isThere) value(await cut);
    else assertCode(await cut, "EOPNOTSUPP");
    assertEquals(text(await contentOf(ctx, file)), isThere ? "a" : "abc");
  },
);

kioTest(
  "link() starts a member when the one before has succeeded, not earlier",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx);
    const [received, written] = link(ctx, () => [
      asyncRecv(ctx, pair.left, buffer()),
      asyncWrite(ctx, file, bytes("x")),
    ]);
    await turn(20);
    assertEquals((await contentOf(ctx, file)).length, 0);
    value(await asyncSend(ctx, pair.right, bytes("go")));
    assertEquals(value(await received), 2);
    assertEquals(value(await written), 1);
  },
);

kioTest("link() gives what its function gives, of any kind", async (ctx) => {
  await using file = await tempFile(ctx);
  assertEquals(link(ctx, () => undefined), undefined);
  assertEquals(link(ctx, () => "nothing queued"), "nothing queued");
  const one = link(ctx, () => asyncWrite(ctx, file, bytes("x")));
  assertEquals(value(await one), 1);
  const { a, b } = link(ctx, () => ({
    a: asyncWrite(ctx, file, bytes("x")),
    b: asyncFsync(ctx, file),
  }));
  assertEquals(codes(await Promise.all([a, b])), "ok,ok");
});

kioTest(
  "link() ends with the first that fails: those behind it give ECANCELED",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const ops = link(ctx, () => [
      asyncWrite(ctx, file, bytes("x")),
      asyncWrite(ctx, 4000, bytes("x")),
      asyncWrite(ctx, file, bytes("y"), 1),
      asyncFsync(ctx, file),
    ]);
    assertEquals(
      codes(await Promise.all(ops)),
      "ok,EBADF,ECANCELED,ECANCELED",
    );
    assertEquals(text(await contentOf(ctx, file)), "x");
  },
);

kioTest("link() ends with a short read", async (ctx) => {
  await using file = await tempFile(ctx, bytes("abc"));
  for (
    const read of [
      () => asyncRead(ctx, file, new Uint8Array(4)),
      () => asyncReadv(ctx, file, [new Uint8Array(2), new Uint8Array(2)]),
      () => asyncRead(ctx, file, new Uint8Array(4), 100),
    ]
  ) {
    const ops = link(ctx, () => [
      read(),
      asyncFallocate(ctx, file, 0, 0, 100),
    ]);
    assertEquals(codes(await Promise.all(ops)), "ok,ECANCELED");
    assertEquals(text(await contentOf(ctx, file)), "abc");
  }
});

kioTest(
  "link() ends with a short receive if it was to wait for all",
  async (ctx) => {
    using pair = unixPair();
    const [received, answered] = link(ctx, () => [
      asyncRecv(ctx, pair.left, new Uint8Array(8), MSG_WAITALL),
      asyncSend(ctx, pair.left, bytes("answer")),
    ]);
    await turn();
    value(await asyncSend(ctx, pair.right, bytes("abc")));
    value(await asyncShutdown(ctx, pair.right, SHUT_WR));
    assertEquals(value(await received), 3);
    assertCode(await answered, "ECANCELED");
  },
);

kioTest("link() of a sleep leaves it out of the chain", async (ctx) => {
  await using file = await tempFile(ctx);
  const startMs = performance.now();
  const [written, slept, failed, last] = link(ctx, () => [
    asyncWrite(ctx, file, bytes("x")),
    asyncSleep(ctx, 200),
    asyncFsync(ctx, 4000),
    asyncWrite(ctx, file, bytes("y"), 1),
  ]);
  assertEquals(
    codes([await written, await failed, await last]),
    "ok,EBADF,ECANCELED",
  );
  assert(performance.now() - startMs < 199, "the chain did not wait for it");
  value(await slept);
});

kioTest("link() closes a file after its last write", async (ctx) => {
  const file = await tempFile(ctx);
  const [written, closed] = link(ctx, () => [
    asyncWrite(ctx, file, bytes("x")),
    asyncClose(ctx, file),
  ]);
  assertEquals(codes([await written, await closed]), "ok,ok");
  assert(!isOpen(file.fd));
});

kioTest(
  "link() that ends before its asyncClose() takes the fd away all the same",
  async (ctx) => {
    // "The fd is gone whatever the result; never repeat it". A socket is
    // released, so this close is its only one.
    const [failing, cancelled] = [unixPair(), unixPair()];
    const fds = [failing.left.fd, cancelled.left.fd];
    const failed = link(ctx, () => [
      asyncFsync(ctx, 4000),
      asyncClose(ctx, failing.left),
    ]);
    const ended = link(ctx, () => [
      asyncRecv(ctx, cancelled.left, buffer()),
      asyncClose(ctx, cancelled.left),
    ]);
    await turn();
    ended[0].cancel();
    for (const op of [...failed, ...ended]) await op;
    const left = fds.filter(isOpen);
    for (const fd of left) value(await asyncClose(ctx, fd));
    failing.right[Symbol.dispose]();
    cancelled.right[Symbol.dispose]();
    assertEquals(left, []);
  },
);

kioTest("link() says goodbye after the last byte", async (ctx) => {
  using pair = unixPair();
  const ops = link(ctx, () => [
    asyncSend(ctx, pair.left, bytes("bye")),
    asyncShutdown(ctx, pair.left, SHUT_WR),
  ]);
  assertEquals(codes(await Promise.all(ops)), "ok,ok");
  const memory = buffer();
  assertEquals(value(await asyncRecv(ctx, pair.right, memory)), 3);
  assertEquals(value(await asyncRecv(ctx, pair.right, memory)), 0);
});

// ---- who belongs to it ---------------------------------------------------------------

kioTest("link() does not tie what is queued before or after", async (ctx) => {
  await using file = await tempFile(ctx);
  const before = asyncFsync(ctx, 4000);
  const chain = link(ctx, () => [
    asyncWrite(ctx, file, bytes("x")),
    asyncFsync(ctx, 4001),
  ]);
  const after = asyncWrite(ctx, file, bytes("y"), 1);
  const second = link(ctx, () => [
    asyncWrite(ctx, file, bytes("z"), 2),
    asyncFsync(ctx, file),
  ]);
  assertCode(await before, "EBADF");
  assertEquals(codes(await Promise.all(chain)), "ok,EBADF");
  assertEquals(value(await after), 1);
  assertEquals(codes(await Promise.all(second)), "ok,ok");
  assertEquals(text(await contentOf(ctx, file)), "xyz");
});

kioTest("link() of one operation is that operation", async (ctx) => {
  const failing = link(ctx, () => asyncFsync(ctx, 4000));
  const next = link(ctx, () => asyncSleep(ctx, 0));
  const last = asyncPoll(ctx, 4000, POLLIN);
  assertEquals(
    codes(await Promise.all([failing, next, last])),
    "EBADF,ok,EBADF",
  );
});

kioTest("link() takes no part in another context", async (ctx) => {
  using other = new IoContext(8);
  await using file = await tempFile(ctx);
  const ops = link(ctx, () => [
    asyncFsync(ctx, 4000),
    asyncWrite(other, file, bytes("x")),
    asyncWrite(ctx, file, bytes("y"), 1),
    ...link(other, () => [
      asyncFsync(other, 4000),
      asyncWrite(other, file, bytes("z"), 2),
    ]),
  ]);
  assertEquals(
    codes(await Promise.all(ops)),
    "EBADF,ok,ECANCELED,EBADF,ECANCELED",
  );
});

kioTest("link() cannot be nested, and the outer one goes on", async (ctx) => {
  await using file = await tempFile(ctx);
  const [one, two] = link(ctx, () => {
    const one = asyncFsync(ctx, 4000);
    assertThrows(
      () => link(ctx, () => undefined),
      TypeError,
      "Cannot link: ",
    );
    return [one, asyncWrite(ctx, file, bytes("x"))];
  });
  assertEquals(codes([await one, await two]), "EBADF,ECANCELED");
  assertEquals((await contentOf(ctx, file)).length, 0);
});

kioTest(
  "link() passes an exception on; what was queued by then never happens",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const ops: UringOp<unknown>[] = [];
    assertThrows(
      () =>
        link(ctx, () => {
          ops.push(asyncFsync(ctx, file), asyncWrite(ctx, file, bytes("x")));
          throw new SyntaxError("of the user");
        }),
      SyntaxError,
      "of the user",
    );
    // The chain is over.
    const next = asyncWrite(ctx, file, bytes("y"));
    assertEquals(
      codes(await Promise.all([...ops, next])),
      "ECANCELED,ECANCELED,ok",
    );
    assertEquals(text(await contentOf(ctx, file)), "y");
  },
);

kioTest(
  "link() whose callback throws leaves no receive that takes bytes",
  async (ctx) => {
    using pair = unixPair();
    const fd = value(await asyncOpen(ctx, "/proc/version", O_RDONLY));
    assertThrows(
      () =>
        link(ctx, () => {
          void asyncRecv(ctx, pair.left, new Uint8Array(8));
          void asyncClose(ctx, fd);
          void asyncSleep(ctx, 100_000);
          throw new SyntaxError("of the user");
        }),
      SyntaxError,
    );
    const next = new Uint8Array(8);
    const received = asyncRecv(ctx, pair.left, next);
    value(await asyncSend(ctx, pair.right, bytes("next")));
    assertEquals(value(await received), 4);
    await turn();
    assertEquals(ctx.pending, 0);
    assert(!isOpen(fd), "who closes has given up the fd");
  },
);

kioTest(
  "link() that throws after the queue was full cancels what was submitted",
  async (ctx) => {
    using pair = unixPair();
    assertThrows(
      () =>
        link(ctx, () => {
          for (let i = 0; i < 5; i++) {
            void asyncRecv(ctx, pair.left, new Uint8Array(8));
          }
          throw new SyntaxError("of the user");
        }),
      SyntaxError,
    );
    await turn();
    const received = asyncRecv(ctx, pair.left, new Uint8Array(8));
    value(await asyncSend(ctx, pair.right, bytes("next")));
    assertEquals(value(await received), 4);
  },
  { entries: 4 },
);

kioTest(
  "link() in which an operation is refused cancels those before it",
  async (ctx) => {
    await using file = await tempFile(ctx);
    const ops: UringOp<unknown>[] = [];
    assertThrows(
      () =>
        link(ctx, () => {
          ops.push(asyncWrite(ctx, file, bytes("x")));
          ops.push(asyncWrite(ctx, file, new Uint8Array(0)));
        }),
      RangeError,
      "Cannot write: ",
    );
    const after = asyncFsync(ctx, 4000);
    ops.push(asyncWrite(ctx, file, bytes("y"), 1));
    assertEquals(codes(await Promise.all(ops)), "ECANCELED,ok");
    assertCode(await after, "EBADF");
  },
);

kioTest("link() of a closed context throws a TypeError", () => {
  const closed = new IoContext(4);
  closed[Symbol.dispose]();
  assertThrows(() => link(closed, () => 1), TypeError, "Cannot link: ");
});

kioTest(
  "link() and a context closed by its own function end it",
  async (ctx) => {
    using pair = unixPair();
    const other = new IoContext(8);
    const before = asyncRecv(other, pair.left, buffer());
    await turn();
    const ops = link(other, () => {
      const ops = [
        asyncRecv(other, pair.right, buffer()),
        asyncSend(other, pair.left, bytes("x")),
      ];
      other[Symbol.dispose]();
      return ops;
    });
    assertEquals(
      codes(await Promise.all([before, ...ops])),
      "ECANCELED,ECANCELED,ECANCELED",
    );
    assertCode(
      await asyncRecv(ctx, pair.right, buffer(), MSG_DONTWAIT),
      "EAGAIN",
    );
  },
);

kioTest(
  "link() is not broken by a socket that is disposed of in it",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx);
    // Its shutdown completes the receive, so that there is nothing to cancel.
    const receiving = asyncRecv(ctx, pair.left, buffer());
    await turn();
    const [written, synced] = link(ctx, () => {
      const written = asyncWrite(ctx, file, bytes("x"));
      pair.left[Symbol.dispose]();
      return [written, asyncFdatasync(ctx, file)];
    });
    assertEquals(codes([await written, await synced]), "ok,ok");
    await receiving;
  },
);

kioTest(
  "link() sends nothing to who gets the fd of a socket that is disposed of",
  async (ctx) => {
    for (const turns of [0, 1]) {
      using pair = unixPair();
      using target = unixPair();
      const [received, sent] = link(ctx, () => [
        asyncRecv(ctx, pair.left, buffer()),
        asyncSend(ctx, target.left, bytes("private")),
      ]);
      for (let i = 0; i < turns; i++) await turn();
      const { fd } = target.left;
      target.left[Symbol.dispose]();
      using stranger = unixPair();
      assertNotEquals(stranger.left.fd, fd);
      value(await asyncSend(ctx, pair.right, bytes("go")));
      await Promise.all([received, sent]);
      const got = await asyncRecv(ctx, stranger.right, buffer(), MSG_DONTWAIT);
      assertCode(got, "EAGAIN");
    }
  },
);

kioTest(
  "link() of a socket that is closed: close() ends its link, not the one before",
  async (ctx) => {
    using pair = unixPair();
    using target = unixPair();
    const [received, sent] = link(ctx, () => [
      asyncRecv(ctx, pair.left, buffer()),
      asyncSend(ctx, target.left, bytes("private")),
    ]);
    await turn();
    const { fd } = target.left;
    let isOver = false;
    void sent.then(() => isOver = true);
    const closing = target.left.close().then(() => isOver);
    assert(isOpen(fd), "the number may be anybody's while the chain goes on");
    assert(await closing, "it was closed before its link was over");
    assertCode(await sent, "ECANCELED");
    value(await asyncSend(ctx, pair.right, bytes("go")));
    assertEquals(value(await received), 2);
  },
);

// ---- the queue -------------------------------------------------------------------------

kioTest("link() is whole wherever the queue is full", async (ctx) => {
  await using file = await tempFile(ctx);
  for (let fill = 0; fill <= 64; fill++) {
    value(await asyncFtruncate(ctx, file, 0));
    // Strangers that fail: a chain tied to them would not run.
    const before = Array.from({ length: fill }, () => asyncFsync(ctx, 4000));
    const memory = new Uint8Array(2);
    const chain = link(ctx, () => [
      asyncWrite(ctx, file, bytes("ab")),
      asyncFdatasync(ctx, file),
      asyncRead(ctx, file, memory),
    ]);
    const failing = link(ctx, () => [
      asyncFsync(ctx, 4000),
      asyncWrite(ctx, file, bytes("X")),
    ]);
    const after = asyncWrite(ctx, file, bytes("c"), 2);
    assertEquals(codes(await Promise.all(chain)), "ok,ok,ok", `fill ${fill}`);
    assertEquals(text(memory), "ab", `fill ${fill}`);
    assertEquals(codes(await Promise.all(failing)), "EBADF,ECANCELED");
    assertEquals(value(await after), 1);
    for (const op of before) assertCode(await op, "EBADF");
    assertEquals(text(await contentOf(ctx, file)), "abc", `fill ${fill}`);
  }
});

kioTest(
  "link() of each length is whole at each fill of a small queue",
  async () => {
    using ctx = new IoContext(8);
    await using file = await tempFile(ctx);
    for (let fill = 0; fill <= 8; fill++) {
      for (let length = 1; length <= 8; length++) {
        for (let bad = 0; bad < length; bad++) {
          const before = Array.from(
            { length: fill },
            () => asyncFsync(ctx, 4000),
          );
          const chain = link(ctx, () =>
            Array.from(
              { length },
              (_, i) => asyncFsync(ctx, i === bad ? 4000 : file.fd),
            ));
          const after = asyncFsync(ctx, file);
          const expected = Array.from(
            { length },
            (_, i) => i < bad ? "ok" : i === bad ? "EBADF" : "ECANCELED",
          );
          assertEquals(
            codes(await Promise.all(chain)),
            expected.join(),
            `fill ${fill}, length ${length}, bad ${bad}`,
          );
          for (const op of before) assertCode(await op, "EBADF");
          value(await after);
        }
      }
    }
  },
);

kioTest(
  "link() takes as many as the queue has places, those beyond give E2BIG",
  async (ctx) => {
    await using file = await tempFile(ctx);
    for (const before of [0, 1, 63]) {
      const strangers = Array.from(
        { length: before },
        () => asyncFsync(ctx, 4000),
      );
      const ops = link(ctx, () =>
        Array.from(
          { length: 70 },
          (_, i) => asyncWrite(ctx, file, bytes("x"), i),
        ));
      const after = asyncFsync(ctx, file);
      const results = await Promise.all(ops);
      assertEquals(
        codes(results),
        [...Array(64).fill("ok"), ...Array(6).fill("E2BIG")].join(),
      );
      value(await after);
      for (const op of strangers) assertCode(await op, "EBADF");
      assertEquals((await contentOf(ctx, file)).length, 64);
    }
  },
);

kioTest(
  "link() without room for an asyncClose() leaves no fd without an owner",
  async (ctx) => {
    await using file = await tempFile(ctx);
    using pair = unixPair();
    const number = pair.right.release();
    const { fd } = pair.left;
    const ops = link(ctx, () => [
      ...Array.from({ length: 64 }, () => asyncFsync(ctx, file)),
      asyncClose(ctx, pair.left),
      asyncClose(ctx, number),
    ]);
    const closed = (await Promise.all(ops)).slice(-2);
    assertEquals(codes(closed), "E2BIG,E2BIG");
    // Either it is gone, as asyncClose() says, or the socket still has it.
    assert(pair.left.fd === fd || !isOpen(fd));
    const wasLeft = isOpen(number);
    if (wasLeft) value(await asyncClose(ctx, number));
    assert(!wasLeft, "the fd is gone whatever the result");
  },
);

kioTest(
  "link() without room for an asyncClose() does what is before it",
  async (ctx) => {
    using other = new IoContext(1);
    const opened = asyncOpen(ctx, "/tmp", O_TMPFILE | O_RDWR, 0o600);
    const fd = value(await opened);
    const ops = link(other, () => [
      asyncWrite(other, fd, bytes("x")),
      asyncClose(other, fd),
    ]);
    assertEquals(codes(await Promise.all(ops)), "ok,E2BIG");
    assert(!isOpen(fd), "the fd is gone whatever the result");
  },
);

kioTest(
  "link() without room for an asyncClose() closes behind links that have not started",
  async () => {
    using other = new IoContext(2);
    using pair = unixPair();
    const fd = value(
      await asyncOpen(other, "/tmp", O_TMPFILE | O_RDWR, 0o600),
    );
    const ops = link(other, () => [
      asyncRecv(other, pair.left, buffer()),
      asyncFsync(other, fd),
      asyncClose(other, fd),
    ]);
    assertCode(await ops[2]!, "E2BIG");
    await turn(5);
    // The sync has not looked the fd up yet.
    assert(isOpen(fd), "it is still to be synced");
    value(await asyncSend(other, pair.right, bytes("x")));
    value(await ops[1]!);
    assert(!isOpen(fd), "the fd is gone whatever the result");
  },
);

kioTest("link() of a full chain can be cancelled", async (ctx) => {
  using pair = unixPair();
  const ops = link(
    ctx,
    () => Array.from({ length: 64 }, () => asyncRecv(ctx, pair.left, buffer())),
  );
  for (const op of ops) op.cancel();
  for (const op of ops) assertCode(await op, "ECANCELED");
});

kioTest("link() of 100 chains at a time keeps each in order", async (ctx) => {
  await using file = await tempFile(ctx);
  const memories = Array.from({ length: 100 }, () => new Uint8Array(4));
  const chains = memories.map((memory, i) => {
    const at = 4 * i;
    const name = `${i}`.padStart(4);
    return link(ctx, () => [
      asyncWrite(ctx, file, bytes("...."), at),
      asyncWrite(ctx, file, bytes(name), at),
      asyncRead(ctx, file, memory, at),
    ]);
  });
  for (const [i, chain] of chains.entries()) {
    assertEquals(codes(await Promise.all(chain)), "ok,ok,ok");
    assertEquals(text(memories[i]!), `${i}`.padStart(4));
  }
});

kioTest(
  "link() pending when its context is closed: all of it is cancelled",
  async (ctx) => {
    using pair = unixPair();
    await using file = await tempFile(ctx);
    for (const turns of [0, 1]) {
      const other = new IoContext(8);
      const ops = link(other, () => [
        asyncRecv(other, pair.left, buffer()),
        asyncWrite(other, file, bytes("x")),
        asyncRecv(other, pair.left, buffer()),
      ]);
      for (let i = 0; i < turns; i++) await turn();
      other[Symbol.dispose]();
      assertEquals(
        codes(await Promise.all(ops)),
        "ECANCELED,ECANCELED,ECANCELED",
      );
    }
    assertEquals((await contentOf(ctx, file)).length, 0);
  },
);
