/** How `deno task screenshots` plays and draws what programs write. */
import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { drawn, played } from "../../tools/screenshots.ts";

function textOf(recording: string): string[] {
  return played(recording).map((cells) =>
    cells.map(({ text }) => text).join("")
  );
}

Deno.test("played() gives the screen that is left", () => {
  assertEquals(textOf("one\r\ntwo\r\n"), ["one", "two"]);
  assertEquals(textOf("\r\x1b[K10 %\r\x1b[K100 %\r\x1b[Kdone\r\n"), ["done"]);
  assertEquals(
    textOf("\x1b[?25la\r\nb\r\nc\r\n\r\x1b[2A\x1b[Jd\r\n\x1b[?25h"),
    [
      "a",
      "d",
    ],
  );
  assertEquals(played("\x1b[32mµ\x1b[0m█"), [[
    { text: "µ", style: 32 },
    { text: "█", style: 0 },
  ]]);
});

Deno.test("played() refuses a code that it does not know", () => {
  assertThrows(() => played("\x1b[3;4H"), Error, "no code");
});

Deno.test("drawn() gives each word its place", () => {
  const svg = drawn(played("a <b>\r\n  \x1b[32m██\x1b[0m\r\n"), "$ it");
  assertMatch(svg, /<title>\$ it<\/title>/);
  assertMatch(svg, /<text x="16\.0" y="31" textLength="8\.4" [^>]*>a</);
  assertMatch(svg, /<text x="32\.8" [^>]*>&lt;b></);
  assertMatch(svg, /<rect x="32\.8" y="39" width="16\.8" [^>]*"#56d364"/);
});
