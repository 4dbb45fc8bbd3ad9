/** Connecting and looking names up, in networks of the tests' own. */
import { assertEquals, assertMatch } from "@std/assert";
import { assertPrinted, type Ended, run, runScript } from "./support.ts";

/** A command in a network of its own. It has only this machine, few ports for
 * outgoing connections, and a server for names that a test may play. */
const NETWORK = [
  "unshare",
  "--map-root-user",
  "--net",
  "--mount",
  "sh",
  "-c",
  `ip link set lo up || exit 1
   range=/proc/sys/net/ipv4/ip_local_port_range
   [ -z "$PORTS" ] || echo "$PORTS" > $range || exit 1
   put() {
     file=$(mktemp) && cat > "$file" && mount --bind "$file" "$1" && rm "$file"
   }
   echo "hosts: files dns" | put /etc/nsswitch.conf || exit 1
   echo "127.0.0.1 localhost known.test # unknown.test" | put /etc/hosts || exit 1
   printf "nameserver 127.0.0.1\\noptions timeout:30 attempts:2\\n" |
     put /etc/resolv.conf || exit 1
   exec "$0" "$@"`,
];
const { code: unshared } = await run(NETWORK[0]!, [
  ...NETWORK.slice(1),
  "true",
]);
const ignore = unshared !== 0;
if (ignore) console.log("there is no network of its own: tests are skipped");

/** Half of the time that a look-up takes at least without an answer. */
const LIMIT_MS = 30_000;

/** Runs a script in such a network. */
function runAlone(script: string, ports = ""): Promise<Ended> {
  return runScript(script, {
    flags: ["-A"],
    under: NETWORK,
    env: { PORTS: ports },
    limitMs: LIMIT_MS,
  });
}

/** The server for names. It counts the questions for each name. It answers only
 * where a test says so, with 127.0.0.1. */
const SERVER = `
const asked = new Map();
const answered = new Set();
const later = [];
const server = new kio.IoContext();
const dns = kio.unwrap(kio.Socket.open("ipv4", "datagram"));
kio.unwrap(dns.bind(kio.SocketAddress.v4(53, "127.0.0.1")));
function nameIn(query) {
  let at = 12;
  const labels = [];
  while (query[at] > 0) {
    labels.push(new TextDecoder().decode(query.subarray(at + 1, at + 1 + query[at])));
    at += query[at] + 1;
  }
  return { name: labels.join("."), end: at + 5 };
}
async function answer({ query, address }) {
  const { end } = nameIn(query);
  const isA = query[end - 3] === 1;
  const head = query.slice(0, end);
  head.set([0x81, 0x80, 0, 1, 0, isA ? 1 : 0, 0, 0, 0, 0], 2);
  const record = new Uint8Array(isA ? [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1] : []);
  await kio.asyncSendmsg(server, dns, { buffers: [head, record], address }).orThrow();
}
/** Answers that name from now on, and its earlier questions too. */
async function answerTo(name) {
  answered.add(name);
  for (const it of later) if (nameIn(it.query).name === name) await answer(it);
}
(async () => {
  for (;;) {
    const buffer = new Uint8Array(512);
    const got = await kio.asyncRecvmsg(server, dns, { buffers: [buffer] });
    if (!got.ok) return;
    const it = { query: buffer.slice(0, got.value.bytes), address: got.value.address };
    const { name } = nameIn(it.query);
    asked.set(name, (asked.get(name) ?? 0) + 1);
    later.push(it);
    if (answered.has(name)) await answer(it);
  }
})();
function threads() {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc/self/task")) {
    try {
      const comm = Deno.readTextFileSync("/proc/self/task/" + name + "/comm");
      if (comm.trim() === "kio-names") count++;
    } catch {
      // It has ended.
    }
  }
  return count;
}
async function until(isSo) {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 1));
}
const codeOf = (result) => result.ok ? "ok" : result.error.code;
`;

