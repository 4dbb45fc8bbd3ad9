/** Streams of leases, as several tests look at them. */
import { assert, assertEquals } from "@std/assert";
import type { BufferLease, BufferPool, UringStream } from "@kio/kio";
import { value } from "../support.ts";

/** All bytes of a stream until its end, and the code of its last error. */
export async function bytesOf(
  stream: UringStream<BufferLease>,
): Promise<{ all: Uint8Array; code: string }> {
  const parts: Uint8Array[] = [];
  let code = "";
  for await (const result of stream) {
    if (result.ok) parts.push(result.value.copy());
    else code = result.error.code;
  }
  return {
    all: new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer()),
    code,
  };
}

/** The next value of a stream. */
export async function next<T>(stream: UringStream<T>): Promise<T> {
  const step = await stream[Symbol.asyncIterator]().next();
  assert(step.done !== true, "the stream is over");
  return value(step.value);
}

/** Fails if a pool misses a buffer. */
export function assertWhole(pool: BufferPool): void {
  const { count, free, leased, starved } = pool.stats();
  assertEquals([free, leased, starved], [count, 0, 0]);
}
