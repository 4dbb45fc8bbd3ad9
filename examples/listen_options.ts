/** Reads the address of a server from the command line of an example. */
import { SocketAddress } from "@kio/kio";
import { wholeNumber } from "./command_line.ts";

/** Options for the address of a server. */
export function listenOptions(host: string) {
  return {
    host: { value: "ADDRESS", default: host, help: "IPv4 or IPv6 address" },
    port: { value: "PORT", default: "8080", help: "0 for any that is free" },
  };
}

/** The address that `listenOptions()` were given. */
export function addressOf(
  { host, port }: { host: string; port: string },
): SocketAddress {
  const number = wholeNumber("--port", port, 0, 65535);
  try {
    return host.includes(":")
      ? SocketAddress.v6(number, host)
      : SocketAddress.v4(number, host);
  } catch {
    throw new TypeError(
      `--host must be an IPv4 or IPv6 address, got "${host}"`,
    );
  }
}