Deno.test({
  name: "TcpStream.connect() gives no socket that is connected to itself",
  ignore,
  async fn() {
    assertPrinted(
      await runAlone(
        `
const ctx = new kio.IoContext();
// connect(2) itself does it: this shows that the test can fail.
let selves = 0;
for (let i = 0; i < 500 && selves === 0; i++) {
  const socket = kio.unwrap(kio.Socket.open("ipv4"));
  const at = kio.SocketAddress.v4(40010, "127.0.0.1");
  if ((await kio.asyncConnect(ctx, socket, at)).ok) selves++;
  await socket.close();
}
console.log("plain", selves);
// "Any address" is one of this machine to who connects.
for (const host of ["127.0.0.1", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1"]) {
  const found = new Set();
  for (let i = 0; i < 500; i++) {
    const result = await kio.TcpStream.connect(ctx, host, 40012);
    if (result.ok) {
      found.add(\`\${result.value.localAddress}\`);
      await result.value.close();
    } else found.add(result.error.code);
  }
  console.log(host, ...found);
}
Deno.exit();
`,
        "40000 40031",
      ),
      `plain 1
127.0.0.1 ECONNREFUSED
0.0.0.0 ECONNREFUSED
::1 ECONNREFUSED
:: ECONNREFUSED
::ffff:127.0.0.1 ECONNREFUSED
`,
    );
  },
});

Deno.test({
  name:
    "TcpStream.connect() does not wait for other names whose server is silent",
  ignore,
  async fn() {
    assertPrinted(
      await runAlone(`${SERVER}
const ctx = new kio.IoContext(1024);
using listener = kio.unwrap(kio.TcpListener.bind(0));
const { port } = listener.localAddress;
const connect = (host, timeoutMs) => kio.TcpStream.connect(ctx, host, port, { timeoutMs });
// More than there may be threads; all are given up, and most keep theirs.
for (let round = 0; round < 2; round++) {
  const lost = Array.from({ length: 100 }, (_, i) => connect("n" + i + ".test", 50));
  console.log(...new Set((await Promise.all(lost)).map(codeOf)));
}
console.log("threads", threads(), "asked", asked.size);
for (const host of ["127.0.0.1", "localhost", "127.1", "known.test"]) {
  const made = await connect(host, 20_000);
  console.log(host, codeOf(made));
  if (made.ok) await made.value.close();
}
// A name in a comment of /etc/hosts must wait, within its time.
console.log(codeOf(await connect("unknown.test", 50)));
// An answered name makes room for waiting ones.
await answerTo("last.test");
const last = connect("last.test", 20_000);
await answerTo("n0.test");
console.log("last", codeOf(await last), threads());
// The process ends, though look-ups are not over.
server[Symbol.dispose]();
`),
      `ETIMEDOUT
ETIMEDOUT
threads 64 asked 64
127.0.0.1 ok
localhost ok
127.1 ok
known.test ok
ETIMEDOUT
last ok 63
`,
    );
  },
});

Deno.test({
  name:
    "TcpStream.connect() shares a look-up, with a time and a signal for each",
  ignore,
  async fn() {
    assertPrinted(
      await runAlone(`${SERVER}
const ctx = new kio.IoContext(1024);
using one = kio.unwrap(kio.TcpListener.bind(0));
using two = kio.unwrap(kio.TcpListener.bind(0));
const ports = [one.localAddress.port, two.localAddress.port];
const connect = (i, options) =>
  kio.TcpStream.connect(ctx, "name.test", ports[i % 2], options);
const controller = new AbortController();
const { signal } = controller;
const given = Array.from({ length: 500 }, (_, i) =>
  connect(i, i < 250 ? { timeoutMs: 50 } : { signal }));
const kept = Array.from({ length: 500 }, (_, i) => connect(i, {}));
for (const made of await Promise.all(given.slice(0, 250))) {
  if (codeOf(made) !== "ETIMEDOUT") console.log(codeOf(made));
}
controller.abort();
for (const made of await Promise.all(given)) {
  if (codeOf(made) === "ok") console.log("not given up");
}
console.log("pending", ctx.pending, "threads", threads());
await answerTo("name.test");
const reached = new Set();
for (const made of await Promise.all(kept)) {
  reached.add(made.ok ? ports.indexOf(made.value.peerAddress.port) : made.error.code);
  if (made.ok) made.value[Symbol.dispose]();
}
console.log(...[...reached].sort(), "asked", asked.get("name.test"));
// One that nobody waits for goes on, and is joined by who comes.
console.log(codeOf(await kio.TcpStream.connect(ctx, "again.test", ports[0], { timeoutMs: 20 })));
console.log(codeOf(await kio.TcpStream.connect(ctx, "again.test", ports[0], { timeoutMs: 20 })));
const again = kio.TcpStream.connect(ctx, "again.test", ports[0], {});
await answerTo("again.test");
console.log(codeOf(await again), "asked", asked.get("again.test"));
await until(() => threads() === 0);
// A name whose look-up is over is looked up anew.
console.log(codeOf(await kio.TcpStream.connect(ctx, "again.test", ports[0], {})), "asked", asked.get("again.test"));
// 3000 at once, and none fails.
const many = Array.from({ length: 3000 }, () => kio.TcpStream.connect(ctx, "localhost", ports[1], {}));
const codes = new Set();
for (const made of await Promise.all(many)) {
  codes.add(codeOf(made));
  if (made.ok) made.value[Symbol.dispose]();
}
console.log(...codes, "pending", ctx.pending);
Deno.exit();
`),
      `pending 500 threads 1
0 1 asked 2
ETIMEDOUT
ETIMEDOUT
ok asked 2
ok asked 4
ok pending 0
`,
    );
  },
});

