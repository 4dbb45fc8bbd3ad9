import { type Scenario, slopeOf } from "../scenario.ts";
import { sleep } from "../../process/support.ts";
import { Subject } from "../subject.ts";

/** Contexts that may be open at a time. */
const OPEN_MAX = 100;
/** Growth that malloc and the collector may cause. */
const GROWTH_MB_MAX = 4;

export const contexts: Scenario = {
  about: "contexts a second, opened and closed",
  long: { seconds: 60, connections: 100 },
  short: { seconds: 2, connections: 100 },
  async run(load) {
    const { connections: rate, seconds } = load;
    await using program = new Subject("contexts", [`--rate=${rate}`]);
    await program.printed(/^running\n/);
    // Wait until everything is compiled and every pool has its objects.
    await sleep(load.isLong ? 10_000 : 500);
    const first = await program.report();
    const { own } = program.threads();
    const samples: [number, number][] = [];
    const startMs = performance.now();
    for (let second = 1; second <= seconds; second++) {
      await sleep(startMs + 1000 * second - performance.now());
      await program.report();
      samples.push([second, program.residentMB()]);
    }
    const last = await program.report();
    const [opened, closed] = [
      Number(last.opened) - Number(first.opened),
      Number(last.closed) - Number(first.closed),
    ];
    load.check(
      "they are opened and closed",
      opened > 0 && closed >= opened - OPEN_MAX,
      `${opened} opened, ${closed} closed in ${seconds} s`,
    );
    const threads = program.threads();
    load.check(
      `at most ${own} threads`,
      threads.own <= own,
      threads.own,
    );
    const growthMB = slopeOf(samples) * seconds;
    load.limit(
      `at most ${GROWTH_MB_MAX} MB more`,
      growthMB <= GROWTH_MB_MAX,
      `${growthMB.toFixed(2)} MB, ${
        samples.at(-1)![1].toFixed()
      } MB in the end`,
    );
    load.check(
      `at most ${2 * OPEN_MAX} fds`,
      program.fds().others + program.fds().sockets <= 2 * OPEN_MAX,
      JSON.stringify(program.fds()),
    );
    const { code } = await program.kill("SIGINT");
    load.check("it ends well", code === 0, `exit code ${code}`);
  },
};
