import { loadShim } from "./load.ts";

let count = 0;

const mappings = new FinalizationRegistry<Deno.PointerObject>((address) => {
  loadShim().kio_memory_unmap(address);
  count--;
});

/** Counts the pieces of memory that are mapped. */
export function mappingCount(): number {
  return count;
}

/**
 * Maps zeroed memory outside the JavaScript heap by mmap(2), page-aligned. The
 * shim unmaps it when nothing refers to it any more. At the end of the isolate
 * it drains the contexts before that. Returns undefined if there is no memory.
 */
export function mapMemory(size: number): ArrayBuffer | undefined {
  // Before the mapping: Deno may prompt at a terminal, or throw when it is
  // made.
  if (Deno.permissions.querySync({ name: "ffi" }).state !== "granted") {
    throw new Deno.errors.NotCapable(
      "Cannot allocate: memory outside the JavaScript heap needs --allow-ffi without a list of paths; use pin(new Uint8Array(size))",
    );
  }
  const address = loadShim().kio_memory_map(size);
  if (address === null) return undefined;
  const buffer = Deno.UnsafePointerView.getArrayBuffer(address, size);
  mappings.register(buffer, address);
  count++;
  return buffer;
}

/** Tells if a buffer begins at a multiple of that many bytes. */
export function isAligned(memory: ArrayBuffer, bytes: number): boolean {
  const address = Deno.UnsafePointer.of(new Uint8Array(memory));
  return Deno.UnsafePointer.value(address) % BigInt(bytes) === 0n;
}
