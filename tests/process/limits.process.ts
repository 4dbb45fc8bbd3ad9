/**
 * Limits of the system and of the user. A refusal says what to do about it,
 * nothing leaks, and existing objects go on.
 */
import {
  assertPrinted,
  runScript,
  type ScriptOptions,
  temporaryFolder,
} from "./support.ts";

/** Runs Deno under a limit of the shell, from its start. */
const limited = (limit: string) => [
  "sh",
  "-c",
  `ulimit ${limit}; exec "$@"`,
  "sh",
];

/** The rest is counted against the limits of a user, which root has not. */
const UID = 61_234;
const AS_USER = [
  "setpriv",
  `--reuid=${UID}`,
  `--regid=${UID}`,
  "--clear-groups",
  // Wherever the checkout and Deno are.
  "--inh-caps=+dac_read_search",
  "--ambient-caps=+dac_read_search",
];

/** Runs a script as a user without privileges. */
async function runAsUser(script: string, options: ScriptOptions = {}) {
  if (Deno.uid() !== 0) return await runScript(script, options);
  using folder = temporaryFolder();
  Deno.chownSync(folder.path, UID, UID);
  return await runScript(script, {
    ...options,
    under: [...options.under ?? [], ...AS_USER],
    env: { ...options.env, HOME: folder.path, DENO_DIR: folder.path },
  });
}

/** The common part of the scripts, for printing and counting. */
const SHARED = `
const say = (what, result) => console.log(what, result.ok ? "ok" : result.error.code);
const refusal = async (what, attempt) => {
  try {
    await attempt();
    console.log(what, "ok");
  } catch (error) {
    console.log(what, error.name, error.code, error.message);
  }
};
const fdsOf = () => Array.from(Deno.readDirSync("/proc/self/fd")).length;
const libc = Deno.dlopen("libc.so.6", {
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  pipe: { parameters: ["buffer"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
}).symbols;
// Deno opens these at some time, and ends the process if it cannot.
Deno.addSignalListener("SIGUSR2", say);
Deno.removeSignalListener("SIGUSR2", say);
`;

// ---- open files -------------------------------------------------------------

Deno.test("64 open files: each operation says so, and all works afterwards", async () => {
  assertPrinted(
    await runScript(
      `${SHARED}
const ctx = new kio.IoContext(64);
const pool = new kio.BlockingPool(1);
// The page cache of a disk needs no pipe.
const file = await kio.asyncOpen(
  ctx, "/dev/shm", kio.O_TMPFILE | kio.O_RDWR, 0o600,
).orThrow();
await kio.asyncWrite(ctx, file, new Uint8Array(1000).fill(7)).orThrow();
const [left, right] = kio.unwrap(kio.Socket.pair());
const listener = kio.unwrap(
  kio.TcpListener.bind(kio.SocketAddress.v4(0, "127.0.0.1")),
);
const at = listener.localAddress;
const client = kio.unwrap(kio.Socket.open("ipv4"));
await kio.asyncConnect(ctx, client, at).orThrow();

const before = fdsOf();
const fds = [];
for (;;) {
  const opened = await kio.asyncOpen(ctx, "/proc/self/status", kio.O_RDONLY);
  if (opened.ok) fds.push(opened.value);
  else break;
}
say("socket", kio.Socket.open("ipv4"));
say("pair", kio.Socket.pair());
say("bind", kio.TcpListener.bind(kio.SocketAddress.v4(0, "127.0.0.1")));
say("accept", await kio.asyncAccept(ctx, listener));
say("pipe", await kio.asyncPipe(ctx));
say("sendfile", await kio.asyncSendfile(ctx, left, file, 0, 1000));
say("connect", await kio.TcpStream.connect(ctx, "127.0.0.1", at.port));
say("readDir", (await Array.fromAsync(kio.readDir(ctx, "/proc"))).at(-1));
say("dir", (await Array.fromAsync(kio.readDir(ctx, ".", { dir: file }))).at(-1));
say("walk", (await Array.fromAsync(kio.walk(ctx, "/proc"))).at(-1));
say("resolve", kio.SocketAddress.resolve("localhost", 80));
say("resolveAsync", await kio.SocketAddress.resolveAsync(ctx, pool, "localhost", 80));
await refusal("offload", () => kio.offload(ctx, pool, () => 1).orThrow());
await refusal("pool", () => kio.WorkerPool.start("file:///none.ts", { workers: 1 }));
// One for the ring, then one for its eventfd as well.
for (let room = 0; room < 3; room++) {
  await refusal("context", () => new kio.IoContext(64)[Symbol.dispose]());
  await kio.asyncClose(ctx, fds.pop()).orThrow();
  // One more place is not enough for two.
  if (room === 0) say("pipe", await kio.asyncPipe(ctx));
}
for (const fd of fds) await kio.asyncClose(ctx, fd).orThrow();
console.log("leaked", fdsOf() - before, ctx.pending);

const accepted = await kio.asyncAccept(ctx, listener).orThrow();
say("sendfile", await kio.asyncSendfile(ctx, left, file, 0, 1000));
const copy = new Uint8Array(1000);
say("receive", await kio.asyncRecvExact(ctx, right, copy));
console.log(copy.every((byte) => byte === 7), await kio.offload(ctx, pool, () => 1).orThrow());
say("resolveAsync", await kio.SocketAddress.resolveAsync(ctx, pool, "localhost", 80));
Deno.exit();
`,
      { flags: ["-A"], under: limited("-n 64") },
    ),
    `socket EMFILE
pair EMFILE
bind EMFILE
accept EMFILE
pipe EMFILE
sendfile EMFILE
connect EMFILE
readDir EMFILE
dir EMFILE
walk EMFILE
resolve EMFILE
resolveAsync EMFILE
offload Error EMFILE Cannot offload a job: Too many open files: a thread needs up to 16 fds; close some or raise the limit of open files (ulimit -n) (EMFILE)
pool Error EMFILE Cannot start a pool: Too many open files (EMFILE): a thread needs up to 16 fds; close some or raise the limit of open files (ulimit -n)
context Error EMFILE Cannot open an io_uring: Too many open files (EMFILE): the limit of open files is reached (ulimit -n)
pipe EMFILE
context Error EMFILE Cannot open an io_uring: Too many open files (EMFILE): the limit of open files is reached (ulimit -n)
context ok
leaked 0 0
sendfile ok
receive ok
true 1
resolveAsync ok
`,
  );
});

