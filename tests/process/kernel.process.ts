/** A kernel that refuses or interrupts, as strace plays it, or has less. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type Feature, IoContext } from "@kio/kio";
import {
  assertPrinted,
  type Ended,
  hasStrace,
  runScript,
  temporaryFolder,
} from "./support.ts";

const ignore = !await hasStrace();

/** Runs a script whose system call fails at certain times. */
function runWithFault(
  call: string,
  fault: string,
  script: string,
  flags = ["--allow-ffi"],
): Promise<Ended> {
  return runScript(script, {
    flags,
    under: [
      "strace",
      "--follow-forks",
      "--output=/dev/null",
      `--trace=${call}`,
      `--inject=${call}:${fault}`,
    ],
  });
}

const TWO_CONTEXTS = `
for (const attempt of [1, 2]) {
  try {
    using ctx = new kio.IoContext(256);
    console.log(attempt, (await kio.asyncSleep(ctx, 1)).ok);
  } catch (error) {
    console.log(attempt, error.name, error.code, error.message);
  }
}
`;

const REFUSALS = {
  EPERM: ["PermissionDenied", "seccomp filter .*kernel.io_uring_disabled"],
  ENOSYS: ["Error", "has no io_uring.*Linux 6.1"],
  ENOMEM: ["Error", "ulimit -l"],
  EMFILE: ["Error", "ulimit -n"],
};

for (const [code, [name, hint]] of Object.entries(REFUSALS)) {
  Deno.test({
    name: `IoContext explains ${code} of the kernel and can be tried again`,
    ignore,
    async fn() {
      const { code: exitCode, out, err } = await runWithFault(
        "io_uring_setup",
        // The ring of a trial comes first.
        `error=${code}:when=1..2`,
        TWO_CONTEXTS,
      );
      assertEquals([exitCode, err], [0, ""]);
      assertMatch(
        out,
        new RegExp(
          `^1 ${name} ${code} Cannot open an io_uring: .*\\(${code}\\): .*${hint}.*\n2 true\n$`,
        ),
      );
    },
  });
}

/** The registrations of a new context in their order: the eventfd of a trial,
 * the ring's own fd, the eventfd, the limit of workers, the probe. Only the
 * third is a must. */
for (
  const [call, out] of [
    "1 true",
    "1 true",
    "1 Error ENOMEM",
    "1 true",
    "1 true",
  ]
    .entries()
) {
  Deno.test({
    name: `IoContext leaks nothing when registration ${call + 1} is refused`,
    ignore,
    async fn() {
      const ended = await runWithFault(
        "io_uring_register",
        `error=ENOMEM:when=${call + 1}`,
        `
        const fdsOf = () => Array.from(Deno.readDirSync("/proc/self/fd")).length;
        const before = fdsOf();
        ${TWO_CONTEXTS}
        // Deno may close one of its own meanwhile.
        console.log("leaked", Math.max(0, fdsOf() - before));
        `,
        ["-A"],
      );
      assertEquals([ended.code, ended.err], [0, ""]);
      assertMatch(
        ended.out,
        new RegExp(
          `^${out}( Cannot open an io_uring: .*)?\n2 true\nleaked 0\n$`,
        ),
      );
    },
  });
}

