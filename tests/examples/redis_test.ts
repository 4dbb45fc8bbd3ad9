/** The parts of examples/redis_server.ts that trust nothing. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { matches } from "../../examples/redis/commands.ts";
import {
  ProtocolError,
  RequestFinder,
  splitLine,
  textOf,
} from "../../examples/redis/request.ts";
import { requestOf, Store } from "../../examples/redis/store.ts";
import { bytes, randomOf } from "../support.ts";

/** The requests of some bytes that come in pieces, and the error at their end. */
function requestsOf(text: string, pieces: () => number): unknown[] {
  const all = bytes(text);
  const finder = new RequestFinder();
  const found: unknown[] = [];
  let start = 0;
  try {
    for (let there = 0; there < all.length;) {
      there = Math.min(there + pieces(), all.length);
      // Less would not help, as it says.
      if (there - start < finder.needed && there < all.length) continue;
      const some = all.subarray(0, there);
      for (let end; (end = finder.find(some, start)) > 0; start = end) {
        found.push(finder.take(textOf(some), start));
      }
    }
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    found.push(error.message);
  }
  return found;
}

Deno.test("RequestFinder finds the same requests in any pieces", () => {
  const random = randomOf(3);
  const pick = (text: string) => text[random(text.length)]!;
  const counts: Record<string, number> = { request: 0, error: 0 };
  for (let round = 0; round < 20_000; round++) {
    let text = "";
    for (let i = random(4); i >= 0; i--) {
      const args = Array.from(
        { length: 1 + random(3) },
        () =>
          Array.from({ length: random(9) }, () => pick("a\r\n*$1")).join(""),
      );
      text += random(3) === 0 ? `a "b\\x41" 'c'\r\n` : requestOf(...args);
    }
    if (random(2) === 0) {
      const at = random(text.length);
      text = text.slice(0, at) + pick("\r\n*$-019x") +
        text.slice(at + random(2));
    }
    const whole = requestsOf(text, () => text.length);
    for (const most of [1, 3, 20]) {
      const parts = requestsOf(text, () => 1 + random(most));
      assertEquals(parts, whole, JSON.stringify(text));
    }
    for (const it of whole) {
      counts[typeof it === "string" ? "error" : "request"]!++;
    }
  }
  // Else it says nothing.
  assert(counts.error! > 1000 && counts.request! > 10_000, `${counts}`);
});

Deno.test("RequestFinder looks at no byte twice", () => {
  // A million steps over all bytes would take hours.
  const text = `*65536\r\n${"$1\r\nx\r\n".repeat(65536)}`;
  const all = bytes(text);
  const finder = new RequestFinder();
  for (let there = 0; there < all.length; there++) {
    assertEquals(finder.find(all.subarray(0, there), 0), 0);
  }
  assertEquals(finder.find(all, 0), all.length);
});

Deno.test("RequestFinder refuses numbers that are none, or too large", () => {
  const next = requestOf("a");
  for (const none of ["*0", "*-1", "*-12"]) {
    assertEquals(requestsOf(`${none}\r\n${next}`, () => 100), [[], ["a"]]);
  }
  for (const number of ["", "-", "x", "-x", "1x", "65537", "9".repeat(20)]) {
    assertEquals(
      requestsOf(`*${number}\r\n${next}`, () => 100),
      ["invalid multibulk length"],
    );
  }
  for (const number of ["", "-", "-1", "x", "1048576", "9".repeat(20)]) {
    assertEquals(
      requestsOf(`*1\r\n$${number}\r\na\r\n`, () => 100),
      ["invalid bulk length"],
    );
  }
});

Deno.test("splitLine() splits as Redis does", () => {
  assertEquals(splitLine(`  a "b c"\t'd "e' "\\x41\\n\\"" '\\'' x\\y ""`), [
    ...["a", "b c", `d "e`, 'A\n"', "'", "x\\y", ""],
  ]);
  assertEquals(splitLine(`a"b"`), ["ab"]);
  for (const line of [`"`, `"a"b`, `'a'b`, `a'`, `"a\\"`]) {
    assertThrows(() => splitLine(line), ProtocolError, "unbalanced");
  }
  const hostile = [
    "\\".repeat(60_000),
    " ".repeat(60_000),
    `a"`.repeat(30_000),
  ];
  for (const line of hostile) {
    try {
      splitLine(`"${line}`);
    } catch (error) {
      assert(error instanceof ProtocolError);
    }
  }
});

Deno.test("matches() knows the patterns of KEYS", () => {
  assert(matches("*", "") && matches("", "") && !matches("", "a"));
  const cases: [pattern: string, matching: string, other: string][] = [
    ["a*c", "abc abbc ac", "ab abcd"],
    ["a?c", "abc", "ac abbc"],
    ["[a-c]x", "ax bx cx", "dx x"],
    ["[^a-c]x", "dx", "ax"],
    ["[c-a]", "b", "d"],
    ["\\*", "*", "a"],
    ["[\\]a]", "] a", "b"],
    ["[ab", "a b", "c"],
    ["a\\", "a\\", "a"],
    ["**a*b**", "ab xaxbx", "ba"],
  ];
  for (const [pattern, matching, other] of cases) {
    for (const text of matching.split(" ")) {
      assert(matches(pattern, text), pattern);
    }
    for (const text of other.split(" ")) {
      assert(!matches(pattern, text), pattern);
    }
  }
  // One that tries all ways takes longer than there is time.
  assert(!matches("*a".repeat(1000) + "b", "a".repeat(10_000)));
});

Deno.test("Store undoes changes, one after the other", () => {
  const store = new Store(1);
  const random = randomOf(5);
  const undos: (() => void)[] = [];
  const shown = () => [
    [...store.keys()].sort().map(
      (key) => [key, store.get(key), store.expiresMs(key)],
    ),
    store.bytes,
  ];
  const states: unknown[] = [];
  store.onChange = (_, undo) => undos.push(undo);
  const timeMs = Date.now() + 1_000_000;
  for (let i = 0; i < 2000; i++) {
    const before = structuredClone(shown());
    const key = `${random(5)}`;
    const isThere = store.get(key) !== undefined;
    const kind = random(20);
    if (kind < 8) store.put(key, "x".repeat(random(40)));
    else if (kind < 12) store.put(key, "y", timeMs + i);
    else if (kind < 15 && isThere) store.expire(key, timeMs - i);
    else if (kind < 19) store.delete(key);
    else store.clear();
    if (undos.length > states.length) states.push(before);
  }
  assert(states.length > 1000);
  while (undos.length > 0) {
    undos.pop()!();
    assertEquals(shown(), states.pop());
  }
});