/** Serves until it gets a message, which ends it. */
const WORKER = `
import * as kio from "@kio/kio";
await kio.joinPool(async ({ ctx, pool }) => {
  const end = new Promise((_, reject) => {
    ctx.onMessage = () => reject(new Error("on purpose"));
  });
  pool.ready();
  await end;
});
`;

Deno.test("64 open files: a worker is started again when there are fds for it", async () => {
  assertPrinted(
    await runScript(
      `${SHARED}
const files = [];
function openAll() {
  try {
    for (;;) files.push(Deno.openSync("/dev/null"));
  } catch (error) {
    console.log(error.code);
  }
}
const module = "data:text/javascript,${encodeURIComponent(WORKER)}";
const pool = await kio.WorkerPool.start(module, {
  workers: 1,
  restart: true,
  onError(error) {
    console.log(error.message);
    openAll();
  },
});
kio.unwrap(kio.wake(pool.ringFds[0], 0, 1));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
while (files.length === 0) await sleep(1);
await sleep(500);
console.log(pool.stats().restarts);
for (const file of files) file.close();
while (pool.ringFds[0] === -1) await sleep(1);
console.log(pool.stats().restarts);
Deno.exit();
`,
      { flags: ["-A"], under: limited("-n 64") },
    ),
    "Worker 0 failed: on purpose\nEMFILE\n0\n1\n",
  );
});

// ---- threads ----------------------------------------------------------------

Deno.test("no thread of the kernel may start: paths are EAGAIN until one may", async () => {
  assertPrinted(
    await runAsUser(
      `${SHARED}
const RLIMIT_NPROC = 6;
const limit = (count) =>
  libc.setrlimit(RLIMIT_NPROC, new BigUint64Array([count, 4096n]));
const ctx = new kio.IoContext(64);
limit(1n);
for (let i = 0; i < 2; i++) say("stat", await kio.asyncStat(ctx, "/"));
limit(4096n);
say("stat", await kio.asyncStat(ctx, "/"));
Deno.exit();
`,
      { flags: ["-A"] },
    ),
    "stat EAGAIN\nstat EAGAIN\nstat ok\n",
  );
});

for (const first of ["", "kio.IoContext.probe();"]) {
  Deno.test(`two opens that wait for each other meet, ${first ? "after probe()" : "in the first context"}`, async () => {
    using folder = temporaryFolder();
    assertPrinted(
      await runScript(
        `${SHARED}
const path = ${JSON.stringify(folder.path)} + "/fifo";
await new Deno.Command("mkfifo", { args: [path] }).output();
${first}
const ctx = new kio.IoContext();
// With O_CREAT they are for threads of the kernel at once.
const flags = [kio.O_RDONLY, kio.O_WRONLY];
const opens = flags.map((it) => kio.asyncOpen(ctx, path, it | kio.O_CREAT));
for (const op of opens) say("open", await op.withTimeout(10_000));
Deno.exit();
`,
        { flags: ["-A"] },
      ),
      "open ok\nopen ok\n",
    );
  });
}

// ---- memory -----------------------------------------------------------------

