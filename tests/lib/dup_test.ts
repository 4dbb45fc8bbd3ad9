import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  asyncOpen,
  asyncRead,
  asyncWrite,
  CURRENT_POSITION,
  dup,
  type Fd,
  File,
  O_RDONLY,
} from "@kio/kio";
import {
  assertCode,
  isOpen,
  kioTest,
  pattern,
  tempFile,
  value,
} from "../support.ts";

kioTest("dup() is the same open file, with one position", async (ctx) => {
  await using file = await tempFile(ctx, pattern(100));
  await using copy = new File(ctx, value(dup(file)));
  assert(copy.fd !== file.fd && copy.fd > 2);
  const buffer = new Uint8Array(60);
  for (const [fd, length] of [[copy, 60], [file, 40], [copy, 0]] as const) {
    const read = await asyncRead(ctx, fd, buffer, CURRENT_POSITION);
    assertEquals(value(read), length);
  }
});

kioTest("dup() leaves the original open", async (ctx) => {
  await using file = await tempFile(ctx);
  const copy = new File(ctx, value(dup(file.fd)));
  await copy.close();
  assert(isOpen(file.fd));
  value(await asyncWrite(ctx, file, pattern(3)));
});

kioTest("dup() of an fd that is not open is EBADF", () => {
  assertCode(dup(2 ** 31 - 1), "EBADF");
});

kioTest("dup() refuses what is no fd", async (ctx) => {
  assertThrows(() => dup(-1), RangeError);
  for (const wrong of ["0", null, undefined, {}]) {
    assertThrows(() => dup(wrong as unknown as Fd), TypeError);
  }
  const closed = value(await File.open(ctx, "/proc/version"));
  await closed.close();
  assertThrows(() => dup(closed), RangeError);
  value(ctx.reserveFiles(1));
  const options = { direct: true } as const;
  await using direct = value(
    await asyncOpen(ctx, "/proc/version", O_RDONLY, options),
  );
  assertThrows(() => dup(direct), TypeError);
});
