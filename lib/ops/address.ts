import type { Operation } from "../ring/operation.ts";
import { bytesOfAddress, SocketAddress } from "../SocketAddress.ts";

/** Checks an address. Returns its struct sockaddr. */
export function checkAddress(
  address: SocketAddress,
  operation: Operation,
): Uint8Array<ArrayBuffer> {
  if (address instanceof SocketAddress) return bytesOfAddress(address);
  throw new TypeError(
    `Cannot ${operation.verb}: expected a SocketAddress, got ${typeof address}`,
  );
}
