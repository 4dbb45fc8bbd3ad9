/** Connecting and looking names up, in networks of the tests' own. */
import { assertPrinted, run, runScript } from "./support.ts";

/** A command in a network of its own that has only this machine, and few ports
 * for those who connect. */
const NETWORK = [
  "unshare",
  "--map-root-user",
  "--net",
  "sh",
  "-c",
  `ip link set lo up &&
   echo 40000 40031 > /proc/sys/net/ipv4/ip_local_port_range && exec "$0" "$@"`,
];
const { code: unshared } = await run(NETWORK[0], [
  ...NETWORK.slice(1),
  "true",
]);
const ignore = unshared !== 0;
if (ignore) console.log("there is no network of its own: tests are skipped");

Deno.test({
  name: "TcpStream.connect() gives no socket that is connected to itself",
  ignore,
  async fn() {
    assertPrinted(
      await runScript(
        `
const ctx = new kio.IoContext();
// What connect(2) itself does with it: it shows that the test can fail.
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
        { under: NETWORK },
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