Deno.test("64 KiB of locked memory: contexts up to there, also again", async () => {
  assertPrinted(
    await runAsUser(
      `${SHARED}
await refusal("large", () => new kio.IoContext(32768));
const before = fdsOf();
// The kernel gives the memory of a ring back a little later than the fd.
const givenBack = () => new Promise((resolve) => setTimeout(resolve, 500));
await givenBack();
for (const round of [1, 2]) {
  const contexts = [];
  for (;;) {
    try {
      contexts.push(new kio.IoContext());
    } catch (error) {
      console.log(round, contexts.length > 0, error.code);
      break;
    }
  }
  for (const ctx of contexts) {
    console.log((await kio.asyncSleep(ctx, 1)).ok);
    ctx[Symbol.dispose]();
  }
  await givenBack();
}
console.log("leaked", fdsOf() - before);
`,
      { flags: ["-A"], under: limited("-l 64") },
    ),
    `large Error ENOMEM Cannot open an io_uring: Cannot allocate memory (ENOMEM): the limit of locked memory (ulimit -l) or of address space (ulimit -v) is used up; 32768 entries need 4228 KiB of locked memory, and all rings of this user may have 64; raise it or use fewer entries
1 true ENOMEM
true
true
true
true
2 true ENOMEM
true
true
true
true
leaked 0
`,
  );
});

Deno.test("too little locked memory for the usual queue: it is smaller, and works", async () => {
  assertPrinted(
    await runAsUser(
      `${SHARED}
await refusal("asked for", () => new kio.IoContext(256));
const ctx = new kio.IoContext();
const { sqEntries, cqEntries } = ctx.stats();
console.log(sqEntries, cqEntries, (await kio.asyncSleep(ctx, 1)).ok);
`,
      { flags: ["-A"], under: limited("-l 32") },
    ),
    `asked for Error ENOMEM Cannot open an io_uring: Cannot allocate memory (ENOMEM): the limit of locked memory (ulimit -l) or of address space (ulimit -v) is used up; 256 entries need 36 KiB of locked memory, and all rings of this user may have 32; raise it or use fewer entries
32 128 true
`,
  );
});

Deno.test("1 MiB of locked memory: allocate() says so, and a zero-copy send copies", async () => {
  assertPrinted(
    await runAsUser(
      `${SHARED}
using ctx = new kio.IoContext(16);
const register = (KiB) => ctx.allocate(KiB << 10, { registered: true });
const memory = register(512);
refusal("more", () => register(1024));
await ctx.unregisterMemory(memory);
await kio.asyncSleep(ctx, 1);
refusal("again", () => register(512));

const listener = kio.unwrap(kio.TcpListener.bind(kio.SocketAddress.v4(0, "127.0.0.1")));
const { port } = listener.localAddress;
const client = kio.unwrap(await kio.TcpStream.connect(ctx, "127.0.0.1", port));
const server = new kio.Socket(await kio.asyncAccept(ctx, listener).orThrow());
const data = new Uint8Array(4 << 20).fill(7);
const send = kio.asyncSendZc(ctx, client, data);
const count = await send.sent;
await kio.asyncRecvExact(ctx, server, new Uint8Array(count.value));
const { bytes, copied } = await send.orThrow();
console.log("sent", bytes === count.value, copied);
await Promise.all([client.close(), server.close(), listener.close()]);
`,
      { flags: ["-A"], under: limited("-l 1024") },
    ),
    `more Error ENOMEM Cannot allocate 1048576 registered bytes: Cannot allocate memory (ENOMEM): the limit of locked memory (ulimit -l) is 1048576 bytes for all that this user has locked; raise it, or unregister some memory
again ok
sent true true
`,
  );
});

Deno.test("address space that is used up: allocate() and new contexts say so", async () => {
  assertPrinted(
    await runScript(
      `${SHARED}
const RLIMIT_AS = 9;
const limit = new BigUint64Array(2);
libc.getrlimit(RLIMIT_AS, limit);
const [original] = limit;
/** Runs at once what may use so many bytes more. The engine, which ends the
 * process if it gets none, has collected its garbage before. */
function within(bytes, body) {
  gc();
  const status = Deno.readTextFileSync("/proc/self/status");
  const [, vmKiB] = /^VmSize:\\s*(\\d+)/m.exec(status);
  limit[0] = BigInt(vmKiB) * 1024n + BigInt(bytes);
  libc.setrlimit(RLIMIT_AS, limit);
  try {
    body();
  } catch (error) {
    return error;
  } finally {
    limit[0] = original;
    libc.setrlimit(RLIMIT_AS, limit);
  }
}
const ctx = new kio.IoContext(64);
const before = fdsOf();
const errors = [
  within(2 ** 27, () => ctx.allocate(2 ** 28)),
  within(2 ** 27, () => ctx.allocate(2 ** 20)),
  within(2 ** 20, () => void new kio.IoContext(32768)),
];
for (const error of errors) {
  console.log(error?.code, error?.message.replace(/[^;]*locked memory(,[^;]*)?;/, "…;"));
}
console.log("leaked", fdsOf() - before);
console.log(ctx.allocate(2 ** 28).length, (await kio.asyncSleep(ctx, 1)).ok);
`,
      { flags: ["-A", "--v8-flags=--expose-gc"] },
    ),
    `ENOMEM Cannot allocate 268435456 bytes: Cannot allocate memory (ENOMEM): there is no memory or no address space left (ulimit -v); allocate less, or drop what is not needed any more
undefined undefined
ENOMEM Cannot open an io_uring: Cannot allocate memory (ENOMEM): the limit of locked memory (ulimit -l) or of address space (ulimit -v) is used up;…; raise it or use fewer entries
leaked 0
268435456 true
`,
  );
});

