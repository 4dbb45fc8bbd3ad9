import { assert, assertEquals, assertThrows } from "@std/assert";
import { SocketAddress } from "@kio/kio";
import {
  ADDRESS_SIZE,
  addressFromBytes,
  bytesOfAddress,
} from "../../lib/SocketAddress.ts";
import { randomOf } from "../support.ts";

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** An address after a visit to the kernel. */
function throughBytes(address: SocketAddress): SocketAddress {
  const memory = new Uint8Array(ADDRESS_SIZE).fill(0xaa);
  const bytes = bytesOfAddress(address);
  memory.set(bytes, 0);
  return addressFromBytes(memory.subarray(0, bytes.length));
}

function assertSame(one: SocketAddress, two: SocketAddress): void {
  assertEquals(
    [one.family, one.host, one.port],
    [two.family, two.host, two.port],
  );
  assertEquals(hex(bytesOfAddress(one)), hex(bytesOfAddress(two)));
}

// ---- v4 ------------------------------------------------------------------------------

Deno.test("v4() makes a struct sockaddr_in", () => {
  const address = SocketAddress.v4(8080, "1.2.3.4");
  assertEquals(
    [address.family, address.host, address.port],
    ["ipv4", "1.2.3.4", 8080],
  );
  assertEquals(
    hex(bytesOfAddress(address)),
    "02001f90010203040000000000000000",
  );
});

Deno.test("v4() without a host is all interfaces", () => {
  assertEquals(`${SocketAddress.v4(80)}`, "0.0.0.0:80");
});

Deno.test("v4() takes every port", () => {
  for (const port of [0, 1, 255, 256, 65535]) {
    assertSame(
      throughBytes(SocketAddress.v4(port, "255.0.255.1")),
      SocketAddress.v4(port, "255.0.255.1"),
    );
  }
});

Deno.test("v4() refuses what is no IPv4 address", () => {
  const hosts = [
    "",
    "1",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "1.2.3.-1",
    "1.2.3.+4",
    "1.2.3.4 ",
    " 1.2.3.4",
    "1.2.3.4\n",
    "1.2.3.4\0",
    "1.2.3.04",
    "01.2.3.4",
    "0x1.2.3.4",
    "1.2.3.4e0",
    "1..3.4",
    ".1.2.3.4",
    "1.2.3.4.",
    "1,2,3,4",
    "١.٢.٣.٤",
    "１.2.3.4",
    "::1",
    "::ffff:1.2.3.4",
    "[1.2.3.4]",
    "localhost",
    "example.com",
    "4294967296.1.1.1",
    "99999999999999999999.1.1.1",
  ];
  for (const host of hosts) {
    assertThrows(
      () => SocketAddress.v4(80, host),
      TypeError,
      "Cannot make a socket address of ",
      JSON.stringify(host),
    );
  }
});

// ---- v6 --------------------------------------------------------------------------------

Deno.test("v6() makes a struct sockaddr_in6", () => {
  const address = SocketAddress.v6(443, "fe80::1:2%3");
  assertEquals(
    [address.family, address.host, address.port],
    ["ipv6", "fe80::1:2%3", 443],
  );
  assertEquals(
    hex(bytesOfAddress(address)),
    "0a0001bb00000000fe80000000000000000000000001000203000000",
  );
});

Deno.test("v6() without a host is all interfaces", () => {
  assertEquals(`${SocketAddress.v6(80)}`, "[::]:80");
});

Deno.test("v6() prints the form of RFC 5952", () => {
  const forms = {
    "0:0:0:0:0:0:0:0": "::",
    "::": "::",
    "0:0:0:0:0:0:0:1": "::1",
    "1:0:0:0:0:0:0:0": "1::",
    "1::": "1::",
    // 4.1: no leading zeros, 4.3: lower case.
    "2001:0DB8::0001": "2001:db8::1",
    "ABCD:EF01:2345:6789:abcd:ef01:2345:6789":
      "abcd:ef01:2345:6789:abcd:ef01:2345:6789",
    // 4.2.1: as short as possible.
    "2001:db8:0:0:0:0:2:1": "2001:db8::2:1",
    // 4.2.2: a single group of zeros is not shortened.
    "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
    "2001:db8::1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
    "0:1:2:3:4:5:6:7": "0:1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:0": "1:2:3:4:5:6:7:0",
    "1:2:3:4:5:6:7::": "1:2:3:4:5:6:7:0",
    "::2:3:4:5:6:7:8": "0:2:3:4:5:6:7:8",
    // 4.2.3: the longest run, the first of equals.
    "2001:0:0:1:0:0:0:1": "2001:0:0:1::1",
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
    "0:0:1:0:0:1:0:0": "::1:0:0:1:0:0",
    "1:0:0:0:1:0:0:0": "1::1:0:0:0",
    "1:0:0:1:0:0:0:0": "1:0:0:1::",
    // 5: addresses that are known to hold an IPv4 one.
    "::ffff:1.2.3.4": "::ffff:1.2.3.4",
    "::ffff:102:304": "::ffff:1.2.3.4",
    "0:0:0:0:0:FFFF:255.255.255.255": "::ffff:255.255.255.255",
    "64:ff9b::1.2.3.4": "64:ff9b::102:304",
    "1:2:3:4:5:6:1.2.3.4": "1:2:3:4:5:6:102:304",
    "fe80::1%0": "fe80::1",
    "fe80::1%4294967295": "fe80::1%4294967295",
  };
  for (const [given, printed] of Object.entries(forms)) {
    const address = SocketAddress.v6(1, given);
    assertEquals(address.host, printed, given);
    assertSame(SocketAddress.v6(1, printed), address);
    assertSame(throughBytes(address), address);
  }
});

