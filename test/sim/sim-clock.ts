import type { Clock, Timer } from '../../agent/platform/clock.ts';

interface Event {
  at: number;
  order: number;
  run: (() => void) | null;
}

/** Real event loop turns are let through this often, so that a long run does not starve the test runner. */
const eventsPerTurn = 20_000;

/**
 * Virtual time: a queue of events, run one after the other, with all promise reactions between two events done.
 *
 * Nothing here waits for real time, so an hour passes in as long as its events take, and the same events always come in
 * the same order.
 */
export class SimClock {
  #now = 0;
  #order = 0;
  #sinceTurn = 0;
  readonly #heap: Event[] = [];

  /** Virtual milliseconds since the world began. */
  get now(): number {
    return this.#now;
  }

  at(time: number, run: () => void): Timer {
    const event: Event = { at: Math.max(time, this.#now), order: this.#order++, run };
    push(this.#heap, event);
    return {
      cancel: () => {
        event.run = null;
      },
    };
  }

  after(ms: number, run: () => void): Timer {
    return this.at(this.#now + ms, run);
  }

  /** A clock as one process of one host has it. */
  host(wallAtStartMs: number): HostClock {
    return new HostClock(this, wallAtStartMs);
  }

  /** Runs everything up to a time. An error thrown by an event ends the run. */
  async runUntil(time: number): Promise<void> {
    await this.#run(time, () => false);
    this.#now = Math.max(this.#now, time);
  }

  async runFor(ms: number): Promise<void> {
    await this.runUntil(this.#now + ms);
  }

  /** Runs until the condition holds; false when it did not within `limitMs` of virtual time. */
  async runWhile(unfinished: () => boolean, limitMs: number): Promise<boolean> {
    await this.#run(this.#now + limitMs, () => !unfinished());
    return !unfinished();
  }

  /** Runs until a promise settles, and gives its value. */
  async settle<T>(promise: Promise<T>, limitMs: number): Promise<T> {
    let settled = false;
    const seen = promise.finally(() => {
      settled = true;
    });
    // The error is thrown where `seen` is awaited below.
    seen.catch(() => {});
    if (!(await this.runWhile(() => !settled, limitMs))) throw new Error(`nothing came of it within ${limitMs} ms of virtual time`);
    return seen;
  }

  /**
   * Lets every promise reaction run that can run without time passing.
   *
   * Node takes up a nextTick callback that was queued by a promise reaction only when no further reaction is left,
   * however long their chain is. So this needs no count and no real timer.
   */
  async drain(): Promise<void> {
    await Promise.resolve();
    await tick();
    await tick();
  }

  async #run(until: number, done: () => boolean): Promise<void> {
    await this.drain();
    while (!done()) {
      const event = this.#heap[0];
      if (!event || event.at > until) return;
      pop(this.#heap);
      if (event.run === null) continue;
      this.#now = event.at;
      event.run();
      await this.drain();
      if (++this.#sinceTurn >= eventsPerTurn) {
        this.#sinceTurn = 0;
        await new Promise((resolve) => {
          setImmediate(resolve);
        });
      }
    }
  }
}

function tick(): Promise<void> {
  return new Promise((resolve) => {
    process.nextTick(resolve);
  });
}

/** One process's view of time: its host's wall clock may be wrong and may jump, and its timers die with it. */
export class HostClock implements Clock {
  readonly #clock: SimClock;
  #wallOffset: number;
  #dead = false;

  constructor(clock: SimClock, wallAtStartMs: number) {
    this.#clock = clock;
    this.#wallOffset = wallAtStartMs - clock.now;
  }

  monotonicMs(): number {
    return this.#clock.now;
  }

  wallMs(): number {
    return this.#clock.now + this.#wallOffset;
  }

  after(ms: number, fn: () => void): Timer {
    return this.#clock.after(Math.max(0, ms), () => {
      if (!this.#dead) fn();
    });
  }

  /** For what the host's kernel does: happens whether or not the process still lives. */
  afterOnHost(ms: number, fn: () => void): Timer {
    return this.#clock.after(ms, fn);
  }

  yield(): Promise<void> {
    return new Promise((resolve) => {
      this.after(0, resolve);
    });
  }

  /** The host's wall clock is set. */
  jumpWall(ms: number): void {
    this.#wallOffset += ms;
  }

  /** The process is gone: none of its timers fires any more. */
  kill(): void {
    this.#dead = true;
  }

  get dead(): boolean {
    return this.#dead;
  }
}

function before(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

function push(heap: Event[], event: Event): void {
  let i = heap.push(event) - 1;
  while (i > 0) {
    const parent = (i - 1) >> 1;
    if (!before(event, heap[parent]!)) break;
    heap[i] = heap[parent]!;
    i = parent;
  }
  heap[i] = event;
}

function pop(heap: Event[]): void {
  const last = heap.pop()!;
  if (heap.length === 0) return;
  let i = 0;
  for (;;) {
    let child = i * 2 + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (!before(heap[child]!, last)) break;
    heap[i] = heap[child]!;
    i = child;
  }
  heap[i] = last;
}