// ---- pipes ------------------------------------------------------------------

Deno.test("asyncSendfile() through the small pipes of a user who has many", async () => {
  assertPrinted(
    await runAsUser(
      `${SHARED}
const [F_SETPIPE_SZ, F_GETPIPE_SZ] = [1031, 1032];
const fds = new Int32Array(2);
/** Makes one more pipe of 1 MiB, as far as the system grants it; gives its
 * size. */
const pipe = () => {
  if (libc.pipe(fds) !== 0) throw new Error("no pipe");
  libc.fcntl(fds[1], F_SETPIPE_SZ, 2 ** 20);
  return libc.fcntl(fds[1], F_GETPIPE_SZ, 0);
};
let size = 2 ** 20;
for (let count = 0; size > 8192; count++) size = pipe();
console.log(size <= 8192, libc.fcntl(fds[1], F_SETPIPE_SZ, 2 ** 20));

const ctx = new kio.IoContext(64);
const content = Uint8Array.from({ length: 3_000_000 }, (_, i) => i * 7 + (i >> 13));
// The page cache of a disk needs no pipe.
const file = await kio.asyncOpen(
  ctx, "/dev/shm", kio.O_TMPFILE | kio.O_RDWR, 0o600,
).orThrow();
await kio.asyncWriteExact(ctx, file, content);
const [left, right] = kio.unwrap(kio.Socket.pair());
const copy = new Uint8Array(content.length);
const [sent] = await Promise.all([
  kio.asyncSendfile(ctx, left, file, 0, content.length),
  kio.asyncRecvExact(ctx, right, copy),
]);
console.log(sent.value, copy.every((byte, i) => byte === content[i]));
`,
      { flags: ["-A"] },
    ),
    "true -1\n3000000 true\n",
  );
});

Deno.test("IoContext hears of an eventfd without a free fd", async () => {
  assertPrinted(
    await runScript(
      `const libc = Deno.dlopen("libc.so.6", {
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  dup: { parameters: ["i32"], result: "i32" },
}).symbols;
const ctx = new kio.IoContext(8);
await kio.asyncSleep(ctx, 1);
const fds = Array.from({ length: 5 }, () => libc.eventfd(0, 0));
while (libc.dup(fds[0]) >= 0);
const one = new Uint8Array(new BigUint64Array([1n]).buffer);
for (const fd of fds) {
  const op = kio.asyncRead(ctx, fd, new Uint8Array(8));
  setTimeout(() => libc.write(fd, one, 8n), 20);
  const given = await op.withTimeout(10_000);
  console.log(given.ok ? given.value : given.error.code);
}
Deno.exit();
`,
      { under: limited("-n 256") },
    ),
    "8\n8\n8\n8\n8\n",
  );
});

Deno.test("readDir() and walk() without a thread say so, and work afterwards", async () => {
  assertPrinted(
    await runAsUser(
      `${SHARED}
const ctx = new kio.IoContext(64);
const RLIMIT_NPROC = 6;
const limits = new BigUint64Array(2);
libc.getrlimit(RLIMIT_NPROC, limits);
libc.setrlimit(RLIMIT_NPROC, new BigUint64Array([1n, limits[1]]));
const codesOf = async (stream) => {
  const results = await Array.fromAsync(stream);
  return results.map((it) => it.ok ? "ok" : it.error.code);
};
console.log(await codesOf(kio.readDir(ctx, "/proc/self/task")));
console.log(await codesOf(kio.walk(ctx, "/proc/self/task")), ctx.pending);
libc.setrlimit(RLIMIT_NPROC, limits);
const codes = await codesOf(kio.walk(ctx, "/proc/self/task", { maxDepth: 1 }));
console.log(codes.every((it) => it === "ok") && codes.length > 2);
Deno.exit();
`,
      { flags: ["-A"] },
    ),
    `[ "EAGAIN" ]
[ "EAGAIN" ] 0
true
`,
  );
});
