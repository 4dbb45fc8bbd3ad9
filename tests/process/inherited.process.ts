import { assertEquals, assertMatch } from "@std/assert";
import {
  type Socket,
  SocketAddress,
  TcpListener,
  UdpSocket,
  unwrap,
} from "@kio/kio";
import { assertPrinted, hasProgram, Program, runScript } from "./support.ts";

const LOCAL = SocketAddress.v4(0, "127.0.0.1");
const ENV = "--allow-env=LISTEN_PID,LISTEN_FDS,LISTEN_FDNAMES";

const libc = Deno.dlopen("libc.so.6", {
  dup: { parameters: ["i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
});

/** Runs a command with sockets as its fds 3, 4 …, as systemd does. */
function passing(
  sockets: readonly Socket[],
  env: string,
): Disposable & { under: string[] } {
  // Duplicates that programs inherit, out of the way of the fds from 3 on.
  const copies = sockets.map(({ fd }) => libc.symbols.dup(fd));
  const moves = copies.map((copy, i) => `exec ${3 + i}<&${copy} ${copy}<&-`);
  const command = [...moves, env, 'exec "$@"'].join("; ");
  return {
    under: ["bash", "-c", command, "-"],
    [Symbol.dispose]: () => copies.forEach((it) => libc.symbols.close(it)),
  };
}

Deno.test("listenFds() gives the sockets of the environment by their names", async () => {
  await using listener = unwrap(TcpListener.bind(LOCAL));
  await using datagrams = unwrap(UdpSocket.bind(LOCAL));
  using passed = passing(
    [listener, datagrams],
    "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:log",
  );
  const ended = await runScript(
    `
    const fds = kio.unwrap(kio.listenFds(Deno.env));
    console.log(JSON.stringify(fds));
    const ctx = new kio.IoContext();
    const listener = kio.unwrap(kio.TcpListener.adopt(fds[0].fd));
    const socket = kio.unwrap(kio.UdpSocket.adopt(fds[1].fd));
    console.log(String(listener.localAddress), String(socket.localAddress));
    await Promise.all([listener.close(), socket.close()]);
    `,
    { flags: ["--allow-ffi", ENV], under: passed.under },
  );
  assertPrinted(
    ended,
    `[{"fd":3,"name":"web"},{"fd":4,"name":"log"}]\n` +
      `${listener.localAddress} ${datagrams.localAddress}\n`,
  );
  // The one that was closed there still takes clients here.
  const { port } = listener.localAddress!;
  (await Deno.connect({ hostname: "127.0.0.1", port })).close();
});

for (
  const [function_, script] of [
    ["listenFds()", "kio.unwrap(kio.listenFds(Deno.env));"],
    ["adopt()", "const own = kio.unwrap(kio.Socket.adopt(3));"],
  ] as const
) {
  Deno.test(`${function_} keeps fds from programs that are started`, async () => {
    await using listener = unwrap(TcpListener.bind(LOCAL));
    using passed = passing([listener], "export LISTEN_PID=$$ LISTEN_FDS=1");
    const ended = await runScript(
      `
      const open = async () => {
        const args = ["-c", "test -e /proc/self/fd/3 && echo open || echo closed"];
        const { stdout } = await new Deno.Command("sh", { args }).output();
        return new TextDecoder().decode(stdout).trim();
      };
      console.log(await open());
      ${script}
      console.log(await open());
      `,
      { flags: ["-A"], under: passed.under },
    );
    assertPrinted(ended, "open\nclosed\n");
  });
}

Deno.test("systemd-socket-activate passes a listener that outlives its server", async () => {
  if (!await hasProgram("systemd-socket-activate")) return;
  using probe = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = probe.addr;
  probe.close();
  const script = Deno.makeTempFileSync({ suffix: ".ts" });
  const library = new URL("../../mod.ts", import.meta.url);
  Deno.writeTextFileSync(
    script,
    `
    import * as kio from "${library}";
    using ctx = new kio.IoContext();
    const [{ fd, name }] = kio.unwrap(kio.listenFds(Deno.env));
    const listener = kio.unwrap(kio.TcpListener.adopt(fd));
    const client = new kio.Socket(await kio.asyncAccept(ctx, listener).orThrow());
    await kio.asyncSendExact(ctx, client, new TextEncoder().encode(name));
    await Promise.all([client.close(), listener.close()]);
    `,
  );
  await using _ = new Program("systemd-socket-activate", [
    ...["-l", `127.0.0.1:${port}`, "--fdname=web"],
    ...[Deno.execPath(), "run", "--no-prompt", "--allow-ffi", ENV, script],
  ]);
  const client = await connect(port);
  assertMatch(await new Response(client.readable).text(), /^web$/);
  Deno.removeSync(script);
});

async function connect(port: number): Promise<Deno.TcpConn> {
  for (let left = 100;; left--) {
    try {
      return await Deno.connect({ hostname: "127.0.0.1", port });
    } catch (error) {
      if (left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

// ---- the standard fds as files ----------------------------------------------

const COPY = `
  using ctx = new kio.IoContext();
  await using input = new kio.File(ctx, kio.unwrap(kio.dup(0)));
  await using output = new kio.File(ctx, kio.unwrap(kio.dup(1)));
  await input.readable.pipeTo(output.writable);
  console.log("over");
`;

for (
  const [kind, command] of [
    ["a pipe", `cat "$0" | "$@" | cat`],
    ["a file", `"$@" < "$0" > "$0.out"; cat "$0.out"`],
    ["the rest of a file", `{ head -c 0; "$@"; } < "$0"`],
    ["a file that others append to", `"$@" < "$0" >> "$0.out"; cat "$0.out"`],
  ] as const
) {
  Deno.test(`dup() of stdin and stdout makes files, of ${kind}`, async () => {
    const folder = Deno.makeTempDirSync();
    const data = "line\n".repeat(100_000);
    Deno.writeTextFileSync(`${folder}/in`, data);
    const library = new URL("../../mod.ts", import.meta.url);
    const script = `${folder}/copy.ts`;
    Deno.writeTextFileSync(script, `import * as kio from "${library}";${COPY}`);
    const { code, stdout, stderr } = await new Deno.Command("sh", {
      args: [
        ...["-c", command, `${folder}/in`],
        ...[Deno.execPath(), "run", "--no-prompt", "--allow-ffi", script],
      ],
    }).output();
    const decoder = new TextDecoder();
    assertEquals([code, decoder.decode(stderr)], [0, ""]);
    assertEquals(decoder.decode(stdout), `${data}over\n`);
    Deno.removeSync(folder, { recursive: true });
  });
}