Deno.test({
  name:
    "a look-up outlives its context, its worker and the exit of the program",
  ignore,
  async fn() {
    const worker = `
import * as kio from "@kio/kio";
onmessage = ({ data: [name, how] }) => {
  const ctx = new kio.IoContext(8);
  const names = Array.from({ length: 20 }, (_, i) => name + i + ".test");
  for (const it of names) kio.TcpStream.connect(ctx, it, 1).catch(() => {});
  if (how === "dispose") ctx[Symbol.dispose]();
  setTimeout(() => {
    postMessage("ready");
    if (how === "close" || how === "dispose") self.close();
    if (how === "exit") Deno.exit();
  }, 20);
};`;
    const script = `${SERVER}
const url = "data:text/javascript,${encodeURIComponent(worker)}";
const ways = ["terminate", "close", "exit", "dispose"];
for (let round = 0; round < 12; round++) {
  const how = ways[round % 4];
  const it = new Worker(url, { type: "module" });
  const ready = new Promise((resolve) => it.onmessage = resolve);
  it.postMessage(["n" + round + "-", how]);
  await ready;
  if (how === "terminate") it.terminate();
  if (round === 5) console.log("threads", threads());
  if (round % 2 === 0) {
    // Some are answered when no caller is there any more.
    for (const name of asked.keys()) await answerTo(name);
  }
}
for (let i = 0; i < 240; i++) {
  await answerTo("n" + Math.floor(i / 20) + "-" + i % 20 + ".test");
}
await until(() => threads() === 0);
const ctx = new kio.IoContext(8);
const { error } = await kio.TcpStream.connect(ctx, "localhost", 1, {});
console.log(error.code);
for (let i = 0; i < 70; i++) void kio.TcpStream.connect(ctx, "x" + i + ".test", 1);
await until(() => threads() === 64);
console.log("exit");
Deno.exit(3);
`;
    const ended = await runAlone(script);
    assertMatch(ended.out, /^threads \d+\nECONNREFUSED\nexit\n$/);
    assertEquals([ended.code, ended.err], [3, ""]);
  },
});

Deno.test({
  name: "a look-up keeps the process alive as long as somebody waits for it",
  ignore,
  async fn() {
    assertPrinted(
      await runAlone(`${SERVER}
server[Symbol.dispose]();
dns[Symbol.dispose]();
const ctx = new kio.IoContext(8);
// No listener on that port: an error at once, but by the thread.
kio.TcpStream.connect(ctx, "nobody.test", 1, {}).then((result) =>
  console.log(codeOf(result)));
kio.TcpStream.connect(ctx, "localhost", 1, {}).then((result) =>
  console.log(codeOf(result)));
`).then((ended) => ({
        ...ended,
        out: ended.out.split("\n").sort().join("\n"),
      })),
      "\nEAI_AGAIN\nECONNREFUSED",
    );
  },
});
