/** How `deno task test:kernels` judges the console of a guest. */
import { assertEquals } from "@std/assert";
import { judge } from "../../tools/kernels/judge.ts";

// The firmware leaves codes of a terminal before the first line.
const GOOD = `\x1b[2Jkio: Linux 6.1.0-50-cloud-amd64 after 3.02 s
kio: lacks NO_IOWAIT, asyncBind
sqe_links_within_a_chain ok
2 passed, 0 failed
asyncRead() reads ... ok (12ms)

ok | 7 passed | 0 failed (3s)

kio: ended
[    9.056973] reboot: Power down
`;

Deno.test("judge() gives what a guest has found", () => {
  assertEquals(judge(GOOD, 2), {
    kernel: "6.1.0-50-cloud-amd64",
    lacks: "NO_IOWAIT, asyncBind",
    passed: [2, 7],
    failed: 0,
    faults: [],
  });
});

Deno.test("judge() counts tests that fail, and names them", () => {
  const text = GOOD.replace("chain ok", "chain FAILED")
    .replace("2 passed, 0", "1 passed, 1")
    .replace("... ok (12ms)", "... FAILED (2s)")
    .replace("ok | 7 passed | 0", "FAILED | 5 passed | 2");
  const { passed, failed, faults } = judge(text, 2);
  assertEquals([passed, failed], [[1, 5], 3]);
  assertEquals(faults, [
    "sqe_links_within_a_chain FAILED",
    "asyncRead() reads ... FAILED (2s)",
  ]);
});

Deno.test("judge() takes a run without a summary for a failure", () => {
  const text = GOOD.replace(/^ok .*$/m, "Segmentation fault");
  assertEquals(judge(text, 2).failed, 1);
});

Deno.test("judge() takes a complaint of the kernel for a failure", () => {
  const line = "[    5.1] WARNING: CPU: 1 PID: 9 at io_uring/io_uring.c:1";
  const { failed, faults } = judge(GOOD.replace("\nkio: e", `\n${line}$&`), 2);
  assertEquals([failed, faults], [1, [line]]);
});

Deno.test("judge() shows the end of a console that stops early", () => {
  const panic = "[    2.1] Kernel panic - not syncing: Attempted to kill init!";
  const { kernel, failed, faults } = judge(`Booting\n${panic}\n`, 2);
  assertEquals([kernel, failed], ["none", 3]);
  assertEquals(faults, [panic, "Booting", panic]);
  const { failed: one } = judge(GOOD.replace("kio: ended", ""), 2);
  assertEquals(one, 1);
});
