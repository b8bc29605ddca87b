import { describe, expect, it } from 'vitest';
import { Grants } from '../../agent/replicate/primary/grants.ts';
import { SimClock } from '../sim/sim-clock.ts';
import { SimKvStore } from '../sim/sim-kv.ts';
import { SimRandom } from '../sim/sim-random.ts';

const flushMs = 5;

function host() {
  const clock = new SimClock();
  const store = new SimKvStore(() => flushMs);
  const start = () => {
    const process = clock.host(0);
    return new Grants(store.open(process), process);
  };
  return { clock, store, start };
}

describe('grants to send under (I21)', () => {
  it('are one for a second of sending, then the next one', async () => {
    const { clock, start } = host();
    const grants = start();
    expect(grants.last).toBeNull();
    const take = () => clock.settle(grants.take(), 1000);
    expect(await take()).toBe(1);
    await clock.runFor(900);
    expect(await take()).toBe(1);
    await clock.runFor(200);
    expect(await take()).toBe(2);
    await clock.runFor(60_000);
    expect(await take()).toBe(3);
  });

  it('are durable before anything is sent under them: what power takes away was never used', async () => {
    const { clock, store, start } = host();
    const grants = start();
    let used = 0;
    void grants.take().then((grant) => (used = grant));
    await clock.runFor(flushMs - 1);
    // Power is cut before the store has it: nothing was sent under it.
    store.crash(new SimRandom(1));
    expect(used).toBe(0);
    expect(await clock.settle(start().take(), 1000)).toBe(1);
    // Power is cut as soon as something may have been sent under it.
    store.crash(new SimRandom(2));
    expect(start().last).toBe(1);
  });

  it('are never used twice by two processes, and go on above one that a person let count as sent from here', async () => {
    const { clock, start } = host();
    expect(await clock.settle(start().take(), 1000)).toBe(1);
    const grants = start();
    expect(await clock.settle(grants.take(), 1000)).toBe(2);
    grants.raiseTo(9);
    expect(grants.last).toBe(9);
    expect(await clock.settle(grants.take(), 1000)).toBe(10);
  });
});
