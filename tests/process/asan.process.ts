/** Checks that the sanitizers notice errors: `deno task test:asan` runs the
 * tests with them, and is worth something only if it can fail. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  ASAN,
  ASAN_LIBRARY,
  pathOf,
  SHIM_FOLDER,
  sourcesIn,
} from "../../ffi/compile.ts";
import { sanitizedEnv } from "../../tools/asan.ts";
import {
  compileMutant,
  type Ended,
  ROOT,
  run,
  runScript,
  temporaryFolder,
} from "./support.ts";

/** Runs a script under the sanitizers. */
async function runSanitized(
  script: string,
  env: Record<string, string> = {},
): Promise<Ended> {
  using folder = temporaryFolder();
  return await runScript(script, {
    flags: [
      "--allow-ffi",
      "--allow-env=KIO_LIB",
      "--no-check",
      "--v8-flags=--expose-gc",
    ],
    env: { ...sanitizedEnv(`${folder.path}/suppressions`), ...env },
  });
}

/** Past all that guards the buffers: the shim itself. */
const RAW = `
import { ringOf } from "${ROOT}lib/internal.ts";
import { RECV } from "${ROOT}lib/ops/table.ts";
using ctx = new kio.IoContext();
const [left, right] = kio.unwrap(kio.Socket.pair());
const { shim, handle } = ringOf(ctx, RECV);
function receive(buffer, length) {
  return shim.kio_recv(handle, 0, right.fd, buffer, length, 0);
}
function finish() {
  const completions = new Int32Array(64);
  shim.kio_step(handle, completions, 16, false);
  shim.kio_send(handle, 1, left.fd, new Uint8Array(1), 1, 0);
  while (shim.kio_step(handle, completions, 16, true) === 0);
}
`;

const CAUGHT = {
  "a length beyond a buffer": [
    "receive(new Uint8Array(4096), 4097);",
    "recv of fd \\d+, when it is queued: of 4097 bytes",
  ],
  "a length beyond one of several buffers": [
    `
    const vectors = new Uint8Array(32);
    shim.kio_vector_set(vectors, 0, new Uint8Array(64), 64);
    shim.kio_vector_set(vectors, 1, new Uint8Array(64), 65);
    shim.kio_sqe(handle, 0, 1, right.fd, vectors, 0, 2, 0, 0);
    `,
    "readv of fd \\d+, when it is queued: of 65 bytes",
  ],
  "a length beyond a buffer of any operation": [
    "shim.kio_sqe(handle, 0, 22, right.fd, new Uint8Array(99), 0, 100, 0, 0);",
    "read of fd \\d+, when it is queued: of 100 bytes",
  ],
  "a result that is longer than its buffer": [
    `
    const [path, stat] = [new Uint8Array(1), new Uint8Array(255)];
    shim.kio_sqe2(handle, 0, 21, -100, path, 0, 1, stat, 0, 0, 0, 0);
    `,
    "statx of fd -100, when it is queued: of 256 bytes",
  ],
  "a buffer that is transferred in flight": [
    `
    const buffer = new ArrayBuffer(65536);
    receive(buffer, 65536);
    buffer.transfer(10);
    finish();
    `,
    "recv of fd \\d+, when it is complete: of 65536 bytes",
  ],
  "a buffer that nobody holds in flight": [
    `
    (() => receive(new Uint8Array(65536), 65536))();
    for (let i = 0; i < 5; i++) {
      await new Promise((resolve) => setTimeout(resolve, 1));
      gc();
    }
    finish();
    `,
    "recv of fd \\d+, when it is complete: of 65536 bytes",
  ],
} as const;

for (const [what, [script, message]] of Object.entries(CAUGHT)) {
  Deno.test(`${what} ends the process, with the operation's name`, async () => {
    const { signal, err } = await runSanitized(RAW + script);
    assertEquals(signal, "SIGABRT", err);
    assertMatch(err, new RegExp(`^kio: ${message}`, "m"));
  });
}

Deno.test("a byte that is written to a buffer of the kernel ends the process", async () => {
  const { signal, err } = await runSanitized(`
    using ctx = new kio.IoContext();
    const pool = new kio.BufferPool(ctx, { count: 1, size: 64 });
    const [left, right] = kio.unwrap(kio.Socket.pair());
    const stream = kio.asyncRecvMultishot(ctx, right, pool).orThrow();
    let stale;
    await kio.asyncSend(ctx, left, new Uint8Array(8));
    for await (const { bytes, length } of stream) {
      if (stale !== undefined) break;
      stale = bytes;
      setTimeout(async () => {
        // The loop has come back: the kernel has the buffer again.
        new Uint8Array(stale.buffer)[20] = 1;
        await kio.asyncSend(ctx, left, new Uint8Array(8));
      }, 5);
    }
    console.log("survived");
  `);
  assertEquals(signal, "SIGABRT", err);
  assertMatch(err, /^kio: recv of fd \d+: a foreign byte at 20 of buffer 0$/m);
});

const PASS_FD = `
const target = new kio.IoContext();
const { promise: arrived, resolve } = Promise.withResolvers();
target.onFd = (fd) => resolve(new kio.Socket(fd));
const running = target.run();
const [left, right] = kio.unwrap(kio.Socket.pair());
kio.unwrap(kio.passFd(target.ringFd, left.release()));
await Promise.all([arrived.then((socket) => socket.close()), right.close()]);
target.stop();
await running;
target[Symbol.dispose]();
console.log("done");
`;

Deno.test("a program that does nothing wrong ends well", async () => {
  const { code, out, err } = await runSanitized(PASS_FD);
  assertEquals([code, out, err], [0, "done\n", ""]);
});

Deno.test("memory that the library loses is reported", async () => {
  using folder = temporaryFolder();
  const library = await compileMutant(
    folder.path,
    "\t\t*tag = parcel->tag;\n\t\tfree(parcel);\n",
    "\t\t*tag = parcel->tag;\n",
    ASAN,
  );
  const { signal, err } = await runSanitized(PASS_FD, { KIO_LIB: library });
  assertEquals(signal, "SIGABRT");
  assertMatch(err, /LeakSanitizer: detected memory leaks[^]*in kio_fd_send/);
});

/** Finds traces of the sanitizers in a library, debug information included. */
function tracesOf(library: string): RegExpMatchArray | null {
  const content = new TextDecoder("latin1").decode(
    Deno.readFileSync(pathOf(library)),
  );
  return content.match(/__(asan|ubsan)_\w+|\bwatch_(begin|end|check|region)\b/);
}

Deno.test("the normal library has nothing of the sanitizers", async () => {
  assertEquals(tracesOf("build/libkio.so"), null);
  assertEquals(tracesOf("build/libkio_faults.so"), null);
  assert(tracesOf(ASAN_LIBRARY) !== null);
  const { out } = await run("cc", [
    "-E",
    "-P",
    '-DKIO_GUARD_IMAGE=""',
    ...sourcesIn(SHIM_FOLDER),
  ]);
  assertEquals(out.match(/\bwatch(ed|_\w+)\b|asan/g), null);
});
