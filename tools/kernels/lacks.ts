/** Prints what kio does without on the kernel that runs. */
import { IoContext } from "../../mod.ts";

/** Never operations of a ring. */
const ALWAYS = ["asyncPipe", "asyncReadlink"];

const { features, flags, operations } = IoContext.probe();
const { COOP_TASKRUN: _, ...wanted } = flags;
const names = [
  ...Object.entries(wanted).filter(([, has]) => !has),
  ...Object.entries(features).filter(([, { support }]) =>
    support === "emulated"
  ),
  ...Object.entries(operations).filter(([name, support]) =>
    support !== "ring" && !ALWAYS.includes(name)
  ),
].map(([name]) => name);
console.log(`kio: lacks ${names.join(", ") || "nothing"}`);