/** Files, sockets, timers and cancels at the same time; checks every result. */
const WORKLOAD = `
const ctx = new kio.IoContext(64);
const check = (is, what) => { if (!is) throw new Error("wrong: " + what); };

async function files() {
  const fd = await kio.asyncOpen(
    ctx, "/tmp", kio.O_TMPFILE | kio.O_RDWR, 0o600,
  ).orThrow();
  for (let round = 0; round < 20; round++) {
    await Promise.all(Array.from({ length: 10 }, async (_, i) => {
      const data = new Uint8Array(1000).fill(round + i);
      check(await kio.asyncWrite(ctx, fd, data, 1000 * i).orThrow() === 1000, "write");
      const copy = new Uint8Array(1000);
      check(await kio.asyncRead(ctx, fd, copy, 1000 * i).orThrow() === 1000, "read");
      check(copy.every((byte) => byte === round + i), "bytes of the file");
    }));
  }
  check((await kio.asyncRead(ctx, fd, new Uint8Array(1), 10_000)).value === 0, "end");
  await kio.asyncFtruncate(ctx, fd, 5).orThrow();
  check((await kio.asyncRead(ctx, fd, new Uint8Array(10))).value === 5, "cut off");
  await kio.asyncClose(ctx, fd).orThrow();
}

async function pingPong() {
  const [left, right] = kio.unwrap(kio.Socket.pair());
  const [there, back] = [new Uint8Array(8), new Uint8Array(8)];
  for (let round = 0; round < 200; round++) {
    there.fill(round & 255);
    const received = kio.asyncRecv(ctx, right, back);
    check(await kio.asyncSend(ctx, left, there).orThrow() === 8, "send");
    check((await received).value === 8 && back[7] === (round & 255), "receive");
  }
  await Promise.all([left.close(), right.close()]);
}

async function connections() {
  const listener = kio.unwrap(
    kio.TcpListener.bind(kio.SocketAddress.v4(0, "127.0.0.1")),
  );
  for (let round = 0; round < 20; round++) {
    const accepted = kio.asyncAccept(ctx, listener);
    const client = kio.unwrap(kio.Socket.open("ipv4"));
    await kio.asyncConnect(ctx, client, listener.localAddress).orThrow();
    const server = new kio.Socket(await accepted.orThrow());
    await client.close();
    check((await kio.asyncRecv(ctx, server, new Uint8Array(1))).value === 0, "end");
    await server.close();
  }
  await listener.close();
}

async function time() {
  for (let round = 0; round < 20; round++) {
    const start = performance.now();
    await kio.asyncSleep(ctx, 5).orThrow();
    check(performance.now() - start >= 4.9, "sleep");
    const [left, right] = kio.unwrap(kio.Socket.pair());
    const late = await kio.asyncRecv(ctx, right, new Uint8Array(1)).withTimeout(2);
    check(!late.ok && late.error.code === "ETIMEDOUT", "timeout");
    const cancelled = kio.asyncRecv(ctx, right, new Uint8Array(1));
    await kio.asyncSleep(ctx, 1);
    cancelled.cancel();
    check((await cancelled).error?.code === "ECANCELED", "cancel");
    await Promise.all([left.close(), right.close()]);
  }
}

async function wakes() {
  const alive = kio.asyncSleep(ctx, 60_000);
  for (let round = 0; round < 20; round++) {
    const woken = Promise.withResolvers();
    ctx.onMessage = (result, userData) => woken.resolve([result, userData]);
    check(kio.wake(ctx.ringFd, round, 2 ** 50).ok, "wake");
    const [result, userData] = await woken.promise;
    check(result === round && userData === 2 ** 50, "message");
  }
  alive.cancel();
  await alive;
}

await Promise.all([files(), pingPong(), connections(), time(), wakes()]);
check(ctx.pending === 0, "pending");
const [left, right] = kio.unwrap(kio.Socket.pair());
const left_over = kio.asyncRecv(ctx, left, new Uint8Array(1));
await kio.asyncSleep(ctx, 1);
ctx[Symbol.dispose]();
check((await left_over).error?.code === "ECANCELED", "dispose");
console.log("done");
`;

/** As this kernel has it: the mask takes nothing else away. */
const UNCHANGED = "unchanged";

/** Features that a kernel may lack (see ffi/shim/test/masks.c), and kio's statement about
 * each. */
const MASKS: Record<string, Record<string, boolean | string>> = {
  DEFER_TASKRUN: {
    DEFER_TASKRUN: false,
    deferTaskrun: "emulated",
    acceptMultishot: "emulated",
    recvMultishot: "emulated",
    SINGLE_ISSUER: false,
    COOP_TASKRUN: true,
    SUBMIT_ALL: true,
  },
  WAKES: { DEFER_TASKRUN: false, SINGLE_ISSUER: false, COOP_TASKRUN: true },
  SUBMIT_ALL: { DEFER_TASKRUN: false, COOP_TASKRUN: false, SUBMIT_ALL: false },
  NO_IOWAIT: { NO_IOWAIT: false },
  SYNC_MSG_RING: { SYNC_MSG_RING: false },
  FTRUNCATE: { asyncFtruncate: "syscall", readMultishot: "emulated" },
  REGISTERED_RING: {},
  SEND_ZC: { sendZc: "emulated", asyncSendZc: "ring" },
  BUFFER_RING: {
    bufferRing: "emulated",
    recvMultishot: "emulated",
    readMultishot: "emulated",
  },
  RECV_MULTISHOT: {
    bufferRing: UNCHANGED,
    recvMultishot: "emulated",
    recvmsgMultishot: "emulated",
    readMultishot: "emulated",
  },
  ACCEPT_MULTISHOT: { acceptMultishot: "emulated", recvMultishot: UNCHANGED },
  IOWQ_MAX_WORKERS: {},
};

