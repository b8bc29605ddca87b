import { pairingLimits } from '../../protocol/pairing.ts';
import type { ChannelEnd } from './channel.ts';

/**
 * Life of one offer to pair: who may still try, and what to tell those who may not.
 *
 * Pure: time is handed in, in monotonic milliseconds (I17).
 */
export class OfferLife {
  readonly expiresMs: number;
  #tries = 0;
  #used = false;

  constructor(nowMs: number) {
    this.expiresMs = nowMs + pairingLimits.offerLifeMs;
  }

  /** Why nobody can pair by this offer any more; null while somebody can. */
  over(nowMs: number): ChannelEnd | null {
    if (this.#used) return { code: 'used', detail: 'the code was used already; it works once' };
    if (this.#tries >= pairingLimits.triesMax)
      return { code: 'too-many-tries', detail: `the code was burned after ${pairingLimits.triesMax} wrong tries` };
    if (nowMs >= this.expiresMs)
      return { code: 'expired', detail: `the code has expired; it lives ${pairingLimits.offerLifeMs / 60_000} minutes` };
    return null;
  }

  /** Counts a wrong code; returns what to tell who sent it. */
  wrongCode(nowMs: number): ChannelEnd {
    this.#tries++;
    const left = pairingLimits.triesMax - this.#tries;
    return this.over(nowMs) ?? { code: 'wrong-code', detail: `the code is wrong; ${left} ${left === 1 ? 'try is' : 'tries are'} left` };
  }

  use(): void {
    this.#used = true;
  }
}
