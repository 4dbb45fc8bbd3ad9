/**
 * Measures the bytes that an operation allocates on the JavaScript heap.
 *
 * The heap only grows as long as the garbage collector does not run, so its
 * growth is what was allocated. The runner gives V8 a young generation large
 * enough, and lets it trace its collections: more than the two that are asked
 * for here would spoil the figure, and the runner refuses it.
 */

const WARM_UP_OPS = 102_400;
/** Fits into the young generation, and outweighs fixed costs. */
const MEASURED_OPS = 51_200;

declare const gc: () => void;

/**
 * @param depth How many operations are in flight.
 * @param operate Does so many operations, one after another.
 */
export async function measureHeap(
  depth: number,
  operate: (count: number) => Promise<void>,
): Promise<void> {
  const run = async (ops: number) => {
    const lane = () => operate(ops / depth);
    await Promise.all(Array.from({ length: depth }, lane));
  };

  // Compiled code lives on the heap as well: have it all there beforehand.
  await run(WARM_UP_OPS);
  gc();
  await run(MEASURED_OPS);
  gc();
  const beforeBytes = Deno.memoryUsage().heapUsed;
  await run(MEASURED_OPS);
  const bytes = Deno.memoryUsage().heapUsed - beforeBytes;
  console.log(JSON.stringify({ ops: MEASURED_OPS, bytes }));
}