Deno.test("v6() refuses what is no IPv6 address", () => {
  const hosts = [
    "",
    ":",
    ":::",
    "::::",
    "1",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "1:2:3:4::5:6:7:8",
    "1::2::3",
    ":1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:",
    ":1::2",
    "1::2:",
    "12345::",
    "g::",
    "-1::",
    "0x1::",
    "1.2.3.4",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "::1.2.3",
    "::1.2.3.256",
    "::1.2.3.04",
    "1:2:3:4:5:6:7:1.2.3.4",
    "[::1]",
    "::1 ",
    " ::1",
    "::1\n",
    "::1\0",
    "::１",
    "fe80::1%",
    "fe80::1%eth0",
    "fe80::1%-1",
    "fe80::1%01",
    "fe80::1%4294967296",
    "fe80::1%1%2",
    "%1",
    "localhost",
  ];
  for (const host of hosts) {
    assertThrows(
      () => SocketAddress.v6(80, host),
      TypeError,
      "Cannot make a socket address of ",
      JSON.stringify(host),
    );
  }
});

Deno.test("v4() and v6() survive the kernel's form, and their own (seeded)", () => {
  const random = randomOf(1);
  for (let i = 0; i < 3000; i++) {
    const port = random(65536);
    const address = random(3) === 0
      ? SocketAddress.v4(
        port,
        [0, 0, 0, 0].map(() => random(256)).join("."),
      )
      : SocketAddress.v6(
        port,
        // Zeros in every place.
        Array.from({ length: 8 }, () => random(2) * random(65536))
          .map((group) => group.toString(16)).join(":") +
          (random(4) === 0 ? `%${random(10)}` : ""),
      );
    assertSame(throughBytes(address), address);
    assertSame(SocketAddress.parse(`${address}`), address);
  }
});

Deno.test("v4() and v6() refuse a port that is none", () => {
  const ports = [-1, 65536, 1.5, NaN, Infinity, -Infinity, 2 ** 32 + 80];
  const others = ["80", 80n, null, undefined, {}, [80], true];
  for (const port of [...ports, ...others] as number[]) {
    for (const make of [SocketAddress.v4, SocketAddress.v6]) {
      assertThrows(
        () => make(port),
        RangeError,
        "Cannot make a socket address: port must be an integer",
        String(port),
      );
    }
  }
});

// ---- unix ------------------------------------------------------------------------------

Deno.test("unix() makes a struct sockaddr_un of a path or an abstract name", () => {
  const path = SocketAddress.unix("/run/a");
  assertEquals([path.family, path.host, path.port], ["unix", "/run/a", 0]);
  assertEquals(hex(bytesOfAddress(path)), "01002f72756e2f6100");
  const abstract = SocketAddress.unix("\0name");
  assertEquals(hex(bytesOfAddress(abstract)), "0100006e616d65");
});

Deno.test("unix() survives the kernel's form and its own", () => {
  const names = [
    "/a",
    "a",
    ".",
    "/tmp/with space",
    "/tmp/ünï/☃/𝒳",
    "\0abstract",
    "\0",
    "\0@",
    "\0 \n",
    "@not-abstract",
    "unix:/a",
    "/tmp/a:80",
    "[::1]:80",
    "/tmp/a\n",
    "\ufefforder mark",
    "\0\ufefforder mark",
    `/${"x".repeat(106)}`,
    `\0${"x".repeat(106)}`,
  ];
  for (const name of names) {
    const address = SocketAddress.unix(name);
    assertEquals(throughBytes(address).host, name);
    assertSame(throughBytes(address), address);
  }
});

Deno.test("unix() survives toString() and parse()", () => {
  const names = [
    "/a",
    "a",
    "\0abstract",
    "\0",
    "\0@",
    "unix:/a",
    "/tmp/a:80",
    "/tmp/@a",
  ];
  for (const name of names) {
    const address = SocketAddress.unix(name);
    const parsed = SocketAddress.parse(`${address}`);
    assertEquals(parsed.host, name, `${address}`);
  }
});

Deno.test("toString() of a path with @ is no abstract name", () => {
  const address = SocketAddress.unix("@path");
  assertEquals(SocketAddress.parse(`${address}`).host, "./@path");
});

