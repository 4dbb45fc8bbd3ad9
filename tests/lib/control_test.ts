import { assertEquals, assertThrows } from "@std/assert";
import {
  asyncClose,
  asyncRecv,
  asyncRecvmsg,
  asyncSend,
  asyncSendmsg,
  type IoContext,
  MSG_CTRUNC,
  parseScmRights,
  scmRights,
  scmRightsSpace,
  Socket,
} from "@kio/kio";
import { assertCode, kioTest, type Pair, unixPair, value } from "../support.ts";

/** Sends fds through a pair of sockets; gives those that arrive. */
async function passed(
  ctx: IoContext,
  { left, right }: Pair,
  fds: readonly Socket[],
  room: Uint8Array,
): Promise<{ sockets: Socket[]; flags: number }> {
  const buffers = [new Uint8Array(1)];
  const control = scmRights(fds);
  assertEquals(value(await asyncSendmsg(ctx, left, { buffers, control })), 1);
  const received = value(
    await asyncRecvmsg(ctx, right, { buffers, control: room }),
  );
  const sockets = parseScmRights(received.control).map((fd) => new Socket(fd));
  return { sockets, flags: received.flags };
}

kioTest("scmRights() passes fds that mean the same files", async (ctx) => {
  using pair = unixPair();
  for (const count of [1, 2, 3, 100]) {
    using other = unixPair();
    const fds = Array.from({ length: count }, () => other.left);
    const { sockets } = await passed(ctx, pair, fds, scmRightsSpace(count));
    assertEquals(sockets.length, count);
    for (const socket of sockets) {
      value(await asyncSend(ctx, socket, new Uint8Array([count])));
      const buffer = new Uint8Array(8);
      assertEquals(value(await asyncRecv(ctx, other.right, buffer)), 1);
      assertEquals(buffer[0], count);
      // Not close(), which would shut the connection down for all of them.
      value(await asyncClose(ctx, socket.release()));
    }
  }
});

kioTest("scmRightsSpace() that is too small loses no fd here", async (ctx) => {
  using pair = unixPair();
  using other = unixPair();
  const fds = [other.left, other.left, other.left, other.left, other.left];
  const { sockets, flags } = await passed(ctx, pair, fds, scmRightsSpace(2));
  assertEquals(sockets.length, 2);
  assertEquals(flags & MSG_CTRUNC, MSG_CTRUNC);
  for (const socket of sockets) {
    value(await asyncClose(ctx, socket.release()));
  }
});

kioTest("scmRights() of an fd that is not open is EBADF", async (ctx) => {
  using pair = unixPair();
  const message = {
    buffers: [new Uint8Array(1)],
    control: scmRights([4000]),
  };
  assertCode(await asyncSendmsg(ctx, pair.left, message), "EBADF");
});

kioTest("parseScmRights() finds the fds among other control data", () => {
  const other = new Uint8Array(24);
  const view = new DataView(other.buffer);
  view.setBigUint64(0, 20n, true);
  view.setInt32(8, 41, true);
  view.setInt32(12, 1, true);
  view.setInt32(16, 99, true);
  const control = new Uint8Array([
    ...other,
    ...scmRights([5]),
    ...scmRights([6, 7]),
  ]);
  assertEquals(parseScmRights(control), [5, 6, 7]);
  const shifted = new Uint8Array([0, ...control]).subarray(1);
  assertEquals(parseScmRights(shifted), [5, 6, 7]);
});

kioTest("parseScmRights() reads nothing beyond what there is", () => {
  assertEquals(parseScmRights(new Uint8Array(0)), []);
  assertEquals(parseScmRights(new Uint8Array(15)), []);
  assertEquals(parseScmRights(new Uint8Array(64)), []);
  const whole = scmRights([1, 2]);
  for (let length = 0; length < whole.length; length++) {
    assertEquals(parseScmRights(whole.subarray(0, length)), []);
  }
  const huge = scmRights([1, 2]);
  new DataView(huge.buffer).setBigUint64(0, 2n ** 64n - 1n, true);
  assertEquals(parseScmRights(huge), []);
});

kioTest("scmRights() refuses what makes no sense", () => {
  const number = "their number must be an integer from 1 to 253";
  assertThrows(() => scmRights([]), RangeError, number);
  assertThrows(() => scmRights(Array(254).fill(0)), RangeError, number);
  assertThrows(() => scmRights([-1]), RangeError, "Cannot send fds: fd");
  assertThrows(() => scmRights(["1"] as unknown as number[]), TypeError);
  assertThrows(() => scmRights(1 as unknown as number[]), TypeError);
  for (const count of [0, 254, 1.5, NaN]) {
    assertThrows(() => scmRightsSpace(count), RangeError, "count must be");
  }
  const wrong = [1] as unknown as Uint8Array;
  assertThrows(() => parseScmRights(wrong), TypeError, "must be a Uint8Array");
});
