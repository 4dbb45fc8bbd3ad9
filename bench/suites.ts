/** All benchmarks. */

import type { Options, Suite } from "./suite.ts";
import { accept } from "./suites/accept.ts";
import { bulk } from "./suites/bulk.ts";
import { copy } from "./suites/copy.ts";
import { datagrams } from "./suites/datagrams.ts";
import { direct } from "./suites/direct.ts";
import { echo } from "./suites/echo.ts";
import { fair } from "./suites/fair.ts";
import { file } from "./suites/file.ts";
import { heap } from "./suites/heap.ts";
import { idle } from "./suites/idle.ts";
import { log } from "./suites/log.ts";
import { proxy } from "./suites/proxy.ts";
import { sendfile } from "./suites/sendfile.ts";
import { sequential } from "./suites/sequential.ts";
import { smallFiles } from "./suites/small_files.ts";
import { start } from "./suites/start.ts";
import { staticFiles } from "./suites/static.ts";
import { streams } from "./suites/streams.ts";
import { threads } from "./suites/threads.ts";
import { timers } from "./suites/timers.ts";
import { tls } from "./suites/tls.ts";
import { tree } from "./suites/tree.ts";
import { udp } from "./suites/udp.ts";
import { wake } from "./suites/wake.ts";

/** The benchmarks, by the names that `main.ts` can be asked for. */
export const SUITES: Record<string, (options: Options) => Suite> = {
  echo,
  accept,
  fair,
  idle,
  bulk,
  file,
  direct,
  datagrams,
  log,
  timers,
  wake,
  sendfile,
  copy,
  tree,
  static: staticFiles,
  udp,
  proxy,
  tls,
  heap,
  threads,
  start,
  sequential,
  "small-files": smallFiles,
  streams,
};
