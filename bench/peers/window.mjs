/**
 * What the file and log programs in JavaScript share: the same random numbers
 * and the same measured window as `common.h` has for C.
 */

const WARM_UP_MS = 500;

/**
 * xorshift32, seeded: every program reads the same blocks.
 *
 * @returns {() => number} gives an unsigned 32-bit integer
 */
export function randomSource() {
  let state = 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/**
 * Checks that a block is the one at a place of the file: each 4 KiB of the file
 * begin with their own number.
 *
 * @param {Uint8Array} block
 * @param {number} at
 */
export function checkBlock(block, at) {
  const number = block[0] + (block[1] << 8) + (block[2] << 16);
  if (at % 4096 === 0 && number !== at / 4096) {
    throw new Error("Cannot trust the read: another block came");
  }
}

/**
 * Names the small files of a folder, one after the other and from the start
 * again. Each begins with its number, which says how long it is.
 *
 * @param {string} folder
 * @param {number} files
 */
export function fileSource(folder, files) {
  let next = 0;
  return () => {
    const number = next++ % files;
    return {
      path: `${folder}/${number}`,
      /** @param {Uint8Array} data */
      check(data) {
        const found = data[0] + (data[1] << 8) + (data[2] << 16);
        if (found !== number || data.length !== 512 + number % 64 * 128) {
          throw new Error("Cannot trust the read: another file came");
        }
      },
    };
  };
}

/** Counts operations for some seconds, after a warm-up that does not count. */
export class Window {
  #ops = 0;
  #ticks = 0;
  #counting = false;
  #openMs = performance.now() + WARM_UP_MS;
  #closeMs = 0;
  #lengthMs;
  #isOpen = true;

  /** @param {number} seconds */
  constructor(seconds) {
    this.#lengthMs = seconds * 1000;
  }

  /**
   * Asks the clock every 16th time only.
   *
   * @param {number} ops
   * @returns {boolean} false once the window has closed
   */
  tick(ops) {
    this.#ops += ops;
    if (++this.#ticks % 16 === 0) this.#check();
    return this.#isOpen;
  }

  #check() {
    if (!this.#isOpen) return;
    const nowMs = performance.now();
    if (!this.#counting && nowMs >= this.#openMs) {
      this.#counting = true;
      this.#ops = 0;
      this.#openMs = nowMs;
    }
    this.#closeMs = nowMs;
    this.#isOpen = !this.#counting || nowMs - this.#openMs < this.#lengthMs;
    if (!this.#isOpen) this.#print();
  }

  #print() {
    const seconds = (this.#closeMs - this.#openMs) / 1000;
    console.log(JSON.stringify({ ops: this.#ops, seconds }));
  }
}
