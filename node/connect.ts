/** The arguments of `connect()` of a socket of Node, and connections of kio by
 * them. */
import { SocketTransport, type Transport } from "../helpers/transport.ts";
import { checkInteger } from "../lib/check.ts";
import type { IoContext } from "../lib/IoContext.ts";
import { asyncConnect } from "../lib/ops/socket.ts";
import type { Result } from "../lib/result.ts";
import { SocketAddress } from "../lib/SocketAddress.ts";
import { Socket } from "../net/Socket.ts";
import { TcpStream } from "../net/TcpStream.ts";
import { isNameErrno, nodeError } from "./errors.ts";

const VERB = "connect";

/** Where to connect to: a port and a host, or a path. */
export type ConnectTarget =
  | { readonly port: number; readonly host: string }
  | { readonly path: string };

/** Options of Node that kio takes. */
interface ConnectOptions {
  port?: number | string;
  host?: string | null;
  path?: string | null;
  noDelay?: boolean;
  keepAlive?: boolean;
  keepAliveInitialDelay?: number;
}

/** The arguments of a `connect()`. */
interface ConnectCall {
  readonly target: ConnectTarget;
  readonly options: ConnectOptions;
  readonly listener: (() => void) | undefined;
}

/** Options of Node that kio has nothing for. */
const REFUSED = ["localAddress", "localPort", "lookup", "family"] as const;

/** Reads the arguments: options, a path, or a port and a host; and a listener. */
export function parseConnect(args: readonly unknown[]): ConnectCall {
  const [first, second] = args;
  const last = args.at(-1);
  const listener = typeof last === "function" ? last as () => void : undefined;
  const options: ConnectOptions & Record<string, unknown> =
    typeof first === "object" && first !== null
      ? { ...first }
      : typeof first === "string" && !(Number(first) >= 0)
      ? { path: first }
      : {
        port: first as number,
        ...(typeof second === "string" ? { host: second } : {}),
      };
  for (const name of REFUSED) {
    if (!options[name]) continue;
    throw new TypeError(
      `Cannot ${VERB}: kio has no ${name} for it; leave the option out`,
    );
  }
  return { target: targetOf(options), options, listener };
}

function targetOf({ path, port, host }: ConnectOptions): ConnectTarget {
  if (typeof path === "string" && path !== "") return { path };
  if (port === undefined || port === null) {
    throw new TypeError(`Cannot ${VERB}: there is neither a port nor a path`);
  }
  // Number() makes 0 of what is blank, and 1 of true.
  const isText = typeof port === "string" && port.trim() !== "";
  const number = isText ? Number(port) : port as number;
  checkInteger(number, 65535, "port", VERB);
  return { port: number, host: host || "localhost" };
}

/** Connects; throws the errors of Node. */
export async function openTransport(
  ctx: IoContext,
  target: ConnectTarget,
  signal: AbortSignal,
): Promise<Transport> {
  if ("path" in target) return await openUnix(ctx, target.path, signal);
  const { port, host } = target;
  const connected = await TcpStream.connect(ctx, host, port, { signal });
  if (connected.ok) return new SocketTransport(ctx, connected.value);
  const { error } = connected;
  if (isNameErrno(error.errno)) {
    throw nodeError("getaddrinfo", error, { hostname: host }, host);
  }
  const attempt = error.attempts.findLast((it) => it.error.code === error.code);
  const at = attempt?.address.host ?? host;
  throw nodeError(VERB, error, { address: at, port }, `${at}:${port}`);
}

async function openUnix(
  ctx: IoContext,
  path: string,
  signal: AbortSignal,
): Promise<Transport> {
  const address = SocketAddress.unix(path);
  const opened = Socket.open("unix");
  if (!opened.ok) throw nodeError("socket", opened.error);
  const socket = opened.value;
  let connected: Result<void> | undefined;
  try {
    connected = await asyncConnect(ctx, socket, address).withSignal(signal);
  } finally {
    // Also if the context is closed or full.
    if (connected?.ok !== true) await socket.close();
  }
  if (connected.ok) return new SocketTransport(ctx, socket);
  throw nodeError(VERB, connected.error, { address: path }, path);
}
