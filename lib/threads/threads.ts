/**
 * Threads: pools of workers with a context each (thread per core), and threads
 * for jobs that block.
 *
 * @module
 */
export { BlockingPool, type BlockingPoolOptions } from "./blocking_pool.ts";
export { joinPool, type PoolMembership, type PoolWorker } from "./join_pool.ts";
export {
  type FunctionJob,
  type JobOptions,
  type ModuleJob,
  offload,
} from "./offload.ts";
export type {
  PoolStats,
  WorkerMetrics,
  WorkerState,
  WorkerStats,
} from "./worker.ts";
export {
  type ShutdownOptions,
  WorkerPool,
  type WorkerPoolOptions,
} from "./worker_pool.ts";
