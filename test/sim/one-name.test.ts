import { describe, expect, it } from 'vitest';
import { folds, type FoldRule } from './folds.ts';
import { PlainPair } from './plain-pair.ts';

const rules: readonly FoldRule[] = ['ascii', 'unicode', 'own'];
const first = 'file f';
const twinOf = (rule: FoldRule) => folds[rule].twin(first);

/** A pair whose standby takes several names for one, with one of them there. */
async function pairOf(rule: FoldRule): Promise<PlainPair> {
  const pair = new PlainPair({ folds: rule, noticeMs: [0, 0] });
  pair.work.writeFile(`/plain/${first}`, 'the first one');
  // What was just written is not known again by its times.
  await pair.clock.runFor(3000);
  pair.connect();
  await pair.clock.runFor(2000);
  await pair.settle();
  return pair;
}

const names = (pair: PlainPair, dir = '/plain') => (pair.copy.readdir(dir) ?? []).map(({ name }) => name).toSorted();
const doubts = (pair: PlainPair) => (pair.primary.primary?.unproven.list() ?? []).map(({ path, kind }) => [path, kind]);
const foreign = (pair: PlainPair) => pair.standby.standby?.foreign();

describe.each(rules)('of names that fall together on the standby (%s)', (rule) => {
  const twin = twinOf(rule);

  it('the one that is there stays, the other one is in doubt by name, nobody is taken for a stranger, and the rest flows (I20)', async () => {
    const pair = await pairOf(rule);
    pair.work.writeFile(`/plain/${twin}`, 'the second one');
    pair.work.writeFile('/plain/letter', 'flows');
    await expect(pair.settle()).rejects.toMatchObject({ code: 'unproven' });
    expect(names(pair)).toEqual([first, 'letter']);
    expect(pair.copy.readFile(`/plain/${first}`, 100)?.data.toString()).toBe('the first one');
    expect(doubts(pair)).toEqual([[twin, 'place']]);
    expect(pair.primary.primary?.unproven.list()[0]?.reason).toContain('this file system takes its name');
    pair.killStandby();
    await pair.startStandby();
    pair.connect();
    await pair.clock.runFor(5000);
    expect(foreign(pair)).toEqual([]);
    expect(doubts(pair)).toEqual([[twin, 'place']]);
  });

  it('a directory is not merged into the other one, and what is in it is told with it', async () => {
    const pair = await pairOf(rule);
    pair.work.mkdir('/plain/f', 0o755);
    pair.work.writeFile('/plain/f/inside', 'in the first directory');
    await pair.settle();
    const other = folds[rule].twin('f');
    pair.work.mkdir(`/plain/${other}`, 0o755);
    pair.work.writeFile(`/plain/${other}/inside`, 'in the second directory');
    await expect(pair.settle()).rejects.toMatchObject({ code: 'unproven' });
    expect(names(pair)).toEqual(['f', first]);
    expect(pair.copy.readFile('/plain/f/inside', 100)?.data.toString()).toBe('in the first directory');
    expect(doubts(pair)).toContainEqual([other, 'place']);
    expect(foreign(pair)).toEqual([]);
  });

  it('the other one comes when the first one goes', async () => {
    const pair = await pairOf(rule);
    pair.work.writeFile(`/plain/${twin}`, 'the second one');
    await expect(pair.settle()).rejects.toMatchObject({ code: 'unproven' });
    pair.work.unlink(`/plain/${first}`);
    await pair.clock.runFor(rule === 'own' ? 90_000 : 2000);
    await pair.settle();
    expect(names(pair)).toEqual([twin]);
    expect(pair.differences()).toEqual([]);
    expect(doubts(pair)).toEqual([]);
    expect(foreign(pair)).toEqual([]);
  });

  it('what is only renamed from one to the other is renamed, a directory with all that is in it', async () => {
    const pair = await pairOf(rule);
    pair.work.mkdir('/plain/f', 0o755);
    pair.work.writeFile('/plain/f/inside', 'in the directory');
    await pair.settle();
    const ino = pair.copy.lstat(`/plain/${first}`)?.ino;
    pair.work.rename(`/plain/${first}`, `/plain/${twin}`);
    pair.work.rename('/plain/f', `/plain/${folds[rule].twin('f')}`);
    // By a rule that nobody expects the first one is found out, left undone, and made again.
    await pair.clock.runFor(rule === 'own' ? 90_000 : 2000);
    await pair.settle();
    expect(pair.differences()).toEqual([]);
    if (rule !== 'own') expect(pair.copy.lstat(`/plain/${twin}`)?.ino).toBe(ino);
    expect(foreign(pair)).toEqual([]);
    pair.cutStandbyPower();
    await pair.startStandby();
    expect(pair.differences()).toEqual([]);
  });
});

it('what is renamed so soon that it looks like another file is never without its name on the standby', async () => {
  const pair = await pairOf('ascii');
  const refused: string[] = [];
  pair.network.tap = (message) => {
    if (message.type === 'reject') refused.push(message.code);
    return message;
  };
  pair.work.writeFile(`/plain/${first}`, 'written anew');
  pair.work.rename(`/plain/${first}`, `/plain/${twinOf('ascii')}`);
  await pair.clock.runFor(2000);
  await pair.settle();
  expect(pair.differences()).toEqual([]);
  expect(refused).toEqual([]);
});

