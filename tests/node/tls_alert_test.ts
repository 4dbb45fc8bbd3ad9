/** That a peer hears why TLS has failed. */
import { assertEquals } from "@std/assert";
import { IoContext, SocketTransport } from "@kio/kio";
import {
  startTls,
  TlsAcceptor,
  type TlsClientOptions,
  type TlsServerOptions,
} from "@kio/kio/tls";
import { assertCode, kioTest, unixPair } from "../support.ts";
import { AUTHORITY, SERVER } from "./certificates.ts";

const TRUSTING = { ca: AUTHORITY };

/** Who refuses, and what the other side hears. */
const REFUSALS: [
  what: string,
  server: TlsServerOptions,
  client: TlsClientOptions,
  codes: { server: string; client: string },
][] = [
  [
    "a client without a common protocol",
    { ...SERVER, alpnProtocols: ["h2"] },
    { ...TRUSTING, alpnProtocols: ["http/1.1"] },
    {
      server: "ERR_SSL_NO_APPLICATION_PROTOCOL",
      client: "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
    },
  ],
  [
    "a client without a certificate",
    { ...SERVER, ca: AUTHORITY, clientCertificate: true },
    TRUSTING,
    {
      server: "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE",
      client: "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED",
    },
  ],
  [
    "a server that is not trusted",
    SERVER,
    {},
    {
      server: "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
      client: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
    },
  ],
];

for (const [what, server, client, codes] of REFUSALS) {
  kioTest(
    `a handshake that refuses ${what} tells the peer why`,
    async (ctx) => {
      const { left, right } = unixPair();
      const [accepted, started] = await Promise.all([
        new TlsAcceptor(server).accept(new SocketTransport(ctx, left)),
        startTls(new SocketTransport(ctx, right), "localhost", client),
      ]);
      assertCode(accepted, codes.server);
      if (started.ok) {
        // TLS 1.3: the client is done before the server has looked.
        const heard = await started.value.recv(new Uint8Array(8));
        await started.value.close();
        assertCode(heard, codes.client);
      } else assertCode(started, codes.client);
      assertEquals([left.fd, right.fd], [-1, -1]);
    },
  );
}

kioTest("a handshake ends with a send that fails", async (ctx) => {
  const { left, right } = unixPair();
  using mute = new IoContext({ allow: ["recv"] });
  const [accepted, started] = await Promise.all([
    new TlsAcceptor(SERVER).accept(new SocketTransport(mute, left), {
      timeoutMs: 3000,
    }),
    startTls(new SocketTransport(ctx, right), "localhost", TRUSTING),
  ]);
  assertCode(accepted, "EACCES");
  assertCode(started, "ECONNRESET");
});
