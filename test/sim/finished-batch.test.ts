import { describe, expect, it } from 'vitest';
import { tables } from '../../agent/journal/keys.ts';
import { PlainPair } from './plain-pair.ts';

describe('the last batch, before a standby serves', () => {
  it.each(Array.from({ length: 20 }, (_, i) => i + 1))('outlives a power cut without being done again (I1), seed %i', async (seed) => {
    const pair = new PlainPair({}, seed);
    await pair.startStandby();
    pair.connect();
    for (let n = 0; n < 10; n++) pair.work.writeFile(`/plain/first-${n}`, `${n}`);
    await pair.settle();
    for (let n = 0; n < 10; n++) pair.work.rename(`/plain/first-${n}`, `/plain/then-${n}`);
    await pair.settle();
    const { receiver } = pair.standby.standby!;
    await pair.clock.settle(receiver.finish(), 60_000);
    expect(pair.standby.kv.get(Buffer.from([tables.redo]))).toBeUndefined();
    pair.cutStandbyPower();
    expect(pair.differences()).toEqual([]);
  });
});