it('what was made before anybody knew does not take the place of what is there under the other name', async () => {
  const pair = new PlainPair({ folds: 'own', noticeMs: [0, 0], latencyMs: [20, 30] });
  pair.work.mkdir('/plain/f', 0o755);
  pair.work.writeFile('/plain/f/inside', 'in the directory');
  pair.connect();
  await pair.clock.runFor(2000);
  await pair.settle();
  for (let n = 0; n < 30; n++) {
    pair.work.writeFile('/plain/q', `version ${n}`);
    await pair.clock.runFor(3);
  }
  await pair.clock.runFor(2000);
  expect(names(pair)).toEqual(['f']);
  expect(names(pair, '/plain/f')).toEqual(['inside']);
  expect(doubts(pair)).toEqual([['q', 'place']]);
  expect(foreign(pair)).toEqual([]);
});

it.each(['stays', 'is gone at once'])(
  'a file that was changed by a name that the standby cannot have, and that %s, is changed there under its other name',
  async (end) => {
    const pair = new PlainPair({ folds: 'ascii', noticeMs: [0, 0] });
    pair.work.writeFile('/plain/a', 'as it was');
    pair.work.writeFile('/plain/b', 'its neighbour');
    pair.connect();
    await pair.clock.runFor(2000);
    await pair.settle();
    pair.work.link('/plain/a', '/plain/B');
    await pair.clock.runFor(2000);
    pair.work.overwrite('/plain/B', 'as it is!', 0);
    if (end === 'is gone at once') pair.work.unlink('/plain/B');
    await pair.clock.runFor(2000);
    expect(pair.copy.readFile('/plain/a', 100)?.data.toString()).toBe('as it is!');
  },
);

describe('a file that is changed, some time after it got it, by a name that the standby turns out to lack', () => {
  // From before the standby has heard of the name until the primary has heard of that, and of what is there instead.
  const waits = Array.from({ length: 60 }, (_, n) => 50 + n);

  it.each(['stays', 'is gone at once'])('is changed there by its other name when that one %s', async (end) => {
    const asItWas: number[] = [];
    for (const waitMs of waits) {
      const pair = new PlainPair({ folds: 'own', noticeMs: [0, 0], latencyMs: [20, 30] });
      pair.work.writeFile('/plain/f', 'its neighbour');
      pair.work.writeFile('/plain/z', 'as it was');
      // What was just written is not known again by its times.
      await pair.clock.runFor(3000);
      pair.connect();
      await pair.clock.runFor(2000);
      await pair.settle();
      pair.work.link('/plain/z', '/plain/q');
      await pair.clock.runFor(waitMs);
      pair.work.append('/plain/q', ' once');
      if (end === 'is gone at once') pair.work.unlink('/plain/q');
      await pair.clock.runFor(5000);
      if (pair.copy.readFile('/plain/z', 100)?.data.toString() !== 'as it was once') asItWas.push(waitMs);
    }
    expect(asItWas).toEqual([]);
  });
});

it('what is mounted under one of the names stays, also where the other one leads to what lies below the mount', async () => {
  const pair = new PlainPair({ folds: 'ascii', noticeMs: [0, 0], standbyDisk: '/plain/disk' });
  const lookedAt: string[] = [];
  pair.work.writeFile('/plain/DISK', 'a file');
  pair.work.mkdir('/plain/disk', 0o755);
  pair.work.writeFile('/plain/disk/letter', 'a letter');
  pair.connect();
  // Each of the two is tried again and again.
  for (let n = 0; n < 20; n++) {
    await pair.clock.runFor(20_000);
    lookedAt.push(JSON.stringify(doubts(pair)));
  }
  expect(new Set(lookedAt)).toEqual(new Set([JSON.stringify([['DISK', 'place']])]));
  expect(names(pair)).toEqual(['disk']);
  expect(pair.copy.readFile('/plain/disk/letter', 100)?.data.toString()).toBe('a letter');
  expect(foreign(pair)).toEqual([]);
});

it('what lacks attributes in a directory that cannot have its new name is in doubt no more under a name that is nowhere', async () => {
  const pair = new PlainPair({ folds: 'own', noticeMs: [0, 0] });
  pair.standbyDisk.refuses = ({ what }) => (what === 'xattrs' ? 'ENOSPC' : null);
  pair.work.mkdir('/plain/f', 0o755);
  pair.work.writeFile('/plain/f/a', 'lacks something');
  pair.work.setMeta('/plain/f/a', { xattrs: new Map([['user.refused', Buffer.from('x')]]) });
  pair.connect();
  await pair.clock.runFor(5000);
  expect(doubts(pair)).toEqual([['f/a', 'attributes']]);
  pair.work.rename('/plain/f', '/plain/q');
  await pair.clock.runWhile(() => doubts(pair).every(([path]) => path !== 'q'), 5000);
  pair.work.rename('/plain/q/a', '/plain/q/b');
  await pair.clock.runFor(90_000);
  expect(doubts(pair)).toEqual([['q/b', 'attributes']]);
  pair.standbyDisk.refuses = null;
  await pair.clock.runFor(1000);
  await pair.settle();
  expect(doubts(pair)).toEqual([]);
  expect(pair.differences()).toEqual([]);
});