Deno.test("unix() takes 107 bytes, counted in UTF-8", () => {
  SocketAddress.unix("x".repeat(107));
  SocketAddress.unix(`${"é".repeat(53)}x`);
  for (
    const path of ["x".repeat(108), "é".repeat(54), "\0" + "x".repeat(107)]
  ) {
    assertThrows(() => SocketAddress.unix(path), RangeError, "Cannot use ");
  }
});

Deno.test("unix() refuses an empty path and a NUL that is not the first", () => {
  const paths = ["", "a\0", "/a\0b", "\0a\0", "\0\0"];
  for (const path of [...paths, 1, null, undefined, {}, ["/a"]] as string[]) {
    assertThrows(
      () => SocketAddress.unix(path),
      TypeError,
      "Cannot make a socket address of ",
      JSON.stringify(path),
    );
  }
});

// ---- parse and the kernel's own -------------------------------------------------------

Deno.test("parse() reads what toString() writes", () => {
  const texts = [
    "127.0.0.1:80",
    "0.0.0.0:0",
    "255.255.255.255:65535",
    "[::1]:80",
    "[::ffff:1.2.3.4]:8080",
    "[fe80::1%2]:22",
    "unix:/run/socket",
    "unix:@abstract",
    "unix:relative",
  ];
  for (const text of texts) {
    assertEquals(`${SocketAddress.parse(text)}`, text);
  }
});

Deno.test("parse() refuses what is no address with its port", () => {
  const texts = [
    "",
    ":",
    ":80",
    "80",
    "1.2.3.4",
    "1.2.3.4:",
    "1.2.3.4:x",
    "1.2.3.4: 80",
    "1.2.3.4:80 ",
    "1.2.3.4:80\n",
    "1.2.3.4:+80",
    "1.2.3.4:-1",
    "1.2.3.4:0x50",
    "1.2.3.4:8e1",
    "1.2.3.4:８０",
    "1.2.3.4:100000",
    "::1",
    "::1:80",
    "[::1]",
    "[::1]:",
    "[::1]80",
    "[::1]:80:80",
    "[[::1]]:80",
    "[1.2.3.4]:80",
    "[]:80",
    "localhost:80",
    "http://1.2.3.4:80",
    "unix:",
    "UNIX:/a",
    "unix:/a\0b",
  ];
  for (const text of texts) {
    assertThrows(
      () => SocketAddress.parse(text),
      TypeError,
      "Cannot make a socket address of ",
      JSON.stringify(text),
    );
  }
  for (const text of ["1.2.3.4:65536", "[::1]:99999"]) {
    assertThrows(() => SocketAddress.parse(text), RangeError, "Cannot ");
  }
});

Deno.test("parse() refuses what is no string", () => {
  for (const text of [1, null, undefined, {}, [], 80n] as unknown as string[]) {
    const error = assertThrows(() => SocketAddress.parse(text), TypeError);
    const { message } = error as Error;
    assert(message.startsWith("Cannot make a socket address"), message);
  }
});

Deno.test("parse() takes its time for nothing, however long the text", () => {
  const startMs = performance.now();
  for (const part of [":", "[", "1.", "::", "%", "unix:"]) {
    const text = part.repeat(200_000);
    assertThrows(() => SocketAddress.parse(text), Error, "Cannot ");
    assertThrows(() => SocketAddress.v6(1, text), TypeError, "Cannot ");
  }
  assert(performance.now() - startMs < 5000);
});

Deno.test("the kernel's address without a name is an empty host", () => {
  const address = addressFromBytes(Uint8Array.of(1, 0));
  assertEquals([address.family, address.host], ["unix", ""]);
  assertEquals(`${address}`, "unix:");
});

Deno.test("the kernel's path is the same with and without its NUL", () => {
  const path = [..."/run/a"].map((c) => c.charCodeAt(0));
  for (const bytes of [[1, 0, ...path], [1, 0, ...path, 0]]) {
    assertEquals(addressFromBytes(Uint8Array.from(bytes)).host, "/run/a");
  }
});

Deno.test("the kernel's address is a copy of its memory", () => {
  const memory = Uint8Array.from(bytesOfAddress(SocketAddress.unix("/run/a")));
  const address = addressFromBytes(memory);
  memory.fill(0);
  assertEquals(address.host, "/run/a");
  assertEquals(hex(bytesOfAddress(address)), "01002f72756e2f6100");
});

Deno.test("unix() refuses a lone surrogate, in abstract names too", () => {
  for (const path of ["/tmp/\ud800", "\0\udc00", "\ud800\ud800"]) {
    assertThrows(() => SocketAddress.unix(path), TypeError, "lone surrogate");
  }
  assertEquals(SocketAddress.unix("/tmp/\ud83d\ude00").host, "/tmp/\u{1f600}");
});

Deno.test("resolve() refuses a host with a lone surrogate", () => {
  assertThrows(
    () => SocketAddress.resolve("\ud800.example", 80),
    TypeError,
    "lone surrogate",
  );
});