for (const [mask, told] of Object.entries(MASKS)) {
  Deno.test(`IoContext does without ${mask}, and says so`, async () => {
    const { code, out, err } = await runScript(
      `
      import { FaultPlan } from "@kio/kio/testing";
      FaultPlan.load();
      const { operations, features, flags } = kio.IoContext.probe();
      const supports = Object.entries(features)
        .map(([name, { support }]) => [name, support]);
      console.log(JSON.stringify({
        ...operations, ...Object.fromEntries(supports), ...flags,
      }));
      ${WORKLOAD}
      `,
      { flags: ["--allow-ffi"], env: { KIO_MASK: mask } },
    );
    assertEquals(code, 0, err);
    // By the library, and at least once.
    assertMatch(err, new RegExp(`^kio: ${mask} hidden [1-9]\\d* times\n$`));
    const [capabilities = "", end] = out.split("\n");
    assertEquals(end, "done");
    const found = JSON.parse(capabilities);
    const { features } = IoContext.probe();
    for (const [name, is] of Object.entries(told)) {
      const expected = is === UNCHANGED
        ? features[name as Feature].support
        : is;
      assertEquals(found[name], expected, name);
    }
  });
}

for (const code of ["EINTR", "EAGAIN", "EBUSY", "ENOMEM"]) {
  Deno.test({
    name: `IoContext loses nothing when the kernel answers ${code}`,
    ignore,
    async fn() {
      assertPrinted(
        await runWithFault(
          "io_uring_enter",
          `error=${code}:when=3+5`,
          WORKLOAD,
        ),
        "done\n",
      );
    },
  });
}

Deno.test({
  name: "IoContext says so when the kernel fails in a way that must not be",
  ignore,
  async fn() {
    const { signal, err } = await runWithFault(
      "io_uring_enter",
      "error=EBADFD:when=3+",
      WORKLOAD,
    );
    assertEquals(signal, "SIGABRT");
    assertMatch(
      err,
      /^kio: io_uring_enter: .*\nkio of .*\nwithout features: none\n\d+ operations pending:(\n {2}slot \d+, generation \d+: async\w+(, fd \d+)?(, [a-z ]+)*)+\nring fd \d+: \d+ in flight, prepared \d+\.\.\d+, submitted \d+\.\.\d+ of 64, completed \d+\.\.\d+ of 256, flags 0(x\d+)?\nLinux .*\n$/,
    );
  },
});

Deno.test("asyncOpen() reports that fds are used up", async () => {
  using folder = temporaryFolder();
  const { code, out } = await runScript(
    `
    using ctx = new kio.IoContext();
    const fds = [];
    for (;;) {
      const opened = await kio.asyncOpen(ctx, "${folder.path}", kio.O_RDONLY);
      if (!opened.ok) {
        console.log(opened.error.code);
        break;
      }
      fds.push(opened.value);
    }
    for (const fd of fds) await kio.asyncClose(ctx, fd).orThrow();
    console.log((await kio.asyncOpen(ctx, "${folder.path}", kio.O_RDONLY)).ok);
  `,
    { under: ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"] },
  );
  assert(code === 0);
  assertEquals(out, "EMFILE\ntrue\n");
});

Deno.test("acceptLoop() that ends waits for fds, and does not spin", async () => {
  const { code, out, err } = await runScript(
    `
    using ctx = new kio.IoContext();
    const at = kio.SocketAddress.v4(0, "127.0.0.1");
    using listener = kio.unwrap(kio.TcpListener.bind(at));
    const clients = [];
    for (let i = 0; i < 3; i++) {
      const client = kio.unwrap(kio.Socket.open("ipv4"));
      await kio.asyncConnect(ctx, client, listener.localAddress).orThrow();
      clients.push(client);
    }
    const fds = [];
    for (;;) {
      const opened = await kio.asyncOpen(ctx, "/proc/version", kio.O_RDONLY);
      if (!opened.ok) break;
      fds.push(opened.value);
    }
    const accepted = [];
    const add = (fd) => accepted.push(fd);
    const start = performance.now();
    let pauses = 0;
    const { setTimeout } = globalThis;
    globalThis.setTimeout = (...args) => {
      pauses++;
      return setTimeout(...args);
    };
    const loop = kio.acceptLoop(ctx, listener, add, AbortSignal.abort());
    await new Promise((resolve) => setTimeout(resolve, 300));
    const most = (performance.now() - start) / 10 + 1;
    console.log(accepted.length, pauses > 0 && pauses <= most || pauses);
    for (const fd of fds) await kio.asyncClose(ctx, fd).orThrow();
    console.log((await loop).ok, accepted.length);
  `,
    { under: ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"] },
  );
  assertEquals([code, out], [0, "0 true\ntrue 3\n"], err);
});
