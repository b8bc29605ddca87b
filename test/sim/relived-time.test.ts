import { describe, expect, it } from 'vitest';
import { metaKey } from '../../agent/journal/keys.ts';
import { PlainPair } from './plain-pair.ts';

const file = '/plain/file';

/** The standby has a file that was read long enough after it was written for its time to be trusted. */
async function known(): Promise<PlainPair> {
  const pair = new PlainPair();
  pair.connect();
  await pair.clock.runFor(1000);
  pair.work.writeFile(file, 'one');
  await pair.clock.runFor(500);
  pair.killPrimary();
  pair.startPrimary();
  pair.connect();
  await pair.clock.runFor(500);
  await pair.settle();
  expect(pair.differences()).toEqual([]);
  return pair;
}

/** A second is inserted, and another content written in the second one as the first was in the first: lstat shows no difference. */
function writeAgain(pair: PlainPair): void {
  const before = pair.work.lstat(file);
  pair.setClock(-1000);
  pair.work.overwrite(file, 'two', 0);
  expect(pair.work.lstat(file)).toEqual(before);
}

describe('a clock that is set back (I17)', () => {
  it('hides no change whose times are those of before, whenever it is looked at', async () => {
    for (const waitMs of [0, 100, 3000]) {
      const pair = await known();
      pair.network.cut();
      writeAgain(pair);
      await pair.clock.runFor(waitMs);
      pair.connect();
      await pair.settle();
      expect(pair.differences()).toEqual([]);
    }
  });

  it('hides none that was made while the agent was away', async () => {
    const pair = await known();
    pair.killPrimary();
    writeAgain(pair);
    await pair.clock.runFor(100);
    pair.startPrimary();
    pair.connect();
    await pair.settle();
    expect(pair.differences()).toEqual([]);
  });

  it('is no more matter when it has passed the time and all was compared', async () => {
    const pair = await known();
    const isKept = () => pair.primary.kv.get(metaKey('relived-time')) !== undefined;
    pair.setClock(-2000);
    await pair.clock.runFor(300);
    pair.work.writeFile('/plain/other', 'x');
    await pair.settle();
    // The primary looks at its clock once a second.
    for (let ms = 0; !isKept() && ms < 1100; ms += 100) await pair.clock.runFor(100);
    expect(isKept()).toBe(true);
    await pair.clock.runFor(6000);
    expect(isKept()).toBe(false);
    expect(pair.differences()).toEqual([]);
  });
});
