import type { BytePath } from '../platform/files.ts';

/** A walk gives the loop back after this long. */
const SLICE_MS = 10;

interface Walk {
  number: number;
  /** Directories still to enter, last first. */
  stack: BytePath[];
  resolve(): void;
}

/** Walks directory trees one after the other, in slices, so that the loop stays free. */
export class TreeWalks {
  readonly #enter: (dir: BytePath) => BytePath[];
  readonly #queue: Walk[] = [];
  #running = false;
  /** Number of the walk that was begun last, and of the last one that is done with all before it. */
  last = 0;
  done = 0;

  /** `enter` looks at one directory and gives those below it that shall be entered too. */
  constructor(enter: (dir: BytePath) => BytePath[]) {
    this.#enter = enter;
  }

  /** Walks the tree below `dir`; resolves when all of it was entered. A small tree is entered before this returns. */
  run(dir: BytePath): Promise<void> {
    return new Promise((resolve) => {
      this.#queue.push({ number: ++this.last, stack: [dir], resolve });
      if (!this.#running) this.#slice();
    });
  }

  #slice(): void {
    this.#running = true;
    const end = performance.now() + SLICE_MS;
    for (let walk = this.#queue[0]; walk !== undefined; walk = this.#queue[0]) {
      for (let dir = walk.stack.pop(); dir !== undefined; dir = walk.stack.pop()) {
        walk.stack.push(...this.#enter(dir));
        if (performance.now() >= end) {
          setImmediate(() => this.#slice());
          return;
        }
      }
      this.#queue.shift();
      // After the callbacks of the promise, so that what they hand over comes before what waits for this number.
      const ended = walk;
      ended.resolve();
      queueMicrotask(() => (this.done = ended.number));
    }
    this.#running = false;
  }
}
