/** The C of the library as text. An installed package compiles it from here,
 * and `deno task digest` computes the library's name of it. */
import atOnce from "./shim/at_once.c" with { type: "text" };
import cancel from "./shim/cancel.c" with { type: "text" };
import chain from "./shim/chain.c" with { type: "text" };
import close from "./shim/close.c" with { type: "text" };
import context from "./shim/context.c" with { type: "text" };
import driver from "./shim/driver.c" with { type: "text" };
import folders from "./shim/folders.c" with { type: "text" };
import guard from "./shim/guard.c" with { type: "text" };
import internal from "./shim/internal.h" with { type: "text" };
import isolate from "./shim/isolate.c" with { type: "text" };
import jobs from "./shim/jobs.c" with { type: "text" };
import kio from "./shim/kio.h" with { type: "text" };
import listen from "./shim/listen.c" with { type: "text" };
import loop from "./shim/loop.c" with { type: "text" };
import mailbox from "./shim/mailbox.c" with { type: "text" };
import message from "./shim/message.c" with { type: "text" };
import names from "./shim/names.c" with { type: "text" };
import opcodes from "./shim/opcodes.c" with { type: "text" };
import pool from "./shim/pool.c" with { type: "text" };
import register from "./shim/register.c" with { type: "text" };
import relay from "./shim/relay.c" with { type: "text" };
import restrict from "./shim/restrict.c" with { type: "text" };
import seams from "./shim/seams.h" with { type: "text" };
import sqe from "./shim/sqe.c" with { type: "text" };
import syscalls from "./shim/syscalls.c" with { type: "text" };
import faultPlan from "./shim/test/fault_plan.c" with { type: "text" };
import faultPlanHeader from "./shim/test/fault_plan.h" with { type: "text" };
import faults from "./shim/test/faults.c" with { type: "text" };
import trial from "./shim/trial.c" with { type: "text" };
import waiters from "./shim/waiters.c" with { type: "text" };
import waitersHeader from "./shim/waiters.h" with { type: "text" };
import zeroCopy from "./shim/zero_copy.c" with { type: "text" };

/** The sources, by their paths in the folder shim/. */
export const SOURCES: Readonly<Record<string, string>> = {
  "at_once.c": atOnce,
  "cancel.c": cancel,
  "chain.c": chain,
  "close.c": close,
  "context.c": context,
  "driver.c": driver,
  "folders.c": folders,
  "guard.c": guard,
  "internal.h": internal,
  "isolate.c": isolate,
  "jobs.c": jobs,
  "kio.h": kio,
  "listen.c": listen,
  "loop.c": loop,
  "mailbox.c": mailbox,
  "message.c": message,
  "names.c": names,
  "opcodes.c": opcodes,
  "pool.c": pool,
  "register.c": register,
  "relay.c": relay,
  "restrict.c": restrict,
  "seams.h": seams,
  "sqe.c": sqe,
  "syscalls.c": syscalls,
  "test/fault_plan.c": faultPlan,
  "test/fault_plan.h": faultPlanHeader,
  "test/faults.c": faults,
  "trial.c": trial,
  "waiters.c": waiters,
  "waiters.h": waitersHeader,
  "zero_copy.c": zeroCopy,
};
