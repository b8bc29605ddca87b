import type { CanTakeOver } from '../../../protocol/control.ts';
import type { TakeoverKind } from '../../../protocol/takeover.ts';
import { canTakeOver, replacedCannot } from '../../failover/can-take-over.ts';
import { sleep, systemClock } from '../../platform/clock.ts';
import type { Appliance } from '../appliance.ts';
import type { Node } from '../node.ts';
import type { Takeover } from './takeover.ts';

export interface StandingParts {
  node: Node;
  appliance: Appliance;
  takeover: Takeover;
}

const everyMs = 60_000;
/** While the primary is silent, or something is in the way, somebody waits for another answer. */
const soonMs = 10_000;
const pollMs = 1000;
/** A reading that was not renewed for so long is not repeated (I18). */
const readingMsMax = 150_000;

/** Asks the guards all the time whether this node can take over, so that the answer is there before it is needed. */
export class Standing {
  readonly #p: StandingParts;
  readonly #stop = new AbortController();
  #last: { answer: CanTakeOver; atMs: number } | null = null;

  constructor(parts: StandingParts) {
    this.#p = parts;
  }

  stop(): void {
    this.#stop.abort();
  }

  /** Null where it is no question, and while it is not known. */
  answer(): CanTakeOver | null {
    const { role } = this.#p.node;
    if (!this.#isAsked) return null;
    if (role === 'fenced') return replacedCannot(at());
    if (role !== 'standby' || this.#last === null) return null;
    return systemClock.monotonicMs() - this.#last.atMs <= readingMsMax ? this.#last.answer : null;
  }

  /** Judges until `stop`. */
  async run(): Promise<void> {
    const { node, takeover } = this.#p;
    const { signal } = this.#stop;
    let judged = '';
    while (!signal.aborted && this.#isAsked) {
      const { connected, reading } = node.running.peer;
      const isIn = node.role === 'standby' && node.running.standby !== null && !takeover.runs;
      // A primary that was never heard is no primary that was lost.
      const kind: TakeoverKind | null = !isIn || !reading ? null : connected ? 'switchover' : 'failover';
      if (node.role !== 'standby') this.#last = null;
      const pauseMs = kind === 'switchover' && this.#last?.answer.can === true ? everyMs : soonMs;
      if (kind !== null && (kind !== judged || systemClock.monotonicMs() - (this.#last?.atMs ?? -Infinity) >= pauseMs)) {
        const results = await takeover.judge(kind, signal);
        if (signal.aborted) return;
        judged = kind;
        this.#last = { answer: canTakeOver(kind, results, at()), atMs: systemClock.monotonicMs() };
      }
      await sleep(systemClock, pollMs, signal);
    }
  }

  /** Where nothing moves and nothing is switched off, nobody takes over by these guards. */
  get #isAsked(): boolean {
    const { gated, fence } = this.#p.appliance;
    return gated || fence.fencing.levels.length > 0;
  }
}

function at(): string {
  return new Date(systemClock.wallMs()).toISOString();
}
