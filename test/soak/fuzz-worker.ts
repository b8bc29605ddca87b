import { fuzz, type FuzzResult } from '../fuzz/decoder.ts';
import { makeDecoders } from '../fuzz/decoders.ts';
import { SimRandom } from '../sim/sim-random.ts';

/** What the worker is told: a decoder, and which of its cases. */
export interface FuzzOrder {
  decoder: string;
  seed: number;
  first: number;
  cases: number;
}

export interface FuzzAnswer extends FuzzResult {
  /** The most memory that this process has ever had, in bytes. */
  peakBytes: number;
}

const decoders = makeDecoders();
process.on('message', (order: FuzzOrder) => {
  void (async () => {
    const decoder = (await decoders).find(({ name }) => name === order.decoder);
    if (!decoder) throw new Error(`there is no decoder ${order.decoder}`);
    const result = await fuzz(decoder, (seed) => new SimRandom(seed), order);
    process.send?.({ ...result, peakBytes: process.resourceUsage().maxRSS * 1024 } satisfies FuzzAnswer);
  })();
});
process.on('disconnect', () => {
  void (async () => {
    for (const decoder of await decoders) await decoder.close?.();
    process.exit(0);
  })();
});
