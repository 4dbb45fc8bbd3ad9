import { assertPrinted, runScript } from "./support.ts";

/** A worker without a context, which sends messages on request. */
const SENDER = `
import { wake } from "@kio/kio";
onmessage = ({ data: { ringFd, count } }) => {
  const codes = new Set();
  for (let i = 0; i < count; i++) {
    const result = wake(ringFd, i, i);
    codes.add(result.ok ? "sent" : result.error.code);
  }
  postMessage([...codes].join());
};
`;

/** A worker with a context that others wake; its thread can be kept busy. */
const TARGET = `
import { IoContext } from "@kio/kio";
const ctx = new IoContext(8);
let count = 0, inOrder = true;
ctx.onMessage = (result, tag) => {
  inOrder &&= result === count && tag === count;
  count++;
  if (tag === 9_999) postMessage({ count, inOrder });
  if (tag === 0x570b) ctx.stop();
};
onmessage = async ({ data: busy }) => {
  postMessage(ctx.ringFd);
  if (busy) Atomics.wait(busy, 0, 0);
  await ctx.run();
  postMessage("stopped");
};
`;

const WORKER = (source: string) => `
new Worker("data:text/javascript,${encodeURIComponent(source)}", {
  type: "module",
})`;

const ANSWER = `
const answerOf = (worker) =>
  new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
`;

const FLAGS = { flags: ["--allow-ffi", "--allow-read"] };

Deno.test("wake() works from a worker that has no context", async () => {
  const ended = await runScript(
    `${ANSWER}
using ctx = new kio.IoContext(8);
let count = 0, sum = 0;
const all = new Promise((resolve) => ctx.onMessage = (result) => {
  sum += result;
  if (++count === 1000) resolve();
});
const sender = ${WORKER(SENDER)};
sender.postMessage({ ringFd: ctx.ringFd, count: 1000 });
const running = ctx.run();
console.log(await answerOf(sender));
await all;
ctx.stop();
await running;
sender.terminate();
console.log(count, sum);
`,
    FLAGS,
  );
  assertPrinted(ended, "sent\n1000 499500\n");
});

Deno.test("wake() of 10000 messages to a thread that is blocked loses none", async () => {
  const ended = await runScript(
    `${ANSWER}
const busy = new Int32Array(new SharedArrayBuffer(4));
const target = ${WORKER(TARGET)};
target.postMessage(busy);
const ringFd = await answerOf(target);
const codes = new Set();
for (let i = 0; i < 10_000; i++) codes.add(kio.wake(ringFd, i, i).ok);
const answer = answerOf(target);
Atomics.store(busy, 0, 1);
Atomics.notify(busy, 0);
console.log([...codes].join(), JSON.stringify(await answer));
target.terminate();
`,
    FLAGS,
  );
  assertPrinted(ended, 'true {"count":10000,"inOrder":true}\n');
});

Deno.test("wake() has a context in another thread call stop()", async () => {
  const ended = await runScript(
    `${ANSWER}
const target = ${WORKER(TARGET)};
target.postMessage(null);
const ringFd = await answerOf(target);
await new Promise((resolve) => setTimeout(resolve, 20));
const answer = answerOf(target);
console.log(kio.wake(ringFd, 0, 0x570b).ok, await answer);
target.terminate();
`,
    FLAGS,
  );
  assertPrinted(ended, "true stopped\n");
});

Deno.test("wake() of the context of a worker that has ended is an error", async () => {
  const ended = await runScript(
    `${ANSWER}
const target = ${WORKER(TARGET)};
target.postMessage(null);
const ringFd = await answerOf(target);
target.terminate();
let result = kio.wake(ringFd);
while (result.ok) {
  await new Promise((resolve) => setTimeout(resolve, 1));
  result = kio.wake(ringFd);
}
console.log(["EBADF", "EBADFD", "EOWNERDEAD"].includes(result.error.code));
`,
    FLAGS,
  );
  assertPrinted(ended, "true\n");
});
